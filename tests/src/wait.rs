//! Waiting for conditions: never for a time.

use std::time::{Duration, Instant};

/// How often a condition is looked at.
const PERIOD: Duration = Duration::from_millis(50);

/// Waits until `condition` holds something, and returns it.
///
/// # Panics
/// When it does not within `limit`; the message says `what`.
#[expect(clippy::panic, reason = "this is how a test fails")]
pub async fn until<T>(what: &str, limit: Duration, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = condition().await {
            return found;
        }
        if started.elapsed() > limit {
            panic!("waited {limit:?} for {what}");
        }
        tokio::time::sleep(PERIOD).await;
    }
}
