//! Hosts of their own, and cables between them that can be cut: network namespaces joined by veth pairs.
//!
//! A cut is silent: what one end sends never arrives at the other, and neither is told. So it differs from an
//! interface that is taken down, which the kernel tells every local program of at once. Needs root, `ip` and `nft`.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Command;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::command::run;

/// The namespaces of tests are `pgbt-<process id>-<number>`.
const PREFIX: &str = "pgbt-";
/// Links have the networks 10.198.0.0/30, 10.198.0.4/30 and so on.
const LINKS: u32 = 1 << 14;

/// A host: a network namespace.
#[derive(Debug)]
pub struct Netns {
    name: String,
    ours: bool,
}

impl Netns {
    /// A new host with nothing but its loopback. It ends with its value, and at the latest when another test process
    /// makes one.
    ///
    /// # Errors
    /// Not root, or no `ip`.
    pub fn new() -> io::Result<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        static SWEEP: Once = Once::new();
        SWEEP.call_once(sweep);
        let name = format!("{PREFIX}{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        run(Command::new("ip").args(["netns", "add", &name]))?;
        let netns = Self { name, ours: true };
        run(netns.ip().args(["link", "set", "lo", "up"]))?;
        Ok(netns)
    }

    /// A host that is there already and stays: that of a cluster.
    #[must_use]
    pub fn existing(name: &str) -> Self {
        Self { name: name.to_owned(), ours: false }
    }

    /// Its name, as in `ip netns exec`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A program to be run on this host. Its process id is the program's own: nothing stands between.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        command_in(Some(&self.name), program)
    }

    fn ip(&self) -> Command {
        let mut command = Command::new("ip");
        command.args(["-n", &self.name]);
        command
    }

    fn nft(&self, rules: &str) -> io::Result<()> {
        run(self.command("nft").arg(rules))
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        if self.ours {
            // The next test process sweeps up what stays.
            let _ = run(Command::new("ip").args(["netns", "delete", &self.name]));
        }
    }
}

/// A program to be run in the network namespace of that name, or in our own.
pub(crate) fn command_in(netns: Option<&str>, program: impl AsRef<OsStr>) -> Command {
    let Some(netns) = netns else { return Command::new(program) };
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/run/netns/{netns}")).arg(program);
    command
}

/// A TCP port of an address that nobody listens on, in the network namespace of that name, or in our own.
///
/// # Errors
/// There is no such namespace or address, or we are not root.
pub fn free_port(netns: Option<&str>, address: IpAddr) -> io::Result<u16> {
    let free = move || Ok(TcpListener::bind((address, 0))?.local_addr()?.port());
    let Some(netns) = netns else { return free() };
    let netns = File::open(Path::new("/run/netns").join(netns))?;
    // Of a thread, as a namespace is a thread's; it ends there.
    let there = std::thread::spawn(move || enter(&netns).and_then(|()| free()));
    there.join().unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
}

#[expect(unsafe_code, reason = "std knows no namespaces")]
fn enter(netns: &File) -> io::Result<()> {
    // SAFETY: an open file and a flag; no memory is passed.
    match unsafe { libc::setns(netns.as_raw_fd(), libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Deletes the namespaces of test processes that were killed.
fn sweep() {
    let Ok(names) = std::fs::read_dir("/run/netns") else { return };
    for name in names.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        let process = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-')).map(|(id, _)| id);
        if process.is_some_and(|id| !Path::new("/proc").join(id).exists()) {
            // Another process may sweep at the same time.
            let _ = run(Command::new("ip").args(["netns", "delete", &name]));
        }
    }
}

/// A cable between two hosts; gone with its value.
#[derive(Debug)]
pub struct Link<'a> {
    hub: &'a Netns,
    host: &'a Netns,
    /// The name of its interface at both ends, and of the rules that cut it.
    device: String,
    /// The addresses at both ends.
    network: u32,
}

impl<'a> Link<'a> {
    /// Joins two hosts.
    ///
    /// # Errors
    /// Not root, or one of the hosts is gone.
    pub fn between(hub: &'a Netns, host: &'a Netns) -> io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let first = std::process::id().wrapping_mul(61);
        // Other test processes may join the same host: an interface's name can be taken by one only.
        let mut tries = 0;
        loop {
            let network = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % LINKS;
            let link = Self { hub, host, device: format!("pgbt{network}"), network };
            let veth = ["link", "add", &link.device, "type", "veth", "peer", "name", &link.device, "netns"];
            match run(hub.ip().args(veth).arg(&host.name)) {
                Ok(()) => {
                    link.set_up()?;
                    return Ok(link);
                }
                Err(error) if tries < 8 && error.to_string().contains("File exists") => tries += 1,
                Err(error) => {
                    // There is nothing of it to delete.
                    std::mem::forget(link);
                    return Err(error);
                }
            }
        }
    }

    fn set_up(&self) -> io::Result<()> {
        for (netns, address) in [(self.hub, self.hub_address()), (self.host, self.host_address())] {
            run(netns.ip().args(["address", "add", &format!("{address}/30"), "dev", &self.device]))?;
            run(netns.ip().args(["link", "set", &self.device, "up"]))?;
        }
        Ok(())
    }

    fn address(&self, last: u32) -> IpAddr {
        let first = u32::from(Ipv4Addr::new(10, 198, 0, 0));
        IpAddr::V4(Ipv4Addr::from(first + 4 * self.network + last))
    }

    /// The address of the first of the two hosts.
    #[must_use]
    pub fn hub_address(&self) -> IpAddr {
        self.address(1)
    }

    /// The address of the second of the two hosts.
    #[must_use]
    pub fn host_address(&self) -> IpAddr {
        self.address(2)
    }

    /// Lets the second host reach a further address of the first one by this link, e.g. that of another link.
    ///
    /// # Errors
    /// There is a route to it already.
    pub fn route_to(&self, address: IpAddr) -> io::Result<()> {
        let (to, via) = (address.to_string(), self.hub_address().to_string());
        run(self.host.ip().args(["route", "add", &to, "via", &via]))
    }

    /// Cuts it: nothing arrives any more, in either direction, and nobody is told.
    ///
    /// # Errors
    /// It is cut already.
    pub fn cut(&self) -> io::Result<()> {
        self.drop_arriving("")
    }

    /// Cuts only what goes to and from a TCP port of either host.
    ///
    /// # Errors
    /// It is cut already.
    pub fn cut_port(&self, port: u16) -> io::Result<()> {
        self.drop_arriving(&format!("meta l4proto tcp th dport {port}"))?;
        for netns in [self.hub, self.host] {
            netns.nft(&self.rule(&format!("meta l4proto tcp th sport {port}")))?;
        }
        Ok(())
    }

    /// Joins what was cut.
    ///
    /// # Errors
    /// It is not cut.
    pub fn mend(&self) -> io::Result<()> {
        for netns in [self.hub, self.host] {
            netns.nft(&format!("delete table inet {}", self.device))?;
        }
        Ok(())
    }

    fn rule(&self, what: &str) -> String {
        format!("add rule inet {0} arriving iifname {0} {what} drop", self.device)
    }

    /// Drops at the receiver: a packet that its own sender's host drops is an error for the sender.
    fn drop_arriving(&self, what: &str) -> io::Result<()> {
        let chain = format!(
            "create table inet {0}; add chain inet {0} arriving {{ type filter hook prerouting priority -300; }}",
            self.device
        );
        for netns in [self.hub, self.host] {
            netns.nft(&format!("{chain}; {}", self.rule(what)))?;
        }
        Ok(())
    }
}

impl Drop for Link<'_> {
    fn drop(&mut self) {
        // Either may be gone already: the interface with its host, the rules with mend().
        let _ = run(self.hub.ip().args(["link", "delete", &self.device]));
        for netns in [self.hub, self.host] {
            let _ = netns.nft(&format!("delete table inet {}", self.device));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::SocketAddr;
    use std::process::Stdio;

    use super::*;

    /// Whether a TCP connection from one host to an address of another can be made.
    fn reaches(from: &Netns, to: SocketAddr) -> bool {
        let script = format!("exec 3<>/dev/tcp/{}/{}", to.ip(), to.port());
        let status =
            from.command("timeout").args(["1", "bash", "-c", &script]).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    }

    #[test]
    fn a_cut_is_silent_and_can_be_mended() -> io::Result<()> {
        let (hub, host) = (Netns::new()?, Netns::new()?);
        let (link, other) = (Link::between(&hub, &host)?, Link::between(&hub, &host)?);
        assert_ne!(link.hub_address(), other.hub_address());
        let listener = "import socket; s = socket.create_server(('', 7)); print(1, flush=True)\n\
                        while True: s.accept()";
        let mut server = hub.command("python3").args(["-c", listener]).stdout(Stdio::piped()).spawn()?;
        let mut ready = [0];
        server.stdout.take().map(|mut out| out.read_exact(&mut ready)).transpose()?;
        let address = SocketAddr::new(link.hub_address(), 7);
        assert!(reaches(&host, address));
        link.cut()?;
        assert!(!reaches(&host, address));
        assert!(reaches(&host, SocketAddr::new(other.hub_address(), 7)), "the other link is whole");
        link.mend()?;
        assert!(reaches(&host, address));
        link.cut_port(7)?;
        assert!(!reaches(&host, address));
        link.mend()?;
        link.cut_port(8)?;
        assert!(reaches(&host, address), "another port is not cut");
        server.kill()?;
        server.wait().map(drop)
    }
}
