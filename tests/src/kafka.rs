//! A real Kafka broker for tests, with a plain, a TLS and two SASL listeners: `tests/kafka/serve.sh` in a folder and on ports of
//! its own. It ends with its [`Broker`], and at the latest with the test process, however that ends.

mod client;
mod logs;

use std::io::{self, BufRead, BufReader, Write};
use std::net::IpAddr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

pub use client::{Allowed, Failed, KafkaClient, Transaction};

use crate::cluster::Cluster;
use crate::network::{command_in, free_port};
use crate::repository;

static STARTED: AtomicU32 = AtomicU32::new(0);

/// A broker.
#[derive(Debug)]
pub struct Broker {
    orders: Mutex<Orders>,
    dir: PathBuf,
    address: IpAddr,
    ports: [u16; 5],
}

#[derive(Debug)]
struct Orders {
    shell: Child,
    input: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Broker {
    /// The broker that tests share, each with topics of its own: started by the first who asks.
    ///
    /// # Errors
    /// As [`Broker::start`], with the same words for all who ask.
    pub fn shared() -> io::Result<&'static Self> {
        static SHARED: OnceLock<Result<Broker, String>> = OnceLock::new();
        SHARED
            .get_or_init(|| Self::start().map_err(|e| e.to_string()))
            .as_ref()
            .map_err(|e| io::Error::other(e.clone()))
    }

    /// Starts a broker of the test's own, empty.
    ///
    /// # Errors
    /// Its jars are missing (`make kafka` gets them), or it does not start.
    pub fn start() -> io::Result<Self> {
        Self::at(None, IpAddr::from([127, 0, 0, 1]), None)
    }

    /// Starts broker 2 of this one's cluster: this one is broker 1.
    ///
    /// # Errors
    /// As [`Broker::start`].
    pub fn join(&self) -> io::Result<Self> {
        Self::at(None, self.address, Some(self.ports[4]))
    }

    /// Starts a broker of the test's own in the cluster's network, so that pods reach it.
    ///
    /// # Errors
    /// As [`Broker::start`].
    pub fn in_cluster(cluster: &Cluster) -> io::Result<Self> {
        Self::at(Some(cluster.netns()), cluster.node_ip().parse().map_err(io::Error::other)?, None)
    }

    fn at(netns: Option<&str>, address: IpAddr, controller: Option<u16>) -> io::Result<Self> {
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let dir = repository().join("target/kafka").join(format!("test-{}-{number}", std::process::id()));
        let mut ports = [0; 5];
        for port in &mut ports {
            *port = free_port(netns, address)?;
        }
        let words: Vec<String> = ports.iter().map(u16::to_string).collect();
        let mut shell = command_in(netns, repository().join("tests/kafka/serve.sh"))
            .env("PGBATCH_KAFKA_DIR", &dir)
            .env("PGBATCH_KAFKA_ADDRESS", address.to_string())
            .env("PGBATCH_KAFKA_PORTS", words.join(" "))
            .env("PGBATCH_KAFKA_JOINS", controller.map_or_else(String::new, |port| port.to_string()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A group of its own: Ctrl-C ends the tests, and their end ends the broker.
            .process_group(0)
            .spawn()?;
        let input = shell.stdin.take();
        let answers = shell.stdout.take().ok_or_else(|| io::Error::other("the broker has no output"))?;
        let orders = Orders { shell, input, answers: BufReader::new(answers) };
        let broker = Self { orders: Mutex::new(orders), dir, address, ports };
        broker.order("start")?;
        Ok(broker)
    }

    /// Starts it again, with what it had.
    ///
    /// # Errors
    /// It does not start.
    pub fn restart(&self) -> io::Result<()> {
        self.order("start")
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// It is gone already.
    pub fn kill(&self) -> io::Result<()> {
        self.order("kill")
    }

    fn order(&self, order: &str) -> io::Result<()> {
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = || io::Error::other("the broker's shell is gone; it said why");
        writeln!(orders.input.as_mut().ok_or_else(gone)?, "{order}")?;
        let mut answer = String::new();
        orders.answers.read_line(&mut answer)?;
        if answer == "done\n" { Ok(()) } else { Err(gone()) }
    }

    /// The listener for everybody: `host:port`.
    #[must_use]
    pub fn plain(&self) -> String {
        self.listener(0)
    }

    /// The one with TLS that wants a client certificate.
    #[must_use]
    pub fn tls(&self) -> String {
        self.listener(1)
    }

    /// The one with TLS and SASL.
    #[must_use]
    pub fn sasl_tls(&self) -> String {
        self.listener(2)
    }

    /// The one with SASL.
    #[must_use]
    pub fn sasl(&self) -> String {
        self.listener(3)
    }

    fn listener(&self, number: usize) -> String {
        format!("{}:{}", self.address, self.ports[number])
    }

    /// The folder of `ca.crt`, `client.crt`, `client.key`, and `client-encrypted.key` with the password key-secret.
    #[must_use]
    pub fn certificates(&self) -> PathBuf {
        self.dir.join("certs")
    }

    /// A client that may do everything.
    ///
    /// # Errors
    /// It cannot connect.
    pub async fn client(&self) -> Result<KafkaClient, Failed> {
        KafkaClient::connect(&self.plain()).await
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let orders = self.orders.get_mut().unwrap_or_else(PoisonError::into_inner);
        drop(orders.input.take());
        // Nothing can be done about a shell that cannot be waited for.
        let _ = orders.shell.wait();
    }
}
