//! How a command fails: one line for people, with what to do about it.

use std::error::Error;
use std::fmt;
use std::io;
use std::process::ExitCode;

use tokio_postgres::error::SqlState;

use crate::store::{ConnectError, with_causes};

/// What the exit status says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The command did what it was asked for, and the work that it followed succeeded.
    Fine,
    /// The work that it followed failed or was cancelled.
    NotSucceeded,
}

impl From<Fate> for ExitCode {
    fn from(fate: Fate) -> Self {
        match fate {
            Fate::Fine => Self::SUCCESS,
            Fate::NotSucceeded => Self::from(1),
        }
    }
}

/// Why a command could not do what it was asked for.
#[derive(Debug)]
pub(crate) enum Failure {
    /// In words.
    Said {
        /// What happened.
        words: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// Whoever read the output has closed it: `pgbatch ls | head`. Nothing to complain about.
    ReaderGone,
}

impl Failure {
    pub(crate) fn new(words: impl Into<String>) -> Self {
        Self::Said { words: words.into(), hint: None }
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        match self {
            Self::Said { words, hint: None } => Self::Said { words, hint: Some(hint.into()) },
            told => told,
        }
    }

    /// What happened, without what to do about it.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Said { words, .. } => words.clone(),
            Self::ReaderGone => self.to_string(),
        }
    }

    /// Says what it is about.
    pub(crate) fn of(self, source: &str) -> Self {
        match self {
            Self::Said { words, hint } => Self::Said { words: format!("{source}: {words}"), hint },
            Self::ReaderGone => self,
        }
    }

    /// Says it, and with which status to end.
    pub(crate) fn report(&self) -> ExitCode {
        match self {
            Self::Said { .. } => {
                eprintln!("pgbatch: {self}");
                ExitCode::from(2)
            }
            Self::ReaderGone => ExitCode::SUCCESS,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Said { words, hint: Some(hint) } => write!(f, "{words} (hint: {hint})"),
            Self::Said { words, hint: None } => f.write_str(words),
            Self::ReaderGone => f.write_str("the output was closed"),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ReaderGone,
            _ => Self::new(format!("cannot write: {error}")),
        }
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        Self::new(error.to_string()).hint(
            "say where PostgreSQL is with --database-url, or with PGHOST, PGPORT, PGDATABASE and PGUSER",
        )
    }
}

/// Not of the server: the connection's, or of what came over it.
fn unreadable(error: &tokio_postgres::Error) -> Failure {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<serde_json::Error>());
    // It has no kind of its own.
    if cause.is_some_and(|cause| cause.to_string().starts_with("recursion limit exceeded")) {
        return Failure::new(
            "it has JSON in it that is nested too deeply to be shown here, in more than 120 levels",
        )
        .hint("psql shows it: SELECT item FROM pgbatch.items WHERE batch_id = ... AND item_no = ...");
    }
    Failure::new(with_causes(error))
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(server) = error.as_db_error() else { return unreadable(&error) };
        let failure = Self::new(server.message());
        if let Some(hint) = server.hint() {
            return failure.hint(hint);
        }
        match *server.code() {
            SqlState::INVALID_SCHEMA_NAME | SqlState::UNDEFINED_TABLE | SqlState::UNDEFINED_FUNCTION => failure
                .hint("is this the right database? It needs CREATE EXTENSION pgbatch, of this program's version"),
            SqlState::INSUFFICIENT_PRIVILEGE => {
                failure.hint("the owner of the extension can GRANT it; nothing is granted to PUBLIC")
            }
            _ => failure,
        }
    }
}
