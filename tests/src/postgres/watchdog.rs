//! What keeps a server from outliving its test: a small shell between the two. It reads orders from a pipe of ours, and
//! the end of the pipe is the end of the server and of its folder.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::prefix::Prefix;
use super::{Options, Place};
use crate::network::command_in;

/// Starts the server; then, an order a line, stops it by a signal or starts it again, and says when that is done. At the
/// end of the orders stops it in the way of a power cut. A shell has what runs in its background ignore SIGQUIT and SIGINT, which would
/// be lost on a server that has not come as far as to take it.
const WATCHDOG: &str = r#"
    dir=$1; shift
    start() { env --default-signal=QUIT,INT "$@" >>"$dir/log" 2>&1 </dev/null & server=$!; }
    stop() { kill -"$1" "$server" 2>/dev/null; wait "$server"; }
    start "$@"
    while read -r order signal; do
        case $order in
        start) start "$@" ;;
        stop) stop "$signal" ;;
        esac
        echo done
    done
    stop QUIT
    [ "${PGBATCH_KEEP:-}" = 1 ] || rm -rf "$dir"
"#;

/// Gives the watchdog a small disk. It is seen only from here, so that it is gone with the server, whatever happens.
const DISK: &str = r#"
    dir=$1 size=$2 template=$3 log_elsewhere=$4; shift 4
    mkdir "$dir/data"
    mount -t tmpfs -o "size=$size,mode=700" tmpfs "$dir/data"
    cp -a "$template/." "$dir/data"
    if [ "$log_elsewhere" = true ]; then
        mv "$dir/data/pg_wal" "$dir/wal"
        ln -s "$dir/wal" "$dir/data/pg_wal"
    fi
    chown --reference="$template" "$dir/data"
    "$@"
    umount "$dir/data"
    [ "${PGBATCH_KEEP:-}" = 1 ] || rm -rf "$dir"
"#;

/// The file that takes all room.
const FILLER: &str = "data/filler";

/// How to stop a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// `pg_ctl stop -m fast`: sessions are ended, and all is written down.
    Fast,
    /// `pg_ctl stop -m immediate`: without a checkpoint, so the next start recovers from the log.
    Immediate,
    /// SIGKILL of its first process; the others end as soon as they notice.
    Kill,
}

/// A file system of its own for a server's data, in memory. Needs root.
#[derive(Debug, Clone, Copy)]
pub struct SmallDisk {
    /// How many MiB it has.
    pub mib: u32,
    /// Whether the write-ahead log is elsewhere, where there is room.
    pub log_elsewhere: bool,
}

/// A server's watchdog.
#[derive(Debug)]
pub(super) struct Watchdog {
    shell: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Watchdog {
    /// Starts a watchdog, and it the server.
    pub(super) fn spawn(prefix: &Prefix, place: &Place, options: &Options) -> io::Result<Self> {
        let mut server = match options.disk {
            Some(disk) => with_disk(prefix, place, options, disk),
            None => prefix.command_in(options.netns.as_deref(), "sh"),
        };
        server.args(["-c", WATCHDOG, "watchdog"]).arg(&place.dir).arg(prefix.bin.join("postgres"));
        server.arg("-D").arg(place.dir.join("data")).arg("-k").arg(&place.dir);
        server.args(["-p", &place.port.to_string()]);
        let address = place.listen.as_ref().map_or_else(String::new, |l| l.address.to_string());
        let fixed = [("listen_addresses", address.as_str()), ("fsync", "off"), ("max_connections", "200")];
        let settings = options.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in fixed.into_iter().chain(settings) {
            server.args(["-c", &format!("{name}={value}")]);
        }
        // A group of its own: Ctrl-C ends the tests, and their end ends the server.
        server.process_group(0);
        server.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut shell = server.spawn()?;
        let orders = shell.stdin.take();
        let answers = shell.stdout.take().ok_or_else(|| io::Error::other("the watchdog has no output"))?;
        Ok(Self { shell, orders, answers: BufReader::new(answers) })
    }

    /// Stops the server, and waits for its end.
    pub(super) fn stop(&mut self, how: Stop) -> io::Result<()> {
        self.order(match how {
            Stop::Fast => "stop INT",
            Stop::Immediate => "stop QUIT",
            Stop::Kill => "stop KILL",
        })
    }

    /// Starts the server again.
    pub(super) fn start(&mut self) -> io::Result<()> {
        self.order("start")
    }

    fn order(&mut self, order: &str) -> io::Result<()> {
        let gone = || io::Error::other("the server's watchdog is gone");
        writeln!(self.orders.as_mut().ok_or_else(gone)?, "{order}")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        if answer == "done\n" { Ok(()) } else { Err(gone()) }
    }

    /// Takes all room of the server's disk, or gives it back.
    pub(super) fn fill_disk(&self, dir: &Path, full: bool) -> io::Result<()> {
        // The mounts of the shell are not ours.
        let root = PathBuf::from(format!("/proc/{}/root", self.shell.id()));
        let filler = root.join(dir.strip_prefix("/").unwrap_or(dir)).join(FILLER);
        if !full {
            return std::fs::remove_file(filler);
        }
        let mut file = File::options().create(true).append(true).open(filler)?;
        // Down to the last page.
        let zeros = [0; 4096];
        loop {
            match file.write_all(&zeros) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.orders.take());
        // Nothing can be done about a watchdog that cannot be waited for.
        let _ = self.shell.wait();
    }
}

/// What to put before the watchdog, so that it has a disk.
fn with_disk(prefix: &Prefix, place: &Place, options: &Options, disk: SmallDisk) -> Command {
    let mut command = command_in(options.netns.as_deref(), "unshare");
    command.args(["--mount", "sh", "-c", DISK, "disk"]).arg(&place.dir).arg(format!("{}m", disk.mib));
    command
        .arg(prefix.template())
        .arg(disk.log_elsewhere.to_string())
        .args(prefix.as_server_user())
        .arg("sh");
    command.env_remove("RUST_BACKTRACE").current_dir("/");
    command
}
