//! The database server's side of the dispatchers' sessions: who leads, and whom the doorbell rings.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::bugs::Bug;
use crate::signal::Signal;
use crate::store::Tables;
use crate::world::World;

/// Sessions, and the lock of the leader.
#[derive(Default)]
pub(crate) struct Server {
    next: u64,
    leader: Option<u64>,
    sessions: BTreeMap<u64, Backend>,
}

/// The server's end of a session.
struct Backend {
    /// Of which dispatcher.
    host: String,
    rung: Arc<Notify>,
    /// Whether the doorbell is armed.
    listens: bool,
}

impl Server {
    /// `pgbatch.try_lead`: takes the lead if it is free.
    pub(crate) fn try_lead(&mut self, tables: &mut Tables, host: &str, rung: Arc<Notify>) -> Option<u64> {
        if self.leader.is_some() {
            return None;
        }
        self.next += 1;
        tables.epoch += 1;
        self.leader = Some(self.next);
        self.sessions.insert(self.next, Backend { host: host.to_owned(), rung, listens: false });
        Some(self.next)
    }

    /// Whether this dispatcher leads.
    pub(crate) fn leads(&self, host: &str) -> bool {
        self.leader.and_then(|id| self.sessions.get(&id)).is_some_and(|backend| backend.host == host)
    }

    pub(crate) fn has_leader(&self) -> bool {
        self.leader.is_some()
    }

    pub(crate) fn leader(&self) -> Option<u64> {
        self.leader
    }

    pub(crate) fn is_open(&self, session: u64) -> bool {
        self.sessions.contains_key(&session)
    }

    pub(crate) fn listen(&mut self, session: u64) {
        if let Some(backend) = self.sessions.get_mut(&session) {
            backend.listens = true;
        }
    }

    /// The backend ends, and with it the lock that it has.
    pub(crate) fn close(&mut self, session: u64) {
        self.sessions.remove(&session);
        self.lose_lead(session);
    }

    /// The lock is gone, though the session stands: a pooler between the two, or a standby that was promoted.
    pub(crate) fn lose_lead(&mut self, session: u64) {
        if self.leader == Some(session) {
            self.leader = None;
        }
    }
}

/// The client's end of a session learns that it is over.
#[derive(Clone)]
pub(crate) struct Line(Arc<Signal<bool>>);

impl Line {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Signal::new(true)))
    }

    pub(crate) fn is_up(&self) -> bool {
        self.0.get()
    }

    pub(crate) fn cut(&self) {
        self.0.edit(|up| *up = false);
    }

    pub(crate) async fn until_cut(&self) {
        self.0.until(|up| (!up).then_some(())).await;
    }
}

impl World {
    /// One transaction: what it did is held against the laws, and those who listen are rung.
    pub(crate) fn commit<T>(&self, act: impl FnOnce(&mut Tables) -> T) -> T {
        let mut tables = self.tables();
        tables.now = self.now();
        let result = act(&mut tables);
        let changes = std::mem::take(&mut tables.changes);
        for change in &changes {
            self.tell("store", || format!("{change:?}"));
        }
        self.laws().judge(self, &tables, &changes);
        let ring = std::mem::take(&mut tables.ring);
        drop(tables);
        if ring {
            self.ring();
        }
        // Most calls only look.
        if ring || !changes.is_empty() {
            self.touch();
        }
        result
    }

    fn ring(&self) {
        for backend in self.server().sessions.values().filter(|backend| backend.listens) {
            if self.bug == Some(Bug::LostWakeUp) {
                backend.rung.notify_waiters();
            } else {
                backend.rung.notify_one();
            }
        }
    }
}
