//! What people read of PostgreSQL, and in which words: shared by the command line and the dashboard.

pub(crate) mod action;
pub(crate) mod batch;
pub(crate) mod connection;
pub(crate) mod failure;
pub(crate) mod item;
pub(crate) mod pgpass;
pub(crate) mod pod;
pub(crate) mod queue;
pub(crate) mod session;
pub(crate) mod snapshot;
pub(crate) mod words;
