//! The output of a job's replicas, merged: what is there, and, when following, what comes, over restarts and preemptions, until the job
//! has ended and all is read.

use std::collections::HashSet;
use std::time::Duration;

use crater_api::job::v1::LogLine;
use crater_auth::Role;
use crater_domain::{Error, JobName, Parent, Result};
use crater_k8s::names::{JOB_UID, REPLICA, ROLE};
use crater_store::Tx;
use crater_store::job::{self, Job};
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, Stream, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::runtime::watcher;
use kube::{Api, ResourceExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_stream::wrappers::ReceiverStream;

use crate::app::{App, Caller};
use crate::replica_log::{Replica, ended, has_log};

/// Which output is wanted.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Only this role.
    pub role: Option<String>,
    /// Only this replica of it.
    pub replica: Option<i32>,
    /// Whether to go on until the job ends.
    pub follow: bool,
    /// Only the last so many lines of each replica, to begin with.
    pub tail: Option<i64>,
    /// Only lines written after this instant.
    pub since: Option<jiff::Timestamp>,
}

/// Lines of one or several replicas; those of one replica are in order.
pub type Lines = Vec<LogLine>;

/// Pieces of output between the cluster and a reader who is slower.
const AHEAD: usize = 16;
/// While following, the job is looked at this often if anything changed at all.
const LOOK: Duration = Duration::from_millis(250);
/// Looks after which memberships are checked even when nothing changed.
const LOOKS: u32 = 8;
/// Once a job has ended, how long beyond its grace period its Pods may still write.
const AFTER_END: Duration = Duration::from_secs(30);
/// Replicas whose logs are read at one time when not following.
const AT_ONCE: usize = 8;

impl App {
    /// Opens the stream. It ends when all is read, or with an error when the caller may no longer see the job.
    pub async fn logs(
        &self,
        caller: &Caller,
        name: JobName,
        wanted: Wanted,
    ) -> Result<impl Stream<Item = Result<Lines>> + Send + 'static> {
        let job = self.get(caller, Parent::Account(name.account), name.job).await?;
        if let Some(role) = &wanted.role {
            let Some(found) = job.spec.roles.iter().find(|r| r.name.as_str() == role) else {
                let roles: Vec<&str> = job.spec.roles.iter().map(|r| r.name.as_str()).collect();
                return Err(Error::field(
                    "role",
                    format!("the job has no role {role:?}: it has {}", roles.join(", ")),
                ));
            };
            if let Some(replica) = wanted.replica.filter(|r| *r >= found.replicas) {
                let text = format!("the role has no replica {replica}: it has {}", found.replicas);
                return Err(Error::field("replica", text));
            }
        }
        let (to, received) = mpsc::channel(AHEAD);
        let reading = Reading { app: self.clone(), caller: caller.clone(), job, wanted, to };
        tokio::spawn(async move {
            // the reader going away ends it wherever it waits
            let to = reading.to.clone();
            tokio::select! {
                () = to.closed() => {}
                done = reading.run() => if let Err(error) = done { let _ = to.send(Err(error)).await; }
            }
        });
        Ok(ReceiverStream::new(received))
    }
}

struct Reading {
    app: App,
    caller: Caller,
    job: Job,
    wanted: Wanted,
    to: mpsc::Sender<Result<Lines>>,
}

type Readers<'a> = FuturesUnordered<BoxFuture<'a, Result<()>>>;

impl Reading {
    async fn run(&self) -> Result<()> {
        let api = Api::<Pod>::namespaced(self.app.client.clone(), &self.job.name.account.namespace());
        if self.wanted.follow { self.follow(&api).await } else { self.once(&api).await }
    }

    fn selector(&self) -> String {
        let mut selector = format!("{JOB_UID}={}", self.job.uid);
        for (label, value) in
            [(ROLE, self.wanted.role.clone()), (REPLICA, self.wanted.replica.map(|r| r.to_string()))]
        {
            if let Some(value) = value {
                selector += &format!(",{label}={value}");
            }
        }
        selector
    }

    async fn list(&self, api: &Api<Pod>) -> Result<Vec<Replica>> {
        let params = ListParams::default().labels(&self.selector());
        let pods = api.list(&params).await.map_err(away)?;
        let mut replicas: Vec<Replica> =
            pods.items.iter().filter(|p| has_log(p)).filter_map(Replica::of).collect();
        replicas.sort_by(|a, b| (&a.role, a.replica).cmp(&(&b.role, b.replica)));
        Ok(replicas)
    }

    async fn once(&self, api: &Api<Pod>) -> Result<()> {
        let replicas = self.list(api).await?;
        let reads = replicas.into_iter().map(|r| self.read(api, r, self.wanted.tail));
        let mut reads = futures::stream::iter(reads).buffer_unordered(AT_ONCE);
        while let Some(done) = reads.next().await {
            done?;
        }
        Ok(())
    }

    fn read<'a>(
        &'a self,
        api: &'a Api<Pod>,
        replica: Replica,
        tail: Option<i64>,
    ) -> BoxFuture<'a, Result<()>> {
        replica.read(api, self.wanted.follow, tail, self.wanted.since, &self.to).boxed()
    }

    async fn follow(&self, api: &Api<Pod>) -> Result<()> {
        let config = watcher::Config::default().labels(&self.selector());
        let mut pods = watcher(api.clone(), config).boxed();
        let mut wake = self.app.changes();
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut quiet = 0;
        let mut known: HashSet<String> = HashSet::new();
        let mut readers = Readers::new();
        // replicas that are there to begin with are tailed; those that come are read whole
        let mut tail = self.wanted.tail;
        loop {
            tokio::select! {
                event = pods.next() => match event {
                    Some(Ok(watcher::Event::InitApply(pod) | watcher::Event::Apply(pod))) if has_log(&pod) => {
                        if let Some(replica) = Replica::of(&pod).filter(|r| known.insert(r.uid.clone())) {
                            readers.push(self.read(api, replica, tail));
                        }
                    }
                    Some(Ok(watcher::Event::InitDone)) => tail = None,
                    Some(Ok(_)) => {}
                    Some(Err(error)) => {
                        // it lists again by itself when it is polled next
                        tracing::debug!(job = %self.job.name, %error, "watching a job's pods");
                        tokio::time::sleep(LOOK).await;
                    }
                    None => return Err(Error::unavailable("the watch on the job's pods ended")),
                },
                Some(done) = readers.next(), if !readers.is_empty() => done?,
                _ = looks.tick() => {
                    quiet += 1;
                    if !wake.has_changed().unwrap_or(true) && quiet < LOOKS {
                        continue;
                    }
                    quiet = 0;
                    wake.mark_unchanged();
                    if self.over().await? {
                        break;
                    }
                }
            }
        }
        // the last ones may have come and gone between two looks
        for replica in self.list(api).await? {
            if known.insert(replica.uid.clone()) {
                readers.push(self.read(api, replica, None));
            }
        }
        let grace = u64::try_from(self.job.spec.grace_seconds).unwrap_or(0);
        let deadline = Instant::now() + Duration::from_secs(grace) + AFTER_END;
        while let Ok(Some(done)) =
            timeout(deadline.saturating_duration_since(Instant::now()), readers.next()).await
        {
            done?;
        }
        Ok(())
    }

    /// Whether the job has ended, or is deleted; an error once the caller may not see it any more.
    async fn over(&self) -> Result<bool> {
        let name = &self.job.name;
        self.caller.require_object("job", name, &name.account, Role::Member)?;
        let uid = self.job.uid;
        let read = self.app.db.read::<_, Error, _>(Tx::ReadJob, move |c| Ok(job::by_uid(c, uid)?)).await;
        match read {
            Ok(job) => Ok(job.is_none_or(|j| j.state.is_final() || j.deleted_ms.is_some())),
            // the output needs no database: it goes on while that is away
            Err(error) if error.code == crater_domain::Code::Unavailable => Ok(false),
            Err(error) => Err(error),
        }
    }
}

pub(crate) fn away(error: kube::Error) -> Error {
    Error::unavailable("the Kubernetes API did not give the output").caused_by(error)
}

/// A Pod that has ended writes nothing more.
pub(crate) async fn still_runs(api: &Api<Pod>, replica: &Replica) -> Result<bool, kube::Error> {
    let pod = api.get_opt(&replica.pod).await?;
    Ok(pod.is_some_and(|p| p.uid().as_deref() == Some(&replica.uid) && !ended(&p)))
}
