//! The settings of the dispatcher's session: what `ALTER ROLE ... SET` or `ALTER DATABASE ... SET` says for the work of
//! people must not break the loop.

use tokio_postgres::{Client, Error};
use tracing::warn;

use super::connect::with_causes;
use super::silence;

/// What must hold, and why. A setting that this PostgreSQL does not have is left out.
const REQUIRED: [(&str, &str); 8] = [
    // An idle dispatcher is no forgotten session: it listens.
    ("idle_session_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    // A long backlog may take seconds to read. Tried again, it would take as long.
    ("statement_timeout", "0"),
    ("transaction_timeout", "0"),
    // The functions skip what others keep locked; the rest are short waits for a commit.
    ("lock_timeout", "0"),
    ("default_transaction_read_only", "off"),
    // The functions see what was committed before each of their statements, and expect no serialization failure.
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_deferrable", "off"),
];

/// Sets what the dispatcher relies on. Names are looked up in `pg_catalog` only, from the first statement on.
///
/// # Errors
/// The session broke.
pub(super) async fn settle(client: &Client) -> Result<(), Error> {
    client.batch_execute("SET search_path = pg_catalog, pg_temp").await?;
    let (names, values): (Vec<&str>, Vec<&str>) = REQUIRED.into_iter().unzip();
    client
        .execute(
            "SELECT set_config(s.name, w.value, false) FROM unnest($1::text[], $2::text[]) AS w (name, value) \
             JOIN pg_settings AS s ON s.name = w.name WHERE s.setting <> w.value",
            &[&names, &values],
        )
        .await?;
    // A claim that a crash of PostgreSQL, or a promotion ('local' does not wait for the standby), takes back has a Job
    // already, and its items would get a second one.
    client
        .execute(
            "SELECT set_config('synchronous_commit', 'on', false) \
             WHERE current_setting('synchronous_commit') IN ('off', 'local')",
            &[],
        )
        .await?;
    notice_silence(client).await
}

/// Has PostgreSQL's end of the connection notice a silent dispatcher as soon as the dispatcher's end notices a silent
/// PostgreSQL. Not required: a server may refuse, or run where there is no such option; the lead of a dispatcher that
/// vanished then ends when the server's own settings say so.
async fn notice_silence(client: &Client) -> Result<(), Error> {
    let wanted = [
        ("tcp_keepalives_idle", format!("{}s", silence::KEEPALIVE_IDLE.as_secs())),
        ("tcp_keepalives_interval", format!("{}s", silence::KEEPALIVE_INTERVAL.as_secs())),
        ("tcp_keepalives_count", silence::KEEPALIVE_PROBES.to_string()),
        ("tcp_user_timeout", format!("{}ms", silence::UNACKNOWLEDGED_MAX.as_millis())),
        ("client_connection_check_interval", format!("{}ms", silence::CLIENT_CHECK.as_millis())),
    ];
    for (name, value) in wanted {
        try_set(client, name, &value).await?;
    }
    Ok(())
}

/// Sets what the server may refuse; that it does is told.
///
/// # Errors
/// The session broke.
pub(super) async fn try_set(client: &Client, name: &str, value: &str) -> Result<(), Error> {
    match client.execute("SELECT set_config($1, $2, false)", &[&name, &value]).await {
        Err(error) if error.as_db_error().is_some() => {
            let error = with_causes(&error);
            warn!(setting = name, value, error, "a standby may have to wait for longer: the server refuses");
            Ok(())
        }
        set => set.map(drop),
    }
}
