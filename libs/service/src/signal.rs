//! The life of a service's process.

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

use crate::{Error, Running, Shutdown};

/// Cancels `shutdown` at SIGTERM or SIGINT; a second signal ends the process at once. Abort the task to stop listening.
///
/// # Errors
/// The system does not let this process listen for signals.
pub fn stop_on_signal(shutdown: &Shutdown) -> Result<JoinHandle<()>, Error> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signal)?;
    let shutdown = shutdown.clone();
    Ok(tokio::spawn(async move {
        for again in [false, true] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if again {
                tracing::warn!("second signal, leaving at once");
                std::process::exit(130);
            }
            tracing::info!("signal, draining");
            shutdown.cancel();
        }
    }))
}

/// Starts a service and lets it run until SIGTERM or SIGINT, then waits until it has drained. `start` gets the token
/// that the signal cancels.
pub async fn run_until_signal<F, Fut, E>(start: F) -> Result<(), E>
where
    F: FnOnce(Shutdown) -> Fut,
    Fut: Future<Output = Result<Running, E>>,
    E: From<Error>,
{
    let shutdown = Shutdown::new();
    let signals = stop_on_signal(&shutdown)?;
    let started = tokio::select! {
        started = start(shutdown.clone()) => started,
        () = shutdown.cancelled() => return Ok(()),
    };
    let result = match started {
        Ok(running) => running.stopped().await.map_err(E::from),
        Err(error) => Err(error),
    };
    // Background loops of the service share the token.
    shutdown.cancel();
    signals.abort();
    result
}
