//! `make bench`: what pgbatch costs, beside what it is to be compared with, on the same server in the same run.
//!
//! ```text
//! settings ─> a bench: rounds of turns, the sides interleaved ─> Report ─> target/bench: results.json, results.md, *.svg
//! ```
//! Every ratio is of two sides that did the same durable work, one right after the other. Absolute figures are of the
//! machine; do not compare them with others'.

mod backlog;
mod bare;
mod bulk;
mod claimer;
mod drain;
mod enqueue;
mod figures;
mod hold;
mod jobs;
mod latency;
mod open;
mod output;
mod peers;
mod pgbench;
mod plot;
mod rig;
mod settings;
mod stream;

use std::io::{Write, stdout};

use figures::Report;
use rig::Failed;
use settings::Settings;

/// The benches, in the order of the table.
pub(crate) const BENCHES: [&str; 9] =
    ["enqueue", "wal", "bulk", "hold", "latency", "backlog", "open", "drain", "jobs"];

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let settings = Settings::read()?;
    let chosen: Vec<&str> =
        BENCHES.into_iter().filter(|bench| settings.what == "all" || settings.what == *bench).collect();
    if chosen.is_empty() {
        return Err(format!("WHAT={}: there are all, {}", settings.what, BENCHES.join(", ")).into());
    }
    let mut failed = vec![];
    for bench in chosen {
        writeln!(stdout(), "bench: {bench}")?;
        // One that fails takes no other along.
        match run(bench, &settings).await {
            Ok(report) => output::save(bench, &settings.command(bench), &report)?,
            Err(error) => failed.push(format!("{bench}: {error}")),
        }
    }
    let results = rig::output().join("results.md");
    writeln!(stdout(), "\n{}\nbench: {}", std::fs::read_to_string(&results)?, results.display())?;
    if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join("; ")).into()) }
}

/// Runs one, on a server of its own.
async fn run(bench: &str, settings: &Settings) -> Result<Report, Failed> {
    if bench == "jobs" {
        return jobs::jobs(settings).await;
    }
    let server = rig::start()?;
    match bench {
        "enqueue" => enqueue::enqueue(&server, settings).await,
        "wal" => enqueue::wal(&server, settings).await,
        "bulk" => bulk::bulk(&server, settings).await,
        "hold" => hold::hold(&server, settings).await,
        "latency" => latency::latency(&server, settings).await,
        "backlog" => backlog::backlog(&server, settings).await,
        "open" => open::open(&server, settings).await,
        _ => drain::drain(&server, settings).await,
    }
}
