//! What tells an open page that it is old. It says so without asking PostgreSQL: the loop of the dispatcher has looked at the world, or
//! time has passed. A page that is told reads itself again; one that nobody looks at hangs up.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{self, Stream};
use tokio::time::{Instant, sleep_until, timeout};

use super::Dashboard;

/// A storm of changes is told no more often.
const PAUSE: Duration = Duration::from_millis(500);
/// What the leading dispatcher does not notice: ages, and what runs report themselves.
const LEADER_REFRESH: Duration = Duration::from_secs(5);
/// One that does not lead notices nothing.
const STANDBY_REFRESH: Duration = Duration::from_secs(2);

/// Events named `changed`, for as long as somebody listens.
pub(super) async fn live(
    State(dashboard): State<Dashboard>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>> + use<>> {
    let looks = dashboard.health.looks();
    // The page has just been read.
    let told = Instant::now();
    let events = stream::unfold((dashboard, looks, told), async |(dashboard, mut looks, told)| {
        // The first of a storm at once; what comes with it, together afterwards.
        sleep_until(told + PAUSE).await;
        let refresh = if dashboard.health.is_leading() { LEADER_REFRESH } else { STANDBY_REFRESH };
        // One that has not come is as good: the page is to be read again.
        let _ = timeout(refresh, looks.changed()).await;
        // A browser drops an event without data.
        Some((Ok(Event::default().event("changed").data("look again")), (dashboard, looks, Instant::now())))
    });
    Sse::new(events).keep_alive(KeepAlive::default())
}
