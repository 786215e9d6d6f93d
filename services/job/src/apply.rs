//! The outbox: brings the AIJob of every dirty job to the job's current revision.
//!
//! Level-triggered: a dirty flag is no message but says that row and cluster differ, so a worker may stop after any line and another one, or the
//! next start, does the rest. What a late worker could still write is stopped by the API server: a creation by the name that is taken, an
//! update by uid and resourceVersion; and an AIJob whose job is deleted is taken away when the watch sees it.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crater_domain::{AccountId, Error, JobUid};
use crater_k8s::aijob::Identity;
use crater_k8s::names::{
    ACCOUNT, JOB, JOB_UID, PLAY_DURATION, PLAY_EXIT_CODE, RECORD_FINALIZER, TRACEPARENT,
};
use crater_k8s::{AIJob, AIJobSpec};
use crater_store::Tx;
use crater_store::job::{self, Job};
use crater_telemetry::follow;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::PostParams;
use kube::{Api, ResourceExt};
use tokio::time::Instant;
use tracing::{Instrument, Span};

use crate::app::App;
use crate::change::suspension;
use crate::cluster::{Trouble, in_time};
use crate::observe::{exactly, lost};

/// Jobs that are applied at one time.
const AT_ONCE: usize = 8;
/// Dirty jobs that are read at once.
const BATCH: usize = 256;
/// The pause after the first refusal; each further one doubles it.
const PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A job that could not be applied for now.
#[derive(Debug, Clone, Copy)]
struct Held {
    until: Instant,
    pause: Duration,
}

/// How applying one job ended.
#[derive(Debug)]
enum Done {
    /// The cluster has what the row said.
    Settled,
    /// Something else changed meanwhile: look again.
    Again,
    /// It cannot be done for now; why, for people.
    Refused(&'static str, String),
}

/// Works until the cluster or the tables are away.
pub async fn run(app: &App) -> Result<(), Trouble> {
    let mut wake = app.work();
    let namespaces = Mutex::new(HashSet::new());
    let mut busy: HashSet<JobUid> = HashSet::new();
    let mut held: HashMap<JobUid, Held> = HashMap::new();
    let mut work = FuturesUnordered::new();
    loop {
        // before the tables are read: what becomes dirty after that wakes the next round
        wake.mark_unchanged();
        let limit = BATCH + busy.len() + held.len();
        let due = app.db.read::<_, Error, _>(Tx::ClaimOutbox, move |c| Ok(job::due(c, limit)?)).await?;
        let dirty: HashSet<JobUid> = due.iter().map(|d| d.uid).collect();
        held.retain(|uid, _| dirty.contains(uid) || busy.contains(uid));
        let now = Instant::now();
        let mut todo = due
            .into_iter()
            .map(|d| d.uid)
            .filter(|uid| !busy.contains(uid) && held.get(uid).is_none_or(|h| h.until <= now))
            .collect::<Vec<_>>()
            .into_iter();
        loop {
            while work.len() < AT_ONCE
                && let Some(uid) = todo.next()
            {
                busy.insert(uid);
                let namespaces = &namespaces;
                work.push(async move { (uid, apply(app, namespaces, uid).await) });
            }
            let soonest = held.iter().filter(|(uid, _)| !busy.contains(*uid)).map(|(_, h)| h.until).min();
            let rest = todo.len();
            tokio::select! {
                Some((uid, done)) = work.next(), if !work.is_empty() => {
                    busy.remove(&uid);
                    match done? {
                        Done::Settled => { held.remove(&uid); }
                        Done::Again => {}
                        Done::Refused(reason, why) => {
                            let pause = held.get(&uid).map_or(PAUSE, |h| (h.pause * 2).min(LONGEST_PAUSE));
                            held.insert(uid, Held { until: Instant::now() + pause, pause });
                            note(app, uid, reason, why).await?;
                        }
                    }
                    if rest == 0 && work.is_empty() {
                        break;
                    }
                }
                changed = wake.changed(), if rest == 0 => {
                    if changed.is_err() { return Ok(()) }
                    break;
                }
                () = sleep_until(soonest), if rest == 0 => break,
            }
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Brings one job's AIJob to the job's current revision.
async fn apply(app: &App, namespaces: &Mutex<HashSet<AccountId>>, uid: JobUid) -> Result<Done, Trouble> {
    let job = app.db.read::<_, Error, _>(Tx::ClaimOutbox, move |c| Ok(job::by_uid(c, uid)?)).await?;
    let Some(job) = job.filter(|j| j.dirty) else { return Ok(Done::Settled) };
    let api = Api::<AIJob>::namespaced(app.client.clone(), &job.name.account.namespace());
    let there = in_time("reading an AIJob", api.get_opt(job.name.job.as_str())).await;
    let there = match there {
        Ok(there) => there,
        Err(trouble) => return refusal(trouble),
    };
    let ours = |object: &AIJob| object.spec.job_uid == uid.to_string();
    if job.deleted_ms.is_some() || job.state.is_final() {
        let Some(object) = there.filter(ours) else { return settle(app, &job, None).await };
        if job.deleted_ms.is_none() {
            return settle(app, &job, object.uid()).await;
        }
        // the finalizer went when the end was recorded; should it be there still, the watch sees the deletion and takes it off
        return match in_time("deleting an AIJob", api.delete(&object.name_any(), &exactly(&object))).await {
            Ok(_) => settle(app, &job, None).await,
            Err(Trouble::Kube { source: kube::Error::Api(s), .. }) if s.is_not_found() || s.is_conflict() => {
                Ok(Done::Again)
            }
            Err(trouble) => refusal(trouble),
        };
    }
    match there {
        None => match &job.kube_uid {
            None => create(app, namespaces, &api, &job).await,
            // it was made in this cluster, and is gone
            Some(kube_uid) => {
                lost(app, uid, kube_uid.clone()).await?;
                Ok(Done::Settled)
            }
        },
        Some(object) if !ours(&object) => {
            let why = "an AIJob of that name is still in the cluster; this job follows once it is gone";
            Ok(Done::Refused("NameTaken", why.to_owned()))
        }
        Some(object) if object.spec.revision >= job.revision => settle(app, &job, object.uid()).await,
        Some(mut object) => {
            let kube_uid = object.uid();
            // uid and resourceVersion are those that were read: only this very object, unchanged, is replaced
            object.spec = AIJobSpec::new(&identity(&job), &job.spec);
            let name = object.name_any();
            let params = PostParams::default();
            match in_time("updating an AIJob", api.replace(&name, &params, &object)).await {
                Ok(_) => settle(app, &job, kube_uid).await,
                Err(Trouble::Kube { source: kube::Error::Api(s), .. })
                    if s.is_not_found() || s.is_conflict() =>
                {
                    Ok(Done::Again)
                }
                Err(trouble) => refusal(trouble),
            }
        }
    }
}

async fn create(
    app: &App,
    namespaces: &Mutex<HashSet<AccountId>>,
    api: &Api<AIJob>,
    job: &Job,
) -> Result<Done, Trouble> {
    let account = &job.name.account;
    let known = namespaces.lock().unwrap_or_else(PoisonError::into_inner).contains(account);
    if !known {
        if let Err(trouble) = ensure_namespace(app, account).await {
            return refusal(trouble);
        }
        namespaces.lock().unwrap_or_else(PoisonError::into_inner).insert(account.clone());
    }
    let mut object = AIJob::new(job.name.job.as_str(), AIJobSpec::new(&identity(job), &job.spec));
    object.labels_mut().extend([
        (JOB_UID.to_owned(), job.uid.to_string()),
        (JOB.to_owned(), job.name.job.to_string()),
        (ACCOUNT.to_owned(), account.to_string()),
    ]);
    object.finalizers_mut().push(RECORD_FINALIZER.to_owned());
    // how a Pod that is only played behaves; real kubelets do not read it
    let played = job.labels.iter().filter(|(key, _)| [PLAY_DURATION, PLAY_EXIT_CODE].contains(&key.as_str()));
    object.annotations_mut().extend(played.map(|(key, value)| (key.clone(), value.clone())));
    let span = match &job.trace {
        Some(_) => tracing::info_span!("apply", service = "job", job = %job.name),
        None => Span::none(),
    };
    if let Some(trace) = job.trace.as_ref().and_then(|kept| follow(&span, kept)) {
        object.annotations_mut().insert(TRACEPARENT.to_owned(), trace);
    }
    let params = PostParams::default();
    let creating = in_time("creating an AIJob", api.create(&params, &object));
    match creating.instrument(span).await {
        Ok(made) => settle(app, job, made.uid()).await,
        Err(Trouble::Kube { source: kube::Error::Api(s), .. }) if s.is_already_exists() => Ok(Done::Again),
        Err(Trouble::Kube { source: kube::Error::Api(s), .. }) if s.is_not_found() && known => {
            // the namespace went meanwhile
            namespaces.lock().unwrap_or_else(PoisonError::into_inner).remove(account);
            Ok(Done::Again)
        }
        Err(trouble) => refusal(trouble),
    }
}

async fn ensure_namespace(app: &App, account: &AccountId) -> Result<(), Trouble> {
    let api = Api::<Namespace>::all(app.client.clone());
    let name = account.namespace();
    if in_time("reading a namespace", api.get_opt(&name)).await?.is_some() {
        return Ok(());
    }
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some(name);
    namespace.labels_mut().insert(ACCOUNT.to_owned(), account.to_string());
    match in_time("creating a namespace", api.create(&PostParams::default(), &namespace)).await {
        Err(Trouble::Kube { source: kube::Error::Api(s), .. }) if s.is_already_exists() => Ok(()),
        done => done.map(drop),
    }
}

fn identity(job: &Job) -> Identity {
    Identity {
        uid: job.uid,
        account: job.name.account.clone(),
        creator: job.creator.clone(),
        submitted_millis: job.created_ms,
        revision: job.revision,
        cancelled: job.cancelled,
        suspended: suspension(job),
        checkpointed_millis: job.status.reported_ms,
    }
}

async fn settle(app: &App, job: &Job, kube_uid: Option<String>) -> Result<Done, Trouble> {
    let (uid, revision) = (job.uid, job.revision);
    let settled = app.db.transaction::<_, Error, _>(Tx::SettleOutbox, move |c| {
        Ok(job::settle(c, uid, revision, kube_uid.as_deref())?)
    });
    Ok(if settled.await? { Done::Settled } else { Done::Again })
}

/// What concerns this job alone is tried again later; what concerns the whole cluster begins everything anew.
fn refusal(trouble: Trouble) -> Result<Done, Trouble> {
    match trouble {
        Trouble::Kube { doing, source: kube::Error::Api(status) }
            if status.code < 500 && status.code != 401 && status.code != 429 =>
        {
            Ok(Done::Refused("NotApplied", format!("{doing}: {}", status.message)))
        }
        trouble => Err(trouble),
    }
}

/// Tells the owner why a job is not in the cluster yet.
async fn note(app: &App, uid: JobUid, reason: &'static str, why: String) -> Result<(), Trouble> {
    let changed = app.db.transaction::<_, Error, _>(Tx::SettleOutbox, move |c| {
        let Some(mut job) = job::by_uid(c, uid)? else { return Ok(false) };
        let told = job.status.reason == reason && job.status.message == why;
        if told || job.deleted_ms.is_some() || job.kube_uid.is_some() {
            return Ok(false);
        }
        job.status.reason = reason.to_owned();
        job.status.message.clone_from(&why);
        job::save(c, &mut job)?;
        Ok(true)
    });
    if changed.await? {
        app.tell();
    }
    Ok(())
}
