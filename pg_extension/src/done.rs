//! The done bell: rung by the commit that ends a batch, slept on by `wait_batch()`.

use std::time::Duration;

use pgrx::prelude::*;

use crate::bell::Bell;

thread_local! {
    static DONE: Bell = const { Bell::new(c"pgbatch done bell 2") };
}

#[pg_extern(sql = false)]
fn ring_done() {
    Bell::arm(&DONE);
}

#[pg_extern(sql = false)]
fn done_seq() -> i64 {
    DONE.with(Bell::seq).cast_signed()
}

#[pg_extern(sql = false)]
fn await_done(seq: i64, timeout_ms: Option<i64>) {
    let timeout = timeout_ms.map(|ms| Duration::from_millis(ms.max(0).cast_unsigned()));
    DONE.with(|bell| bell.sleep(seq.cast_unsigned(), timeout));
}
