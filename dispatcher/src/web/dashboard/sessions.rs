//! The dashboard's own sessions with PostgreSQL: of a role that may only read, opened when a page is looked at, and closed when nobody
//! looks any more. So a dashboard that nobody looks at costs no statement.

use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};

use super::error::PageError;
use crate::people::connection;
use crate::people::session::Session;
use crate::store::DatabaseUrl;

/// However many look.
const SESSIONS_MAX: usize = 4;
/// One that nobody has used for so long is closed. Longer than a standby's pages take from one refresh to the next.
const IDLE_MAX: Duration = Duration::from_secs(10);
/// A page waits so long for a session.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// PostgreSQL refuses to write, whatever the role may; and no page takes longer. The planner is not to be clever for milliseconds.
const SETTINGS: &str = "SELECT set_config(s.name, s.value, false) FROM (VALUES ('default_transaction_read_only', 'on'), \
    ('statement_timeout', '5s'), ('lock_timeout', '1s'), ('idle_in_transaction_session_timeout', '10s'), ('jit', 'off')) s (name, value)";

/// Where sessions come from.
#[derive(Debug, Clone)]
pub(super) struct Sessions {
    url: DatabaseUrl,
    permits: Arc<Semaphore>,
    idle: Idle,
}

/// Those that nobody uses, and since when.
type Idle = Arc<Mutex<Vec<(Instant, Session)>>>;

/// A session, for as long as a page is read.
#[derive(Debug)]
pub(super) struct Lent {
    session: Option<Session>,
    idle: Idle,
    _permit: OwnedSemaphorePermit,
}

impl Sessions {
    pub(super) fn new(url: DatabaseUrl) -> Self {
        Self { url, permits: Arc::new(Semaphore::new(SESSIONS_MAX)), idle: Idle::default() }
    }

    /// Which database, for people.
    pub(super) fn target(&self) -> String {
        self.url.target()
    }

    /// One of them; a new one where none is idle.
    pub(super) async fn lend(&self) -> Result<Lent, PageError> {
        let permit = self.permit().await?;
        let session = match self.take_idle() {
            Some(session) => session,
            None => self.open().await?,
        };
        Ok(Lent { session: Some(session), idle: self.idle.clone(), _permit: permit })
    }

    /// One that is nobody else's, before or afterwards; the permit is to be held as long.
    pub(super) async fn own(&self) -> Result<(Session, OwnedSemaphorePermit), PageError> {
        let permit = self.permit().await?;
        Ok((self.open().await?, permit))
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, PageError> {
        let waited = timeout(WAIT_MAX, self.permits.clone().acquire_owned()).await;
        waited.ok().and_then(Result::ok).ok_or(PageError::Busy)
    }

    fn take_idle(&self) -> Option<Session> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(_, session)| !session.is_closed());
        idle.pop().map(|(_, session)| session)
    }

    async fn open(&self) -> Result<Session, PageError> {
        // A password in ~/.pgpass may have changed.
        let url = connection::database(Some(self.url.clone())).map_err(PageError::Unreachable)?;
        let session = Session::connect(&url, "dashboard").await.map_err(PageError::Unreachable)?;
        session.call(SETTINGS, &[]).await.map_err(PageError::Unreachable)?;
        Ok(session)
    }
}

impl Deref for Lent {
    type Target = Session;

    #[expect(clippy::expect_used, reason = "it is there until the drop")]
    fn deref(&self) -> &Session {
        self.session.as_ref().expect("a lent session")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(session) = self.session.take() else { return };
        let idle = self.idle.clone();
        idle.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), session));
        tokio::spawn(async move {
            sleep(IDLE_MAX).await;
            let since = |(at, _): &(Instant, Session)| at.elapsed() < IDLE_MAX;
            idle.lock().unwrap_or_else(PoisonError::into_inner).retain(since);
        });
    }
}
