//! Triggers of `watch_kafka` against a real broker: from a record to a run, and whatever may go wrong on the way.

mod access;
mod group;
mod latency;
mod leaders;
mod outage;
mod records;
mod support;
