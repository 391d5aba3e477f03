//! What a run of the bench was asked for.

use std::env;
use std::error::Error;
use std::str::FromStr;
use std::time::Duration;

/// `make bench WHAT=... ROUNDS=... SECONDS=... ITEMS=...`, which come as `PGBATCH_BENCH_<NAME>`.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Which benches; `all` = each of them.
    pub(crate) what: String,
    /// How often each side has its turn.
    pub(crate) rounds: usize,
    seconds: Option<u64>,
    items: Option<i64>,
}

impl Settings {
    pub(crate) fn read() -> Result<Self, Box<dyn Error>> {
        Ok(Self {
            what: text("WHAT").unwrap_or_else(|| "all".to_owned()),
            rounds: number("ROUNDS")?.unwrap_or(3).max(1),
            seconds: number("SECONDS")?,
            items: number("ITEMS")?,
        })
    }

    /// How long a turn is, where a bench's turns are by time.
    pub(crate) fn turn(&self, default: u64) -> Duration {
        Duration::from_secs(self.seconds.unwrap_or(default).max(1))
    }

    /// How many items a turn has, or what is pending, where a bench counts items.
    pub(crate) fn items(&self, default: i64) -> i64 {
        self.items.unwrap_or(default).max(1)
    }

    /// The command that does the same again for one bench.
    pub(crate) fn command(&self, bench: &str) -> String {
        let mut words = vec![format!("make bench WHAT={bench} ROUNDS={}", self.rounds)];
        words.extend(self.seconds.map(|seconds| format!("SECONDS={seconds}")));
        words.extend(self.items.map(|items| format!("ITEMS={items}")));
        words.join(" ")
    }
}

fn text(name: &str) -> Option<String> {
    env::var(format!("PGBATCH_BENCH_{name}")).ok().filter(|value| !value.is_empty())
}

fn number<T: FromStr>(name: &str) -> Result<Option<T>, String> {
    let Some(value) = text(name) else { return Ok(None) };
    value.parse().map(Some).map_err(|_| format!("{name}={value}: expected a number"))
}
