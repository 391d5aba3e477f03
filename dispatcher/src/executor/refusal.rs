//! When a start that failed is tried again.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

const FIRST: Duration = Duration::from_secs(1);
const LAST: Duration = Duration::from_secs(60);

/// The moment of the next try after `refusals` refusals in a row (from 1), and not before `at_least` from now.
///
/// Doubles from one second to a minute; the upper half is random, so that the starts refused together do not come
/// back together.
pub(super) fn again_at(now: Timestamp, refusals: u32, at_least: Duration) -> Timestamp {
    let window = FIRST.saturating_mul(1 << refusals.saturating_sub(1).min(16)).min(LAST);
    let delay = window.mul_f64(0.5 + fastrand::f64() / 2.0).max(at_least);
    SignedDuration::try_from(delay).ok().and_then(|delay| now.checked_add(delay).ok()).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_up_to_a_minute() {
        let now = Timestamp::UNIX_EPOCH;
        for (refusals, low_ms, high_ms) in
            [(1, 500, 1000), (3, 2000, 4000), (7, 30_000, 60_000), (u32::MAX, 30_000, 60_000)]
        {
            let ms = again_at(now, refusals, Duration::ZERO).as_millisecond();
            assert!((low_ms..=high_ms).contains(&ms), "{refusals}: {ms}");
        }
    }

    #[test]
    fn what_the_server_asks_for_is_the_least() {
        let at = again_at(Timestamp::UNIX_EPOCH, 1, Duration::from_secs(90));
        assert_eq!(at.as_millisecond(), 90_000);
    }
}
