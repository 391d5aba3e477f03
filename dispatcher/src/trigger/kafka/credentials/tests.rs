use std::fs;
use std::os::unix::fs::symlink;

use super::*;

/// A folder of its own, with `orders/password` and a secret outside.
fn folder(test: &str) -> PathBuf {
    let place = std::env::temp_dir().join(format!("pgbatch-credentials-{test}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&place);
    fs::create_dir_all(place.join("credentials/orders")).unwrap();
    fs::write(place.join("credentials/orders/password"), "hunter2\n").unwrap();
    fs::write(place.join("outside"), "root's").unwrap();
    place
}

fn read(place: &Path, servers: &[&str], name: &str) -> Result<Option<String>, CredentialError> {
    let servers: Vec<String> = servers.iter().map(|s| (*s).to_owned()).collect();
    let folder = place.join("credentials");
    Reader { folder: Some(&folder), servers: &servers, granted: &Read::new() }.secret(Some(name), None)
}

#[test]
fn a_file_below_the_folder_is_read_without_the_newline_at_its_end() {
    let place = folder("below");
    assert_eq!(read(&place, &["a:1"], "orders/password").unwrap().as_deref(), Some("hunter2"));
    fs::write(place.join("credentials/orders/password"), "other").unwrap();
    assert_eq!(read(&place, &["a:1"], "orders/password").unwrap().as_deref(), Some("other"));
}

#[test]
fn nothing_outside_of_it_is_read_not_even_by_a_link() {
    let place = folder("outside");
    symlink(place.join("outside"), place.join("credentials/link")).unwrap();
    symlink("orders", place.join("credentials/inside")).unwrap();
    for name in ["../outside", "link", "/etc/passwd"] {
        let error = read(&place, &["a:1"], name).unwrap_err();
        assert!(matches!(error, CredentialError::Outside { .. }), "{name}: {error}");
    }
    assert!(read(&place, &["a:1"], "inside/password").is_ok());
    assert!(matches!(read(&place, &["a:1"], "nope"), Err(CredentialError::Read { .. })));
    let granted = Read::new();
    let none = Reader { folder: None, servers: &[], granted: &granted };
    let none = none.secret(Some("orders/password"), None);
    assert!(matches!(none, Err(CredentialError::NoFolder(_))));
}

#[test]
fn a_folder_with_a_list_of_servers_is_for_those_only() {
    let place = folder("servers");
    fs::write(place.join("credentials/orders/bootstrap-servers"), "a:1, b:2\n").unwrap();
    symlink("orders", place.join("credentials/other")).unwrap();
    assert!(read(&place, &["b:2", "a:1"], "orders/password").is_ok());
    for name in ["orders/password", "other/password"] {
        let error = read(&place, &["a:1", "mine:1"], name).unwrap_err();
        assert!(
            matches!(&error, CredentialError::OtherServers { server, .. } if server == "mine:1"),
            "{error}"
        );
    }
}

#[test]
fn variables_of_other_names_are_not_there() {
    let granted = Read::new();
    let reader = Reader { folder: None, servers: &[], granted: &granted };
    // It is set, as tests have it of cargo.
    assert!(std::env::var("CARGO_PKG_NAME").is_ok());
    for name in ["CARGO_PKG_NAME", "PGBATCH_KAFKA_CREDENTIAL_NOPE"] {
        assert!(matches!(reader.secret(None, Some(name)), Err(CredentialError::NoVariable(_))), "{name}");
    }
}
