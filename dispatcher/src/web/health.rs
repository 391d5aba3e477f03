//! Whether the loop turns (`/healthz`: restart me if not) and whether it does its work (`/readyz`: wait for me).
//!
//! ```text
//!   the loop ── signs of life, with what it is doing ──> Health ──> a probe
//!            <──────────── "are you there?" ─────────────       <──
//! ```
//! A loop that sleeps answers a probe at once, without a pass. One that works gives a sign at every step, and has
//! no time to answer. No probe asks PostgreSQL or the API server: idle stays idle, however often probes come. A scrape of a
//! leader has it count ([`Health::scraped`]): a statement, if something has changed since the last one.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

/// A loop without a sign of life for this long is stuck. A step is at most one call to PostgreSQL: those take
/// milliseconds, seconds with a very long backlog, and one that hangs on a dead connection ends after some 12 s (see
/// `store/connect.rs`). Connecting ends after 10 s for each host of the URL.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// A probe waits this long for an answer of the loop: kubelet's own patience is 1 s unless told otherwise.
const ANSWER_MAX: Duration = Duration::from_millis(500);

/// What the loop tells of itself, and probes read. Clones are handles of the same.
#[derive(Debug, Clone)]
pub struct Health {
    asked: Arc<Notify>,
    told: watch::Sender<Told>,
    looked: watch::Sender<()>,
    scraped: Arc<Notify>,
    counted: watch::Sender<()>,
    executor: Arc<OnceLock<&'static str>>,
}

/// The last sign of life.
#[derive(Debug, Clone)]
struct Told {
    role: Role,
    /// When it took the role.
    since: Instant,
    /// When the sign was given.
    at: Instant,
    /// What keeps it from its work.
    trouble: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
enum Role {
    #[serde(rename = "connecting")]
    Connecting,
    #[serde(rename = "standing by")]
    StandingBy,
    #[serde(rename = "leading")]
    Leading,
}

/// The body of an answer.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    role: Role,
    #[serde(skip_serializing_if = "Option::is_none")]
    ready: Option<bool>,
    because: String,
}

impl Report {
    pub(super) fn is_ready(&self) -> bool {
        self.ready == Some(true)
    }

    /// Why it is ready, or why not.
    pub(super) fn because(&self) -> &str {
        &self.because
    }
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

impl Health {
    /// Of a loop that is about to begin.
    #[must_use]
    pub fn new() -> Self {
        let now = Instant::now();
        let told = Told { role: Role::Connecting, since: now, at: now, trouble: None };
        Self {
            asked: Arc::new(Notify::new()),
            told: watch::Sender::new(told),
            looked: watch::Sender::new(()),
            scraped: Arc::new(Notify::new()),
            counted: watch::Sender::new(()),
            executor: Arc::default(),
        }
    }

    /// A sign of life: there is no session with PostgreSQL. `trouble` is why the last one ended or was not had; none
    /// leaves what was said before.
    pub fn connecting(&self, trouble: Option<String>) {
        self.tell(Role::Connecting, |told| *told = trouble.or_else(|| told.take()));
    }

    /// A sign of life: another dispatcher leads, and PostgreSQL has just said so.
    pub fn standing_by(&self) {
        self.tell(Role::StandingBy, |told| *told = None);
    }

    /// A sign of life: this one leads and hears the doorbell. `trouble` is what it still waits for; none = it works.
    pub fn leading(&self, trouble: Option<String>) {
        self.tell(Role::Leading, |told| *told = trouble);
    }

    /// Where its runs run: the executor's one word.
    pub fn executor(&self, kind: &'static str) {
        // Each session says so anew; it stays the same.
        let _ = self.executor.set(kind);
    }

    /// A sign of life in the middle of something.
    pub fn working(&self) {
        self.told.send_modify(|told| told.at = Instant::now());
    }

    /// The loop has looked at the world, and done what there was to do: whatever is shown of it is old.
    pub fn looked(&self) {
        self.looked.send_replace(());
    }

    /// Changes with each [`Health::looked`].
    pub(super) fn looks(&self) -> watch::Receiver<()> {
        self.looked.subscribe()
    }

    /// Whether this dispatcher leads, as it told last.
    pub(super) fn is_leading(&self) -> bool {
        self.told.borrow().role == Role::Leading
    }

    /// What keeps it from its work, as it told last; nothing where nothing does.
    pub(super) fn trouble(&self) -> Option<String> {
        self.told.borrow().trouble.clone()
    }

    /// Whether its runs are Jobs in a cluster that it watches.
    pub(super) fn watches_cluster(&self) -> bool {
        self.executor.get() == Some(&"kubernetes")
    }

    /// Ends when a probe wants a sign of life; the loop gives one and sleeps on.
    pub async fn asked(&self) {
        self.asked.notified().await;
    }

    /// Ends when a scrape wants to know what only PostgreSQL does; the loop says [`Health::counted`] when it has read that.
    pub async fn scraped(&self) {
        self.scraped.notified().await;
    }

    /// What only PostgreSQL knows has been read, as far as it can be and must.
    pub fn counted(&self) {
        self.counted.send_replace(());
    }

    /// For a scrape: has the loop of a leader count. One that is in the middle of something does it after that.
    pub(super) async fn count(&self) {
        if self.is_leading() {
            let mut counted = self.counted.subscribe();
            self.scraped.notify_one();
            let _ = timeout(ANSWER_MAX, counted.changed()).await;
        }
    }

    fn tell(&self, role: Role, say: impl FnOnce(&mut Option<String>)) {
        let at = Instant::now();
        self.told.send_modify(|told| {
            if told.role != role {
                (told.role, told.since) = (role, at);
            }
            told.at = at;
            say(&mut told.trouble);
        });
    }

    /// How long ago the loop gave its last sign of life; it is asked for one.
    pub(super) async fn silence(&self) -> Duration {
        self.ask().await.at.elapsed()
    }

    /// How it is, in words.
    pub(super) async fn report(&self) -> Report {
        let told = self.ask().await;
        let (ready, because) = told.readiness(Instant::now());
        Report { role: told.role, ready: Some(ready), because }
    }

    /// What the loop answers, or what it told last.
    async fn ask(&self) -> Told {
        let mut answer = self.told.subscribe();
        // Without a session, it tries again within seconds, and has told.
        if answer.borrow().role != Role::Connecting {
            self.asked.notify_one();
            // One that works has told lately; one that is stuck told long ago.
            let _ = timeout(ANSWER_MAX, answer.changed()).await;
        }
        self.told.borrow().clone()
    }
}

impl Told {
    fn is_alive(&self, now: Instant) -> bool {
        now.duration_since(self.at) < SILENCE_MAX
    }

    /// Whether work that is committed now starts now, or would by another one; and why, in words.
    fn readiness(&self, now: Instant) -> (bool, String) {
        let lasting = now.duration_since(self.since).as_secs();
        if !self.is_alive(now) {
            return (false, self.silence(now));
        }
        match (self.role, &self.trouble) {
            (Role::Connecting, None) => (false, format!("no session with PostgreSQL for {lasting} s")),
            (Role::Connecting, Some(why)) => {
                (false, format!("no session with PostgreSQL for {lasting} s: {why}"))
            }
            // A standby is as ready as it can be: else a rolling update would wait for it for ever.
            (Role::StandingBy, _) => (true, "another dispatcher leads".to_owned()),
            (Role::Leading, None) => (true, "listening to commits, and every watch is synced".to_owned()),
            (Role::Leading, Some(why)) => (false, why.clone()),
        }
    }

    fn silence(&self, now: Instant) -> String {
        let silent = now.duration_since(self.at).as_secs();
        format!("the loop has given no sign of life for {silent} s, the limit is {} s", SILENCE_MAX.as_secs())
    }
}

/// 200 while the loop turns, whatever it waits for: a restart would not bring PostgreSQL back.
pub(super) async fn healthz(State(health): State<Health>) -> (StatusCode, Json<Report>) {
    let told = health.ask().await;
    let now = Instant::now();
    let (status, because) = match told.is_alive(now) {
        true => (StatusCode::OK, "the loop turns".to_owned()),
        false => (StatusCode::SERVICE_UNAVAILABLE, told.silence(now)),
    };
    (status, Json(Report { role: told.role, ready: None, because }))
}

/// 200 when it leads, hears commits and sees every Job, or when it stands by with a live session.
pub(super) async fn readyz(State(health): State<Health>) -> (StatusCode, Json<Report>) {
    let report = health.report().await;
    let status = if report.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(report))
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    async fn probes(health: &Health) -> (StatusCode, StatusCode, String) {
        let (alive, _) = healthz(State(health.clone())).await;
        let (ready, Json(report)) = readyz(State(health.clone())).await;
        (alive, ready, report.because)
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_sleeps_for_a_day_answers_and_is_alive_and_ready() {
        let health = Health::new();
        health.leading(None);
        let sleeper = health.clone();
        tokio::spawn(async move {
            loop {
                sleeper.asked().await;
                sleeper.leading(None);
            }
        });
        advance(Duration::from_secs(86_400)).await;
        let (alive, ready, _) = probes(&health).await;
        assert_eq!((alive, ready), (StatusCode::OK, StatusCode::OK));
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_in_a_long_call_is_alive_until_the_limit_and_then_neither_alive_nor_ready() {
        let health = Health::new();
        health.leading(None);
        advance(SILENCE_MAX.saturating_sub(Duration::from_secs(2))).await;
        assert_eq!(probes(&health).await.0, StatusCode::OK);
        advance(Duration::from_secs(2)).await;
        let (alive, ready, because) = probes(&health).await;
        assert_eq!((alive, ready), (StatusCode::SERVICE_UNAVAILABLE, StatusCode::SERVICE_UNAVAILABLE));
        assert!(because.contains("no sign of life for 6"), "{because}");
        health.working();
        assert_eq!(probes(&health).await.0, StatusCode::OK, "it went on");
    }

    #[tokio::test(start_paused = true)]
    async fn without_postgresql_it_is_alive_and_not_ready_and_says_why_and_for_how_long() {
        let health = Health::new();
        health.connecting(Some("cannot connect to db:5432/shop: connection refused".to_owned()));
        advance(Duration::from_secs(7)).await;
        health.connecting(None);
        let (alive, ready, because) = probes(&health).await;
        assert_eq!((alive, ready), (StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE));
        assert_eq!(
            because,
            "no session with PostgreSQL for 7 s: cannot connect to db:5432/shop: connection refused"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_standby_is_ready_and_a_leader_only_when_it_sees_every_job() {
        let health = Health::new();
        health.standing_by();
        assert_eq!(probes(&health).await.1, StatusCode::OK);
        health.leading(Some("the watch of namespace shop is not synced".to_owned()));
        let (_, ready, because) = probes(&health).await;
        assert_eq!(ready, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(because, "the watch of namespace shop is not synced");
        health.leading(None);
        assert_eq!(probes(&health).await.1, StatusCode::OK);
    }
}
