//! The password file of psql: `PGPASSFILE`, else `~/.pgpass`.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use tokio_postgres::config::Host;

/// The password for a server, database and user. A file that others may read is not used, as psql does not either.
pub(crate) fn find(host: &Host, port: u16, database: Option<&str>, user: Option<&str>) -> Option<Vec<u8>> {
    let path = path()?;
    let text = fs::read_to_string(&path).ok()?;
    if fs::metadata(&path).is_ok_and(|file| file.is_file() && file.mode() & 0o077 != 0) {
        eprintln!("pgbatch: {} is not used: others may read it (hint: chmod 600)", path.display());
        return None;
    }
    let host = match host {
        Host::Tcp(name) => vec![name.clone()],
        // What psql looks for, where the socket is in its default place.
        Host::Unix(dir) => vec![dir.display().to_string(), "localhost".to_owned()],
    };
    let user = user.map(str::to_owned).or_else(|| std::env::var("USER").ok()).unwrap_or_default();
    let database = database.unwrap_or(&user).to_owned();
    password(&text, &host, &port.to_string(), &database, &user).map(String::into_bytes)
}

fn path() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("PGPASSFILE").or_else(|| Some(set("HOME")?.join(".pgpass")))
}

/// The first line that fits decides.
fn password(text: &str, hosts: &[String], port: &str, database: &str, user: &str) -> Option<String> {
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let [line_host, line_port, line_database, line_user, password] = fields(line)?;
        let is = |pattern: &str, value: &str| pattern == "*" || pattern == value;
        let fits = (line_host == "*" || hosts.contains(&line_host))
            && is(&line_port, port)
            && is(&line_database, database)
            && is(&line_user, user);
        fits.then_some(password)
    })
}

/// `host:port:database:user:password`; a backslash takes the meaning from what follows.
fn fields(line: &str) -> Option<[String; 5]> {
    let mut fields = vec![String::new()];
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            // The password is the rest.
            ':' if fields.len() < 5 => fields.push(String::new()),
            '\\' => fields.last_mut()?.extend(characters.next()),
            _ => fields.last_mut()?.push(character),
        }
    }
    fields.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_fits_has_the_password() {
        let file = "# a comment\n\ndb:5432:other:ann:no\ndb:*:shop:ann:a\\:b:c\\\\d\n*:*:*:*:rest\n";
        let find = |host: &str, database: &str| password(file, &[host.to_owned()], "5432", database, "ann");
        assert_eq!(find("db", "shop").as_deref(), Some("a:b:c\\d"));
        assert_eq!(find("db", "other").as_deref(), Some("no"));
        assert_eq!(find("elsewhere", "shop").as_deref(), Some("rest"));
        assert_eq!(password("db:5432:shop:ann", &["db".to_owned()], "5432", "shop", "ann"), None);
    }
}
