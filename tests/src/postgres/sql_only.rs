//! The SQL without the library. With `PGBATCH_TEST_SQL_ONLY=1` the databases of tests have that instead of the extension.

use std::io;
use std::process::Command;
use std::sync::OnceLock;

use crate::command::output;
use crate::repository;

/// Whether the tests run without the library.
#[must_use]
pub fn is_sql_only() -> bool {
    std::env::var_os("PGBATCH_TEST_SQL_ONLY").is_some()
}

/// What installs it, for one transaction.
///
/// # Errors
/// The files are not there.
pub(super) fn sql_only_script() -> io::Result<&'static str> {
    static SCRIPT: OnceLock<Result<String, String>> = OnceLock::new();
    let made = SCRIPT.get_or_init(|| {
        let mut assemble = Command::new(repository().join("sql/assemble.sh"));
        output(assemble.args(["--without-library", "install"])).map_err(|error| error.to_string())
    });
    made.as_deref().map_err(|error| io::Error::other(error.clone()))
}
