//! The last words of a run, made fit to be kept.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// A termination message is kept up to this many bytes, as by Kubernetes.
pub(super) const MESSAGE_MAX: u64 = 4096;
/// Of a log, at most so many bytes and lines are taken for a message, as by Kubernetes.
const LOG_TAIL_MAX: u64 = 2048;
const LOG_TAIL_LINES_MAX: usize = 80;

/// Text that PostgreSQL can hold (it has no NUL) and that says something.
pub(super) fn clean(text: &str) -> Option<String> {
    let text = text.replace('\0', "");
    let text = text.trim_end();
    (!text.trim_start().is_empty()).then(|| text.to_owned())
}

/// The message in a termination log; none where there is no file, or nothing in it.
pub(super) fn termination_message(path: &Path) -> Option<String> {
    clean(&tail(path, MESSAGE_MAX).ok()?)
}

/// The end of a log.
pub(super) fn log_tail(path: &Path) -> Option<String> {
    let text = tail(path, LOG_TAIL_MAX).ok()?;
    let lines: Vec<&str> = text.lines().collect();
    clean(&lines[lines.len().saturating_sub(LOG_TAIL_LINES_MAX)..].join("\n"))
}

fn tail(path: &Path, bytes_max: u64) -> io::Result<String> {
    let mut file = File::open(path)?;
    let skipped = file.metadata()?.len().saturating_sub(bytes_max);
    file.seek(SeekFrom::Start(skipped))?;
    let mut bytes = Vec::new();
    file.take(bytes_max).read_to_end(&mut bytes)?;
    // The cut may go through a character: its rest is dropped.
    let start = if skipped == 0 { 0 } else { bytes.iter().take_while(|b| **b & 0xC0 == 0x80).count() };
    Ok(String::from_utf8_lossy(&bytes[start..]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_kept_is_taken_out() {
        assert_eq!(clean("a\0b\n"), Some("ab".into()));
        assert_eq!(clean(" \n\0 "), None);
        assert_eq!(clean("  indented\nline \n\n"), Some("  indented\nline".into()));
    }

    #[test]
    fn the_end_of_a_file() {
        let path = std::env::temp_dir().join(format!("pgbatch-message-{}", std::process::id()));
        std::fs::write(&path, format!("é{}", "x".repeat(4095))).unwrap();
        assert_eq!(termination_message(&path), Some("x".repeat(4095)));
        let lines: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        std::fs::write(&path, lines.join("\n")).unwrap();
        assert_eq!(log_tail(&path), Some(lines[20..].join("\n")));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(log_tail(&path), None);
    }
}
