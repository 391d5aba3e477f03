//! `pgbatch status`: the queues, who leads, and why work is held. Live on a terminal, like top; else once.

mod frame;
mod rates;
mod screen;

use std::time::Duration;

use clap::Args;
use tokio::time::sleep;

use super::connection;
use super::failure::{Failure, Fate};
use super::output::Output;
use super::session::Session;
use crate::config::ClientArgs;
use crate::shutdown::Shutdown;
use frame::Frame;
use rates::Rates;
use screen::Screen;

/// What changes without any batch ending is seen this late.
const REFRESH: Duration = Duration::from_secs(1);
/// A storm of ending batches is not looked at more often.
const PAUSE: Duration = Duration::from_millis(250);

/// How.
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// Print it once and end, on a terminal too. Piped, and as JSON, that is always so.
    #[arg(long)]
    once: bool,
}

pub(super) async fn status(args: StatusArgs) -> Result<Fate, Failure> {
    let StatusArgs { client, once } = args;
    let output = Output::new(client.output);
    let url = connection::database(client.database_url)?;
    let session = Session::connect(&url, "status").await?;
    if once || output.is_json() || !output.is_terminal() {
        let frame = Frame::read(&session, &mut Rates::default()).await?;
        match output.is_json() {
            true => output.json(&frame.json())?,
            false => output.write(&frame.text(&output))?,
        }
        return Ok(Fate::Fine);
    }
    let mut stop = Shutdown::on_signals()?;
    let screen = Screen::open(&output)?;
    let last = tokio::select! {
        ended = live(session, &url, &screen) => Err(ended),
        () = stop.requested() => Ok(screen.close()?),
    };
    match last {
        Ok(last) => output.write(&last)?,
        Err(failure) => return failure.map(|()| Fate::Fine),
    }
    Ok(Fate::Fine)
}

/// Draws until something goes wrong that does not pass.
async fn live(session: Session, url: &crate::store::DatabaseUrl, screen: &Screen<'_>) -> Result<(), Failure> {
    let mut rates = Rates::default();
    let mut session = Some(session);
    if let Some(session) = &session {
        session.listen().await?;
    }
    loop {
        let read = match &session {
            Some(session) => Frame::read(session, &mut rates).await,
            None => Err(Failure::new("not connected")),
        };
        match read {
            Ok(frame) => screen.draw(&frame)?,
            Err(failure) => {
                // PostgreSQL restarts, a laptop wakes up: the picture comes back by itself.
                screen.draw_failure(&failure)?;
                session = reconnect(url).await;
            }
        }
        sleep(PAUSE).await;
        match &session {
            Some(session) => session.rung(REFRESH.saturating_sub(PAUSE)).await,
            None => sleep(REFRESH).await,
        }
    }
}

async fn reconnect(url: &crate::store::DatabaseUrl) -> Option<Session> {
    let session = Session::connect(url, "status").await.ok()?;
    session.listen().await.ok()?;
    Some(session)
}
