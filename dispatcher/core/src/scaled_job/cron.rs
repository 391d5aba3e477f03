//! A trigger of type `cron`: `schedule()`. KEDA's is a window in which there are to be so many Jobs; here its begin makes them.

use super::trigger::Reader;
use super::{Note, Problem, Window};
use crate::schedule::{self, Schedule};

/// Items of an occurrence.
const ITEMS_MAX: f64 = 10_000.0;

pub(super) fn read(mut reader: Reader<'_, '_>, notes: &mut Vec<Note>) -> Result<Window, Problem> {
    let metadata = &mut reader.metadata;
    let missing = |path: String, hint: &str| Problem::new(path, "missing", hint);
    let start = metadata.text("start")?;
    let Some(cron) = start else { return Err(missing(metadata.at("start"), "A cron expression.")) };
    let timezone = metadata.text("timezone")?;
    let Some(timezone) = timezone else {
        return Err(missing(metadata.at("timezone"), "For example Europe/Paris."));
    };
    if let Err(problem) = Schedule::parse(&cron, &timezone) {
        let hint = "Minute, hour, day of the month, month and day of the week; a name of the IANA time zone database.";
        let key = if matches!(problem, schedule::Problem::Cron(_)) { "start" } else { "timezone" };
        return Err(Problem::new(metadata.at(key), problem.to_string(), hint));
    }
    let path = metadata.at("desiredReplicas");
    let items = match metadata.number("desiredReplicas")? {
        Some(items) if (1.0..=ITEMS_MAX).contains(&items) && items.fract() == 0.0 => whole(items),
        _ => return Err(Problem::new(path, "missing, or no whole number from 1 to 10000", "How many Jobs?")),
    };
    if metadata.take("end").is_some() {
        let message = format!(
            "each start makes {items} items, once: KEDA goes on making Jobs for those that have ended until the window's end, \
             here nothing follows"
        );
        let hint = "For work that is to be done once a night that is what was meant. Else give start more occurrences.";
        notes.push(Note::changed(metadata.at("end"), message).hint(hint));
    }
    if reader.authentication.is_some() {
        let path = reader.metadata.path().replace(".metadata", ".authenticationRef");
        notes.push(Note::ignored(path, "a schedule needs none"));
    }
    reader.metadata.end(notes);
    Ok(Window { cron, timezone, items })
}

#[expect(clippy::cast_possible_truncation, reason = "from 1 to 10000")]
fn whole(number: f64) -> i32 {
    number as i32
}
