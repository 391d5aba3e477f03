//! The doorbell: rung by every commit that gives the dispatcher something to do, slept on by its `CALL pgbatch.wait()`.

use std::ffi::c_int;
use std::time::Duration;

use pgrx::prelude::*;

use crate::bell::Bell;

thread_local! {
    static DOORBELL: Bell = const { Bell::new(c"pgbatch doorbell 1") };
}

#[pg_extern(sql = false)]
fn ring() {
    Bell::arm(&DOORBELL);
}

/// A trigger function, but for pgrx's: all it needs is to be called.
#[pg_extern(sql = false)]
fn ring_on_insert() -> i64 {
    Bell::arm(&DOORBELL);
    0
}

#[pg_extern(sql = false)]
fn doorbell_seq() -> i64 {
    DOORBELL.with(Bell::seq).cast_signed()
}

/// A procedure, as only a procedure may commit: asleep in a transaction of its own making it holds no snapshot, which
/// would keep VACUUM from every row that dies meanwhile. Called inside a transaction block it cannot, and holds one.
#[pg_extern(sql = false)]
fn wait(fcinfo: pg_sys::FunctionCallInfo) {
    // SAFETY: declared with two arguments. A first one that is NULL is 0, which the number never is: no sleep.
    let (seq, timeout) = unsafe {
        let arguments = (*fcinfo).args.as_slice(2);
        let milliseconds = |ms: i64| Duration::from_millis(ms.max(0).cast_unsigned());
        let timeout = (!arguments[1].isnull).then(|| milliseconds(arguments[1].value.value() as i64));
        (arguments[0].value.value() as u64, timeout)
    };
    // SAFETY: PostgreSQL hands a CALL its context; SPI is connected only where a commit is allowed, and finished below.
    // An ERROR in between ends the SPI connection with its transaction.
    unsafe {
        let context = (*fcinfo).context.cast::<pg_sys::CallContext>();
        let atomic =
            context.is_null() || (*context).type_ != pg_sys::NodeTag::T_CallContext || (*context).atomic;
        if !atomic {
            pg_sys::SPI_connect_ext(pg_sys::SPI_OPT_NONATOMIC as c_int);
            pg_sys::SPI_commit();
        }
        DOORBELL.with(|bell| bell.sleep(seq, timeout));
        if !atomic {
            pg_sys::SPI_finish();
        }
    }
}
