//! Keeping what replicas write: follows the Pods of all jobs and brings their output into the store before they go.
//!
//! Level-triggered: it begins with a list of the Pods and with what the store has of each. One replica of the service does it at a
//! time; should two, the store keeps no line twice. A container that has ended is read once, to its end. One that runs is
//! followed while it writes, and visited now and then while it does not, so that idle ones cost no stream; one that is told
//! to end is followed at once. The controller puts a finalizer on a Pod before it deletes it, which goes from here.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crater_domain::{Error, JobUid};
use crater_k8s::names::{ATTEMPT, JOB_UID, LOG_FINALIZER};
use crater_service::Condition;
use crater_store::job::{self, LogOf, LogPlace};
use crater_store::{Db, Tx};
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio::time::{Instant, interval, sleep_until};

use crate::app::App;
use crate::cluster::Trouble;
use crate::log_store::{LogStore, shrink};
use crate::log_visit::{How, Left, Visit};
use crate::replica_log::{Replica, ended, has_log};

/// A short job ends before anybody looks: a running container is first visited after this.
const FIRST: Duration = Duration::from_secs(5);
/// The next visit to one that wrote, and to one that did not for long.
const SOON: Duration = Duration::from_secs(2);
const LATE: Duration = Duration::from_secs(60);
/// After an error.
const AGAIN: Duration = Duration::from_millis(500);
/// A kubelet that does not give what an ended container wrote is asked so often.
const TRIES: u32 = 30;
/// Logs of ended containers that are read at one time.
const LAST_AT_ONCE: usize = 16;
/// How long a log that goes on and on is followed while others wait.
const TURN: Duration = Duration::from_secs(20);
/// One replica of the service captures; it says so this often, and another takes over after so long.
const RENEW: Duration = Duration::from_secs(5);
const LEASE_MS: i64 = 20_000;
const TASK: &str = "log-capture";
/// Rows that are read at once.
const ROWS: usize = 500;

/// How many Pods of a job have output that is not kept yet.
#[derive(Debug, Clone, Default)]
pub struct Waiting(Arc<Mutex<HashMap<JobUid, usize>>>);

impl Waiting {
    /// Whether all that is known of is kept.
    pub fn none(&self, job: JobUid) -> bool {
        !self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&job)
    }

    fn add(&self, job: JobUid) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(job).or_default() += 1;
    }

    fn remove(&self, job: JobUid) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(n) = all.get_mut(&job) {
            *n -= 1;
            if *n == 0 {
                all.remove(&job);
            }
        }
    }

    fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// A Pod whose output is to be kept.
struct Target {
    of: LogOf,
    pod: String,
    place: LogPlace,
    /// What the store has of it is not known yet.
    unknown: bool,
    started: bool,
    ended: bool,
    going: bool,
    gone: bool,
    /// Its object, to take the finalizer off.
    held: Option<Held>,
    done: bool,
    busy: bool,
    pause: Duration,
    tries: u32,
    due: Option<Instant>,
}

#[derive(Clone)]
struct Held {
    finalizers: Vec<String>,
    version: Option<String>,
}

/// What came back.
enum Back {
    Visited { uid: String, last: bool, place: LogPlace, left: Left },
    Known { uid: String, row: Result<Option<(LogPlace, bool)>, Error> },
    Released,
}

/// Runs until the cluster or the tables are away, or another replica has the task.
pub async fn run(app: App, condition: Condition) -> Result<(), Trouble> {
    let waiting = app.waiting.clone();
    waiting.clear();
    condition.ready();
    let done = follow(&app).await;
    waiting.clear();
    done
}

async fn hold(app: &App) -> Result<bool, Error> {
    let (who, now_ms) = (app.replica.clone(), app.now_ms());
    app.db
        .transaction::<_, Error, _>(Tx::KeepLogs, move |c| {
            let mine = job::hold_task(c, TASK, &who, now_ms, now_ms + LEASE_MS)?;
            if mine {
                job::saw_cluster(c, now_ms)?;
            }
            Ok(mine)
        })
        .await
}

async fn follow(app: &App) -> Result<(), Trouble> {
    while !hold(app).await? {
        tokio::time::sleep(RENEW).await;
    }
    let api = Api::<Pod>::all(app.client.clone());
    let mut pods = watcher(api, watcher::Config::default().labels(JOB_UID)).boxed();
    let mut renew = interval(RENEW);
    let mut state = Capture::new(app);
    let mut rounds: u32 = 0;
    loop {
        state.start_due();
        let next = state.next_due();
        tokio::select! {
            event = pods.next() => match event {
                Some(event) => state.heard(event?).await?,
                None => return Ok(()),
            },
            Some(back) = state.work.next(), if !state.work.is_empty() => state.back(back)?,
            () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            _ = renew.tick() => {
                if !hold(app).await? {
                    return Ok(());
                }
                if rounds.is_multiple_of(6) {
                    shrink(&app.db, app.logs.limits()).await?;
                }
                rounds = rounds.wrapping_add(1);
            }
        }
    }
}

struct Capture<'a> {
    client: Client,
    db: Db,
    store: &'a LogStore,
    waiting: &'a Waiting,
    targets: HashMap<String, Target>,
    due: BTreeSet<(Instant, String)>,
    listing: Option<HashSet<String>>,
    work: FuturesUnordered<BoxFuture<'static, Back>>,
    following: usize,
    reading: usize,
}

impl<'a> Capture<'a> {
    fn new(app: &'a App) -> Self {
        Self {
            client: app.client.clone(),
            db: app.db.clone(),
            store: &app.logs,
            waiting: &app.waiting,
            targets: HashMap::new(),
            due: BTreeSet::new(),
            listing: None,
            work: FuturesUnordered::new(),
            following: 0,
            reading: 0,
        }
    }

    async fn heard(&mut self, event: watcher::Event<Pod>) -> Result<(), Trouble> {
        match event {
            watcher::Event::Init => self.listing = Some(HashSet::new()),
            watcher::Event::InitApply(pod) => {
                if let (Some(listing), Some(uid)) = (&mut self.listing, pod.uid()) {
                    listing.insert(uid);
                }
                self.see(&pod, true);
            }
            watcher::Event::InitDone => {
                if let Some(listed) = self.listing.take() {
                    self.listed(&listed).await?;
                }
            }
            watcher::Event::Apply(pod) => self.see(&pod, false),
            watcher::Event::Delete(pod) => self.gone(&pod.uid().unwrap_or_default()),
        }
        Ok(())
    }

    /// What the store has of the Pods that are there; and what it waits for of Pods that are not.
    async fn listed(&mut self, listed: &HashSet<String>) -> Result<(), Trouble> {
        let gone: Vec<String> = self.targets.keys().filter(|uid| !listed.contains(*uid)).cloned().collect();
        gone.iter().for_each(|uid| self.gone(uid));
        let unknown: Vec<String> =
            self.targets.iter().filter(|(_, t)| t.unknown && !t.busy).map(|(uid, _)| uid.clone()).collect();
        for some in unknown.chunks(ROWS) {
            let pods = some.to_vec();
            let rows = self.db.read::<_, Error, _>(Tx::ReadLogs, move |c| Ok(job::log_streams_of(c, &pods)?));
            for row in rows.await? {
                if let Some(target) = self.targets.get_mut(&row.pod) {
                    target.place = row.place;
                    target.done = row.ended;
                }
            }
            for uid in some {
                if let Some(target) = self.targets.get_mut(uid) {
                    target.unknown = false;
                    if !target.done {
                        self.waiting.add(target.of.job);
                    }
                }
            }
        }
        let all: Vec<String> = self.targets.keys().cloned().collect();
        all.iter().for_each(|uid| self.look(uid));
        let open = self.db.read::<_, Error, _>(Tx::ReadLogs, |c| Ok(job::unfinished_logs(c)?)).await?;
        let lost: Vec<String> = open.into_iter().filter(|uid| !self.targets.contains_key(uid)).collect();
        if !lost.is_empty() {
            let lose = move |c: &mut crater_store::Conn| {
                lost.iter().try_for_each(|pod| job::lose_log(c, pod)).map_err(Error::from)
            };
            self.db.transaction::<_, Error, _>(Tx::KeepLogs, lose).await?;
        }
        Ok(())
    }

    fn see(&mut self, pod: &Pod, listed: bool) {
        let Some(uid) = pod.uid() else { return };
        if !self.targets.contains_key(&uid) {
            let Some(of) = of(pod) else { return };
            // a Pod that comes after the list is new: the store has nothing of it
            if !listed {
                self.waiting.add(of.job);
            }
            let target = Target {
                of,
                pod: pod.name_any(),
                place: LogPlace::default(),
                unknown: listed,
                started: false,
                ended: false,
                going: false,
                gone: false,
                held: None,
                done: false,
                busy: false,
                pause: SOON,
                tries: 0,
                due: None,
            };
            self.targets.insert(uid.clone(), target);
        }
        let Some(target) = self.targets.get_mut(&uid) else { return };
        let deleting = pod.metadata.deletion_timestamp.is_some();
        target.started |= has_log(pod);
        if ended(pod) && !std::mem::replace(&mut target.ended, true) {
            target.tries = 0;
        }
        target.going |= deleting;
        let held = deleting && pod.finalizers().iter().any(|f| f == LOG_FINALIZER);
        target.held =
            held.then(|| Held { finalizers: pod.finalizers().to_vec(), version: pod.resource_version() });
        // nothing of it runs, and its object waits for this alone
        if held && pod.metadata.deletion_grace_period_seconds == Some(0) {
            target.ended = true;
        }
        if self.listing.is_none() {
            self.look(&uid);
        }
    }

    /// When a Pod is to be visited next, as it is now.
    fn look(&mut self, uid: &str) {
        let Some(target) = self.targets.get_mut(uid) else { return };
        if target.unknown || target.busy {
            return;
        }
        let now = Instant::now();
        if !target.done && !self.store.keeps() {
            target.done = true;
            self.waiting.remove(target.of.job);
        }
        if target.done {
            self.release(uid);
            return;
        }
        let due = match (target.started, target.ended || target.gone, target.going) {
            (false, false, _) => return,
            (_, true, _) | (true, _, true) if target.tries == 0 => now,
            (_, true, _) | (true, _, true) => now + AGAIN,
            // a visit that is due sooner stays
            (true, false, false) => match target.due {
                Some(due) => due,
                None if target.place == LogPlace::default() && target.pause == SOON => now + FIRST,
                None => now + target.pause,
            },
        };
        if let Some(old) = target.due.replace(due) {
            self.due.remove(&(old, uid.to_owned()));
        }
        self.due.insert((due, uid.to_owned()));
    }

    fn gone(&mut self, uid: &str) {
        let Some(target) = self.targets.get_mut(uid) else { return };
        target.gone = true;
        target.held = None;
        if target.busy {
            return;
        }
        if target.done || !target.started {
            if !target.done && !target.unknown {
                self.waiting.remove(target.of.job);
            }
            if let Some(due) = target.due {
                self.due.remove(&(due, uid.to_owned()));
            }
            self.targets.remove(uid);
        } else {
            self.look(uid);
        }
    }

    fn next_due(&self) -> Option<Instant> {
        let room = self.following < self.store.limits().streams && self.reading < LAST_AT_ONCE;
        self.due.first().map(|(at, _)| *at).filter(|_| room)
    }

    fn start_due(&mut self) {
        let now = Instant::now();
        let (mut skipped, most) = (Vec::new(), self.store.limits().streams);
        while let Some((at, uid)) = self.due.pop_first() {
            if at > now || (self.following >= most && self.reading >= LAST_AT_ONCE) {
                skipped.push((at, uid));
                break;
            }
            let Some(target) = self.targets.get_mut(&uid) else { continue };
            let last = target.ended || target.gone;
            if if last { self.reading >= LAST_AT_ONCE } else { self.following >= most } {
                skipped.push((at, uid));
                continue;
            }
            *(if last { &mut self.reading } else { &mut self.following }) += 1;
            (target.busy, target.due) = (true, None);
            let how = if last { How::Last } else { How::Follow(TURN) };
            let lost = target.gone || target.tries >= TRIES;
            let api = Api::<Pod>::namespaced(self.client.clone(), &target.of.namespace);
            let (store, of, pod, place) =
                (self.store.clone(), target.of.clone(), target.pod.clone(), target.place);
            self.work.push(
                async move {
                    let visit = Visit { store: &store, api: &api, pod: &pod, of: &of };
                    let (place, left) =
                        if lost { (place, visit.lost(place).await) } else { visit.run(place, how).await };
                    Back::Visited { uid, last, place, left }
                }
                .boxed(),
            );
        }
        self.due.extend(skipped);
    }

    fn back(&mut self, back: Back) -> Result<(), Trouble> {
        match back {
            Back::Released => {}
            Back::Known { uid, row } => {
                let row = row?;
                if let Some(target) = self.targets.get_mut(&uid) {
                    target.busy = false;
                    if let Some((place, done)) = row {
                        target.place = place;
                        self.finish(&uid, done);
                    }
                }
                self.settle(&uid);
            }
            Back::Visited { uid, last, place, left } => {
                *(if last { &mut self.reading } else { &mut self.following }) -= 1;
                let Some(target) = self.targets.get_mut(&uid) else { return Ok(()) };
                (target.busy, target.place) = (false, place);
                let ending = target.ended || target.going || target.gone;
                match left {
                    Left::Quiet { news: true } => target.pause = SOON,
                    Left::Quiet { news: false } => target.pause = (target.pause * 2).min(LATE),
                    // followed anew at once: it may go on, or have ended
                    Left::Cut => {
                        target.tries += u32::from(ending);
                        target.due = Some(Instant::now() + AGAIN);
                    }
                    Left::Gone => {
                        target.gone = true;
                        target.started = true;
                    }
                    Left::Broken => target.tries += u32::from(ending),
                    Left::NeverRan if last => self.finish(&uid, true),
                    Left::NeverRan => target.tries += u32::from(ending),
                    Left::Done { .. } | Left::Unwanted => self.finish(&uid, true),
                    Left::Stale => {
                        target.busy = true;
                        let (db, pod) = (self.db.clone(), uid.clone());
                        self.work.push(
                            async move {
                                let row = db
                                    .read::<_, Error, _>(Tx::ReadLogs, move |c| Ok(job::log_stream(c, &pod)?))
                                    .await
                                    .map(|row| row.map(|r| (r.place, r.ended)));
                                Back::Known { uid, row }
                            }
                            .boxed(),
                        );
                        return Ok(());
                    }
                }
                self.settle(&uid);
            }
        }
        Ok(())
    }

    /// After a visit: what comes next for the Pod.
    fn settle(&mut self, uid: &str) {
        let Some(target) = self.targets.get_mut(uid) else { return };
        if target.gone && target.done {
            self.targets.remove(uid);
            return;
        }
        if let Some(due) = target.due {
            self.due.insert((due, uid.to_owned()));
        }
        self.look(uid);
    }

    fn finish(&mut self, uid: &str, done: bool) {
        if let Some(target) = self.targets.get_mut(uid)
            && done
            && !std::mem::replace(&mut target.done, true)
        {
            self.waiting.remove(target.of.job);
        }
    }

    /// All is kept: the Pod may go, as far as this is concerned.
    fn release(&mut self, uid: &str) {
        let Some(target) = self.targets.get_mut(uid) else { return };
        let Some(held) = target.held.take() else { return };
        let api = Api::<Pod>::namespaced(self.client.clone(), &target.of.namespace);
        let pod = target.pod.clone();
        let left: Vec<String> = held.finalizers.into_iter().filter(|f| f != LOG_FINALIZER).collect();
        let uid = uid.to_owned();
        self.work.push(
            async move {
                let metadata = json!({"uid": uid, "resourceVersion": held.version, "finalizers": left});
                let patch = Patch::Merge(json!({ "metadata": metadata }));
                // a conflict makes an event that comes next; after anything else the controller takes it off in time
                if let Err(error) = api.patch(&pod, &PatchParams::default(), &patch).await {
                    tracing::debug!(pod, %error, "letting a pod go");
                }
                Back::Released
            }
            .boxed(),
        );
    }
}

/// Whose output a Pod's is; none for one that is none of ours.
fn of(pod: &Pod) -> Option<LogOf> {
    let replica = Replica::of(pod)?;
    let labels = pod.labels();
    Some(LogOf {
        pod: replica.uid,
        namespace: pod.namespace()?,
        job: labels.get(JOB_UID)?.parse().ok()?,
        attempt: labels.get(ATTEMPT).and_then(|a| a.parse().ok()).unwrap_or(1),
        role: replica.role,
        replica: replica.replica,
        begun_ms: pod.creation_timestamp().map_or(0, |t| t.0.as_millisecond()),
    })
}
