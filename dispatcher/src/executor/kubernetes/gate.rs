//! Lets so many requests to the API server be under way at once as [`Pace`] says, and tells it what came of each.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pgbatch_core::pace::{Answer, Pace};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::metrics::metrics;

/// The gate.
#[derive(Debug)]
pub(super) struct Gate {
    turns: Semaphore,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    pace: Pace,
    /// How many turns there are: those that are taken, and those that are free.
    granted: usize,
}

/// A turn, which ends with the value.
struct Turn<'a> {
    gate: &'a Gate,
    permit: Option<SemaphorePermit<'a>>,
}

impl Gate {
    pub(super) fn new() -> Self {
        let pace = Pace::default();
        let granted = pace.at_once();
        metrics().kubernetes_requests_max(granted);
        Self { turns: Semaphore::new(granted), state: Mutex::new(State { pace, granted }) }
    }

    /// Waits for a turn and has `request` made.
    ///
    /// # Errors
    /// The request's.
    pub(super) async fn pass<T>(&self, request: impl Future<Output = kube::Result<T>>) -> kube::Result<T> {
        let turn = Turn { gate: self, permit: self.turns.acquire().await.ok() };
        let (began, round) = (Instant::now(), self.state().pace.round());
        let answer = request.await;
        let was_full = self.turns.available_permits() == 0;
        let took_ms = began.elapsed().as_secs_f64() * 1e3;
        self.state().pace.ended(kind(&answer), took_ms, round, was_full);
        self.settle();
        drop(turn);
        answer
    }

    /// As many turns as the pace says; those that are taken go when they end.
    fn settle(&self) {
        let mut state = self.state();
        let wanted = state.pace.at_once();
        metrics().kubernetes_requests_max(wanted);
        if let Some(more) = wanted.checked_sub(state.granted) {
            self.turns.add_permits(more);
            state.granted = wanted;
        } else {
            state.granted -= self.turns.forget_permits(state.granted - wanted);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.gate.state();
        if state.granted > state.pace.at_once() {
            state.granted -= 1;
            if let Some(permit) = self.permit.take() {
                permit.forget();
            }
        }
    }
}

fn kind<T>(answer: &kube::Result<T>) -> Answer {
    match answer {
        Err(kube::Error::Api(status)) if status.code == 429 => Answer::TooMany,
        Ok(_) | Err(kube::Error::Api(_)) => Answer::Told,
        Err(_) => Answer::None,
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Ready, pending, ready};

    use kube::core::Status;
    use tokio::task::JoinSet;

    use super::*;

    fn too_many() -> Ready<kube::Result<()>> {
        let status = Status::failure("slow down", "TooManyRequests").with_code(429);
        ready(Err(kube::Error::Api(status.boxed())))
    }

    /// How many requests are let through before one has to wait.
    async fn room(gate: &'static Gate) -> usize {
        let mut waiting = JoinSet::new();
        for _ in 0..100 {
            waiting.spawn(gate.pass(pending::<kube::Result<()>>()));
        }
        tokio::task::yield_now().await;
        let taken = gate.state().granted - gate.turns.available_permits();
        waiting.shutdown().await;
        taken
    }

    #[tokio::test]
    async fn it_narrows_when_the_server_turns_requests_away_and_widens_again() {
        let gate: &'static Gate = Box::leak(Box::new(Gate::new()));
        assert_eq!(room(gate).await, 32);
        assert!(gate.pass(too_many()).await.is_err());
        assert_eq!(room(gate).await, 16);
        // The others are under way, so that it is full.
        let mut others = JoinSet::new();
        for _ in 0..15 {
            others.spawn(gate.pass(pending::<kube::Result<()>>()));
        }
        tokio::task::yield_now().await;
        for _ in 0..17 {
            gate.pass(ready(Ok(()))).await.unwrap();
        }
        others.shutdown().await;
        assert_eq!(room(gate).await, 17);
    }

    #[tokio::test]
    async fn turns_that_are_taken_when_it_narrows_go_when_they_end() {
        let gate: &'static Gate = Box::leak(Box::new(Gate::new()));
        let mut taken = JoinSet::new();
        for _ in 0..31 {
            taken.spawn(gate.pass(pending::<kube::Result<()>>()));
        }
        tokio::task::yield_now().await;
        assert!(gate.pass(too_many()).await.is_err());
        taken.shutdown().await;
        assert_eq!((gate.state().granted, gate.turns.available_permits()), (16, 16));
    }
}
