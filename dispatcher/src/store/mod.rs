//! PostgreSQL's side: one session that leads, listens, and calls the functions of the schema `pgbatch`.
//!
//! The dispatcher touches no table. All its statements go through the one session that holds the leader lock, so a
//! dispatcher that lost its session has lost its voice too: PostgreSQL itself fences it.

mod connect;
mod session;
mod tls;

pub(crate) use connect::with_causes;
pub use connect::{CancelTls, ConnectError, DatabaseUrl, connect};
pub use session::{ClosedBatch, Store, StoreError};
