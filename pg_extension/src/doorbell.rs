//! The doorbell: rung by every commit that gives the dispatcher something to do, slept on by its `CALL pgbatch.wait()`.

use std::time::Duration;

use pgrx::prelude::*;

use crate::bell::Bell;
use crate::errand::refuse_restricted;
use crate::procedure::without_snapshot;

thread_local! {
    static DOORBELL: Bell = const { Bell::new(c"pgbatch doorbell 1") };
}

#[pg_extern(sql = false)]
fn ring() {
    refuse_restricted();
    Bell::arm(&DOORBELL);
}

/// A trigger function, but for pgrx's: all it needs is to be called.
#[pg_extern(sql = false)]
fn ring_on_insert() -> i64 {
    refuse_restricted();
    Bell::arm(&DOORBELL);
    0
}

#[pg_extern(sql = false)]
fn doorbell_seq() -> i64 {
    DOORBELL.with(Bell::seq).cast_signed()
}

/// A procedure, so that it sleeps without a snapshot.
#[pg_extern(sql = false)]
fn wait(fcinfo: pg_sys::FunctionCallInfo) {
    // SAFETY: declared with two arguments. A first one that is NULL is 0, which the number never is: no sleep.
    let (seq, timeout) = unsafe {
        let arguments = (*fcinfo).args.as_slice(2);
        let milliseconds = |ms: i64| Duration::from_millis(ms.max(0).cast_unsigned());
        let timeout = (!arguments[1].isnull).then(|| milliseconds(arguments[1].value.value() as i64));
        (arguments[0].value.value() as u64, timeout)
    };
    // SAFETY: PostgreSQL called with it.
    unsafe { without_snapshot(fcinfo, || DOORBELL.with(|bell| bell.sleep(seq, timeout))) }
}
