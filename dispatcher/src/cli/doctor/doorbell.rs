//! Rings the doorbell, and listens whether it is heard.

use std::time::{Duration, Instant};

use super::findings::Findings;
use crate::people::failure::Failure;
use crate::people::session::Session;
use crate::store::DatabaseUrl;

/// A ring that is not heard within this is none.
const HEARD_MAX: Duration = Duration::from_secs(5);

/// Examines it.
///
/// # Errors
/// Something that was not expected to fail.
pub(super) async fn examine(
    session: &Session,
    url: &DatabaseUrl,
    findings: &mut Findings,
) -> Result<(), Failure> {
    let sql = "SELECT to_regprocedure('pgbatch.wait(bigint, bigint)') IS NOT NULL AS shared, \
        has_function_privilege('pgbatch.ring()', 'EXECUTE') AS may_ring";
    let found = session.row(sql, &[]).await?.unwrap_or_default();
    if found["may_ring"] != true {
        findings.untried(
            "doorbell",
            "it was not rung: this role may not",
            "pgbatch.grant_dispatcher() lets it",
        );
        return Ok(());
    }
    let shared = found["shared"] == true;
    let sleeper = Session::connect(url, "doctor").await?;
    let heard = if shared {
        in_shared_memory(session, &sleeper).await?
    } else {
        by_notify(session, &sleeper).await?
    };
    let kind = if shared { "shared memory" } else { "NOTIFY, as the server has no library of pgbatch" };
    match heard {
        Some(after) => findings.fine(
            "doorbell",
            format!("{kind}: heard {:.1} ms after its commit", after.as_secs_f64() * 1000.0),
        ),
        None => findings.fail(
            "doorbell",
            format!("{kind}: a commit that rang was not heard within {} s", HEARD_MAX.as_secs()),
            "is the server a standby, or was the library replaced? Restart the sessions that enqueue, then PostgreSQL",
        ),
    }
    Ok(())
}

async fn in_shared_memory(ringer: &Session, sleeper: &Session) -> Result<Option<Duration>, Failure> {
    const SEQ: &str = "SELECT pgbatch.doorbell_seq()";
    let before = sleeper.number(SEQ, &[]).await?;
    let at_most = i64::try_from(HEARD_MAX.as_millis()).unwrap_or(i64::MAX);
    let wait = async {
        sleeper.call("CALL pgbatch.wait($1, $2)", &[&before, &at_most]).await?;
        Ok::<_, Failure>(Instant::now())
    };
    let ring = async {
        ringer.call("SELECT pgbatch.ring()", &[]).await?;
        Ok::<_, Failure>(Instant::now())
    };
    let (woken, rung) = tokio::try_join!(wait, ring)?;
    // It ends after its time too.
    let is_heard = sleeper.number(SEQ, &[]).await? != before;
    Ok(is_heard.then(|| woken.saturating_duration_since(rung)))
}

async fn by_notify(ringer: &Session, sleeper: &Session) -> Result<Option<Duration>, Failure> {
    sleeper.call("LISTEN pgbatch", &[]).await?;
    ringer.call("SELECT pgbatch.ring()", &[]).await?;
    let rung = Instant::now();
    Ok(sleeper.is_rung(HEARD_MAX).await.then(|| rung.elapsed()))
}
