//! The streams from which every other service knows users and accounts, and which tokens are to be refused.
//!
//! Level-triggered: each round asks the tables for what changed since the last one. A change of this process wakes it at once, one
//! of another replica is found with the next heartbeat.

use std::time::Duration;

use crater_auth::ACCESS_TOKEN_LIFE;
use crater_domain::{AccountId, Error, Result, UserId};
use crater_store::user::{self, Account, Changes, Identity, Revocation};
use crater_store::{Conn, Tx};
use futures::Stream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::app::App;
use crate::sessions::millis;

/// A sign of life this often.
pub const HEARTBEAT: Duration = Duration::from_secs(2);

/// Clocks apart: what is refused is told for so much longer than the last access token of it lives.
const SLACK: Duration = Duration::from_secs(60);

/// What a watcher hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<T> {
    /// Forget everything; the whole follows, up to `Synced`.
    SnapshotStart,
    /// Something as it is now.
    Said(T),
    /// The snapshot is complete.
    Synced,
    /// Nothing changed.
    Heartbeat,
}

/// What a watcher of identities is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// An account as it is now.
    Account(Account),
    /// An account that was deleted, whenever that was.
    DeletedAccount(AccountId),
    /// A user as it is now.
    Identity(Box<Identity>),
    /// A user who was deleted.
    DeletedUser(UserId),
}

/// What changed after a revision, and the revision that it brings one to; all there is for 0. Revocations of before the given moment are
/// no longer needed.
type Look<T> = fn(&mut Conn, i64, i64) -> Result<(i64, Vec<T>)>;

impl App {
    /// Everything there is, then every change; ends with an error when the tables cannot be read.
    pub fn watch_identities(&self) -> impl Stream<Item = Result<Event<Known>>> + Send + 'static {
        self.watch(Tx::ReadIdentities, |c, after, since_ms| {
            Ok(known(user::changes_since(c, after, since_ms)?))
        })
    }

    /// All tokens in date that are to be refused, then every change; ends with an error when the tables cannot be read.
    pub fn watch_revocations(&self) -> impl Stream<Item = Result<Event<Revocation>>> + Send + 'static {
        self.watch(Tx::ReadRevocations, |c, after, since_ms| Ok(user::revocations_since(c, after, since_ms)?))
    }

    fn watch<T: Send + 'static>(
        &self,
        name: Tx,
        look: Look<T>,
    ) -> impl Stream<Item = Result<Event<T>>> + Send + 'static + use<T> {
        let (events, received) = mpsc::channel(64);
        let app = self.clone();
        tokio::spawn(async move {
            // the watcher going away ends it wherever it waits
            let watched = events.clone();
            tokio::select! {
                () = watched.closed() => {}
                Err(error) = app.follow(name, look, &events) => { let _ = events.send(Err(error)).await; }
            }
        });
        ReceiverStream::new(received)
    }

    async fn follow<T: Send + 'static>(
        &self,
        name: Tx,
        look: Look<T>,
        to: &mpsc::Sender<Result<Event<T>>>,
    ) -> Result<()> {
        let send =
            |event| async { to.send(Ok(event)).await.map_err(|_| Error::unavailable("the watcher left")) };
        let mut wake = self.changes();
        let mut seen = None;
        loop {
            // before the tables are read: a change after that wakes the next round
            wake.mark_unchanged();
            let (after, since_ms) = (seen.unwrap_or(0), self.now_ms() - millis(ACCESS_TOKEN_LIFE + SLACK));
            let found = self.db.read::<_, Error, _>(name, move |c| look(c, after, since_ms));
            let (revision, changes) = found.await?;
            if seen.is_none() {
                send(Event::SnapshotStart).await?;
            }
            let nothing = changes.is_empty();
            for change in changes {
                send(Event::Said(change)).await?;
            }
            match seen {
                None => send(Event::Synced).await?,
                Some(_) if nothing => send(Event::Heartbeat).await?,
                Some(_) => {}
            }
            seen = Some(revision);
            let _ = tokio::time::timeout(HEARTBEAT, wake.changed()).await;
        }
    }
}

fn known(changes: Changes) -> (i64, Vec<Known>) {
    let all = (changes.accounts.into_iter().map(Known::Account))
        .chain(changes.deleted_accounts.into_iter().map(Known::DeletedAccount))
        .chain(changes.identities.into_iter().map(|i| Known::Identity(Box::new(i))))
        .chain(changes.deleted_users.into_iter().map(Known::DeletedUser));
    (changes.revision, all.collect())
}
