//! What is to be done for a job: a pure function of what is known of it. No clock, no IO, no memory of its own.
//!
//! A job goes `Queued → Starting → Running → end`. A change of phase or of the attempt is written before anything that
//! follows from it is done, so a crash between any two lines is a crash in a state that this function knows. Pods of
//! an older attempt are gone before the first of a new one is made: no job runs twice at once. From before its first
//! Pod until its last is gone a finalizer keeps the AIJob, and with it the Allocations that it owns.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crater_domain::{AccountId, JobId, JobUid};
use crater_k8s::aijob::{AIJobStatus, Phase, SUSPENDED};
use crater_k8s::allocation::{Granted, NODE_DRAINED, Range, Rejected, ranges};
use crater_k8s::build::Rendezvous;
use crater_k8s::{AIJob, Allocation, names};
use crater_plant::{Bug, planted};
use kube::ResourceExt;

use crate::fence::{Fence, Judgement};
use crate::held::{Held, Holdings, gone, untouched, whole};
use crate::pods::{Replica, State};
use crate::{checkpoint, status, usage};

/// How soon a Lease without a list revision is read again.
const FENCE_PAUSE: Duration = Duration::from_millis(300);
/// Why a job waits again whose replicas the scheduler took back for others.
const PREEMPTED: &str = "Preempted";
/// Refusals that an Allocation names, and how much of each: a gang of 10,000 that nobody would have still fits an object.
const MOST_REJECTED: usize = 1000;
const LONGEST_REFUSAL: usize = 200;

/// What a node lets be known of its Pods. One that is silent says nothing, and nothing is known to be gone there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// Its kubelet reports.
    Ready,
    /// An admin has said that it is off: nothing runs there.
    Off,
}

/// What is known of a job.
pub struct View<'a> {
    /// The job.
    pub job: &'a AIJob,
    /// Its Allocations.
    pub allocations: &'a [Arc<Allocation>],
    /// Its Pods.
    pub pods: &'a [Replica],
    /// The scheduler's Lease, read after the Allocations were seen; needed only where one is undecided.
    pub fence: Option<Fence>,
    /// The nodes that are not silent.
    pub heard: &'a BTreeMap<String, Heard>,
    /// When a write last told of a checkpoint, if this process remembers.
    pub checkpoint_told: Option<i64>,
    /// Now, in milliseconds since 1970.
    pub now_millis: i64,
}

/// One write.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// The status shall be this (but for the scheduler's part).
    Status(Box<AIJobStatus>),
    /// The AIJob must not go before what is started for it.
    Keep,
    /// The AIJob may go.
    LetGo,
    /// The Allocation is valid.
    Accept {
        /// Which.
        allocation: String,
        /// The Lease's epoch.
        epoch: i64,
    },
    /// The Allocation is not valid.
    Refuse {
        /// Which.
        allocation: String,
        /// Why.
        message: String,
    },
    /// These replicas are gone.
    Release {
        /// Of which Allocation.
        allocation: String,
        /// All that are gone, those of before included.
        released: Vec<Range>,
        /// All that a kubelet refused, those of before included.
        rejected: Vec<Rejected>,
        /// For some no Pod is known: the API must confirm that there is none.
        unseen: bool,
    },
    /// The replicas need names.
    EnsureService,
    /// A replica starts.
    Create {
        /// Which, where, with what.
        granted: Granted,
        /// The Allocation that it fills.
        allocation: String,
        /// Which start of the job it belongs to.
        attempt: i32,
        /// How it finds the others.
        rendezvous: Option<Rendezvous>,
    },
    /// A Pod ends, with its grace period.
    Delete {
        /// Its name.
        pod: String,
        /// Its uid.
        uid: String,
    },
}

/// What is to be done now, in this order; and when to look again though nothing changes.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    /// The writes.
    pub actions: Vec<Action>,
    /// When to look again.
    pub look_again: Option<Duration>,
}

/// Decides.
pub fn plan(view: &View<'_>) -> Plan {
    let mut plan = decide(view);
    for action in &mut plan.actions {
        if let Action::Status(next) = action {
            usage::follow(view, next);
        }
    }
    checkpoint::spare(view, &mut plan);
    plan
}

fn decide(view: &View<'_>) -> Plan {
    let job = view.job;
    let now = job.status.clone().unwrap_or_default();
    let phase = now.phase.unwrap_or(Phase::Queued);
    let holdings = Holdings::of(view);
    let just = |actions| Plan { actions, look_again: None };
    if matches!(phase, Phase::Succeeded | Phase::Failed | Phase::Cancelled) {
        return just(over(view, &holdings));
    }
    // what had come to its end before anybody told it to is no less done for a cancel that came too late
    if phase != Phase::Queued && finished(view, &now, &holdings) {
        return just(vec![succeed(view, now, &holdings)]);
    }
    if job.spec.cancelled || job.metadata.deletion_timestamp.is_some() {
        return just(cancel(view, now, &holdings));
    }
    if let Err(why) = sound(job) {
        let mut next = now;
        status::end(&mut next, Phase::Failed, "InvalidSpec", why, None, view.now_millis);
        return just(vec![status::action(next, job)]);
    }
    // nor is a failure counted that comes while it is told to stand aside
    if let (Some(suspended), false) = (&job.spec.suspended, phase == Phase::Queued) {
        return just(vec![back_to_queue(view, now, SUSPENDED, suspended.words())]);
    }
    let mut plan = accept(view);
    if plan.actions.is_empty() {
        plan.actions = match phase {
            Phase::Queued => queued(view, now, &holdings),
            _ => started(view, now, &holdings),
        };
    }
    plan
}

/// Somebody may have written the AIJob by hand.
fn sound(job: &AIJob) -> Result<(), String> {
    job.name_any().parse::<JobId>().map_err(|e| format!("metadata.name: {e}"))?;
    job.spec.job_uid.parse::<JobUid>().map_err(|e| format!("spec.jobUid: {e}"))?;
    job.spec.account.parse::<AccountId>().map_err(|e| format!("spec.account: {e}"))?;
    job.spec.parse().map(drop).map_err(|e| e.to_string())
}

/// Undecided Allocations are decided first: nothing of them starts before.
fn accept(view: &View<'_>) -> Plan {
    let mut plan = Plan::default();
    for allocation in view.allocations.iter().filter(|a| undecided(a)) {
        match view.fence.map(|f| (f, f.judge(allocation))) {
            Some((fence, Judgement::Valid)) => {
                plan.actions.push(Action::Accept { allocation: allocation.name_any(), epoch: fence.epoch });
            }
            Some((fence, Judgement::Stale)) => plan.actions.push(Action::Refuse {
                allocation: allocation.name_any(),
                message: format!("epoch {} gave it, epoch {} rules", allocation.spec.epoch, fence.epoch),
            }),
            Some((_, Judgement::Wait)) | None => plan.look_again = Some(FENCE_PAUSE),
        }
    }
    plan
}

/// Whether an Allocation is neither accepted nor refused.
pub fn undecided(allocation: &Allocation) -> bool {
    allocation.status.as_ref().is_none_or(|s| s.accepted.is_none() && s.refused.is_none())
}

/// The job is over: what still runs is ended, what is gone is given back.
fn over(view: &View<'_>, holdings: &Holdings<'_>) -> Vec<Action> {
    let mut actions = wind_down(view, holdings);
    if !left(view, holdings) && kept(view.job) {
        actions.push(Action::LetGo);
    }
    actions
}

/// The job shall end: it is over once nothing of it is left.
fn cancel(view: &View<'_>, now: AIJobStatus, holdings: &Holdings<'_>) -> Vec<Action> {
    let mut actions = wind_down(view, holdings);
    let mut next = now.clone();
    if left(view, holdings) {
        status::count(&mut next, view, holdings);
        status::write(&mut actions, &now, next, view.job);
        return actions;
    }
    let message = if view.job.spec.cancelled { "cancelled" } else { "its AIJob was deleted" };
    status::count(&mut next, view, holdings);
    status::end(&mut next, Phase::Cancelled, "Cancelled", message.to_owned(), None, view.now_millis);
    actions.insert(0, status::action(next, view.job));
    actions
}

fn wind_down(view: &View<'_>, holdings: &Holdings<'_>) -> Vec<Action> {
    let mut actions = delete(view.pods.iter().filter(|p| !p.ended()));
    for allocation in view.allocations.iter().filter(|a| undecided(a) && !a.held().is_empty()) {
        // nothing of it was started, and nothing will be
        let all = allocation.granted().into_iter().map(|g| (g.role, g.replica)).collect();
        actions.push(Action::Release {
            allocation: allocation.name_any(),
            released: ranges(&all),
            rejected: Vec::new(),
            unseen: false,
        });
    }
    actions.extend(release(holdings, |h| gone(view, h) && !planted(Bug::MissedRelease)));
    actions
}

fn left(view: &View<'_>, holdings: &Holdings<'_>) -> bool {
    let runs = |p: &Replica| !p.ended() && view.heard.get(&p.node) != Some(&Heard::Off);
    view.pods.iter().any(runs) || holdings.all.iter().any(|h| !gone(view, h))
}

fn kept(job: &AIJob) -> bool {
    job.finalizers().iter().any(|f| f == names::PODS_FINALIZER)
}

/// Waits: what an earlier start left is cleared away, then a whole gang starts.
///
/// One Allocation brings the whole gang, so what was given for an earlier start, and is not whole by itself, goes
/// back; what was given after it has joined it.
fn queued(view: &View<'_>, now: AIJobStatus, holdings: &Holdings<'_>) -> Vec<Action> {
    let mut next = now.clone();
    let all = &holdings.all;
    let brings = |h: &Held<'_>| {
        untouched(h.allocation) && whole(view, holdings.live().filter(|other| other.order == h.order))
    };
    let mut judged = None;
    let aside = view.job.spec.suspended.is_some();
    let first = all.iter().filter(|_| !aside).find_map(|h| {
        let new = judged.replace(h.order) != Some(h.order);
        (new && brings(h)).then_some(h.order)
    });
    let starts = |h: &Held<'_>| first.is_some_and(|n| h.order >= n) && untouched(h.allocation);
    if first.is_some() && view.pods.is_empty() && all.iter().all(starts) {
        if !kept(view.job) {
            return vec![Action::Keep];
        }
        next.attempts += 1;
        next.phase = Some(Phase::Starting);
        (next.reason, next.message) = (None, None);
        next.nodes = nodes(holdings);
        status::count(&mut next, view, holdings);
        return vec![status::action(next, view.job)];
    }
    let mut actions = delete(view.pods.iter());
    // while one is undecided, those beside it may be what joins it
    let settled = !view.allocations.iter().any(|a| undecided(a));
    let leaves = |h: &Held<'_>| !starts(h) && (settled || !untouched(h.allocation));
    actions.extend(release(holdings, |h| leaves(h) && gone(view, h)));
    next.phase = Some(Phase::Queued);
    status::count_waiting(&mut next, view, holdings);
    status::write(&mut actions, &now, next, view.job);
    actions
}

/// Whether every replica has ended well, by itself.
fn finished(view: &View<'_>, now: &AIJobStatus, holdings: &Holdings<'_>) -> bool {
    let done = |h: &Held<'_>| {
        h.pod.is_some_and(|p| p.attempt == now.attempts && p.state == State::Succeeded && !p.going)
    };
    let all = || holdings.all.iter().filter(|h| !h.surplus);
    (whole(view, holdings.live()) && holdings.live().all(done)) || (whole(view, all()) && all().all(done))
}

fn succeed(view: &View<'_>, now: AIJobStatus, holdings: &Holdings<'_>) -> Action {
    let mut next = now;
    status::count(&mut next, view, holdings);
    let at = moment(view, view.pods.iter().filter_map(|p| p.ended_millis).max());
    started_at(&mut next, view);
    let at = next.start_millis.map_or(at, |start| at.max(start));
    status::end(&mut next, Phase::Succeeded, "Completed", String::new(), Some(0), at);
    status::action(next, view.job)
}

/// Kubelets tell whole seconds: within one, the moment at which it is seen is nearer to the truth.
fn moment(view: &View<'_>, told: Option<i64>) -> i64 {
    told.filter(|told| view.now_millis - told >= 1000).unwrap_or(view.now_millis)
}

/// When the last replica of this attempt began to run: short jobs may have ended before they were seen running.
fn started_at(next: &mut AIJobStatus, view: &View<'_>) {
    if next.start_millis.is_none() {
        let current = view.pods.iter().filter(|p| p.attempt == next.attempts);
        next.start_millis = Some(moment(view, current.filter_map(|p| p.started_millis).max()));
    }
}

/// Runs, or is being started.
fn started(view: &View<'_>, now: AIJobStatus, holdings: &Holdings<'_>) -> Vec<Action> {
    if !whole(view, holdings.live()) {
        let (reason, message) = why_incomplete(view, holdings);
        return vec![back_to_queue(view, now, reason, message)];
    }
    let of_now = |p: &Replica| p.attempt == now.attempts;
    // we take no Pod of this attempt away from a replica that is to run: a drain did, or a control plane from a lost node
    let evicted = |h: &&Held<'_>| h.pod.is_some_and(|p| of_now(p) && p.going);
    if let Some(h) = holdings.live().find(evicted) {
        let why = "its Pod was told to leave";
        return vec![give_back(h.allocation, std::iter::empty(), std::iter::once((&h.granted, why)), false)];
    }
    let refused = holdings.all.iter().any(|h| h.refusal().is_some());
    let failed = status::first_failure(holdings.live().filter_map(|h| h.pod).filter(|p| of_now(p)));
    // the others fail where a kubelet would not have one of them: that is no failure of the job
    if let Some(failed) = failed.filter(|_| !refused) {
        return vec![after_failure(view, now, failed, holdings)];
    }

    let leaving = |h: &Held<'_>| !h.live() || h.refusal().is_some();
    let mut actions = release(holdings, |h| leaving(h) && gone(view, h));
    let old = |p: &&Replica| !of_now(p);
    let useless = holdings.all.iter().filter(|h| leaving(h)).filter_map(|h| h.pod);
    let useless: BTreeMap<&str, &Replica> = useless
        .chain(holdings.strays.iter().copied())
        .chain(view.pods.iter().filter(old))
        .map(|p| (p.name.as_str(), p))
        .collect();
    actions.extend(delete(useless.into_values()));
    if !refused && !view.pods.iter().any(|p| old(&p)) {
        actions.extend(create(view, &now, holdings));
    }

    let mut next = now.clone();
    status::count(&mut next, view, holdings);
    next.nodes = nodes(holdings);
    let up = |h: &&Held<'_>| {
        h.pod.is_some_and(|p| of_now(p) && matches!(p.state, State::Running | State::Succeeded))
    };
    if now.phase != Some(Phase::Running) && whole(view, holdings.live().filter(up)) {
        next.phase = Some(Phase::Running);
        started_at(&mut next, view);
        (next.reason, next.message) = (None, None);
    }
    checkpoint::follow(view, &mut next);
    status::write(&mut actions, &now, next, view.job);
    actions
}

fn nodes(holdings: &Holdings<'_>) -> Vec<String> {
    let set: BTreeSet<&str> = holdings.live().map(|h| h.granted.node.as_str()).collect();
    set.into_iter().take(status::MOST_NODES).map(str::to_owned).collect()
}

fn why_incomplete(view: &View<'_>, holdings: &Holdings<'_>) -> (&'static str, String) {
    let rejected = view.allocations.iter().filter_map(|a| a.status.as_ref()).flat_map(|s| &s.rejected).last();
    if let Some(taken) = holdings.all.iter().find(|h| h.revoked) {
        let last = taken.allocation.spec.revoked.last();
        let words = last.map(|r| r.message.clone()).unwrap_or_default();
        let reason = match last.map(|r| r.reason.as_str()) {
            Some(SUSPENDED) => SUSPENDED,
            Some(NODE_DRAINED) => NODE_DRAINED,
            _ => PREEMPTED,
        };
        return (reason, words);
    }
    match rejected {
        Some(r) if holdings.all.iter().any(|h| h.evicted) => {
            ("Evicted", format!("replica {}/{} had to leave node {}", r.role, r.replica, r.node))
        }
        Some(r) => {
            let message =
                format!("node {} would not have replica {}/{}: {}", r.node, r.role, r.replica, r.message);
            ("Refused", message)
        }
        None => ("Incomplete", "its gang fell below the minimum".to_owned()),
    }
}

/// What is left of the gang is of no use: all of it goes back, and the job waits again. No retry is spent.
fn back_to_queue(view: &View<'_>, now: AIJobStatus, reason: &str, message: String) -> Action {
    let mut next = now;
    if reason == PREEMPTED || reason == NODE_DRAINED {
        next.preemptions += 1;
    }
    next.phase = Some(Phase::Queued);
    next.reason = Some(reason.to_owned());
    next.message = Some(message).filter(|m| !m.is_empty());
    // by this the scheduler tells what was given before from what is given after, so its clock must not be ahead of ours
    let given = view.allocations.iter().map(|a| a.spec.granted_millis).max();
    next.queued_millis = given.max(Some(view.now_millis));
    checkpoint::start_over(&mut next);
    next.nodes = Vec::new();
    status::action(next, view.job)
}

fn after_failure(view: &View<'_>, now: AIJobStatus, failed: &Replica, holdings: &Holdings<'_>) -> Action {
    let mut next = now;
    let (exit_code, why) = match &failed.state {
        State::Failed { exit_code, message } => (*exit_code, message.as_str()),
        _ => (1, ""),
    };
    let message = format!(
        "replica {}/{} on node {} ended with exit code {exit_code}{}",
        failed.role,
        failed.replica,
        failed.node,
        if why.is_empty() || why.starts_with("exit code") { String::new() } else { format!(": {why}") }
    );
    status::count(&mut next, view, holdings);
    if next.failures < view.job.spec.max_retries {
        next.failures += 1;
        next.attempts += 1;
        next.phase = Some(Phase::Starting);
        next.reason = Some("Retrying".to_owned());
        next.message = Some(format!("{message}; retry {} of {}", next.failures, view.job.spec.max_retries));
        checkpoint::start_over(&mut next);
    } else {
        started_at(&mut next, view);
        let at = failed.ended_millis.unwrap_or(view.now_millis);
        status::end(&mut next, Phase::Failed, "ReplicaFailed", message, Some(exit_code), at);
    }
    status::action(next, view.job)
}

fn delete<'a>(pods: impl Iterator<Item = &'a Replica>) -> Vec<Action> {
    pods.filter(|p| !p.going).map(|p| Action::Delete { pod: p.name.clone(), uid: p.uid.clone() }).collect()
}

/// One write an Allocation for all of it that `which` names.
fn release(holdings: &Holdings<'_>, which: impl Fn(&Held<'_>) -> bool) -> Vec<Action> {
    let of_one = |a: &Held<'_>, b: &Held<'_>| a.order == b.order;
    let mut actions = Vec::new();
    for held in holdings.all.chunk_by(of_one) {
        let leaving: Vec<&Held<'_>> = held.iter().filter(|h| which(h)).collect();
        let Some(first) = leaving.first() else { continue };
        let refusals = leaving.iter().filter_map(|h| Some((&h.granted, h.refusal()?)));
        let unseen = leaving.iter().any(|h| h.pod.is_none());
        actions.push(give_back(first.allocation, leaving.iter().map(|h| &h.granted), refusals, unseen));
    }
    actions
}

/// Admission would not have these replicas: no Pod of theirs is there.
pub fn turned_away(allocation: &Allocation, replicas: &[(Granted, String)]) -> Action {
    let refusals = replicas.iter().map(|(granted, why)| (granted, why.as_str()));
    give_back(allocation, replicas.iter().map(|(granted, _)| granted), refusals, false)
}

fn give_back<'a>(
    allocation: &Allocation,
    gone: impl Iterator<Item = &'a Granted>,
    refusals: impl Iterator<Item = (&'a Granted, &'a str)>,
    unseen: bool,
) -> Action {
    let mut released = allocation.released();
    released.extend(gone.map(|g| (g.role.clone(), g.replica)));
    let mut rejected = allocation.status.as_ref().map(|s| s.rejected.clone()).unwrap_or_default();
    rejected.extend(refusals.map(|(granted, why)| Rejected {
        role: granted.role.clone(),
        replica: granted.replica,
        node: granted.node.clone(),
        message: why.chars().take(LONGEST_REFUSAL).collect(),
    }));
    rejected.truncate(MOST_REJECTED);
    Action::Release { allocation: allocation.name_any(), released: ranges(&released), rejected, unseen }
}

/// The Pods that are missing, on nodes that answer.
///
/// Ranks follow the order of what is held, and the world of a replica is all up to its own Allocation: whatever is
/// given later, Pods of one gang that are made before and after it agree.
fn create(view: &View<'_>, now: &AIJobStatus, holdings: &Holdings<'_>) -> Vec<Action> {
    let live: Vec<&Held<'_>> = holdings.live().collect();
    let several = view.job.spec.roles.iter().map(|r| i64::from(r.replicas)).sum::<i64>() > 1;
    let master = live.first().map(|h| pod_name(view.job, h)).unwrap_or_default();
    let port = port(&view.job.spec.job_uid, now.attempts);
    let mut actions = Vec::new();
    let mut rank = 0;
    for gang in live.chunk_by(|a, b| a.order == b.order) {
        let world = rank + gang.len();
        for h in gang {
            let rendezvous = several.then(|| Rendezvous { master: master.clone(), port, rank, world });
            rank += 1;
            if holdings.taken(&h.granted) || view.heard.get(&h.granted.node) != Some(&Heard::Ready) {
                continue;
            }
            if several && actions.is_empty() {
                actions.push(Action::EnsureService);
            }
            actions.push(Action::Create {
                granted: h.granted.clone(),
                allocation: h.allocation.name_any(),
                attempt: now.attempts,
                rendezvous,
            });
        }
    }
    actions
}

fn pod_name(job: &AIJob, held: &Held<'_>) -> String {
    format!("{}-{}-{}", job.name_any(), held.granted.role, held.granted.replica)
}

/// Where rank 0 listens: below the range from which systems hand out ports by themselves, and another for every
/// attempt, so that jobs on one machine seldom meet and a retry finds another (FNV-1a).
fn port(uid: &str, attempt: i32) -> u16 {
    let mut hash: u32 = 0x811c_9dc5;
    for byte in uid.bytes().chain(attempt.to_le_bytes()) {
        hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }
    20_000 + u16::try_from(hash % 12_768).unwrap_or(0)
}
