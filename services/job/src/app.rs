//! The use cases, on domain types. Each takes the caller.

use std::sync::Arc;
use std::time::SystemTime;

use crater_api::convert::to_unix_millis;
use crater_auth::{Directory, Role};
use crater_domain::{AccountId, Code, Error, JobId, JobName, Parent, Result};
use crater_store::job::{self, Event, Filter, Job, Key, Order, Page, Visible};
use crater_store::{Conn, Db, Once, Tx};
use tokio::sync::watch;

use crate::capture::Waiting;
use crate::feasible::Nodes;
use crate::limits::LimitsHeard;
use crate::log_store::LogStore;
use crate::tail::Tail;

pub use crater_auth::Caller;

/// Tells the time; tests bring their own.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// The job service's state. Clones share it.
#[derive(Clone)]
pub struct App {
    pub(crate) db: Db,
    /// By which this database is told from any other.
    pub(crate) database: Arc<str>,
    pub(crate) client: kube::Client,
    pub(crate) directory: Directory,
    pub(crate) limits: LimitsHeard,
    pub(crate) nodes: Nodes,
    pub(crate) tail: Tail,
    pub(crate) logs: LogStore,
    /// Pods whose output is not kept yet.
    pub(crate) waiting: Waiting,
    /// By which this replica of the service is told from the others.
    pub(crate) replica: Arc<str>,
    clock: Clock,
    changed: Arc<watch::Sender<()>>,
    dirtied: Arc<watch::Sender<()>>,
}

/// Rows that are read at once, whatever a page wants: a job may have a megabyte.
const BATCH: usize = 50;
/// Bytes of jobs in a page, roughly: clients accept messages of 4 MiB.
const PAGE_BYTES: usize = 2 << 20;

impl App {
    pub(crate) fn new(
        db: Db,
        database: String,
        client: kube::Client,
        clock: Clock,
        directory: Directory,
        logs: LogStore,
        replica: String,
    ) -> Self {
        Self {
            db,
            database: database.into(),
            client,
            directory,
            limits: LimitsHeard::default(),
            nodes: Nodes::default(),
            tail: Tail::default(),
            logs,
            waiting: Waiting::default(),
            replica: replica.into(),
            clock,
            changed: Arc::new(watch::Sender::new(())),
            dirtied: Arc::new(watch::Sender::new(())),
        }
    }

    pub(crate) fn now_ms(&self) -> i64 {
        to_unix_millis((self.clock)())
    }

    /// Hears of every change that this process makes, and before long of others'.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Hears when something is to be applied.
    pub(crate) fn work(&self) -> watch::Receiver<()> {
        self.dirtied.subscribe()
    }

    /// After a commit: those who watch look again.
    pub(crate) fn tell(&self) {
        self.changed.send_replace(());
    }

    /// After a commit that made a job dirty.
    pub(crate) fn tell_dirty(&self) {
        self.dirtied.send_replace(());
        self.tell();
    }

    /// Whose jobs the caller sees below `parent`.
    pub(crate) fn visible(caller: &Caller, parent: &Parent) -> Result<Visible> {
        match parent {
            Parent::All if caller.is_platform_admin() => Ok(Visible::All),
            Parent::All => Ok(Visible::Accounts(caller.accounts())),
            Parent::Account(account) => {
                caller.require(account, Role::Member)?;
                Ok(Visible::Accounts(vec![account.clone()]))
            }
        }
    }

    /// As [`App::visible`]; an account that is not there at all is refused even to those who may see every account.
    pub(crate) async fn visible_there(&self, caller: &Caller, parent: &Parent) -> Result<Visible> {
        let visible = Self::visible(caller, parent)?;
        if let Parent::Account(account) = parent {
            self.must_exist(caller, account).await?;
        }
        Ok(visible)
    }

    pub(crate) async fn must_exist(&self, caller: &Caller, account: &AccountId) -> Result<()> {
        if caller.is_platform_admin() && !caller.account_exists(account).await {
            return Err(Error::not_found("account", account.resource_name()));
        }
        Ok(())
    }

    /// The job of that name, or the one with that id among all that the caller sees.
    pub async fn get(&self, caller: &Caller, parent: Parent, id: JobId) -> Result<Job> {
        let account = match parent {
            Parent::Account(account) => account,
            Parent::All => return self.get_anywhere(caller, id).await,
        };
        let name = JobName { account, job: id };
        caller.require_object("job", &name, &name.account, Role::Member)?;
        self.db
            .read::<_, Error, _>(Tx::ReadJob, move |c| {
                job::by_id(c, &name)?.ok_or_else(|| Error::not_found("job", &name))
            })
            .await
    }

    async fn get_anywhere(&self, caller: &Caller, id: JobId) -> Result<Job> {
        let visible = Self::visible(caller, &Parent::All)?;
        let wanted = id.clone();
        let found =
            self.db.read::<_, Error, _>(Tx::ReadJob, move |c| Ok(job::candidates(c, &visible, &wanted)?));
        let mut found = found.await?;
        match found.len() {
            0 => Err(Error::not_found("job", format!("accounts/-/jobs/{id}"))),
            1 => Ok(found.remove(0)),
            _ => {
                let names: Vec<String> = found.iter().map(|j| j.name.to_string()).collect();
                let message = format!("{id} is the name of several jobs: {}", names.join(", "));
                Err(Error::new(Code::FailedPrecondition, "AMBIGUOUS_NAME", message)
                    .with("candidates", names.join(",")))
            }
        }
    }

    /// A page of jobs in the order asked for, and the place of its last job if there are more. The page may be shorter than `size`.
    pub async fn list(
        &self,
        caller: &Caller,
        parent: &Parent,
        (filter, order): (Filter, Order),
        after: Option<Key>,
        size: usize,
    ) -> Result<(Vec<Job>, Option<Key>)> {
        let visible = self.visible_there(caller, parent).await?;
        self.page(Page { visible, filter, order, after, limit: size }).await
    }

    /// As [`App::list`], for whoever has found out what may be seen.
    pub(crate) async fn page(&self, page: Page) -> Result<(Vec<Job>, Option<Key>)> {
        self.db.read::<_, Error, _>(Tx::ListJobs, move |c| read_page(c, page.clone())).await
    }

    /// The events of a job after a sequence number, oldest first; one more than `size` if there are more.
    pub async fn events(
        &self,
        caller: &Caller,
        name: JobName,
        after: i64,
        size: usize,
    ) -> Result<Vec<Event>> {
        caller.require_object("job", &name, &name.account, Role::Member)?;
        self.db
            .read::<_, Error, _>(Tx::ListEvents, move |c| {
                let job = job::by_id(c, &name)?.ok_or_else(|| Error::not_found("job", &name))?;
                Ok(job::events(c, job.uid, after, size + 1)?)
            })
            .await
    }

    /// Asks for the end of a job. One that has ended, or whose end was asked for before, is answered as it is.
    pub async fn cancel(&self, caller: &Caller, name: JobName, etag: String, how: Once) -> Result<Job> {
        caller.require_object("job", &name, &name.account, Role::Member)?;
        let (now_ms, who) = (how.now_ms, who(caller));
        let cancelled = self
            .db
            .once::<_, Error, _>(Tx::CancelJob, how, move |c| {
                let mut job = job::by_id(c, &name)?.ok_or_else(|| Error::not_found("job", &name))?;
                current(&job, &etag)?;
                if job.state.is_final() || job.cancelled {
                    return Ok(job);
                }
                job.cancelled = true;
                job.revision += 1;
                job.dirty = true;
                job::save(c, &mut job)?;
                job::add_event(c, job.uid, now_ms, "CancelRequested", &format!("{who} asked for its end"))?;
                Ok(job)
            })
            .await?;
        self.tell_dirty();
        Ok(cancelled)
    }

    /// Deletes an ended job and its events.
    pub async fn delete(&self, caller: &Caller, name: JobName, etag: String, how: Once) -> Result<()> {
        caller.require_object("job", &name, &name.account, Role::Member)?;
        let now_ms = how.now_ms;
        self.db
            .once::<_, Error, _>(Tx::DeleteJob, how, move |c| {
                let mut job = job::by_id(c, &name)?.ok_or_else(|| Error::not_found("job", &name))?;
                current(&job, &etag)?;
                if !job.state.is_final() {
                    let state = job.state.as_str().to_lowercase();
                    let message = format!("{name} has not ended, it is {state}: cancel it first");
                    return Err(Error::new(Code::FailedPrecondition, "JOB_NOT_ENDED", message));
                }
                job.deleted_ms = Some(now_ms);
                job.revision += 1;
                // nothing of it in the cluster: nothing to take away
                job.dirty = job.kube_uid.is_some();
                job::save(c, &mut job)?;
                Ok(job::clear_events(c, job.uid)?)
            })
            .await?;
        self.tell_dirty();
        Ok(())
    }
}

fn read_page(c: &mut Conn, mut page: Page) -> Result<(Vec<Job>, Option<Key>)> {
    let size = page.limit;
    let (mut jobs, mut bytes) = (Vec::new(), 0);
    loop {
        // one more, to know whether there is one
        page.limit = size + 1 - jobs.len();
        let keys = job::keys(c, &page)?;
        let last = keys.len() < page.limit;
        for some in keys.chunks(BATCH) {
            let uids: Vec<_> = some.iter().map(|k| k.uid).collect();
            let mut found = job::load(c, &uids)?.into_iter().peekable();
            for key in some {
                let Some(job) = found.next_if(|j| j.uid == key.uid) else { continue };
                if jobs.len() == size || bytes > PAGE_BYTES {
                    return Ok((jobs, page.after));
                }
                bytes += weight(&job);
                page.after = Some(*key);
                jobs.push(job);
            }
        }
        if last {
            return Ok((jobs, None));
        }
        page.after = keys.last().copied();
    }
}

/// Who did it, for events.
pub(crate) fn who(caller: &Caller) -> String {
    caller.user().map_or_else(|| "a service".to_owned(), crater_domain::UserId::resource_name)
}

/// The etag of a job as it is.
pub(crate) fn etag(job: &Job) -> String {
    format!("{}-{}", job.revision, job.change)
}

pub(crate) fn current(job: &Job, wanted: &str) -> Result<()> {
    if wanted.is_empty() || wanted == etag(job) { Ok(()) } else { Err(Error::stale(&job.name)) }
}

/// Bytes of a job in an answer, roughly.
pub(crate) fn weight(job: &Job) -> usize {
    let role = |r: &crater_domain::Role| {
        let texts = r.command.iter().chain(&r.args).map(String::len).sum::<usize>();
        let env: usize = r.env.iter().map(|e| e.name.len() + e.value.len() + 8).sum();
        let mounts: usize = r.mounts.iter().map(|m| m.mount_path.len() + m.sub_path.len() + 80).sum();
        texts + env + mounts + r.image.len() + 200
    };
    let labels: usize = job.labels.iter().map(|(k, v)| k.len() + v.len() + 8).sum();
    let nodes: usize = job.status.nodes.iter().map(|n| n.len() + 4).sum();
    job.spec.roles.iter().map(role).sum::<usize>() + labels + nodes + job.status.message.len() + 500
}
