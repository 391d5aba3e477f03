//! What adds work from outside of PostgreSQL, and so has to be watched by the dispatcher.

pub mod kafka;
