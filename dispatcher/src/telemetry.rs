//! Logs: one line an event, with the fields queue, batch and run where they apply.

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// The shape of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For collectors.
    Json,
}

/// Starts logging to stderr. `filter` is a level for this program (its libraries then speak from `warn` on), or
/// levels by module; one that cannot be read means `info`.
pub fn start(format: LogFormat, filter: &str) {
    let filter = match filter.parse::<LevelFilter>() {
        Ok(level) => EnvFilter::new(format!("warn,pgbatch_dispatcher={level}")),
        Err(_) => {
            EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("warn,pgbatch_dispatcher=info"))
        }
    };
    let lines =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    match format {
        LogFormat::Text => lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
}
