//! A server's data taken over by `pg_upgrade`.

use std::fs::rename;
use std::io;

use super::prefix::Prefix;
use super::{SUPERUSER, Server, Stop};
use crate::command::run;

impl Server {
    /// Stops the server, has `pg_upgrade` take its data over into a new one of the same major, and starts that in its place.
    ///
    /// # Errors
    /// `pg_upgrade` refuses, in its own words, or the new server does not start.
    pub fn upgrade(&mut self) -> io::Result<()> {
        let prefix = Prefix::get()?;
        self.stop(Stop::Fast)?;
        let dir = &self.place.dir;
        let (data, new) = (dir.join("data"), dir.join("new"));
        prefix.initialize(&new)?;
        let mut upgrade = prefix.command(prefix.bin.join("pg_upgrade"));
        // Its scripts and logs are written to where it is started.
        upgrade.current_dir(dir).args(["-U", SUPERUSER, "-s"]).arg(dir);
        upgrade
            .arg("-b")
            .arg(&prefix.bin)
            .arg("-B")
            .arg(&prefix.bin)
            .arg("-d")
            .arg(&data)
            .arg("-D")
            .arg(&new);
        run(&mut upgrade)?;
        rename(&data, dir.join("old"))?;
        rename(&new, &data)?;
        self.restart()
    }
}
