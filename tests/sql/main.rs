//! The SQL functions on a real PostgreSQL: life cycles, races, bad input, privileges, dump and restore.

mod bad_input;
mod cancel;
mod claim;
mod cost;
mod dice;
mod doorbell;
mod dump;
mod enqueue;
mod explain;
mod extension;
mod finish;
mod lead;
mod next_item;
mod open_transactions;
mod privileges;
mod queue;
mod races;
mod ranges;
mod report;
mod retry;
mod states;
mod support;
mod transitions;
mod wait;
mod waiting;
