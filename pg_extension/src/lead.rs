//! How a standby sleeps until the lead is free: on the leader's lock, in `CALL pgbatch.await_lead()`.

use std::ffi::c_int;

use pgrx::prelude::*;

use crate::procedure::without_snapshot;

/// `pgbatch.leader_key()`: "pgbatch" in ASCII. A test compares the two.
const LEADER_KEY: u64 = 31_638_869_631_066_984;

/// As `pg_advisory_lock()`, which cannot do it: a function holds the snapshot of its statement for as long as it waits.
#[pg_extern(sql = false)]
fn await_lead(fcinfo: pg_sys::FunctionCallInfo) {
    // SAFETY: PostgreSQL called with it.
    unsafe { without_snapshot(fcinfo, lock) }
}

fn lock() {
    /// What `pg_advisory_lock(bigint)` says of itself: one number, not two.
    const ONE_NUMBER: u16 = 1;
    // SAFETY: a backend is connected to one database; the tag is that of SET_LOCKTAG_ADVISORY in lock.h. A cancelled wait
    // leaves by an ERROR, and PostgreSQL's own clean-up takes this backend out of the lock's queue.
    unsafe {
        let tag = pg_sys::LOCKTAG {
            locktag_field1: pg_sys::MyDatabaseId.to_u32(),
            locktag_field2: (LEADER_KEY >> 32) as u32,
            locktag_field3: (LEADER_KEY & 0xFFFF_FFFF) as u32,
            locktag_field4: ONE_NUMBER,
            locktag_type: pg_sys::LockTagType::LOCKTAG_ADVISORY as u8,
            locktag_lockmethodid: pg_sys::USER_LOCKMETHOD as u8,
        };
        pg_sys::LockAcquire(&raw const tag, pg_sys::ExclusiveLock as c_int, true, false);
    }
}
