//! What is left of a run: `results.json` with the raw numbers, `results.md` with the tables, and a plot a bench. The
//! results of the benches that were not run this time stay.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use serde_json::{Map, Value, json};

use crate::BENCHES;
use crate::figures::Report;
use crate::plot;
use crate::rig::{Failed, output, settings};

/// Adds a bench's results.
pub(crate) fn save(bench: &str, command: &str, report: &Report) -> Result<(), Failed> {
    let dir = output();
    fs::create_dir_all(&dir)?;
    let file = dir.join("results.json");
    let mut all: Map<String, Value> =
        fs::read_to_string(&file).ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let mut result = report.json();
    result["command"] = json!(command);
    result["date"] = json!(jiff::Timestamp::now().to_string().split('T').next());
    result["machine"] = json!(machine()?);
    for (number, svg) in plot::of(bench, &result).into_iter().enumerate() {
        let suffix = if number == 0 { String::new() } else { format!("-{}", number + 1) };
        fs::write(dir.join(format!("{bench}{suffix}.svg")), svg)?;
    }
    all.insert(bench.to_owned(), result);
    fs::write(file, serde_json::to_string_pretty(&all)?)?;
    fs::write(dir.join("results.md"), markdown(&all)?)?;
    Ok(())
}

/// The tables: first that of the README, then every side of every bench.
fn markdown(all: &Map<String, Value>) -> Result<String, std::fmt::Error> {
    let mut text = String::from(
        "# Results\n\nMedians of the rounds, in brackets the lowest and the highest. Ratios are of one round each.\n\n\
         | what | ours | theirs | ratio | bar | |\n|---|---|---|---|---|---|\n",
    );
    let in_order = || BENCHES.iter().filter_map(|bench| Some((bench, all.get(*bench)?)));
    for row in in_order().flat_map(|(_, result)| list(&result["rows"])) {
        let reached = if row["reached"] == true { "reached" } else { "**not reached**" };
        let (ours, theirs) = (&row["ours"], &row["theirs"]);
        let (left, right, ratio) = match (ours.is_null(), theirs.is_null()) {
            (false, false) => (
                figure(&ours["spread"], ours),
                figure(&theirs["spread"], theirs),
                figure(&row["spread"], row),
            ),
            _ => (figure(&row["spread"], row), "-".to_owned(), "-".to_owned()),
        };
        let (what, bar) = (word(&row["what"]), word(&row["bar"]));
        writeln!(text, "| {what} | {left} | {right} | {ratio} | {bar} | {reached} |")?;
    }
    for (bench, result) in in_order() {
        writeln!(text, "\n## {bench}\n")?;
        writeln!(
            text,
            "`{}` on {}; {}\n",
            word(&result["command"]),
            word(&result["date"]),
            word(&result["machine"])
        )?;
        writeln!(text, "| side | median | lowest | highest | unit |\n|---|---|---|---|---|")?;
        for side in list(&result["sides"]) {
            let of = |name: &str| rounded(side["spread"][name].as_f64());
            let (name, unit) = (word(&side["name"]), word(&side["unit"]));
            writeln!(text, "| {name} | {} | {} | {} | {unit} |", of("median"), of("min"), of("max"))?;
        }
        for note in list(&result["notes"]) {
            writeln!(text, "\n{}", word(note))?;
        }
        for name in list(&result["left_out"]) {
            writeln!(text, "\nLeft out: {}", word(name))?;
        }
    }
    Ok(text)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn figure(spread: &Value, of: &Value) -> String {
    let at = |name: &str| rounded(spread[name].as_f64());
    let unit = of["unit"].as_str().map_or_else(String::new, |unit| format!(" {unit}"));
    format!("{}{unit} ({} to {})", at("median"), at("min"), at("max"))
}

/// Three digits are more than the rounds agree on.
pub(crate) fn rounded(value: Option<f64>) -> String {
    match value {
        Some(value) if value.abs() >= 100.0 => format!("{value:.0}"),
        Some(value) if value.abs() >= 10.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.2}"),
        None => "-".to_owned(),
    }
}

fn machine() -> Result<String, Failed> {
    let memory = fs::read_to_string("/proc/meminfo")?;
    let kib: u64 = memory.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg")?;
    let load = load.split(' ').next().unwrap_or_default();
    let config = std::env::var("PGBATCH_PG_CONFIG").unwrap_or_else(|_| "pg_config".to_owned());
    let version = Command::new(config).arg("--version").output()?;
    Ok(format!(
        "{} processors, {} GiB, {} ({}), load {load} at the end",
        std::thread::available_parallelism()?,
        kib / (1024 * 1024),
        String::from_utf8_lossy(&version.stdout).trim(),
        settings(),
    ))
}
