//! The dispatcher of pgbatch: wakes on commit, plans, starts runs, records what came of them.

mod apply;
pub mod cli;
pub mod clock;
pub mod config;
pub mod executor;
mod metrics;
mod people;
pub mod reconcile;
pub mod run_sql;
pub mod shutdown;
pub mod store;
pub mod telemetry;
pub mod trace;
pub mod trigger;
pub mod web;
