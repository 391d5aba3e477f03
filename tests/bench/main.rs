//! `make bench`: what pgbatch costs, beside what it is to be compared with, on the same server in the same run.
//!
//! ```text
//! settings ─> a bench: rounds of turns, the sides interleaved ─> Report ─> target/bench: results.json, results.md, *.svg
//! ```
//! Every ratio is of two sides that did the same durable work, one right after the other. Absolute figures are of the
//! machine; do not compare them with others'.

mod api_server;
mod backlog;
mod bare;
mod bulk;
mod burst;
mod claimer;
mod dashboard;
mod drain;
mod enqueue;
mod figures;
mod hold;
mod idle;
mod jobs;
mod kafka;
mod keda;
mod latency;
mod open;
mod output;
mod peers;
mod pgbench;
mod plot;
mod ranges;
mod rig;
mod settings;
mod sizes;
mod stream;
mod takeover;

use std::io::{Write, stdout};

use figures::Report;
use rig::Failed;
use settings::Settings;

/// The benches, in the order of the table.
pub(crate) const BENCHES: [&str; 17] = [
    "enqueue",
    "wal",
    "bulk",
    "ranges",
    "hold",
    "latency",
    "backlog",
    "open",
    "drain",
    "jobs",
    "burst",
    "keda",
    "kafka",
    "sizes",
    "idle",
    "takeover",
    "dashboard",
];

/// Those that `all` leaves out: minutes and gigabytes, for a figure that does not change.
const BY_HAND: [&str; 1] = ["ranges"];

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let settings = Settings::read()?;
    let is_chosen =
        |bench: &&str| settings.what == *bench || settings.what == "all" && !BY_HAND.contains(bench);
    let chosen: Vec<&str> = BENCHES.into_iter().filter(is_chosen).collect();
    if chosen.is_empty() {
        return Err(format!("WHAT={}: there are all, {}", settings.what, BENCHES.join(", ")).into());
    }
    let mut failed = vec![];
    for bench in chosen {
        writeln!(stdout(), "bench: {bench}")?;
        // One that fails takes no other along.
        match run(bench, &settings).await {
            Ok(report) => output::save(bench, &settings.command(bench), &report)?,
            // The server's words are in the cause.
            Err(error) => {
                let cause = error.source().map_or_else(String::new, |cause| format!(": {cause}"));
                failed.push(format!("{bench}: {error}{cause}"));
            }
        }
    }
    let results = rig::output().join("results.md");
    // There is none where nothing was ever measured.
    if let Ok(tables) = std::fs::read_to_string(&results) {
        writeln!(stdout(), "\n{tables}\nbench: {}", results.display())?;
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join("; ")).into()) }
}

/// Runs one, on a server of its own.
async fn run(bench: &str, settings: &Settings) -> Result<Report, Failed> {
    // Their server is in the cluster's network.
    match bench {
        "keda" => return keda::keda(settings).await,
        "kafka" => return kafka::kafka(settings).await,
        "sizes" => return sizes::sizes(settings).await,
        "idle" => return idle::idle(settings).await,
        _ => {}
    }
    let server = rig::start()?;
    match bench {
        "enqueue" => enqueue::enqueue(&server, settings).await,
        "wal" => enqueue::wal(&server, settings).await,
        "bulk" => bulk::bulk(&server, settings).await,
        "ranges" => ranges::ranges(&server, settings).await,
        "hold" => hold::hold(&server, settings).await,
        "latency" => latency::latency(&server, settings).await,
        "backlog" => backlog::backlog(&server, settings).await,
        "open" => open::open(&server, settings).await,
        "jobs" => jobs::jobs(&server, settings).await,
        "burst" => burst::burst(&server, settings).await,
        "takeover" => takeover::takeover(&server, settings).await,
        "dashboard" => dashboard::dashboard(&server, settings).await,
        _ => drain::drain(&server, settings).await,
    }
}
