//! What is to be done for a job: a pure function of what is known of it. No clock, no IO, no memory of its own.
//!
//! A job goes `Queued → Starting → Running → end`. A change of phase or of the attempt is written before anything that
//! follows from it is done, so a crash between any two lines is a crash in a state that this function knows. Pods of
//! an older attempt are gone before the first of a new one is made: no job runs twice at once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crater_k8s::aijob::{AIJobStatus, Phase};
use crater_k8s::allocation::{Granted, Range, Rejected, ranges};
use crater_k8s::build::Rendezvous;
use crater_k8s::{AIJob, Allocation};
use kube::ResourceExt;

use crate::fence::{Fence, Judgement};
use crate::pods::{Replica, State};
use crate::status;

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
    /// Nodes whose kubelets report, or that are known to be off: on any other nothing is known to be gone.
    pub heard: &'a BTreeSet<String>,
    /// Now, in milliseconds since 1970.
    pub now_millis: i64,
}

/// One write.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// The status shall be this (but for the scheduler's part).
    Status(Box<AIJobStatus>),
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

/// A replica that is held.
struct Held<'a> {
    allocation: &'a Allocation,
    granted: Granted,
    revoked: bool,
    pod: Option<&'a Replica>,
}

/// The roles of replicas that hold a place.
fn roles<'a>(held: &'a [Held<'_>]) -> Vec<&'a str> {
    held.iter().filter(|h| !h.revoked).map(|h| h.granted.role.as_str()).collect()
}

/// Decides.
pub fn plan(view: &View<'_>) -> Plan {
    let job = view.job;
    let now = job.status.clone().unwrap_or_default();
    let phase = now.phase.unwrap_or(Phase::Queued);
    let over = matches!(phase, Phase::Succeeded | Phase::Failed | Phase::Cancelled);
    let cancelled = job.spec.cancelled || job.metadata.deletion_timestamp.is_some();
    if over || cancelled {
        return wind_down(view, now, over);
    }
    if let Err(error) = job.spec.parse() {
        let mut next = now.clone();
        status::end(&mut next, Phase::Failed, "InvalidSpec", error.to_string(), None, view.now_millis);
        return only(Action::Status(Box::new(next)));
    }
    let mut plan = accept(view);
    if !plan.actions.is_empty() {
        return plan;
    }
    let held = held(view);
    let steps = match phase {
        Phase::Queued => queued(view, now, &held),
        _ => started(view, now, &held),
    };
    plan.actions = steps;
    plan
}

fn only(action: Action) -> Plan {
    Plan { actions: vec![action], look_again: None }
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
            Some((_, Judgement::Wait)) | None => plan.look_again = Some(Duration::from_millis(300)),
        }
    }
    plan
}

/// Whether an Allocation is neither accepted nor refused.
pub fn undecided(allocation: &Allocation) -> bool {
    allocation.status.as_ref().is_none_or(|s| s.accepted.is_none() && s.refused.is_none())
}

fn held<'a>(view: &View<'a>) -> Vec<Held<'a>> {
    let mut out = Vec::new();
    for allocation in view.allocations.iter().filter(|a| !undecided(a)) {
        let revoked = allocation.revoked();
        let name = allocation.name_any();
        for granted in allocation.held() {
            let is =
                |p: &&Replica| p.allocation == name && p.role == granted.role && p.replica == granted.replica;
            let pod = view.pods.iter().find(is);
            let revoked = revoked.contains(&(granted.role.clone(), granted.replica));
            out.push(Held { allocation, granted, revoked, pod });
        }
    }
    out.sort_by_key(|h| (role_number(view.job, &h.granted.role), h.granted.replica));
    out
}

fn role_number(job: &AIJob, role: &str) -> usize {
    job.spec.roles.iter().position(|r| r.name == role).unwrap_or(usize::MAX)
}

/// Whether nothing of the replica runs any more, for sure. A Pod that is not there proves nothing while its node is
/// silent; where the node reports, the Pod was never made or its kubelet has let it go.
fn gone(view: &View<'_>, held: &Held<'_>) -> bool {
    let heard = view.heard.contains(&held.granted.node);
    match held.pod {
        None => heard,
        Some(pod) => match pod.state {
            State::Succeeded | State::Failed { .. } => true,
            State::Refused { .. } => heard,
            State::Starting | State::Running => false,
        },
    }
}

/// Whether the live replicas make up the gang's minimum.
fn whole(job: &AIJob, held: &[Held<'_>]) -> bool {
    let live = |role: &str| held.iter().filter(|h| !h.revoked && h.granted.role == role).count();
    job.spec.roles.iter().all(|r| i32::try_from(live(&r.name)).is_ok_and(|n| n >= r.min_replicas.max(1)))
}

fn untouched(allocation: &Allocation) -> bool {
    allocation.spec.revoked.is_empty()
        && allocation.status.as_ref().is_none_or(|s| s.released.is_empty() && s.rejected.is_empty())
}

/// The job is over, or shall be: what runs is ended, what is gone is given back, and then it is over.
fn wind_down(view: &View<'_>, now: AIJobStatus, over: bool) -> Plan {
    let mut actions = delete(view.pods.iter().filter(|p| !p.ended()));
    for allocation in view.allocations.iter().filter(|a| undecided(a) && !a.held().is_empty()) {
        // nothing of it was started, and nothing will be
        let all = allocation.granted().into_iter().map(|g| (g.role, g.replica)).collect();
        actions.push(Action::Release {
            allocation: allocation.name_any(),
            released: ranges(&all),
            rejected: Vec::new(),
        });
    }
    let held = held(view);
    actions.extend(release(view, &held, |h| gone(view, h)));
    let left = view.pods.iter().any(|p| !p.ended()) || held.iter().any(|h| !gone(view, h));
    if !over && !left {
        let mut next = now;
        status::count(&mut next, view.job, &[], view.pods);
        let message = if view.job.spec.cancelled { "cancelled" } else { "its AIJob was deleted" };
        status::end(&mut next, Phase::Cancelled, "Cancelled", message.to_owned(), None, view.now_millis);
        actions.insert(0, Action::Status(Box::new(next)));
    }
    Plan { actions, look_again: None }
}

/// Waits: what an earlier start left is cleared away, then a whole gang starts.
fn queued(view: &View<'_>, now: AIJobStatus, held: &[Held<'_>]) -> Vec<Action> {
    let mut next = now.clone();
    let dirty = held.iter().any(|h| !untouched(h.allocation));
    if view.pods.is_empty() && !dirty && whole(view.job, held) {
        next.attempts += 1;
        next.phase = Some(Phase::Starting);
        (next.reason, next.message) = (None, None);
        next.nodes = nodes(held);
        status::count(&mut next, view.job, &roles(held), view.pods);
        return vec![Action::Status(Box::new(next))];
    }
    let mut actions = delete(view.pods.iter());
    actions.extend(release(view, held, |h| !untouched(h.allocation) && gone(view, h)));
    status::count(&mut next, view.job, &[], &[]);
    next.phase = Some(Phase::Queued);
    status::write(&mut actions, &now, next, view.job);
    actions
}

/// Runs, or is being started.
fn started(view: &View<'_>, now: AIJobStatus, held: &[Held<'_>]) -> Vec<Action> {
    if !whole(view.job, held) {
        return vec![Action::Status(Box::new(back_to_queue(view, now, held)))];
    }
    let current: Vec<&Replica> = view.pods.iter().filter(|p| p.attempt == now.attempts).collect();
    if let Some(failed) = status::first_failure(&current) {
        return vec![Action::Status(Box::new(after_failure(view, now, failed)))];
    }
    let done =
        |h: &&Held<'_>| h.pod.is_some_and(|p| p.attempt == now.attempts && p.state == State::Succeeded);
    if live(held).iter().all(done) {
        let mut next = now;
        status::count(&mut next, view.job, &roles(held), view.pods);
        status::end(&mut next, Phase::Succeeded, "Completed", String::new(), Some(0), view.now_millis);
        return vec![Action::Status(Box::new(next))];
    }

    let mut actions = Vec::new();
    let refused: Vec<&Held<'_>> = held.iter().filter(|h| refusal(h).is_some()).collect();
    let leaving = |h: &&Held<'_>| h.revoked || refusal(h).is_some();
    actions.extend(release(view, held, |h| leaving(&h) && gone(view, h)));
    actions.extend(delete(held.iter().filter(leaving).filter_map(|h| h.pod)));
    let old: Vec<&Replica> = view.pods.iter().filter(|p| p.attempt != now.attempts).collect();
    actions.extend(delete(old.iter().copied()));
    if old.is_empty() && refused.is_empty() {
        actions.extend(create(view, &now, held));
    }

    let mut next = now.clone();
    status::count(&mut next, view.job, &roles(held), view.pods);
    next.nodes = nodes(held);
    let up = |role: &str| {
        let runs = |h: &&Held<'_>| {
            h.granted.role == role
                && h.pod.is_some_and(|p| {
                    p.attempt == now.attempts && matches!(p.state, State::Running | State::Succeeded)
                })
        };
        i32::try_from(live(held).into_iter().filter(runs).count()).unwrap_or(i32::MAX)
    };
    let runs = view.job.spec.roles.iter().all(|r| up(&r.name) >= r.min_replicas.max(1));
    if runs && now.phase != Some(Phase::Running) {
        next.phase = Some(Phase::Running);
        next.start_millis = current.iter().filter_map(|p| p.started_millis).max().or(Some(view.now_millis));
        (next.reason, next.message) = (None, None);
    }
    status::write(&mut actions, &now, next, view.job);
    actions
}

fn live<'a, 'b>(held: &'b [Held<'a>]) -> Vec<&'b Held<'a>> {
    held.iter().filter(|h| !h.revoked).collect()
}

fn nodes(held: &[Held<'_>]) -> Vec<String> {
    let set: BTreeSet<&str> = held.iter().filter(|h| !h.revoked).map(|h| h.granted.node.as_str()).collect();
    set.into_iter().take(status::MOST_NODES).map(str::to_owned).collect()
}

fn refusal<'a>(held: &'a Held<'_>) -> Option<&'a str> {
    match held.pod.map(|p| &p.state) {
        Some(State::Refused { message }) => Some(message),
        _ => None,
    }
}

/// What it held is being taken back (or was refused by a kubelet): the rest is of no use, and it waits again.
fn back_to_queue(view: &View<'_>, now: AIJobStatus, held: &[Held<'_>]) -> AIJobStatus {
    let mut next = now;
    let revoked = view.allocations.iter().flat_map(|a| &a.spec.revoked).last();
    let rejected = view.allocations.iter().filter_map(|a| a.status.as_ref()).flat_map(|s| &s.rejected).last();
    let (reason, message) = match (held.iter().any(|h| h.revoked), revoked, rejected) {
        (true, Some(r), _) => ("Preempted", r.message.clone()),
        (_, _, Some(r)) => (
            "Refused",
            format!("node {} would not have replica {}/{}: {}", r.node, r.role, r.replica, r.message),
        ),
        (_, Some(r), None) => ("Preempted", r.message.clone()),
        (_, None, None) => ("Incomplete", "its gang fell below the minimum".to_owned()),
    };
    if reason == "Preempted" {
        next.preemptions += 1;
    }
    next.phase = Some(Phase::Queued);
    next.reason = Some(reason.to_owned());
    next.message = Some(message);
    next.queued_millis = Some(view.now_millis);
    next.start_millis = None;
    next.nodes = Vec::new();
    status::count(&mut next, view.job, &[], &[]);
    next
}

fn after_failure(view: &View<'_>, now: AIJobStatus, failed: &Replica) -> AIJobStatus {
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
    status::worst(&mut next, view.pods);
    if next.failures < view.job.spec.max_retries {
        next.failures += 1;
        next.attempts += 1;
        next.phase = Some(Phase::Starting);
        next.reason = Some("Retrying".to_owned());
        next.message = Some(format!("{message}; retry {} of {}", next.failures, view.job.spec.max_retries));
        next.start_millis = None;
    } else {
        status::count(&mut next, view.job, &[], view.pods);
        status::end(&mut next, Phase::Failed, "ReplicaFailed", message, Some(exit_code), view.now_millis);
    }
    next
}

fn delete<'a>(pods: impl Iterator<Item = &'a Replica>) -> Vec<Action> {
    pods.filter(|p| !p.going).map(|p| Action::Delete { pod: p.name.clone(), uid: p.uid.clone() }).collect()
}

/// One write an Allocation for all of it that `which` names.
fn release(view: &View<'_>, held: &[Held<'_>], which: impl Fn(&Held<'_>) -> bool) -> Vec<Action> {
    let mut actions = Vec::new();
    for allocation in view.allocations.iter() {
        let mut released = allocation.released();
        let mut rejected = allocation.status.as_ref().map(|s| s.rejected.clone()).unwrap_or_default();
        let before = released.len();
        for h in held.iter().filter(|h| std::ptr::eq(h.allocation, &**allocation) && which(h)) {
            released.insert((h.granted.role.clone(), h.granted.replica));
            if let Some(message) = refusal(h) {
                rejected.push(Rejected {
                    role: h.granted.role.clone(),
                    replica: h.granted.replica,
                    node: h.granted.node.clone(),
                    message: message.to_owned(),
                });
            }
        }
        if released.len() > before {
            actions.push(Action::Release {
                allocation: allocation.name_any(),
                released: ranges(&released),
                rejected,
            });
        }
    }
    actions
}

fn create(view: &View<'_>, now: &AIJobStatus, held: &[Held<'_>]) -> Vec<Action> {
    let live = live(held);
    let several = view.job.spec.roles.iter().map(|r| i64::from(r.replicas)).sum::<i64>() > 1;
    let mut actions = Vec::new();
    let master = live.first().map(|h| pod_name(view.job, h)).unwrap_or_default();
    for (rank, h) in live.iter().enumerate() {
        let taken = view.pods.iter().any(|p| p.role == h.granted.role && p.replica == h.granted.replica);
        if taken || !view.heard.contains(&h.granted.node) {
            continue;
        }
        if several && actions.is_empty() {
            actions.push(Action::EnsureService);
        }
        let rendezvous = several.then(|| Rendezvous {
            master: master.clone(),
            port: port(&view.job.spec.job_uid, now.attempts),
            rank,
            world: live.len(),
        });
        actions.push(Action::Create {
            granted: h.granted.clone(),
            allocation: h.allocation.name_any(),
            attempt: now.attempts,
            rendezvous,
        });
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
