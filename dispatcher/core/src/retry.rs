//! When a failed item is tried again: exponential backoff with full jitter, capped.
//!
//! Full jitter spreads the retries of a batch that failed as one over the whole window, which empties the
//! congestion sooner than a fixed delay (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015).

/// The window in which the next attempt falls, in milliseconds: `min(max, base * 2^(attempt - 1))`.
///
/// `attempt` is the number of the attempt that failed, from 1; `base_ms` and `max_ms` are the queue's
/// `retry_backoff` and `retry_backoff_max`.
#[must_use]
pub fn window_ms(base_ms: i64, max_ms: i64, attempt: u32) -> i64 {
    let doublings = attempt.saturating_sub(1).min(62);
    base_ms.max(0).saturating_mul(1_i64 << doublings).min(max_ms.max(0))
}

/// A delay inside the window, in milliseconds: `jitter` is uniform in `[0, 1)` and comes from the caller.
#[must_use]
#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "a delay, not an account")]
pub fn delay_ms(window_ms: i64, jitter: f64) -> i64 {
    (window_ms as f64 * jitter.clamp(0.0, 1.0)) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_doubles_up_to_the_cap() {
        let cases = [
            (1, 10_000),
            (2, 20_000),
            (3, 40_000),
            (9, 2_560_000),
            (10, 3_600_000),
            (4_000_000_000, 3_600_000),
        ];
        for (attempt, expected) in cases {
            assert_eq!(window_ms(10_000, 3_600_000, attempt), expected, "after attempt {attempt}");
        }
    }

    #[test]
    fn no_backoff_means_at_once_and_overflow_means_the_cap() {
        assert_eq!(window_ms(0, 3_600_000, 7), 0);
        assert_eq!(window_ms(i64::MAX, 5, 60), 5);
    }

    #[test]
    fn the_jitter_covers_the_whole_window() {
        assert_eq!(delay_ms(10_000, 0.0), 0);
        assert_eq!(delay_ms(10_000, 0.5), 5_000);
        assert_eq!(delay_ms(10_000, 1.0), 10_000);
    }
}
