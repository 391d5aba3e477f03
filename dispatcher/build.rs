//! Puts into the program what `pgbatch migrate --sql-only` installs: the scripts that `sql/assemble.sh` prints.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() -> Result<(), Box<dyn Error>> {
    let sql = Path::new(&std::env::var("CARGO_MANIFEST_DIR")?).join("../sql");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    println!("cargo::rerun-if-changed={}", sql.display());
    std::fs::write(out.join("install.sql"), assemble(&sql, &["--without-library", "install"])?)?;
    let mut upgrades = String::from("&[");
    for from in assemble(&sql, &["versions"])?.lines() {
        let file = format!("upgrade-{from}.sql");
        std::fs::write(out.join(&file), assemble(&sql, &["--without-library", "upgrade", from])?)?;
        write!(upgrades, "({from:?}, include_str!({file:?})), ")?;
    }
    upgrades.push(']');
    std::fs::write(out.join("upgrades.rs"), upgrades)?;
    Ok(())
}

fn assemble(sql: &Path, arguments: &[&str]) -> Result<String, Box<dyn Error>> {
    let made = Command::new("bash").arg(sql.join("assemble.sh")).args(arguments).output()?;
    if !made.status.success() {
        return Err(format!("{arguments:?}: {}", String::from_utf8_lossy(&made.stderr)).into());
    }
    Ok(String::from_utf8(made.stdout)?)
}
