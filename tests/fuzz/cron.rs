//! Any text as a cron expression and a time zone, from any moment: it is refused in words, or its occurrences follow each other.
#![no_main]

use jiff::{SignedDuration, Timestamp};
use libfuzzer_sys::fuzz_target;
use pgbatch_core::schedule::Schedule;

// Lines: the expression, the zone, the moment in seconds.
fuzz_target!(|text: &str| {
    let mut lines = text.split('\n');
    let (cron, zone) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let schedule = match Schedule::parse(cron, zone) {
        Ok(schedule) => schedule,
        Err(problem) => return assert!(!problem.to_string().is_empty()),
    };
    let second = lines.next().and_then(|line| line.parse::<i64>().ok()).unwrap_or_default();
    let Ok(mut after) = Timestamp::from_second(second) else { return };
    for _ in 0..3 {
        let Some(at) = schedule.next_after(after) else { return };
        assert!(at > after, "{at} is not after {after}");
        if let Ok(before) = at.checked_sub(SignedDuration::from_secs(1)) {
            assert_eq!(schedule.next_after(before), Some(at), "from a second before it");
            assert_eq!(schedule.latest(before, at), Some(at), "looked for from behind");
        }
        after = at;
    }
});
