//! One HTTP request, and its answer: enough for the pages and for the browser's driver, both on this host.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// No page and no command of the driver takes this long.
const LIMIT: Duration = Duration::from_secs(30);

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// In lower case, one header a line.
    pub head: String,
    /// The body, as text.
    pub body: String,
}

impl Answer {
    /// The value of a header, named in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")))
    }
}

/// Sends `head` lines and a body to a port of this host.
///
/// # Errors
/// Nobody listens there, or the answer is none.
pub fn request(port: u16, method: &str, path: &str, head: &[&str], body: &str) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(LIMIT))?;
    let host = match head.iter().any(|line| line.starts_with("Host:")) {
        true => String::new(),
        false => format!("Host: 127.0.0.1:{port}\r\n"),
    };
    let more: String = head.iter().map(|line| format!("{line}\r\n")).collect();
    let length = body.len();
    let text = format!(
        "{method} {path} HTTP/1.1\r\n{host}Connection: close\r\nContent-Length: {length}\r\n{more}\r\n{body}"
    );
    stream.write_all(text.as_bytes())?;
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while stream.read_line(&mut head)? > 2 {}
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    // Names of headers are the same in any case; their values are not.
    let lines = head.lines().skip(1).map(|line| match line.split_once(':') {
        Some((name, value)) => format!("{}: {}\n", name.to_lowercase(), value.trim()),
        None => format!("{line}\n"),
    });
    let mut answer = Answer { status, head: lines.collect(), body: String::new() };
    // The browser's driver does not close the connection.
    let length = answer.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    answer.body = String::from_utf8_lossy(&body).into_owned();
    Ok(answer)
}

/// A page, as somebody who sends these headers gets it.
///
/// # Errors
/// As [`request`].
pub fn get(port: u16, path: &str, head: &[&str]) -> io::Result<Answer> {
    request(port, "GET", path, head, "")
}
