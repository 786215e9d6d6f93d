//! The stream of jobs: all as they are, then every change, resumable.
//!
//! The snapshot is read from the tables, a page at a time; what changes after it is taken from the tail (`tail.rs`), which reads it once for all,
//! or from the tables by a watcher that fell behind it. A stream holds a few changes at a time and is asked for the next one by whoever
//! reads it, so a slow one costs no memory. One that was away for longer than deletions are remembered begins anew.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crater_api::page::{page_token, parse_page_token};
use crater_auth::Role;
use crater_domain::{Error, JobName, JobUid, Parent, Result};
use crater_store::Tx;
use crater_store::job::{self, Filter, Key, Order, Page, Visible};
use futures::{Stream, stream};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::app::{App, Caller};
use crate::tail::{Change, Interest, Since, Watcher};

/// Memberships are looked at this often.
const ROUND: Duration = Duration::from_secs(2);
/// A watcher that hears nothing else hears a bookmark this often.
const BOOKMARK: Duration = Duration::from_secs(10);
/// Jobs that are read at once.
const BATCH: usize = 64;
/// Changes that a stream takes from the tail at once.
const TAKEN: usize = 16;
/// Jobs that are remembered as told to be gone.
const MOST_GONE: usize = 512;

/// What a watcher hears.
#[derive(Debug, Clone)]
pub enum Event {
    /// A job as it is now.
    Changed(Arc<Change>),
    /// A job was deleted, or does not match any more.
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
    filter: Arc<Filter>,
    /// Marks the query in tokens.
    query: [String; 4],
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
        filter: Filter,
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
        let one = job.as_ref().map(ToString::to_string).unwrap_or_default();
        let query = ["WatchJobs".to_owned(), of, one, filter.words()];
        let filter = Arc::new(filter);
        let watch = Watch { app: self.clone(), caller: caller.clone(), parent, job, filter, query };
        let visible = watch.visible()?;
        let mut start = watch.start(resume_token, &visible)?;
        if let Start::At(at) = start
            && at > self.db.read::<_, Error, _>(Tx::ListJobs, |c| Ok(job::position(c)?)).await?
        {
            start = Start::Resync("the tables are older than the token");
        }
        if let (Start::Fresh, Some(name)) = (&start, &watch.job) {
            self.get(caller, Parent::Account(name.account.clone()), name.job.clone()).await?;
        }
        // nothing waits between the one who reads and the tail: who does not read costs nothing
        let follower = Follower::new(watch, visible, start);
        Ok(stream::unfold(Some(follower), |follower| async move {
            let mut follower = follower?;
            match follower.next().await {
                Ok(heard) => Some((Ok(heard), Some(follower))),
                Err(error) => Some((Err(error), None)),
            }
        }))
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

    fn interest(&self, visible: &Visible) -> Interest {
        let id = self.job.as_ref().map(|name| name.job.clone());
        Interest { visible: visible.clone(), id, filter: self.filter.clone() }
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
}

/// Where a stream is.
enum Phase {
    /// All jobs as they are come first.
    Begin,
    /// They are being sent, as they were at `position`; those that change meanwhile come later.
    Snapshot { position: i64, after: Option<Key> },
    /// All up to `position` was sent, and there is something up to `target`.
    Follow { position: i64, target: i64 },
}

/// A change on its way, and whether its number may be resumed after.
enum Next {
    Job(Arc<Change>, bool),
    Said(Heard),
}

/// One open stream.
struct Follower {
    watch: Watch,
    watcher: Watcher,
    visible: Visible,
    phase: Phase,
    pending: VecDeque<Next>,
    /// Jobs of which was told that they do not match any more, as far as they are remembered.
    told_gone: HashSet<JobUid>,
    spoke: Instant,
}

impl Follower {
    fn new(watch: Watch, visible: Visible, start: Start) -> Self {
        let watcher = watch.app.tail.watch(watch.interest(&visible));
        let mut pending = VecDeque::new();
        let phase = match start {
            Start::Fresh => Phase::Begin,
            Start::At(position) => {
                watcher.rewind(position);
                Phase::Follow { position, target: position }
            }
            Start::Resync(why) => {
                pending.push_back(resync(why));
                Phase::Begin
            }
        };
        let (told_gone, spoke) = (HashSet::new(), Instant::now());
        Self { watch, watcher, visible, phase, pending, told_gone, spoke }
    }

    async fn next(&mut self) -> Result<Heard> {
        loop {
            while let Some(next) = self.pending.pop_front() {
                let heard = match next {
                    Next::Said(heard) => heard,
                    Next::Job(change, resumable) => {
                        if !self.watch.caller.may(&change.job.name.account, Role::Member) {
                            self.pending.clear();
                            break;
                        }
                        let Some(event) = self.said(&change) else { continue };
                        let at = change.job.change;
                        let token =
                            if resumable { self.watch.token(at, &self.visible) } else { String::new() };
                        Heard { event, resume_token: token }
                    }
                };
                self.spoke = Instant::now();
                return Ok(heard);
            }
            self.look().await?;
        }
    }

    /// What is told of a change; none: it does not concern this stream.
    fn said(&mut self, change: &Arc<Change>) -> Option<Event> {
        let job = &change.job;
        if job.deleted_ms.is_none() && self.watch.filter.matches(job) {
            self.told_gone.remove(&job.uid);
            return Some(Event::Changed(change.clone()));
        }
        if self.told_gone.len() >= MOST_GONE {
            self.told_gone.clear();
        }
        self.told_gone.insert(job.uid).then(|| Event::Deleted(job.name.clone()))
    }

    /// Finds what comes next, or waits for it.
    async fn look(&mut self) -> Result<()> {
        let visible = self.watch.visible()?;
        if visible != self.visible {
            self.visible = visible;
            self.watcher.turn(self.watch.interest(&self.visible));
            self.anew(ACCOUNTS_CHANGED);
            return Ok(());
        }
        match self.phase {
            Phase::Begin => {
                let position =
                    self.watch.app.db.read::<_, Error, _>(Tx::ListJobs, |c| Ok(job::position(c)?)).await?;
                self.told_gone.clear();
                self.phase = Phase::Snapshot { position, after: None };
            }
            Phase::Snapshot { position, after } => self.snapshot(position, after).await?,
            Phase::Follow { position, target } if position < target => self.scan(position, target).await?,
            Phase::Follow { position, .. } => {
                let (first, head) = self.watcher.take();
                let position = match first {
                    Some(first) => position.max(first - 1),
                    None => position.max(head),
                };
                self.phase = Phase::Follow { position, target: head.max(position) };
                if position < head {
                    return Ok(());
                }
                let woken = tokio::time::timeout(ROUND, self.watcher.woken()).await.is_ok();
                if !woken && self.spoke.elapsed() >= BOOKMARK {
                    let resume_token = self.watch.token(position, &self.visible);
                    self.pending.push_back(Next::Said(Heard { event: Event::Bookmark, resume_token }));
                }
            }
        }
        Ok(())
    }

    fn anew(&mut self, why: &'static str) {
        self.pending.push_back(resync(why));
        self.phase = Phase::Begin;
    }

    /// Takes the next changes from the tail, or from the tables where that does not reach back so far.
    async fn scan(&mut self, position: i64, target: i64) -> Result<()> {
        let interest = self.watch.interest(&self.visible);
        match self.watch.app.tail.since(position, target, TAKEN, |job| interest.covers(job)) {
            Since::Changes(found, upto) => {
                self.pending.extend(found.into_iter().map(|change| Next::Job(change, true)));
                self.phase = Phase::Follow { position: upto, target };
            }
            Since::Behind => {
                let (scope, id) = (self.visible.clone(), interest.id.as_ref().map(ToString::to_string));
                let changes = self.watch.app.db.read::<_, Error, _>(Tx::ListJobs, move |c| {
                    Ok(job::changes(c, position, &scope, id.as_deref(), BATCH)?)
                });
                let changes = changes.await?;
                if changes.forgotten > position {
                    self.anew("what was deleted meanwhile is no longer known");
                    return Ok(());
                }
                let found = changes.jobs.into_iter().filter(|job| interest.covers(job));
                self.pending.extend(found.map(|job| Next::Job(Change::new(job), true)));
                self.phase = Phase::Follow { position: changes.position, target };
            }
        }
        Ok(())
    }

    /// The next jobs as they are. One that changed since `position` is left out: it comes with the changes.
    async fn snapshot(&mut self, position: i64, after: Option<Key>) -> Result<()> {
        let (jobs, next) = match &self.watch.job {
            Some(name) => {
                let name = name.clone();
                let found =
                    self.watch.app.db.read::<_, Error, _>(Tx::ReadJob, move |c| Ok(job::by_id(c, &name)?));
                (found.await?.into_iter().filter(|job| self.watch.filter.matches(job)).collect(), None)
            }
            None => {
                let (visible, filter) = (self.visible.clone(), (*self.watch.filter).clone());
                let page = Page { visible, filter, order: Order::default(), after, limit: BATCH };
                self.watch.app.page(page).await?
            }
        };
        let as_they_were = jobs.into_iter().filter(|job| job.change <= position);
        self.pending.extend(as_they_were.map(|job| Next::Job(Change::new(job), false)));
        self.phase = match next {
            Some(next) => Phase::Snapshot { position, after: Some(next) },
            None => {
                let resume_token = self.watch.token(position, &self.visible);
                self.pending.push_back(Next::Said(Heard { event: Event::Bookmark, resume_token }));
                self.watcher.rewind(position);
                Phase::Follow { position, target: position }
            }
        };
        Ok(())
    }
}

fn resync(why: &'static str) -> Next {
    Next::Said(Heard { event: Event::Resync(why), resume_token: String::new() })
}

const ACCOUNTS_CHANGED: &str = "the accounts that you are in have changed";

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
