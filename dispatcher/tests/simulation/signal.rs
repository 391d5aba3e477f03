//! A value that is waited for. tokio's `watch` would do, but wakes those who wait in a random order, and a seed must replay.

use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

/// A value, and whoever waits for it.
#[derive(Default)]
pub(crate) struct Signal<T> {
    value: Mutex<T>,
    changed: Notify,
}

impl<T: Clone> Signal<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { value: Mutex::new(value), changed: Notify::new() }
    }

    pub(crate) fn get(&self) -> T {
        self.value.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the value, and wakes those who wait, in the order in which they came.
    pub(crate) fn edit(&self, change: impl FnOnce(&mut T)) {
        change(&mut *self.value.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_waiters();
    }

    /// Ends when `wanted` finds what it wants; it looks at every change.
    pub(crate) async fn until<U>(&self, wanted: impl Fn(&T) -> Option<U>) -> U {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(found) = wanted(&self.value.lock().unwrap_or_else(PoisonError::into_inner)) {
                return found;
            }
            changed.await;
        }
    }
}
