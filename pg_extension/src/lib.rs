//! The library half of the extension: what SQL cannot do. The SQL is in `sql/install`, reviewable as it is installed;
//! the functions here are declared there (`LANGUAGE c`), hence `sql = false`.
#![expect(unsafe_code, reason = "shared memory and condition variables are C")]

mod bell;
mod done;
mod doorbell;
mod errand;
mod lead;
mod procedure;
mod scaled_job;
mod scaling;
mod schedule;
mod template;

pgrx::pg_module_magic!(name, version);
