//! The tail of the log of changes, read once for all who watch.
//!
//! One loop reads each change from the tables and keeps the newest in memory, bounded by bytes. Whoever watches says what it wants to
//! hear of; after each reading those are woken for whom there is something, and take it from here at their own pace. One that
//! is so slow that it is gone from here reads the tables.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crater_api::job::v1 as pb;
use crater_domain::{Error, JobId, Result};
use crater_service::Condition;
use crater_store::Tx;
use crater_store::job::{self, Filter, Job, Visible};
use tokio::sync::Notify;

use crate::app::{App, weight};
use crate::show;

/// Changes that are read at once.
const BATCH: usize = 256;
/// Bytes of jobs that are kept, roughly.
const KEPT_BYTES: usize = 16 << 20;

/// A job as a change left it.
#[derive(Debug)]
pub struct Change {
    /// The job, or what is left of it.
    pub job: Job,
    shown: OnceLock<pb::Job>,
}

impl Change {
    /// Of a job.
    pub fn new(job: Job) -> Arc<Self> {
        Arc::new(Self { job, shown: OnceLock::new() })
    }

    /// As it is told; built once for all who hear of it.
    pub fn shown(&self) -> &pb::Job {
        self.shown.get_or_init(|| show::job(&self.job))
    }
}

/// What somebody wants to hear of.
#[derive(Debug, Clone)]
pub struct Interest {
    /// Jobs of these accounts.
    pub visible: Visible,
    /// Only the one with this id.
    pub id: Option<JobId>,
    /// Only those for which its lasting part holds: what became of another one cannot matter.
    pub filter: Arc<Filter>,
}

impl Interest {
    /// Whether a job is among them.
    pub fn covers(&self, job: &Job) -> bool {
        let seen = match &self.visible {
            Visible::All => true,
            Visible::Accounts(accounts) => accounts.contains(&job.name.account),
        };
        seen && self.id.as_ref().is_none_or(|id| *id == job.name.job) && self.filter.stays(job)
    }
}

#[derive(Debug, Default)]
struct Ring {
    /// By the number of the change, which grows.
    items: VecDeque<Arc<Change>>,
    bytes: usize,
    /// All changes after this one are here,
    floor: i64,
    /// up to this one.
    head: i64,
    begun: bool,
}

#[derive(Debug)]
struct Seat {
    interest: Interest,
    /// The first change that concerns it and was not taken; 0 for none.
    first: i64,
    notify: Arc<Notify>,
}

#[derive(Default)]
struct Shared {
    ring: Mutex<Ring>,
    /// Taken after the ring where both are.
    seats: Mutex<HashMap<u64, Seat>>,
    next: AtomicU64,
}

/// The tail. Clones share it.
#[derive(Clone, Default)]
pub struct Tail(Arc<Shared>);

/// What the tail has after a place.
pub enum Since {
    /// These, and nothing else up to this number.
    Changes(Vec<Arc<Change>>, i64),
    /// It does not reach back so far.
    Behind,
}

/// A watcher's place; it is given up when this is dropped.
pub struct Watcher {
    tail: Tail,
    id: u64,
    notify: Arc<Notify>,
}

impl Tail {
    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.0.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seats(&self) -> MutexGuard<'_, HashMap<u64, Seat>> {
        self.0.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place, from which everything is heard that is read from now on.
    pub fn watch(&self, interest: Interest) -> Watcher {
        let (id, notify) = (self.0.next.fetch_add(1, Ordering::Relaxed), Arc::new(Notify::new()));
        self.seats().insert(id, Seat { interest, first: 0, notify: notify.clone() });
        Watcher { tail: self.clone(), id, notify }
    }

    /// At most `limit` changes after `from` of which `wanted` holds, looked for up to `upto`.
    pub fn since(&self, from: i64, upto: i64, limit: usize, wanted: impl Fn(&Job) -> bool) -> Since {
        let ring = self.ring();
        if from < ring.floor {
            return Since::Behind;
        }
        let start = ring.items.partition_point(|c| c.job.change <= from);
        let mut found = Vec::new();
        for change in ring.items.range(start..).take_while(|c| c.job.change <= upto) {
            if wanted(&change.job) {
                found.push(change.clone());
            }
            if found.len() == limit {
                return Since::Changes(found, change.job.change);
            }
        }
        Since::Changes(found, upto)
    }

    /// Adds what was read, all up to `head`, and wakes those whom it concerns.
    fn add(&self, jobs: Vec<Job>, head: i64) {
        let new: Vec<Arc<Change>> = jobs.into_iter().map(Change::new).collect();
        let mut ring = self.ring();
        for change in &new {
            ring.bytes += weight(&change.job);
            ring.items.push_back(change.clone());
        }
        while ring.bytes > KEPT_BYTES
            && let Some(old) = ring.items.pop_front()
        {
            ring.bytes = ring.bytes.saturating_sub(weight(&old.job));
            ring.floor = old.job.change;
        }
        ring.head = head;
        for seat in self.seats().values_mut().filter(|s| s.first == 0) {
            if let Some(first) = new.iter().find(|c| seat.interest.covers(&c.job)) {
                seat.first = first.job.change;
                seat.notify.notify_one();
            }
        }
    }

    /// Begins anew at `head`: what came before is in the tables only.
    fn reset(&self, head: i64) {
        let mut ring = self.ring();
        *ring = Ring { floor: head, head, begun: true, ..Ring::default() };
        for seat in self.seats().values_mut() {
            seat.first = 1;
            seat.notify.notify_one();
        }
    }
}

impl Watcher {
    /// From where on there is something, and up to where the tail has read; none: nothing up to there.
    pub fn take(&self) -> (Option<i64>, i64) {
        let ring = self.tail.ring();
        let mut seats = self.tail.seats();
        let first = seats.get_mut(&self.id).map_or(0, |seat| std::mem::take(&mut seat.first));
        (Some(first).filter(|first| *first != 0), ring.head)
    }

    /// Wants all after `position` to be looked through.
    pub fn rewind(&self, position: i64) {
        if let Some(seat) = self.tail.seats().get_mut(&self.id) {
            seat.first = if seat.first == 0 { position + 1 } else { seat.first.min(position + 1) };
        }
    }

    /// Wants to hear of something else.
    pub fn turn(&self, interest: Interest) {
        if let Some(seat) = self.tail.seats().get_mut(&self.id) {
            seat.interest = interest;
        }
    }

    /// Waits until there may be something.
    pub async fn woken(&self) {
        self.notify.notified().await;
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.tail.seats().remove(&self.id);
    }
}

/// Reads until the tables are away.
pub async fn run(app: App, ready: Condition) -> Result<()> {
    let mut wake = app.changes();
    if !app.tail.ring().begun {
        app.tail.reset(position(&app).await?);
    }
    ready.ready();
    loop {
        // before the tables are read: a change after that wakes the next round
        wake.mark_unchanged();
        let head = app.tail.ring().head;
        let changes = app.db.read::<_, Error, _>(Tx::ListJobs, move |c| {
            Ok(job::changes(c, head, &Visible::All, None, BATCH)?)
        });
        let changes = changes.await?;
        if changes.forgotten > head {
            // away for longer than deletions are remembered
            app.tail.reset(position(&app).await?);
            continue;
        }
        let more = changes.more;
        app.tail.add(changes.jobs, changes.position);
        if !more && wake.changed().await.is_err() {
            return Ok(());
        }
    }
}

async fn position(app: &App) -> Result<i64> {
    app.db.read::<_, Error, _>(Tx::ListJobs, |c| Ok(job::position(c)?)).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crater_domain::{JobSpec, JobState, JobUid, ServiceClass};
    use uuid::Uuid;

    fn changed(account: &str, change: i64) -> Job {
        Job {
            uid: JobUid(Uuid::from_u128(u128::try_from(change).unwrap())),
            name: format!("accounts/{account}/jobs/j").parse().unwrap(),
            creator: "ann".parse().unwrap(),
            spec: JobSpec {
                class: ServiceClass::Guaranteed,
                priority: 0,
                roles: vec![],
                expected_seconds: None,
                max_retries: 0,
                grace_seconds: 0,
                place: Default::default(),
            },
            labels: [("blob".to_owned(), "x".repeat(1 << 20))].into(),
            state: JobState::Queued,
            cancelled: false,
            suspended: None,
            trace: None,
            revision: 1,
            dirty: false,
            kube_uid: None,
            status: Default::default(),
            created_ms: 0,
            ended_ms: None,
            deleted_ms: None,
            change,
        }
    }

    fn interest(account: &str) -> Interest {
        let visible = Visible::Accounts(vec![account.parse().unwrap()]);
        Interest { visible, id: None, filter: Arc::default() }
    }

    #[test]
    fn only_those_are_woken_whom_a_change_concerns() {
        let tail = Tail::default();
        tail.reset(10);
        let (lab, den) = (tail.watch(interest("lab")), tail.watch(interest("den")));
        tail.add(vec![changed("den", 11), changed("lab", 12), changed("lab", 14)], 15);
        assert_eq!(lab.take(), (Some(12), 15));
        assert_eq!(lab.take(), (None, 15), "taken once");
        assert_eq!(den.take(), (Some(11), 15));
        lab.rewind(12);
        assert_eq!(lab.take(), (Some(13), 15));
        let Since::Changes(found, upto) = tail.since(12, 15, 9, |j| j.name.account.as_str() == "lab") else {
            panic!("behind")
        };
        assert_eq!((found.iter().map(|c| c.job.change).collect::<Vec<_>>(), upto), (vec![14], 15));
        drop(den);
        assert_eq!(tail.seats().len(), 1);
    }

    #[test]
    fn what_is_kept_is_bounded_and_who_is_behind_it_is_told_so() {
        let tail = Tail::default();
        tail.reset(0);
        for change in 1..=40 {
            tail.add(vec![changed("lab", change)], change);
        }
        let ring = tail.ring();
        assert!(ring.bytes <= KEPT_BYTES && ring.items.len() < 17, "{}", ring.items.len());
        let floor = ring.floor;
        drop(ring);
        assert!(matches!(tail.since(floor - 1, 40, 9, |_| true), Since::Behind));
        assert!(
            matches!(tail.since(floor, 40, 99, |_| true), Since::Changes(all, 40) if all.len() as i64 == 40 - floor)
        );
    }
}
