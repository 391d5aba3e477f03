//! A bell in shared memory: whoever sleeps on it wakes when a transaction that armed it has committed.
//!
//! ```text
//! waiter                                   writer's backend
//!   seq = bell.seq()                         change rows
//!   look at the rows (a new snapshot)        bell.arm()
//!   nothing there? bell.sleep(seq) ......    COMMIT: rows are visible, then seq + 1, then wake all
//! ```
//!
//! The number is read before the look, so a commit that the look missed has changed it, and the sleep ends at once.
//! No library is preloaded for it: up to PostgreSQL 16 the few bytes come out of the slack that every server has for
//! late comers, from 17 on out of the registry of dynamic shared memory. A ring lost with a crash of the server is no
//! loss, as all its sleepers are gone too; the number then starts again, so it is compared for equality only.

use std::cell::{Cell, UnsafeCell};
use std::ffi::CStr;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::LocalKey;
use std::time::{Duration, Instant};

use pgrx::callbacks::{PgXactCallbackEvent, register_xact_callback};
use pgrx::pg_sys;

/// What all backends share.
#[repr(C)]
struct Shared {
    seq: AtomicU64,
    rung: UnsafeCell<pg_sys::ConditionVariable>,
}

/// One backend's hold of a bell. A backend has one thread, so each bell is a `thread_local` static.
pub(crate) struct Bell {
    /// Names the memory. A changed layout needs a new name: a running server keeps the old one.
    name: &'static CStr,
    shared: Cell<Option<&'static Shared>>,
    armed: Cell<bool>,
}

impl Bell {
    pub(crate) const fn new(name: &'static CStr) -> Self {
        Self { name, shared: Cell::new(None), armed: Cell::new(false) }
    }

    /// How often it has rung.
    pub(crate) fn seq(&self) -> u64 {
        self.shared().seq.load(Ordering::SeqCst)
    }

    /// Sleeps until it has rung since `seq` was read, or the time is over. Queries that are cancelled wake up.
    pub(crate) fn sleep(&self, seq: u64, timeout: Option<Duration>) {
        let shared = self.shared();
        let deadline = timeout.and_then(|t| Instant::now().checked_add(t));
        // SAFETY: `rung` was initialised by the first backend. An error inside (a cancelled query) leaves through
        // pgrx's guard, and PostgreSQL's own clean-up takes this backend off the list of sleepers.
        unsafe {
            pg_sys::ConditionVariablePrepareToSleep(shared.rung.get());
            while shared.seq.load(Ordering::SeqCst) == seq {
                if sleep_once(shared, deadline).is_break() {
                    break;
                }
            }
            pg_sys::ConditionVariableCancelSleep();
        }
    }

    /// Rings when, and only when, the current transaction commits; once, however often it was armed.
    pub(crate) fn arm(bell: &'static LocalKey<Self>) {
        let armed = bell.with(|b| {
            b.shared(); // Attached now, as nothing may fail after the commit.
            b.armed.replace(true)
        });
        if armed {
            return;
        }
        register_xact_callback(PgXactCallbackEvent::Commit, || bell.with(Self::ring_if_armed));
        register_xact_callback(PgXactCallbackEvent::Abort, || bell.with(|b| b.armed.set(false)));
        // COMMIT PREPARED runs elsewhere, without callbacks: whoever prepares a transaction does not ring.
        register_xact_callback(PgXactCallbackEvent::Prepare, || bell.with(|b| b.armed.set(false)));
    }

    fn ring_if_armed(&self) {
        if self.armed.replace(false) {
            let shared = self.shared();
            shared.seq.fetch_add(1, Ordering::SeqCst);
            // SAFETY: `rung` was initialised by the first backend; waking takes a spinlock and cannot fail.
            unsafe { pg_sys::ConditionVariableBroadcast(shared.rung.get()) }
        }
    }

    fn shared(&self) -> &'static Shared {
        self.shared.get().unwrap_or_else(|| {
            // SAFETY: the memory lives as long as the server, and `attach` has initialised it.
            let shared = unsafe { &*attach(self.name) };
            self.shared.set(Some(shared));
            shared
        })
    }
}

/// One sleep, which may end early; `Break` when the deadline has passed.
unsafe fn sleep_once(shared: &Shared, deadline: Option<Instant>) -> ControlFlow<()> {
    /// Longest sleep in one go: what PostgreSQL's latches take.
    const MS_MAX: u128 = i32::MAX as u128;
    let ms = match deadline.map(|d| d.saturating_duration_since(Instant::now())) {
        None => -1,
        Some(left) if left.is_zero() => return ControlFlow::Break(()),
        // Rounded up: a sleep of 0 would spin through the last millisecond.
        Some(left) => (left.as_millis() + 1).min(MS_MAX) as core::ffi::c_long,
    };
    // SAFETY: as for the caller.
    unsafe { pg_sys::ConditionVariableTimedSleep(shared.rung.get(), ms, pg_sys::PG_WAIT_EXTENSION) };
    ControlFlow::Continue(())
}

unsafe fn initialise(shared: *mut Shared) {
    // SAFETY: the caller hands fresh memory of the right size, which no other backend sees yet.
    unsafe {
        (&raw mut (*shared).seq).write(AtomicU64::new(1));
        pg_sys::ConditionVariableInit((*shared).rung.get());
    }
}

/// The memory of that name, made by the first who asks. A server without room for it raises an ordinary ERROR.
#[cfg(any(feature = "pg15", feature = "pg16"))]
unsafe fn attach(name: &CStr) -> *mut Shared {
    /// `AddinShmemInitLock` in lwlocknames.txt; its macro is not in the bindings.
    const ADDIN_SHMEM_INIT_LOCK: usize = 21;
    // SAFETY: the lock is held while the memory is found or made, as PostgreSQL demands; an ERROR releases it.
    unsafe {
        let lock = &raw mut (*pg_sys::MainLWLockArray.add(ADDIN_SHMEM_INIT_LOCK)).lock;
        let mut found = false;
        pg_sys::LWLockAcquire(lock, pg_sys::LWLockMode::LW_EXCLUSIVE);
        let shared = pg_sys::ShmemInitStruct(name.as_ptr(), size_of::<Shared>(), &raw mut found).cast();
        if !found {
            initialise(shared);
        }
        pg_sys::LWLockRelease(lock);
        shared
    }
}

/// The memory of that name, made by the first who asks. A server without room for it raises an ordinary ERROR.
#[cfg(any(feature = "pg17", feature = "pg18"))]
unsafe fn attach(name: &CStr) -> *mut Shared {
    #[pgrx::pg_guard]
    unsafe extern "C-unwind" fn initialise_segment(memory: *mut core::ffi::c_void) {
        // SAFETY: PostgreSQL calls it for a fresh segment, under the registry's lock.
        unsafe { initialise(memory.cast()) }
    }
    let mut found = false;
    // SAFETY: the registry does its own locking and keeps the segment mapped.
    unsafe {
        pg_sys::GetNamedDSMSegment(
            name.as_ptr(),
            size_of::<Shared>(),
            Some(initialise_segment),
            &raw mut found,
        )
        .cast()
    }
}
