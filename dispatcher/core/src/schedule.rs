//! When a cron expression occurs in a time zone.
//!
//! The rule where clocks are set is that of Vixie's cron and cronie (cron(8), "Daylight Saving Time and other time
//! changes"), which the Open Cron Pattern Specification has too:
//!
//! - An expression whose seconds, minutes and hours have no `*` means times of the day. One that the clock leaps over is moved
//!   to the leap's end; one that the clock shows twice is the first of the two. So none is lost and none comes twice.
//! - Any other means "as often as the clock shows it": what the clock leaps over is left out, and what it shows twice
//!   occurs twice, so that `*/5 * * * *` is every five minutes.
//!
//! The patterns are matched by `croner`, on the clock's face only; what instant that is, is decided here, as `croner` counts
//! `0 2,14 * * *` to the second kind.

use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};
use croner::{Cron, CronComponent};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp};

/// Further than any zone's clock is set at once.
const LEAP_MAX: SignedDuration = SignedDuration::from_hours(48);

/// The span in which the latest occurrence is looked for first.
const LATEST_FIRST: SignedDuration = SignedDuration::from_mins(1);

/// What is wrong with a schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The expression.
    #[error("cron is invalid: {0}")]
    Cron(String),
    /// The zone.
    #[error("timezone is invalid: {0:?} is not known")]
    TimeZone(String),
}

/// A cron expression in a time zone.
#[derive(Debug, Clone)]
pub struct Schedule {
    cron: Cron,
    zone: TimeZone,
    /// Whether it means times of the day.
    is_fixed: bool,
}

impl Schedule {
    /// Reads an expression of five fields, or six with seconds first, or a nickname (`@daily`); and a name of the IANA time
    /// zone database.
    ///
    /// # Errors
    /// Either is not one.
    pub fn parse(cron: &str, timezone: &str) -> Result<Self, Problem> {
        let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
        let parsed = parser.parse(cron).map_err(|error| Problem::Cron(in_words(&error)))?;
        let pattern = &parsed.pattern;
        // As in ", 2 * * *": the library would look for it until the year 5000, for seconds.
        let fields = [
            &pattern.seconds,
            &pattern.minutes,
            &pattern.hours,
            &pattern.days,
            &pattern.months,
            &pattern.days_of_week,
        ];
        if fields.iter().any(|field| field.values().is_empty() && !field.has_modifiers()) {
            return Err(Problem::Cron("a field names nothing".to_owned()));
        }
        let zone =
            TimeZoneDatabase::bundled().get(timezone).map_err(|_| Problem::TimeZone(timezone.to_owned()))?;
        let starred = |field: &CronComponent| field.from_wildcard;
        let is_fixed = !(starred(&pattern.seconds) || starred(&pattern.minutes) || starred(&pattern.hours));
        Ok(Self { cron: parsed, zone, is_fixed })
    }

    /// The first occurrence after a moment; none if there is none any more.
    #[must_use]
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let after =
            Timestamp::from_second(after.as_nanosecond().div_euclid(1_000_000_000).try_into().ok()?).ok()?;
        if self.is_fixed { self.next_time_of_day(after) } else { self.next_shown(after) }
    }

    /// The last occurrence after `since` and not after `upto`.
    #[must_use]
    pub fn latest(&self, since: Timestamp, upto: Timestamp) -> Option<Timestamp> {
        let mut span = LATEST_FIRST;
        loop {
            let from = upto.checked_sub(span).map_or(since, |from| from.max(since));
            let mut found = self.next_after(from).filter(|at| *at <= upto);
            if found.is_some() {
                while let Some(later) = found.and_then(|at| self.next_after(at)).filter(|at| *at <= upto) {
                    found = Some(later);
                }
                return found;
            }
            if from == since {
                return None;
            }
            span = span.saturating_mul(2);
        }
    }

    /// Of times of the day. Their instants are in the order of their times, and never go back.
    fn next_time_of_day(&self, after: Timestamp) -> Option<Timestamp> {
        let mut face = self.zone.to_datetime(after);
        loop {
            face = self.next_face(face, false)?;
            let at = match self.zone.to_ambiguous_timestamp(face).offset() {
                AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(face).ok()?,
                AmbiguousOffset::Fold { before, .. } => before.to_timestamp(face).ok()?,
                // With the offset after it, the time that is left out is before the leap: the next change is the leap.
                AmbiguousOffset::Gap { after, .. } => {
                    self.zone.following(after.to_timestamp(face).ok()?).next()?.timestamp()
                }
            };
            if at > after {
                return Some(at);
            }
        }
    }

    /// Of what the clock shows, from one setting of the clock to the next.
    fn next_shown(&self, after: Timestamp) -> Option<Timestamp> {
        let mut from = after;
        let mut inclusive = false;
        loop {
            let offset: Offset = self.zone.to_offset(from);
            let at = offset.to_timestamp(self.next_face(offset.to_datetime(from), inclusive)?).ok()?;
            match self.zone.following(from).next().map(|change| change.timestamp()) {
                // Not on this side of the change. Years without an occurrence are passed over at once.
                Some(change) if at >= change => from = change.max(at.checked_sub(LEAP_MAX).unwrap_or(change)),
                _ => return Some(at),
            }
            inclusive = true;
        }
    }

    /// The next time on the clock's face, without any zone.
    fn next_face(&self, face: DateTime, inclusive: bool) -> Option<DateTime> {
        let face = face.to_zoned(TimeZone::UTC).ok()?;
        self.cron.find_next_occurrence(&face, inclusive).ok().map(|found| found.datetime())
    }
}

/// The library's words, without its own word for the kind of the error.
fn in_words(error: &CronError) -> String {
    match error {
        CronError::EmptyPattern => "it is empty".to_owned(),
        CronError::InvalidPattern(what)
        | CronError::IllegalCharacters(what)
        | CronError::ComponentError(what) => what.trim_end_matches('.').to_owned(),
        other => other.to_string().trim_end_matches('.').to_owned(),
    }
}

#[cfg(test)]
mod tests;
