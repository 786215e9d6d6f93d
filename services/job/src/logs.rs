//! The output of a job's replicas, merged: what is there, and, when following, what comes, over restarts and preemptions, until the job
//! has ended and all is read.

use std::collections::HashMap;
use std::time::Duration;

use crater_api::job::v1::LogLine;
use crater_auth::Role;
use crater_domain::{Error, JobName, Parent, Result};
use crater_k8s::names::{ATTEMPT, JOB_UID, REPLICA, ROLE};
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
use crate::log_merge::merge;
use crate::replica_log::{Mouth, Reader, Replica, Said, away, has_log};

/// Which output is wanted.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Only this role.
    pub role: Option<String>,
    /// Only this replica of it.
    pub replica: Option<i32>,
    /// Which start of the job, from 1; 0 for the last one, and when following those that come after it.
    pub attempt: i32,
    /// Whether to go on until the job ends.
    pub follow: bool,
    /// Only the last so many lines of each replica, to begin with.
    pub tail: Option<i64>,
    /// Only lines written after this instant.
    pub since: Option<jiff::Timestamp>,
}

/// Some output.
#[derive(Debug, Default)]
pub struct Piece {
    /// Lines of one or several replicas; those of one replica are in order.
    pub lines: Vec<LogLine>,
    /// What is missing before them, for people.
    pub gap: String,
}

/// Pieces of output between the cluster and a reader who is slower.
const AHEAD: usize = 8;
/// While following, the job is looked at this often if anything changed at all.
const LOOK: Duration = Duration::from_millis(250);
/// Looks after which memberships are checked even when nothing changed.
const LOOKS: u32 = 8;
/// Once a job has ended, how long beyond its grace period its Pods may still write.
const AFTER_END: Duration = Duration::from_secs(30);
/// Replicas whose output is merged at one time: each has a block in memory.
const AT_ONCE: usize = 64;

impl App {
    /// Opens the stream. It ends when all is read, or with an error when the caller may no longer see the job.
    pub async fn logs(
        &self,
        caller: &Caller,
        name: JobName,
        wanted: Wanted,
    ) -> Result<impl Stream<Item = Result<Piece>> + Send + 'static> {
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
        let mut reading = Reading { app: self.clone(), caller: caller.clone(), job, wanted, to, first: 0 };
        if reading.wanted.attempt > 0 {
            let known = reading.last_attempt().await?;
            if reading.wanted.attempt > known {
                let text = match known {
                    0 => "the job was not started yet".to_owned(),
                    1 => "the job was started once".to_owned(),
                    n => format!("the job was started {n} times"),
                };
                return Err(Error::field("attempt", text));
            }
        }
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
    to: mpsc::Sender<Result<Piece>>,
    /// The first start whose output is wanted.
    first: i32,
}

type Follows<'a> = FuturesUnordered<BoxFuture<'a, Result<()>>>;

impl Reading {
    async fn run(&mut self) -> Result<()> {
        let api = Api::<Pod>::namespaced(self.app.client.clone(), &self.job.name.account.namespace());
        let mut found = self.stored().await?;
        // while the cluster is away, what is stored can be read
        match self.list(&api).await {
            Ok(there) => found.extend(there),
            Err(error) if found.is_empty() && !self.wanted.follow => return Err(error),
            Err(error) => tracing::debug!(job = %self.job.name, ?error, "listing a job's pods"),
        }
        let last = found.iter().map(|(attempt, _)| *attempt).max().unwrap_or(self.job.status.attempts);
        self.first = if self.wanted.attempt > 0 { self.wanted.attempt } else { last };
        let mut names = Names::default();
        let mut readers = Vec::new();
        found.sort_by(|a, b| (a.0, &a.1.role, a.1.replica).cmp(&(b.0, &b.1.role, b.1.replica)));
        for (attempt, replica) in found {
            if self.wants(attempt, &replica)
                && let Some(number) = names.add(&replica)
            {
                let reader = Reader::new(replica, attempt, number);
                readers.push(reader.tail(self.wanted.tail).since(self.wanted.since));
            }
        }
        // starts one after the other, and of one start as many at a time as memory allows
        for some in readers.chunk_by_mut(|a, b| a.attempt == b.attempt).flat_map(|r| r.chunks_mut(AT_ONCE)) {
            merge(&self.app.logs, &api, some, self.wanted.follow, &self.to).await?;
        }
        if self.wanted.follow { self.follow(&api, names, readers).await } else { Ok(()) }
    }

    /// Whether it is what was asked for.
    fn wants(&self, attempt: i32, replica: &Replica) -> bool {
        let exactly = self.wanted.attempt > 0;
        attempt >= self.first
            && (!exactly || attempt == self.wanted.attempt)
            && self.wanted.role.as_ref().is_none_or(|role| *role == replica.role)
            && self.wanted.replica.is_none_or(|n| n == replica.replica)
    }

    async fn last_attempt(&self) -> Result<i32> {
        let stored = self.stored().await?;
        Ok(stored.iter().map(|(attempt, _)| *attempt).fold(self.job.status.attempts, i32::max))
    }

    /// The starts of replicas of which something is stored.
    async fn stored(&self) -> Result<Vec<(i32, Replica)>> {
        let uid = self.job.uid;
        let read = self.app.db.read::<_, Error, _>(Tx::ReadLogs, move |c| Ok(job::log_streams(c, uid)?));
        let replica = |s: job::LogStream| {
            let name = format!("{}-{}-{}", self.job.name.job, s.role, s.replica);
            (s.attempt, Replica { pod: name, uid: s.pod, role: s.role, replica: s.replica })
        };
        Ok(read.await?.into_iter().map(replica).collect())
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

    async fn list(&self, api: &Api<Pod>) -> Result<Vec<(i32, Replica)>> {
        let params = ListParams::default().labels(&self.selector());
        let pods = api.list(&params).await.map_err(away)?;
        Ok(pods.items.iter().filter_map(|pod| self.started(pod)).collect())
    }

    fn started(&self, pod: &Pod) -> Option<(i32, Replica)> {
        let replica = Replica::of(pod).filter(|_| has_log(pod))?;
        let attempt = pod.labels().get(ATTEMPT).and_then(|a| a.parse::<i32>().ok()).unwrap_or(1);
        Some((self.job.status.attempts_before + attempt, replica))
    }

    async fn follow(&self, api: &Api<Pod>, mut names: Names, readers: Vec<Reader>) -> Result<()> {
        let (mouth, mut said) = mpsc::channel(AHEAD);
        let mut follows = Follows::new();
        for mut reader in readers {
            let mouth = mouth.clone();
            follows.push(async move { reader.follow(&self.app.logs, api, &mouth).await }.boxed());
        }
        let config = watcher::Config::default().labels(&self.selector());
        let mut pods = watcher(api.clone(), config).boxed();
        let mut wake = self.app.changes();
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut quiet = 0;
        loop {
            tokio::select! {
                event = pods.next() => match event {
                    Some(Ok(watcher::Event::InitApply(pod) | watcher::Event::Apply(pod))) => {
                        if let Some((attempt, replica)) = self.started(&pod) {
                            self.join(api, &mut names, &mut follows, &mouth, attempt, replica);
                        }
                    }
                    Some(Ok(_)) => {}
                    Some(Err(error)) => {
                        // it lists again by itself when it is polled next
                        tracing::debug!(job = %self.job.name, %error, "watching a job's pods");
                        tokio::time::sleep(LOOK).await;
                    }
                    None => return Err(Error::unavailable("the watch on the job's pods ended")),
                },
                Some((number, said)) = said.recv() => if !self.tell(&names, number, said).await { return Ok(()) },
                Some(done) = follows.next(), if !follows.is_empty() => done?,
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
        let mut rest = self.list(api).await.unwrap_or_default();
        rest.extend(self.stored().await?);
        for (attempt, replica) in rest {
            self.join(api, &mut names, &mut follows, &mouth, attempt, replica);
        }
        drop(mouth);
        let grace = u64::try_from(self.job.spec.grace_seconds).unwrap_or(0);
        let deadline = Instant::now() + Duration::from_secs(grace) + AFTER_END;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let next = async {
                tokio::select! {
                    biased;
                    Some(said) = said.recv() => Some(Ok(said)),
                    Some(done) = follows.next(), if !follows.is_empty() => done.err().map(Err).or(Some(Ok((usize::MAX, Said::Lines(Vec::new()))))),
                    else => None,
                }
            };
            match timeout(left, next).await {
                Ok(Some(Ok((number, said)))) => {
                    if !self.tell(&names, number, said).await {
                        return Ok(());
                    }
                }
                Ok(Some(Err(error))) => return Err(error),
                Ok(None) | Err(_) => return Ok(()),
            }
        }
    }

    /// A replica that was started: it is read whole.
    fn join<'a>(
        &'a self,
        api: &'a Api<Pod>,
        names: &mut Names,
        follows: &mut Follows<'a>,
        mouth: &Mouth,
        attempt: i32,
        replica: Replica,
    ) {
        if !self.wants(attempt, &replica) {
            return;
        }
        let Some(number) = names.add(&replica) else { return };
        let mut reader = Reader::new(replica, attempt, number).since(self.wanted.since);
        let mouth = mouth.clone();
        let follow = async move {
            // what cannot be had now comes while following
            if let Err(error) = reader.snapshot(&self.app.logs, api, &mouth).await {
                tracing::debug!(?error, "reading a replica's output");
            }
            reader.follow(&self.app.logs, api, &mouth).await
        };
        follows.push(follow.boxed());
    }

    async fn tell(&self, names: &Names, number: usize, said: Said) -> bool {
        let Some((role, replica)) = names.names.get(number) else { return true };
        let piece = match said {
            Said::Lines(lines) => {
                let lines =
                    lines.into_iter().map(|line| log_line(role, *replica, line.ns, line.text)).collect();
                Piece { lines, gap: String::new() }
            }
            Said::Gap(gap) => Piece { lines: Vec::new(), gap },
        };
        self.to.send(Ok(piece)).await.is_ok()
    }

    /// Whether the job has ended, or is deleted, or the start that was asked for is no longer its last; an error once the caller may
    /// not see it any more.
    async fn over(&self) -> Result<bool> {
        let name = &self.job.name;
        self.caller.require_object("job", name, &name.account, Role::Member)?;
        let uid = self.job.uid;
        let read = self.app.db.read::<_, Error, _>(Tx::ReadJob, move |c| Ok(job::by_uid(c, uid)?)).await;
        let later = |j: &Job| self.wanted.attempt > 0 && j.status.attempts > self.wanted.attempt;
        match read {
            Ok(job) => Ok(job.is_none_or(|j| j.state.is_final() || j.deleted_ms.is_some() || later(&j))),
            // the output needs no database: it goes on while that is away
            Err(error) if error.code == crater_domain::Code::Unavailable => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// A line as it is sent.
pub(crate) fn log_line(role: &str, replica: i32, ns: i64, text: String) -> LogLine {
    let nanos = i32::try_from(ns.rem_euclid(1_000_000_000)).unwrap_or(0);
    let time = prost_types::Timestamp { seconds: ns.div_euclid(1_000_000_000), nanos };
    LogLine { role: role.to_owned(), replica, time: Some(time), text }
}

/// The starts of replicas that are read, by their number.
#[derive(Debug, Default)]
struct Names {
    names: Vec<(String, i32)>,
    by_pod: HashMap<String, usize>,
}

impl Names {
    /// The number of a new one.
    fn add(&mut self, replica: &Replica) -> Option<usize> {
        if self.by_pod.contains_key(&replica.uid) {
            return None;
        }
        let number = self.names.len();
        self.by_pod.insert(replica.uid.clone(), number);
        self.names.push((replica.role.clone(), replica.replica));
        Some(number)
    }
}
