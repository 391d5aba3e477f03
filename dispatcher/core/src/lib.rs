//! The decisions of pgbatch, as pure functions over plain values: no IO, no clock, no randomness.
//!
//! Used by the dispatcher and by the PostgreSQL extension; knows neither.

pub mod environment;
pub mod item;
pub mod job_manifest;
pub mod kafka_lag;
pub mod kafka_options;
pub mod name;
pub mod notice;
pub mod pace;
pub mod plan;
pub mod retry;
pub mod run;
pub mod scaled_job;
pub mod scaling;
pub mod schedule;
pub mod snapshot;
pub mod state;
pub mod template;
