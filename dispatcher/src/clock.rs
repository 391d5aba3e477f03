//! The one clock of the dispatcher: what it times by itself, it times with this.

use std::sync::LazyLock;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// When this process first looked at the time, by the wall and by the clock that its timers run on.
static START: LazyLock<(Timestamp, Instant)> = LazyLock::new(|| (Timestamp::now(), Instant::now()));

/// The time: the wall's at the start, and what tokio's clock has counted since. So a wall clock that is set does not
/// move what is due, and a test that drives tokio's clock drives this one.
#[must_use]
pub fn now() -> Timestamp {
    let (wall, start) = *START;
    let passed = SignedDuration::try_from(start.elapsed()).unwrap_or(SignedDuration::MAX);
    wall.checked_add(passed).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_runs_with_the_timers() {
        let before = now();
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(now().duration_since(before), SignedDuration::from_secs(3600));
    }
}
