//! How long a peer may be silent before its connection counts as dead: the same at every connection, at both ends.
//!
//! A host that lost its power, a cut cable, or a firewall that forgot a connection send no word. An idle connection is
//! probed after [`KEEPALIVE_IDLE`], then every [`KEEPALIVE_INTERVAL`]; it is dead when [`KEEPALIVE_PROBES`] went
//! unanswered, or what was sent stayed unacknowledged for [`UNACKNOWLEDGED_MAX`] (which Linux also applies to the
//! probes). So it takes 10 to 12 s, busy or idle. Shorter, and a switch that is restarted or a virtual machine that
//! is moved (some 5 s) would cost a session; longer, and a batch stands still for as long.
//!
//! For the lead, both ends matter: PostgreSQL must end the silent leader's session, as that frees the lock for a
//! standby, and the old leader must notice that it lost it.

use std::time::Duration;

/// Without traffic for this long, the first probe is sent.
pub(crate) const KEEPALIVE_IDLE: Duration = Duration::from_secs(5);
/// Between two probes.
pub(crate) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
/// So many probes without an answer are the end.
pub(crate) const KEEPALIVE_PROBES: u32 = 3;
/// Sent data that is not acknowledged for this long is the end too.
pub(crate) const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(10);
/// How often PostgreSQL looks, in the middle of a statement, whether its client is still there: a leader that is killed
/// while a statement of its waits for a lock would keep the lead until that statement ended.
pub(crate) const CLIENT_CHECK: Duration = Duration::from_secs(1);
