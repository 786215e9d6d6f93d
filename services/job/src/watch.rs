//! The stream of jobs: all as they are, then every change, resumable.
//!
//! Level-triggered: each round asks the tables for what changed since the last one, so a watcher that is slow costs no memory: it finds
//! fewer, newer changes when it comes back. One that was away for longer than deletions are remembered begins anew.

use std::time::Duration;

use crater_api::page::{page_token, parse_page_token};
use crater_auth::Role;
use crater_domain::{Error, JobName, Parent, Result};
use crater_store::Tx;
use crater_store::job::{self, Job, Visible};
use futures::Stream;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;

use crate::app::{App, Caller};

/// Memberships are looked at this often.
const ROUND: Duration = Duration::from_secs(2);
/// A watcher that hears nothing else hears a bookmark this often.
const BOOKMARK: Duration = Duration::from_secs(10);
/// Jobs that are read at once.
const BATCH: usize = 64;

/// What a watcher hears.
#[derive(Debug, Clone)]
pub enum Event {
    /// A job as it is now.
    Changed(Box<Job>),
    /// A job was deleted.
    Deleted(JobName),
    /// All jobs as they are have been sent, or nothing happened for a while.
    Bookmark,
    /// Forget everything; it is sent anew.
    Resync(&'static str),
}

/// An event, and where to resume after it; empty where one cannot.
#[derive(Debug, Clone)]
pub struct Heard {
    /// What happened.
    pub event: Event,
    /// Opaque.
    pub resume_token: String,
}

/// What somebody watches.
#[derive(Clone)]
struct Watch {
    app: App,
    caller: Caller,
    parent: Parent,
    job: Option<JobName>,
    /// Marks the query in tokens.
    query: [String; 3],
}

/// Where a watch begins.
enum Start {
    Fresh,
    At(i64),
    Resync(&'static str),
}

impl App {
    /// Opens the stream. It ends with an error when the caller may no longer see what it is about, or the tables cannot be read.
    pub async fn watch(
        &self,
        caller: &Caller,
        parent: Parent,
        job: Option<JobName>,
        resume_token: &str,
    ) -> Result<impl Stream<Item = Result<Heard>> + Send + 'static> {
        self.visible_there(caller, &parent).await?;
        if let (Parent::Account(account), Some(job)) = (&parent, &job)
            && *account != job.account
        {
            return Err(Error::field("job", format!("must be below {}", account.resource_name())));
        }
        let of = match &parent {
            Parent::All => "-".to_owned(),
            Parent::Account(account) => account.to_string(),
        };
        let query = ["WatchJobs".to_owned(), of, job.as_ref().map(ToString::to_string).unwrap_or_default()];
        let watch = Watch { app: self.clone(), caller: caller.clone(), parent, job, query };
        let visible = watch.visible()?;
        let start = watch.start(resume_token, &visible)?;
        if let (Start::Fresh, Some(name)) = (&start, &watch.job) {
            self.get(caller, Parent::Account(name.account.clone()), name.job.clone()).await?;
        }
        let (events, received) = mpsc::channel(BATCH);
        tokio::spawn(async move {
            // the watcher going away ends it wherever it waits
            let watched = events.clone();
            tokio::select! {
                () = watched.closed() => {}
                Err(error) = watch.follow(start, &events) => { let _ = events.send(Err(error)).await; }
            }
        });
        Ok(ReceiverStream::new(received))
    }
}

impl Watch {
    /// Whose jobs the caller sees now.
    fn visible(&self) -> Result<Visible> {
        match &self.job {
            Some(name) => {
                self.caller.require_object("job", name, &name.account, Role::Member)?;
                Ok(Visible::Accounts(vec![name.account.clone()]))
            }
            None => App::visible(&self.caller, &self.parent),
        }
    }

    fn start(&self, token: &str, visible: &Visible) -> Result<Start> {
        let broken = || Error::field("resume_token", "is no token of ours: begin without one");
        let key = parse_page_token(token, &self.query.each_ref().map(String::as_str)).map_err(|mut e| {
            e.violations.iter_mut().for_each(|v| v.field = "resume_token".to_owned());
            e.message = e.message.replace("page_token", "resume_token").into();
            e
        })?;
        let Some(key) = key else { return Ok(Start::Fresh) };
        let mut parts = key.split('/');
        let (Some(at), Some(database), Some(accounts), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(broken());
        };
        let at: i64 = at.parse().map_err(|_| broken())?;
        Ok(if database != &*self.app.database {
            Start::Resync("the token is of another database")
        } else if accounts != mark(visible) {
            Start::Resync(ACCOUNTS_CHANGED)
        } else {
            Start::At(at)
        })
    }

    fn token(&self, at: i64, visible: &Visible) -> String {
        let key = format!("{at}/{}/{}", self.app.database, mark(visible));
        page_token(&self.query.each_ref().map(String::as_str), &key)
    }

    async fn follow(&self, start: Start, to: &mpsc::Sender<Result<Heard>>) -> Result<()> {
        let send = |event, resume_token| async {
            let sent = to.send(Ok(Heard { event, resume_token })).await;
            sent.map_err(|_| Error::unavailable("the watcher left"))
        };
        let mut wake = self.app.changes();
        let mut seen = self.visible()?;
        let mut spoke = Instant::now();
        let mut position = match start {
            Start::Fresh => None,
            Start::At(at) => Some(at),
            Start::Resync(why) => {
                send(Event::Resync(why), String::new()).await?;
                None
            }
        };
        loop {
            // before the tables are read: a change after that wakes the next round
            wake.mark_unchanged();
            let visible = self.visible()?;
            if visible != seen {
                seen = visible.clone();
                position = None;
                send(Event::Resync(ACCOUNTS_CHANGED), String::new()).await?;
            }
            let Some(at) = position else {
                position = self.snapshot(&visible, to).await?;
                spoke = Instant::now();
                continue;
            };
            let (scope, id) = (visible.clone(), self.id());
            let changes = self.app.db.read::<_, Error, _>(Tx::ListJobs, move |c| {
                Ok(job::changes(c, at, &scope, id.as_deref(), BATCH)?)
            });
            let changes = changes.await?;
            if changes.forgotten > at {
                position = None;
                send(Event::Resync("what was deleted meanwhile is no longer known"), String::new()).await?;
                continue;
            }
            for job in changes.jobs {
                if !self.caller.may(&job.name.account, Role::Member) {
                    break;
                }
                let token = self.token(job.change, &visible);
                send(said(job), token).await?;
                spoke = Instant::now();
            }
            position = Some(changes.position);
            if changes.more {
                continue;
            }
            if tokio::time::timeout(ROUND, wake.changed()).await.is_err() && spoke.elapsed() >= BOOKMARK {
                send(Event::Bookmark, self.token(changes.position, &visible)).await?;
                spoke = Instant::now();
            }
        }
    }

    /// Sends all jobs as they are; where the changes go on, or none if the caller's accounts changed on the way.
    async fn snapshot(&self, visible: &Visible, to: &mpsc::Sender<Result<Heard>>) -> Result<Option<i64>> {
        let left = |_| Error::unavailable("the watcher left");
        let position = self.app.db.read::<_, Error, _>(Tx::ListJobs, |c| Ok(job::position(c)?)).await?;
        let mut after = 0;
        loop {
            let (scope, id) = (visible.clone(), self.id());
            let batch = self.app.db.read::<_, Error, _>(Tx::ListJobs, move |c| {
                Ok(job::snapshot(c, position, after, &scope, id.as_deref(), BATCH)?)
            });
            let batch = batch.await?;
            let more = batch.len() == BATCH;
            for job in batch {
                if !self.caller.may(&job.name.account, Role::Member) {
                    return Ok(None);
                }
                after = job.change;
                to.send(Ok(Heard { event: said(job), resume_token: String::new() })).await.map_err(left)?;
            }
            if !more {
                let resume_token = self.token(position, visible);
                to.send(Ok(Heard { event: Event::Bookmark, resume_token })).await.map_err(left)?;
                return Ok(Some(position));
            }
        }
    }

    fn id(&self) -> Option<String> {
        self.job.as_ref().map(|name| name.job.to_string())
    }
}

const ACCOUNTS_CHANGED: &str = "the accounts that you are in have changed";

fn said(job: Job) -> Event {
    match job.deleted_ms {
        Some(_) => Event::Deleted(job.name),
        None => Event::Changed(Box::new(job)),
    }
}

/// Marks whose jobs are seen: a place in the stream means another thing to somebody who sees other accounts.
fn mark(visible: &Visible) -> String {
    let Visible::Accounts(accounts) = visible else { return "all".to_owned() };
    let mut hash = Sha256::new();
    for account in accounts {
        hash.update(account.as_str());
        hash.update([0]);
    }
    hash.finalize()[..8].iter().map(|b| format!("{b:02x}")).collect()
}
