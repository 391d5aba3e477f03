//! What a procedure may and a function may not: commit.

use std::ffi::c_int;

use pgrx::pg_sys;

/// Runs `sleep` in a transaction of its own making, so that it holds no snapshot while it sleeps, which would keep VACUUM
/// from every row that dies meanwhile. In a procedure that is called inside a transaction block it cannot, and holds one.
///
/// # Safety
/// `fcinfo` is what PostgreSQL called the procedure with.
pub(crate) unsafe fn without_snapshot(fcinfo: pg_sys::FunctionCallInfo, sleep: impl FnOnce()) {
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
        sleep();
        if !atomic {
            pg_sys::SPI_finish();
        }
    }
}
