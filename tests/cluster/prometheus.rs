//! A real Prometheus with the chart's rules, for whom time goes faster.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use e2e::repository;
use serde_json::{Value, json};

/// So many times faster: ten minutes are twenty seconds. With more, a scrape each second would be too seldom for the alert about a
/// loop that has been silent for 90 s.
pub(crate) const FACTOR: u64 = 30;

/// A Prometheus that scrapes each second; ends (SIGKILL) when it is dropped.
pub(crate) struct Prometheus {
    child: Child,
    log: PathBuf,
}

impl Prometheus {
    /// Scrapes these ports of this host, each as a job of this name.
    pub(crate) fn start(dir: &Path, jobs: &[(&str, u16)]) -> io::Result<Self> {
        let program = repository().join("target/tools/prometheus");
        let rules = std::fs::read_to_string(repository().join("deploy/helm/pgbatch/files/alerts.yaml"))?;
        std::fs::write(dir.join("rules.yaml"), hastened(&rules, FACTOR))?;
        let scraped = jobs.iter().map(|(name, port)| {
            json!({"job_name": name, "static_configs": [{"targets": [format!("127.0.0.1:{port}")]}]})
        });
        let config = json!({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": ["rules.yaml"], "scrape_configs": scraped.collect::<Vec<_>>()});
        let config_file = dir.join("prometheus.yaml");
        std::fs::write(&config_file, config.to_string())?;
        let log = dir.join("prometheus.log");
        let child = Command::new(&program)
            .arg(format!("--config.file={}", config_file.display()))
            .arg(format!("--storage.tsdb.path={}", dir.join("prometheus").display()))
            .arg("--web.listen-address=127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()
            .map_err(|e| {
                io::Error::new(e.kind(), format!("{}: {e}; run make test-cluster", program.display()))
            })?;
        Ok(Self { child, log })
    }

    /// The alerts that fire, or do not yet: their labels but for `severity`, as text.
    pub(crate) fn alerts(&self, state: &str) -> io::Result<BTreeSet<String>> {
        let answer = self.get("/api/v1/alerts")?;
        let alerts = answer["data"]["alerts"].as_array().ok_or_else(|| told(&answer))?;
        Ok(alerts
            .iter()
            .filter(|alert| alert["state"] == state)
            .map(|alert| words(&alert["labels"]))
            .collect())
    }

    /// All alerts that have fired since.
    pub(crate) fn fired(&self, since: Instant) -> io::Result<BTreeSet<String>> {
        let window = since.elapsed().as_millis().max(1);
        let found = self.query(&format!(r#"last_over_time(ALERTS{{alertstate="firing"}}[{window}ms])"#))?;
        Ok(found.iter().map(|one| words(&one["metric"])).collect())
    }

    /// The series that a query finds now.
    pub(crate) fn query(&self, expression: &str) -> io::Result<Vec<Value>> {
        let mut path = "/api/v1/query?query=".to_owned();
        for byte in expression.bytes() {
            path += &format!("%{byte:02X}");
        }
        let mut answer = self.get(&path)?;
        let found = answer["data"]["result"].as_array_mut().map(std::mem::take);
        found.ok_or_else(|| told(&answer))
    }

    fn get(&self, path: &str) -> io::Result<Value> {
        let log = std::fs::read_to_string(&self.log)?;
        let address = log
            .split("\"Listening on\" component=web address=127.0.0.1:")
            .nth(1)
            .and_then(|rest| rest.split_whitespace().next());
        let port: Option<u16> = address.and_then(|port| port.parse().ok());
        let port = port.ok_or_else(|| io::Error::other(format!("Prometheus does not listen: {log}")))?;
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        // Of version 1.0 an answer is not in chunks.
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let body = answer.split_once("\r\n\r\n").map_or("", |(_head, body)| body);
        serde_json::from_str(body).map_err(|e| io::Error::other(format!("{e} in {answer}")))
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn told(answer: &Value) -> io::Error {
    io::Error::other(format!("Prometheus says {answer}"))
}

/// `job: Alert queue=q`: whose it is, which, and about what.
fn words(labels: &Value) -> String {
    let text = |key: &str| labels[key].as_str().unwrap_or_default().to_owned();
    let about = ["kind", "trigger", "queue", "function"].iter().filter(|key| labels.get(**key).is_some());
    let about: String = about.map(|key| format!(" {key}={}", text(key))).collect();
    format!("{}: {}{about}", text("job"), text("alertname"))
}

/// The rules, with all their durations so many times shorter: `for`, the windows of ranges, and the silence of a loop.
fn hastened(rules: &str, factor: u64) -> String {
    let shorter = |minutes: &str| {
        let minutes: Option<u64> = minutes.strip_suffix('m').and_then(|number| number.parse().ok());
        minutes.map(|minutes| format!("{}ms", minutes * 60_000 / factor))
    };
    let line = |line: &str| {
        if let Some((before, duration)) = line.split_once("for: ")
            && let Some(duration) = shorter(duration)
        {
            return format!("{before}for: {duration}\n");
        }
        let line = match line.split_once("> 90") {
            Some((before, "")) => format!("{before}> {}", 90 / factor),
            _ => line.to_owned(),
        };
        let mut parts = line.split('[');
        let mut hastened = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            hastened.push('[');
            match part.split_once(']').and_then(|(window, rest)| Some((shorter(window)?, rest))) {
                Some((window, rest)) => hastened += &format!("{window}]{rest}"),
                None => hastened += part,
            }
        }
        hastened + "\n"
    };
    rules.lines().map(line).collect()
}

#[test]
fn only_the_durations_of_rules_are_hastened() {
    let rules = "\
# A silence of more than 90 s [of a loop], for: nobody.
- alert: A
  expr: time() - at{job=~\".+\"} > 90
  for: 1m
- alert: B
  expr: increase(a[30m]) / increase(b{c!=\"d\"}[5m]) > 0.5 and increase(e[15m]) >= 5
  for: 10m
  description: >-
    For ten minutes [5 m].
";
    let hastened = hastened(rules, 30);
    let changed: Vec<&str> = hastened.lines().filter(|line| !rules.lines().any(|l| l == *line)).collect();
    assert_eq!(
        changed,
        [
            "  expr: time() - at{job=~\".+\"} > 3",
            "  for: 2000ms",
            "  expr: increase(a[60000ms]) / increase(b{c!=\"d\"}[10000ms]) > 0.5 and increase(e[30000ms]) >= 5",
            "  for: 20000ms",
        ]
    );
    assert_eq!(hastened.lines().count(), rules.lines().count());
}
