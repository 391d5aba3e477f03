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
//! A server has one of each name, in it a place for each database, or for a few of them together: then a ring wakes the
//! sleepers of the others for a look in vain.
//!
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
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{PgLogLevel, PgSqlErrorCode, pg_sys};

/// What all backends share.
#[repr(C)]
struct Shared {
    places: [Place; PLACES],
}

/// Few servers have more databases with pgbatch, and each place costs some of the server's little slack.
const PLACES: usize = 32;

/// The bell of a database.
#[repr(C)]
struct Place {
    seq: AtomicU64,
    rung: UnsafeCell<pg_sys::ConditionVariable>,
}

/// One backend's hold of a bell. A backend has one thread, so each bell is a `thread_local` static.
pub(crate) struct Bell {
    /// Names the memory. A changed layout needs a new name: a running server keeps the old one.
    name: &'static CStr,
    place: Cell<Option<&'static Place>>,
    armed: Cell<bool>,
}

impl Bell {
    pub(crate) const fn new(name: &'static CStr) -> Self {
        Self { name, place: Cell::new(None), armed: Cell::new(false) }
    }

    /// How often it has rung.
    pub(crate) fn seq(&self) -> u64 {
        self.place().seq.load(Ordering::SeqCst)
    }

    /// Sleeps until it has rung since `seq` was read, or the time is over. Queries that are cancelled wake up.
    pub(crate) fn sleep(&self, seq: u64, timeout: Option<Duration>) {
        let place = self.place();
        let deadline = timeout.and_then(|t| Instant::now().checked_add(t));
        // SAFETY: `rung` was initialised by the first backend. An error inside (a cancelled query) leaves through
        // pgrx's guard, and PostgreSQL's own clean-up takes this backend off the list of sleepers.
        unsafe {
            pg_sys::ConditionVariablePrepareToSleep(place.rung.get());
            while place.seq.load(Ordering::SeqCst) == seq {
                if sleep_once(place, deadline).is_break() {
                    break;
                }
            }
            pg_sys::ConditionVariableCancelSleep();
        }
    }

    /// Rings when, and only when, the current transaction commits; once, however often it was armed. A subtransaction
    /// that armed it and was rolled back rings all the same.
    pub(crate) fn arm(bell: &'static LocalKey<Self>) {
        let armed = bell.with(|b| {
            b.place(); // Attached now, as nothing may fail after the commit.
            b.armed.replace(true)
        });
        if armed {
            return;
        }
        register_xact_callback(PgXactCallbackEvent::Commit, || bell.with(Self::ring_if_armed));
        register_xact_callback(PgXactCallbackEvent::Abort, || bell.with(|b| b.armed.set(false)));
        register_xact_callback(PgXactCallbackEvent::PrePrepare, || bell.with(Self::refuse_if_armed));
    }

    /// COMMIT PREPARED runs in any backend, without callbacks: nobody would ring.
    fn refuse_if_armed(&self) {
        if self.armed.get() {
            ErrorReport::new(
                PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
                "cannot prepare a transaction that has changed a queue of pgbatch",
                "arm",
            )
            .set_hint("Commit it in one phase: its commit is what wakes the dispatcher.")
            .report(PgLogLevel::ERROR);
        }
    }

    fn ring_if_armed(&self) {
        if self.armed.replace(false) {
            let place = self.place();
            place.seq.fetch_add(1, Ordering::SeqCst);
            // SAFETY: `rung` was initialised by the first backend; waking takes a spinlock and cannot fail.
            unsafe { pg_sys::ConditionVariableBroadcast(place.rung.get()) }
        }
    }

    fn place(&self) -> &'static Place {
        self.place.get().unwrap_or_else(|| {
            // SAFETY: the memory lives as long as the server, and `attach` has initialised it.
            let shared = unsafe { &*attach(self.name) };
            // SAFETY: a backend is connected to one database, and its number never changes.
            let database = unsafe { pg_sys::MyDatabaseId }.to_u32() as usize;
            let place = &shared.places[database % PLACES];
            self.place.set(Some(place));
            place
        })
    }
}

/// One sleep, which may end early; `Break` when the deadline has passed.
unsafe fn sleep_once(place: &Place, deadline: Option<Instant>) -> ControlFlow<()> {
    /// Longest sleep in one go: what PostgreSQL's latches take.
    const MS_MAX: u128 = i32::MAX as u128;
    let ms = match deadline.map(|d| d.saturating_duration_since(Instant::now())) {
        None => -1,
        Some(left) if left.is_zero() => return ControlFlow::Break(()),
        // Rounded up: a sleep of 0 would spin through the last millisecond.
        Some(left) => (left.as_millis() + 1).min(MS_MAX) as core::ffi::c_long,
    };
    // SAFETY: as for the caller.
    unsafe { pg_sys::ConditionVariableTimedSleep(place.rung.get(), ms, pg_sys::PG_WAIT_EXTENSION) };
    ControlFlow::Continue(())
}

unsafe fn initialise(shared: *mut Shared) {
    // SAFETY: the caller hands fresh memory of the right size, which no other backend sees yet.
    unsafe {
        let first: *mut Place = (&raw mut (*shared).places).cast();
        for place in (0..PLACES).map(|n| first.add(n)) {
            (&raw mut (*place).seq).write(AtomicU64::new(1));
            pg_sys::ConditionVariableInit((*place).rung.get());
        }
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
