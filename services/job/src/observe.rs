//! What is: the watch on AIJobs brings every status into its row, its events and the open streams, and lets an AIJob go once its end
//! is recorded.
//!
//! Level-triggered: any error ends the watch, and the next one begins with a list of everything. What lies between the watch and the tables is
//! `heard.rs`'s.

use std::collections::HashSet;
use std::time::Duration;

use crater_domain::{Error, JobUid};
use crater_k8s::AIJob;
use crater_k8s::names::RECORD_FINALIZER;
use crater_plant::{Bug, planted};
use crater_store::job::{self, Job};
use crater_store::{Conn, Tx};
use futures::{StreamExt, TryStreamExt};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::runtime::watcher;
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio::time::Instant;

use crate::app::App;
use crate::cluster::{Trouble, in_time};
use crate::heard::{Heard, Next, Seen};
use crate::status::{self, WAITING, happened, version};
use crate::usage;

/// AIJobs that are taken into one transaction, if they are there.
const BATCH: usize = 128;
/// How long an AIJob that is deleted waits for the output of its Pods to be kept, and how often that is looked at.
const OUTPUT_WITHIN: Duration = Duration::from_secs(30);
const OUTPUT_PAUSE: Duration = Duration::from_millis(100);
/// Writes to the cluster at one time.
const WRITES: usize = 8;
/// Why a job goes on waiting makes an event no more often than this, in milliseconds.
const WAITING_EVERY_MS: i64 = 30_000;

/// What is to be done with an AIJob.
#[derive(Debug)]
enum Action {
    /// Its end is recorded, or nobody waits for it: it may go.
    Release(AIJob),
    /// Its job is deleted.
    Discard(AIJob),
}

/// What the rows made of some AIJobs.
#[derive(Debug, Default)]
struct Outcome {
    actions: Vec<Action>,
    changed: bool,
    dirty: bool,
}

/// Follows the AIJobs of all namespaces.
pub async fn run(app: &App) -> Result<(), Trouble> {
    let heard = Heard::default();
    tokio::select! {
        ended = hear(app, &heard) => ended,
        ended = write(app, &heard) => ended,
    }
}

/// Reads the watch.
async fn hear(app: &App, heard: &Heard<Listing>) -> Result<(), Trouble> {
    let api = Api::<AIJob>::all(app.client.clone());
    let mut events = std::pin::pin!(watcher(api, watcher::Config::default()));
    let mut listed: Option<Listing> = None;
    let mut deaf = false;
    while let Some(event) = events.next().await {
        if planted(Bug::Ignored410) && ignored(&event, &mut deaf) {
            continue;
        }
        match event? {
            watcher::Event::Apply(object) => heard.seen(Seen { object, listed: false }),
            watcher::Event::InitApply(object) => {
                if let (Some(listing), Ok(uid)) = (&mut listed, object.spec.job_uid.parse()) {
                    listing.found.insert(uid);
                }
                heard.seen(Seen { object, listed: true });
            }
            // told before the list is asked for: what is expected of it is known from before it, too
            watcher::Event::Init => listed = Some(Listing::begin(app).await?),
            watcher::Event::InitDone => listed.take().into_iter().for_each(|listing| heard.listed(listing)),
            watcher::Event::Delete(object) => heard.gone(object),
        }
    }
    Ok(())
}

/// Brings what is heard into the tables.
async fn write(app: &App, heard: &Heard<Listing>) -> Result<(), Trouble> {
    loop {
        match heard.next(BATCH).await {
            Next::Seen(batch) => record(app, batch).await?,
            Next::Listed(listing) => listing.end(app).await?,
            Next::Gone(object) => {
                if let (Ok(uid), Some(kube_uid)) = (object.spec.job_uid.parse(), object.uid()) {
                    lost(app, uid, kube_uid).await?;
                }
            }
        }
    }
}

/// The bug of that name: neither the 410 nor the list that has to follow it is taken note of.
fn ignored(event: &Result<watcher::Event<AIJob>, watcher::Error>, deaf: &mut bool) -> bool {
    let gone = matches!(event, Err(watcher::Error::WatchError(status)) if status.code == 410);
    *deaf |= gone;
    let listed =
        matches!(event, Ok(watcher::Event::Init | watcher::Event::InitApply(_) | watcher::Event::InitDone));
    gone || (*deaf && listed)
}

/// A list of AIJobs while it comes in.
struct Listing {
    expected: Vec<Job>,
    found: HashSet<JobUid>,
}

impl Listing {
    async fn begin(app: &App) -> Result<Self, Trouble> {
        let expected = app.db.read::<_, Error, _>(Tx::ObserveJob, |c| Ok(job::in_cluster(c)?)).await?;
        Ok(Self { expected, found: HashSet::new() })
    }

    /// A job that was applied to this very cluster and is not in it was deleted by somebody.
    async fn end(self, app: &App) -> Result<(), Trouble> {
        for job in self.expected {
            let Some(kube_uid) = job.kube_uid.filter(|_| !self.found.contains(&job.uid)) else { continue };
            let api = Api::<AIJob>::namespaced(app.client.clone(), &job.name.account.namespace());
            let there = in_time("reading an AIJob", api.get_opt(job.name.job.as_str())).await?;
            if there.and_then(|object| object.uid()).as_deref() != Some(&kube_uid) {
                lost(app, job.uid, kube_uid).await?;
            }
        }
        Ok(())
    }
}

/// The AIJob is gone from the cluster that it was made in: somebody's delete, which means cancel.
pub async fn lost(app: &App, uid: JobUid, kube_uid: String) -> Result<(), Trouble> {
    let now_ms = app.now_ms();
    let changed = app
        .db
        .transaction::<_, Error, _>(Tx::ObserveJob, move |c| {
            let Some(mut job) = job::by_uid(c, uid)? else { return Ok(false) };
            if job.state.is_final() || job.kube_uid.as_deref() != Some(kube_uid.as_str()) {
                return Ok(false);
            }
            job.state = crater_domain::JobState::Cancelled;
            job.ended_ms = Some(now_ms);
            job.kube_uid = None;
            job.dirty = false;
            job.status.roles.clear();
            job.status.span_ended = true;
            job::close_spans(c, uid, now_ms, "Cancelled")?;
            job.status.reason = "DeletedInCluster".to_owned();
            job.status.message = "its AIJob was deleted from the cluster".to_owned();
            job::save(c, &mut job)?;
            job::add_event(c, uid, now_ms, "Cancelled", &job.status.message)?;
            Ok(true)
        })
        .await?;
    if changed {
        app.tell();
    }
    Ok(())
}

/// Brings the statuses into the rows, in one transaction, then does what follows from it in the cluster.
async fn record(app: &App, batch: Vec<Seen>) -> Result<(), Trouble> {
    let now_ms = app.now_ms();
    let outcome = app
        .db
        .transaction::<_, Error, _>(Tx::ObserveJob, move |c| {
            let mut outcome = Outcome::default();
            for seen in &batch {
                observe(c, seen, now_ms, &mut outcome)?;
            }
            Ok(outcome)
        })
        .await?;
    if outcome.dirty {
        app.tell_dirty();
    } else if outcome.changed {
        app.tell();
    }
    futures::stream::iter(outcome.actions.into_iter().map(Ok))
        .try_for_each_concurrent(WRITES, |action| act(app, action))
        .await
}

fn observe(c: &mut Conn, seen: &Seen, now_ms: i64, outcome: &mut Outcome) -> Result<(), Error> {
    let Seen { object, listed } = seen;
    let Ok(uid) = object.spec.job_uid.parse::<JobUid>() else { return Ok(()) };
    let release = |outcome: &mut Outcome| {
        if object.finalizers().iter().any(|f| f == RECORD_FINALIZER) {
            outcome.actions.push(Action::Release(object.clone()));
        }
    };
    let deleting = object.metadata.deletion_timestamp.is_some();
    // a row is there before its AIJob is made: no row means that the job is long deleted
    let Some(mut job) = job::by_uid(c, uid)? else {
        release(outcome);
        return Ok(());
    };
    if job.kube_uid.is_some() && job.kube_uid != object.uid() {
        return Ok(());
    }
    if job.deleted_ms.is_some() {
        if deleting {
            release(outcome);
        } else {
            outcome.actions.push(Action::Discard(object.clone()));
        }
        return Ok(());
    }
    if job.state.is_final() {
        release(outcome);
        return Ok(());
    }
    // another replica of this service may be ahead of this watch; a list is never behind
    if !listed && version(object) < job.status.seen_version {
        return Ok(());
    }
    if let (None, Some(kube_uid)) = (&job.kube_uid, object.uid()) {
        job::adopt(c, uid, &kube_uid)?;
        job.kube_uid = Some(kube_uid);
    }
    let mut new = status::seen(&job, object, now_ms);
    usage::follow(c, &mut new, object)?;
    let mut events = happened(&job, &new);
    if deleting && !new.cancelled && !new.state.is_final() {
        new.cancelled = true;
        new.revision += 1;
        new.dirty = true;
        outcome.dirty = true;
        events.push(("CancelRequested", "its AIJob was deleted in the cluster".to_owned()));
    }
    if new != job {
        new.status.seen_version = version(object);
        job::save(c, &mut new)?;
        outcome.changed = true;
        for (reason, message) in events {
            let late = |last: job::Event| now_ms - last.time_ms >= WAITING_EVERY_MS;
            if reason != WAITING || job::last_event(c, uid, WAITING)?.is_none_or(late) {
                job::add_event(c, uid, now_ms, reason, &message)?;
            }
        }
    }
    if new.state.is_final() {
        release(outcome);
    }
    Ok(())
}

/// A conflict is no error: who was faster made an event that comes next.
async fn act(app: &App, action: Action) -> Result<(), Trouble> {
    let (object, done) = match action {
        // what its replicas wrote is kept first, where it is about to go; the watch tells of it again should this end
        Action::Release(object)
            if object.metadata.deletion_timestamp.is_some() && kept_later(app, &object) =>
        {
            let app = app.clone();
            tokio::spawn(async move {
                let deadline = Instant::now() + OUTPUT_WITHIN;
                while kept_later(&app, &object) && Instant::now() < deadline {
                    tokio::time::sleep(OUTPUT_PAUSE).await;
                }
                if let Err(trouble) = release(&app, &object).await {
                    tracing::warn!(aijob = object.name_any(), %trouble, "releasing an AIJob");
                }
            });
            return Ok(());
        }
        Action::Release(object) => {
            let done = release(app, &object).await;
            (object, done)
        }
        Action::Discard(object) => {
            let api = namespaced(app, &object);
            let done = in_time("deleting an AIJob", api.delete(&object.name_any(), &exactly(&object))).await;
            (object, done.map(drop))
        }
    };
    match done {
        Err(Trouble::Kube { source: kube::Error::Api(status), .. })
            if status.is_not_found() || status.is_conflict() =>
        {
            tracing::debug!(aijob = object.name_any(), status.message, "somebody was faster");
            Ok(())
        }
        done => done,
    }
}

/// Whether there is output of its Pods that is not kept yet.
fn kept_later(app: &App, object: &AIJob) -> bool {
    object.spec.job_uid.parse().is_ok_and(|uid| !app.waiting.none(uid))
}

async fn release(app: &App, object: &AIJob) -> Result<(), Trouble> {
    let api = namespaced(app, object);
    let left: Vec<&String> = object.finalizers().iter().filter(|f| *f != RECORD_FINALIZER).collect();
    let patch = json!({"metadata": {"resourceVersion": object.resource_version(), "finalizers": left}});
    let name = object.name_any();
    let (params, patch) = (PatchParams::default(), Patch::Merge(&patch));
    in_time("releasing an AIJob", api.patch(&name, &params, &patch)).await.map(drop)
}

/// This object and no other of its name.
pub fn exactly(object: &AIJob) -> DeleteParams {
    let uid = object.uid();
    DeleteParams::background().preconditions(Preconditions { uid, resource_version: None })
}

fn namespaced(app: &App, object: &AIJob) -> Api<AIJob> {
    Api::namespaced(app.client.clone(), &object.namespace().unwrap_or_default())
}
