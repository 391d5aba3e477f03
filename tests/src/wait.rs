//! Waiting for conditions: never for a time.

use std::time::{Duration, Instant};

/// How often a condition is looked at.
const PERIOD: Duration = Duration::from_millis(50);

/// Waits until `condition` holds something, and returns it.
///
/// # Panics
/// When it does not within `limit`; the message says `what`.
pub async fn until<T>(what: &str, limit: Duration, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    until_else(what, limit, async || condition().await.ok_or_else(|| "it did not come".to_owned())).await
}

/// The same, of a condition that says what there is instead.
///
/// # Panics
/// When it does not hold within `limit`; the message says `what`, and what there was at the last look.
#[expect(clippy::panic, reason = "this is how a test fails")]
pub async fn until_else<T>(
    what: &str,
    limit: Duration,
    mut condition: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let started = Instant::now();
    loop {
        match condition().await {
            Ok(found) => return found,
            Err(instead) if started.elapsed() > limit => panic!("waited {limit:?} for {what}: {instead}"),
            Err(_) => tokio::time::sleep(PERIOD).await,
        }
    }
}
