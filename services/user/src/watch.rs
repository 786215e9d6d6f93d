//! The stream from which every other service knows users and accounts.
//!
//! Level-triggered: each round asks the tables for what changed since the last one. A change of this process wakes it at once, one
//! of another replica is found with the next heartbeat.

use std::time::Duration;

use crater_auth::ACCESS_TOKEN_LIFE;
use crater_domain::{Error, Result};
use crater_store::Tx;
use crater_store::user::{self, Account, Changes, Identity};
use futures::Stream;
use tokio_stream::wrappers::ReceiverStream;

use crate::app::App;
use crate::sessions::millis;

/// A sign of life this often.
pub const HEARTBEAT: Duration = Duration::from_secs(2);

/// Clocks apart: an ended session is told for so much longer than its last access token lives.
const SLACK: Duration = Duration::from_secs(60);

/// What a watcher hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Forget everything; the whole follows, up to `Synced`.
    SnapshotStart,
    /// An account as it is now.
    Account(Account),
    /// A user as it is now.
    Identity(Box<Identity>),
    /// The snapshot is complete.
    Synced,
    /// Nothing changed.
    Heartbeat,
}

impl App {
    /// Everything there is, then every change; ends with an error when the tables cannot be read.
    pub fn watch_identities(&self) -> impl Stream<Item = Result<Event>> + Send + 'static {
        let (events, received) = tokio::sync::mpsc::channel(64);
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

    async fn follow(&self, to: &tokio::sync::mpsc::Sender<Result<Event>>) -> Result<()> {
        let send =
            |event| async { to.send(Ok(event)).await.map_err(|_| Error::unavailable("the watcher left")) };
        let mut wake = self.changes();
        let mut revision = None;
        loop {
            // before the tables are read: a change after that wakes the next round
            wake.mark_unchanged();
            let changes = self.changes_since(revision.unwrap_or(0)).await?;
            if revision.is_none() {
                send(Event::SnapshotStart).await?;
            }
            let nothing = changes.accounts.is_empty() && changes.identities.is_empty();
            for account in changes.accounts {
                send(Event::Account(account)).await?;
            }
            for identity in changes.identities {
                send(Event::Identity(Box::new(identity))).await?;
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

    async fn changes_since(&self, revision: i64) -> Result<Changes> {
        let since_ms = self.now_ms() - millis(ACCESS_TOKEN_LIFE + SLACK);
        self.db
            .read::<_, Error, _>(Tx::ReadIdentities, move |c| Ok(user::changes_since(c, revision, since_ms)?))
            .await
    }
}
