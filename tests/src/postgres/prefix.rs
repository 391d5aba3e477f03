//! The private copy of PostgreSQL that the servers run from, so that tests write nothing into the installed one.

use std::fs::{File, create_dir_all, rename};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::command::{output, run};
use crate::network::command_in;
use crate::repository;

use super::{OWNER, SUPERUSER};

/// The user that servers run as where the tests run as root, as PostgreSQL refuses to.
const SERVER_USER: &str = "postgres";

/// The copy, with the extension in it.
#[derive(Debug)]
pub(super) struct Prefix {
    /// Where everything is.
    base: PathBuf,
    /// Its programs.
    pub(super) bin: PathBuf,
    as_root: bool,
}

impl Prefix {
    /// The copy; made, and the extension installed, by the first who asks.
    pub(super) fn get() -> io::Result<&'static Self> {
        static PREFIX: OnceLock<Result<Prefix, String>> = OnceLock::new();
        PREFIX
            .get_or_init(|| Self::make().map_err(|e| e.to_string()))
            .as_ref()
            .map_err(|e| io::Error::other(e.clone()))
    }

    fn make() -> io::Result<Self> {
        let pg_config = std::env::var("PGBATCH_PG_CONFIG").unwrap_or_else(|_| "pg_config".to_owned());
        let installed = Installed::ask(&pg_config)?;
        let as_root = std::fs::metadata("/proc/self")?.uid() == 0;
        let mut hash = DefaultHasher::new();
        (repository(), &installed, as_root).hash(&mut hash);
        let base = choose_base(hash.finish(), as_root)?;
        let prefix = Self { bin: installed.moved(&installed.bin, &base), base, as_root };

        // Other test processes may be at it.
        let lock = File::create(prefix.base.join("lock"))?;
        lock.lock()?;
        installed.copy_to(&prefix.base)?;
        prefix.install_extension()?;
        prefix.make_template()?;
        Ok(prefix)
    }

    fn install_extension(&self) -> io::Result<()> {
        let library = std::env::var_os("PGBATCH_SO")
            .map_or_else(|| repository().join("target/release/libpgbatch.so"), PathBuf::from);
        let script = repository().join("pg_extension/install.sh");
        let pg_config = self.bin.join("pg_config");
        run(Command::new(script).arg(&pg_config).arg(library))?;
        // Earlier versions as they were released, for tests of the way from them.
        let extension =
            PathBuf::from(output(Command::new(pg_config).arg("--sharedir"))?.trim()).join("extension");
        for released in std::fs::read_dir(repository().join("tests/sql/previous"))? {
            let released = released?.path();
            let script = output(Command::new("gunzip").arg("--stdout").arg(&released))?;
            std::fs::write(extension.join(released.file_stem().unwrap_or_default()), script)?;
        }
        Ok(())
    }

    fn make_template(&self) -> io::Result<()> {
        create_dir_all(self.servers())?;
        if self.as_root {
            run(Command::new("chown").arg(SERVER_USER).arg(self.servers()))?;
        }
        if self.template().exists() {
            return Ok(());
        }
        let new = self.servers().join(format!("template-{}", std::process::id()));
        self.initialize(&new)?;
        let role = format!("printf 'CREATE ROLE {OWNER} LOGIN;' | \"$1\" --single -D \"$2\" postgres");
        run(self.command("sh").args(["-c", &role, "sh"]).arg(self.bin.join("postgres")).arg(&new))?;
        rename(new, self.template())
    }

    /// Makes data with nobody in it but the superuser.
    pub(super) fn initialize(&self, data: &Path) -> io::Result<()> {
        let mut initdb = self.command(self.bin.join("initdb"));
        initdb.args(["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8"]);
        run(initdb.args(["--username", SUPERUSER, "-D"]).arg(data))
    }

    /// The data of a server that was never started.
    pub(super) fn template(&self) -> PathBuf {
        self.servers().join("template")
    }

    /// The folder of the servers' folders.
    pub(super) fn servers(&self) -> PathBuf {
        self.base.join("servers")
    }

    /// Makes a server's folder.
    pub(super) fn new_dir(&self, dir: &Path) -> io::Result<()> {
        run(self.command("mkdir").arg("-p").arg(dir))
    }

    /// Makes a server's folder and its data.
    pub(super) fn new_data(&self, dir: &Path) -> io::Result<()> {
        self.new_dir(dir)?;
        run(self.command("cp").arg("-a").arg(self.template()).arg(dir.join("data")))
    }

    /// A command as the server's user.
    pub(super) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        self.command_in(None, program)
    }

    /// A command as the server's user, in a network namespace.
    pub(super) fn command_in(&self, netns: Option<&str>, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut words = self.as_server_user().into_iter();
        let mut command = match words.next() {
            Some(first) => command_in(netns, first),
            None => return settled(command_in(netns, program)),
        };
        command.args(words).arg(program);
        settled(command)
    }

    /// What to put before a command, so that it runs as the server's user.
    pub(super) fn as_server_user(&self) -> Vec<String> {
        if !self.as_root {
            return vec![];
        }
        let [uid, gid] = ["--reuid", "--regid"].map(|option| format!("{option}={SERVER_USER}"));
        vec!["setpriv".to_owned(), uid, gid, "--clear-groups".to_owned()]
    }
}

/// With RUST_BACKTRACE, errors that pass through the extension would carry one in their DETAIL.
fn settled(mut command: Command) -> Command {
    command.env_remove("RUST_BACKTRACE").current_dir("/");
    command
}

/// Under `target/`, if the server's user gets there and the paths of Unix sockets in it are short enough (107 bytes);
/// else under `/var/tmp`.
fn choose_base(hash: u64, as_root: bool) -> io::Result<PathBuf> {
    const SOCKET: usize = "/servers/4194304-99/.s.PGSQL.65535".len();
    let name = format!("{:08x}", hash >> 32);
    let base = repository().join("target/postgres").join(&name);
    create_dir_all(&base)?;
    let mut test = Command::new("setpriv");
    test.args([
        &format!("--reuid={SERVER_USER}"),
        &format!("--regid={SERVER_USER}"),
        "--clear-groups",
        "test",
        "-x",
    ]);
    let reachable = !as_root || test.arg(&base).status()?.success();
    if reachable && base.as_os_str().len() + SOCKET <= 107 {
        return Ok(base);
    }
    let base = Path::new("/var/tmp").join(format!("pgbatch-{name}"));
    create_dir_all(&base)?;
    Ok(base)
}

/// The installed PostgreSQL.
#[derive(Hash)]
struct Installed {
    version: String,
    bin: PathBuf,
    library: PathBuf,
    share: PathBuf,
}

impl Installed {
    fn ask(pg_config: &str) -> io::Result<Self> {
        let output = Command::new(pg_config)
            .args(["--version", "--bindir", "--pkglibdir", "--sharedir"])
            .stderr(Stdio::inherit())
            .output()
            .map_err(|e| io::Error::other(format!("{pg_config}: {e}; name it with PGBATCH_PG_CONFIG")))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut lines = text.lines();
        let mut next =
            || lines.next().ok_or_else(|| io::Error::other(format!("{pg_config} said only {text:?}")));
        Ok(Self {
            version: next()?.to_owned(),
            bin: next()?.into(),
            library: next()?.into(),
            share: next()?.into(),
        })
    }

    /// What the folders have in common: PostgreSQL finds them from where its program is, as long as they keep their
    /// places below it.
    fn root(&self) -> PathBuf {
        self.bin
            .ancestors()
            .find(|a| self.share.starts_with(a) && self.library.starts_with(a))
            .map_or_else(|| PathBuf::from("/"), Path::to_path_buf)
    }

    fn moved(&self, dir: &Path, base: &Path) -> PathBuf {
        base.join("prefix").join(dir.strip_prefix(self.root()).unwrap_or(dir))
    }

    fn copy_to(&self, base: &Path) -> io::Result<()> {
        let done = base.join("copied");
        if done.exists() {
            return Ok(());
        }
        for dir in [&self.bin, &self.library, &self.share] {
            let target = self.moved(dir, base);
            create_dir_all(&target)?;
            run(Command::new("cp").arg("-a").arg(dir.join(".")).arg(&target))?;
        }
        File::create(done).map(drop)
    }
}
