//! Real faults on real parts: a batch runs on the real cluster while something breaks; afterwards every item's history in
//! PostgreSQL must agree with what the pods themselves wrote down.
//!
//! `make test-faults` runs them all, one after the other; each adds a line to `target/tests/faults.txt`.
//! `PGBATCH_FAULT_ITEMS` is the size of the batch (default 200), `PGBATCH_FAULT_SEED` what random moments follow from.

mod backends;
mod batch;
mod disk_full;
mod dispatcher_killed;
mod dispatchers;
mod frozen;
mod history;
mod kubernetes;
mod kubernetes_objects;
mod moments;
mod partition;
mod postgres_stopped;
mod promotion;
mod takeover;

type Tested = Result<(), Box<dyn std::error::Error>>;
