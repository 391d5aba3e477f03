//! `pgbatch import FILE...`: ScaledJobs of KEDA become queues and triggers, all of them or none.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use pgbatch_core::scaled_job::import as import_manifest;
use pgbatch_core::scaled_job::manifest::{BYTES_MAX, read_all};
use serde_json::{Value, json};

use super::failure::{Failure, Fate};
use super::output::Output;
use super::session::Session;
use super::table::{Cell, Column, Kind, Table, Tone};
use super::words;
use crate::config::ClientArgs;

/// Bytes of all manifests of a file.
const FILE_MAX: u64 = 64 * 1024 * 1024;

/// What to import.
#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// Files with ScaledJobs, YAML or JSON, several a file; - reads standard input, as in: kubectl get scaledjobs -o yaml |
    /// pgbatch import -.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Check everything, keep nothing, and print the calls in SQL.
    #[arg(long)]
    dry_run: bool,
}

/// A document, and where it is from.
struct Document {
    source: String,
    manifest: Value,
}

pub(super) async fn import(args: ImportArgs) -> Result<Fate, Failure> {
    let output = Output::new(args.client.output);
    let mut documents = Vec::new();
    for file in &args.files {
        documents.extend(read(file)?);
    }
    let (jobs, others): (Vec<_>, Vec<_>) =
        documents.into_iter().partition(|document| document.manifest["kind"] == "ScaledJob");
    if jobs.is_empty() {
        let found = others.iter().map(Document::told).collect::<Vec<_>>().join(", ");
        let found = if found.is_empty() { "nothing".to_owned() } else { found };
        return Err(Failure::new(format!("there is no ScaledJob, but {found}"))
            .hint("give a manifest as kubectl apply takes it"));
    }
    let session = Session::open(args.client.database_url, "import").await?;
    // The queries mean tables as whoever connects names them.
    session.call("RESET search_path", &[]).await?;
    session.call("BEGIN", &[]).await?;
    let mut made = Vec::new();
    for job in &jobs {
        let rows = make(&session, &job.manifest).await.map_err(|failure| failure.of(&job.source))?;
        made.push(json!({"scaled_job": job.manifest["metadata"]["name"], "file": job.source, "rows": rows}));
    }
    session.call(if args.dry_run { "ROLLBACK" } else { "COMMIT" }, &[]).await?;
    if output.is_json() {
        output.json(&made)?;
        return Ok(Fate::Fine);
    }
    for (number, job) in made.iter().enumerate() {
        if number > 0 {
            output.line("")?;
        }
        print(&output, job, args.dry_run)?;
    }
    for other in others {
        output.line(&format!("{}: passed over {}", other.source, other.told()))?;
    }
    if args.dry_run {
        output.line("\nA dry run: nothing was made.")?;
    }
    Ok(Fate::Fine)
}

impl Document {
    fn told(&self) -> String {
        let kind = self.manifest["kind"].as_str().unwrap_or("something without a kind");
        match self.manifest["metadata"]["name"].as_str() {
            Some(name) => format!("{kind} {name:?}"),
            None => kind.to_owned(),
        }
    }
}

/// As `pgbatch.import_scaled_job()`, but that the manifest is read here: a server without the library cannot. Returns its rows.
async fn make(session: &Session, manifest: &Value) -> Result<Vec<Value>, Failure> {
    let plan = import_manifest(manifest)
        .map_err(|problem| Failure::new(problem.told()).hint(problem.hint))?
        .to_json();
    session.call("SELECT pgbatch.take_import_steps($1)", &[&plan["steps"]]).await?;
    let rows = ["steps", "notes"].map(|part| plan[part].as_array().cloned().unwrap_or_default());
    Ok(rows.concat())
}

/// The documents of a file; those in a List are documents, too.
fn read(file: &Path) -> Result<Vec<Document>, Failure> {
    let source =
        if file == Path::new("-") { "standard input".to_owned() } else { file.display().to_string() };
    let failed = |error: std::io::Error| Failure::new(format!("cannot read {source}: {error}"));
    let mut text = String::new();
    match file == Path::new("-") {
        true => std::io::stdin().take(FILE_MAX).read_to_string(&mut text).map_err(failed)?,
        false => {
            let opened = std::fs::File::open(file).map_err(failed)?;
            opened.take(FILE_MAX).read_to_string(&mut text).map_err(failed)?
        }
    };
    let documents = read_all(&text).map_err(|problem| {
        let failure = Failure::new(format!("{source}: {}", problem.message));
        if text.len() > BYTES_MAX {
            failure.hint("give it in several files")
        } else {
            failure.hint(problem.hint)
        }
    })?;
    let manifests = documents.into_iter().flat_map(|mut document| match document["items"].take() {
        Value::Array(items) if document["kind"].as_str().is_some_and(|kind| kind.ends_with("List")) => items,
        items => {
            if !items.is_null() {
                document["items"] = items;
            }
            vec![document]
        }
    });
    Ok(manifests.map(|manifest| Document { source: source.clone(), manifest }).collect())
}

/// What was made of a ScaledJob, what is different, and the calls that somebody may want.
fn print(output: &Output, job: &Value, dry_run: bool) -> Result<(), Failure> {
    let mut table = Table::new(&[
        Column::new("WHAT", Kind::Name, 0),
        Column::new("NAME", Kind::Name, 1),
        Column::new("PATH", Kind::Words, 2),
        Column::new("", Kind::Words, 0),
    ]);
    let rows = job["rows"].as_array().map(Vec::as_slice).unwrap_or_default();
    for row in rows {
        let what = words::text(row, "what");
        let told = [words::text(row, "message"), words::text(row, "hint")];
        let told: Vec<&str> = told.iter().map(String::as_str).filter(|text| !text.is_empty()).collect();
        let tone = match what.as_str() {
            "todo" => Tone::Bad,
            "changed" => Tone::Warning,
            "queue" | "trigger" => Tone::Good,
            _ => Tone::Plain,
        };
        table.row(vec![
            Cell::toned(what, tone),
            words::text(row, "name").into(),
            words::text(row, "path").into(),
            told.join(". ").into(),
        ]);
    }
    output.table(&table)?;
    for row in rows {
        // With its line breaks, which end comments.
        let statement = row["statement"].as_str().unwrap_or_default();
        let statement = statement.replace(|c: char| c.is_control() && c != '\n', " ");
        let is_made = matches!(row["what"].as_str(), Some("queue" | "trigger"));
        if !statement.is_empty() && (dry_run || !is_made) {
            let path = words::text(row, "path");
            output.line(&format!("\n-- {}, {path}\n{statement};", words::text(row, "what")))?;
        }
    }
    Ok(())
}
