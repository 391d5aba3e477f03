//! SIGTERM and SIGINT.

use std::io;

use tokio::sync::watch;
use tracing::info;

/// Ends when the process was asked to.
#[derive(Clone)]
pub struct Shutdown(watch::Receiver<bool>);

impl Shutdown {
    /// Listens to the signals from now on.
    ///
    /// # Errors
    /// The handlers cannot be installed.
    pub fn on_signals() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let (sender, receiver) = watch::channel(false);
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::spawn(async move {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            info!(signal = name, "asked to stop");
            sender.send_replace(true);
        });
        Ok(Self(receiver))
    }

    /// Ends when the process was asked to stop.
    pub async fn requested(&mut self) {
        // The sender lives in the task above, which ends only after it sent.
        let _ = self.0.wait_for(|asked| *asked).await;
    }
}
