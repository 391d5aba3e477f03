//! Where PostgreSQL is: what was given, or else the variables that psql knows.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::failure::Failure;
use super::pgpass;
use crate::store::DatabaseUrl;

/// Where Debian's server has its socket, and where PostgreSQL's own default is.
const SOCKET_DIRS: [&str; 2] = ["/var/run/postgresql", "/tmp"];

/// How, by the variables of psql.
const SETTINGS: [(&str, &str); 5] = [
    ("PGSSLMODE", "sslmode"),
    ("PGSSLROOTCERT", "sslrootcert"),
    ("PGSSLCERT", "sslcert"),
    ("PGSSLKEY", "sslkey"),
    ("PGCHANNELBINDING", "channel_binding"),
];

/// The database to talk to, with its password as far as one is found.
pub(crate) fn database(given: Option<DatabaseUrl>) -> Result<DatabaseUrl, Failure> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let url = match given {
        Some(url) => url,
        None => url(&variable).parse::<DatabaseUrl>()?,
    };
    Ok(url.or_password(pgpass::find))
}

/// What the variables say, as a URL. What none of them says is as psql has it.
fn url(variable: &dyn Fn(&str) -> Option<String>) -> String {
    let user = variable("PGUSER").or_else(|| variable("USER")).or_else(|| variable("LOGNAME"));
    let database = variable("PGDATABASE").or_else(|| user.clone()).unwrap_or_default();
    let hosts = variable("PGHOST").unwrap_or_else(socket_dir);
    let ports = variable("PGPORT").unwrap_or_else(|| "5432".to_owned());
    // One port may serve several hosts.
    let port_of = |at| ports.split(',').nth(at).or(ports.split(',').next()).unwrap_or_default();
    let hosts: Vec<String> = hosts
        .split(',')
        .enumerate()
        .map(|(at, host)| format!("{}:{}", encoded(host), encoded(port_of(at))))
        .collect();
    let mut url = "postgres://".to_owned();
    if let Some(user) = user {
        url += &format!("{}@", encoded(&user));
    }
    url += &format!("{}/{}", hosts.join(","), encoded(&database));
    let settings: Vec<String> = SETTINGS
        .iter()
        .filter_map(|(name, setting)| Some(format!("{setting}={}", encoded(&variable(name)?))))
        .collect();
    if !settings.is_empty() {
        url += &format!("?{}", settings.join("&"));
    }
    url
}

fn socket_dir() -> String {
    let there = |dir: &&&str| std::path::Path::new(dir).is_dir();
    SOCKET_DIRS.iter().find(there).map_or_else(|| "localhost".to_owned(), |dir| (*dir).to_owned())
}

/// For a part of a URL.
fn encoded(text: &str) -> String {
    const REST: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    utf8_percent_encode(text, REST).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(variables: &[(&str, &str)]) -> String {
        url(&|name| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn the_variables_of_psql_make_a_url() {
        let text = from(&[
            ("PGHOST", "db.example"),
            ("PGPORT", "5433"),
            ("PGUSER", "a@b"),
            ("PGDATABASE", "my shop?"),
            ("PGSSLMODE", "verify-full"),
            ("PGSSLROOTCERT", "/etc/ca.pem"),
        ]);
        let expected =
            "postgres://a%40b@db.example:5433/my%20shop%3F?sslmode=verify-full&sslrootcert=%2Fetc%2Fca.pem";
        assert_eq!(text, expected);
        assert_eq!(text.parse::<DatabaseUrl>().unwrap().target(), "db.example:5433/my shop?");
    }

    #[test]
    fn a_folder_is_a_unix_socket_and_the_database_is_named_after_the_user() {
        let text = from(&[("PGHOST", "/run/pg"), ("USER", "ann")]);
        assert_eq!(text.parse::<DatabaseUrl>().unwrap().target(), "/run/pg:5432/ann");
    }

    #[test]
    fn several_hosts_and_ports_stay_several() {
        let text = from(&[("PGHOST", "a,::1"), ("PGPORT", "1,2"), ("PGUSER", "u")]);
        assert_eq!(text.parse::<DatabaseUrl>().unwrap().target(), "a:1,::1:2/u");
    }
}
