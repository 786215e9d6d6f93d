//! The stream from which the scheduler and the job service know all limits.
//!
//! Level-triggered: each round asks the tables for what changed since the last one. A change of this process wakes it at once, one
//! of another replica is found with the next heartbeat.

use std::time::Duration;

use crater_domain::{Error, Result};
use crater_store::Tx;
use crater_store::quota::{self, Quota};
use futures::Stream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::app::App;

/// A sign of life this often.
pub const HEARTBEAT: Duration = Duration::from_secs(2);

/// What a watcher hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Forget everything; the whole follows, up to `Synced`.
    SnapshotStart,
    /// A quota as it is now.
    Quota(Quota),
    /// The snapshot is complete.
    Synced,
    /// Nothing changed.
    Heartbeat,
}

impl App {
    /// Everything there is, then every change; ends with an error when the tables cannot be read.
    pub fn watch(&self) -> impl Stream<Item = Result<Event>> + Send + 'static {
        let (events, received) = mpsc::channel(64);
        let app = self.clone();
        tokio::spawn(async move {
            // the watcher going away ends it wherever it waits
            let watched = events.clone();
            tokio::select! {
                () = watched.closed() => {}
                Err(error) = app.follow(&events) => { let _ = events.send(Err(error)).await; }
            }
        });
        ReceiverStream::new(received)
    }

    async fn follow(&self, to: &mpsc::Sender<Result<Event>>) -> Result<()> {
        let send =
            |event| async { to.send(Ok(event)).await.map_err(|_| Error::unavailable("the watcher left")) };
        let mut wake = self.changes();
        let mut revision = None;
        loop {
            // before the tables are read: a change after that wakes the next round
            wake.mark_unchanged();
            let after = revision.unwrap_or(0);
            let changes = self
                .db
                .read::<_, Error, _>(Tx::ReadQuotas, move |c| Ok(quota::changes_since(c, after)?))
                .await?;
            if revision.is_none() {
                send(Event::SnapshotStart).await?;
            }
            let nothing = changes.quotas.is_empty();
            for quota in changes.quotas {
                send(Event::Quota(quota)).await?;
            }
            match revision {
                None => send(Event::Synced).await?,
                Some(_) if nothing => send(Event::Heartbeat).await?,
                Some(_) => {}
            }
            revision = Some(changes.revision);
            let _ = tokio::time::timeout(HEARTBEAT, wake.changed()).await;
        }
    }
}
