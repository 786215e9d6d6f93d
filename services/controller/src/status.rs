//! The status of a job: counts, notes, ends. Pure.

use std::collections::BTreeMap;

use crater_k8s::AIJob;
use crater_k8s::aijob::{AIJobStatus, Phase, ReplicaNote, RoleCounts};

use crate::held::Holdings;
use crate::plan::{Action, View};
use crate::pods::{Replica, State};

/// Nodes that are named.
pub const MOST_NODES: usize = 100;
/// Replicas that are named.
const MOST_NOTES: usize = 20;

/// Writes the end of a job.
pub fn end(
    next: &mut AIJobStatus,
    phase: Phase,
    reason: &str,
    message: String,
    exit_code: Option<i32>,
    now: i64,
) {
    next.phase = Some(phase);
    next.reason = Some(reason.to_owned());
    next.message = Some(message).filter(|m| !m.is_empty());
    next.exit_code = exit_code;
    // the kubelets' clocks may be ahead of ours
    next.end_millis = Some(now.max(next.start_millis.unwrap_or(now)));
    // nothing of it waits or starts any more
    for role in &mut next.roles {
        (role.waiting, role.starting) = (0, 0);
    }
}

/// Counts the replicas of each role: those that are to run by their Pod, the others wait. Names those that fare worst.
pub fn count(next: &mut AIJobStatus, view: &View<'_>, holdings: &Holdings<'_>) {
    let mut placed: BTreeMap<&str, i32> = BTreeMap::new();
    for h in holdings.live() {
        *placed.entry(h.granted.role.as_str()).or_default() += 1;
    }
    next.roles = view
        .job
        .spec
        .roles
        .iter()
        .map(|role| {
            let mut counts = RoleCounts { role: role.name.clone(), ..Default::default() };
            let placed = placed.get(role.name.as_str()).copied().unwrap_or(0);
            for pod in view.pods.iter().filter(|p| p.role == role.name && p.attempt == next.attempts) {
                match pod.state {
                    State::Starting { .. } => counts.starting += 1,
                    State::Running => counts.running += 1,
                    State::Succeeded => counts.succeeded += 1,
                    State::Failed { .. } | State::Refused { .. } => counts.failed += 1,
                }
            }
            let seen = counts.starting + counts.running + counts.succeeded + counts.failed;
            counts.starting += (placed - seen).max(0);
            counts.waiting = (role.replicas - placed.max(seen)).max(0);
            counts
        })
        .collect();
    next.worst = view.pods.iter().filter_map(note).chain(silent(view, holdings)).take(MOST_NOTES).collect();
}

/// All replicas wait; what holds them up beside the scheduler is a node that does not answer.
pub fn count_waiting(next: &mut AIJobStatus, view: &View<'_>, holdings: &Holdings<'_>) {
    let all = |r: &crater_k8s::aijob::AIJobRole| RoleCounts {
        role: r.name.clone(),
        waiting: r.replicas,
        ..Default::default()
    };
    next.roles = view.job.spec.roles.iter().map(all).collect();
    next.worst = silent(view, holdings).take(MOST_NOTES).collect();
}

fn note(pod: &Replica) -> Option<ReplicaNote> {
    let (message, exit_code) = match &pod.state {
        State::Failed { exit_code, message } => (message.clone(), Some(*exit_code)),
        State::Refused { message } => (message.clone(), None),
        State::Starting { stuck: Some(message) } => (message.clone(), None),
        _ => return None,
    };
    let (role, node) = (pod.role.clone(), pod.node.clone());
    Some(ReplicaNote { role, replica: pod.replica, node, message, exit_code })
}

fn silent<'b>(view: &'b View<'_>, holdings: &'b Holdings<'_>) -> impl Iterator<Item = ReplicaNote> + 'b {
    holdings.silent(view).map(|h| ReplicaNote {
        role: h.granted.role.clone(),
        replica: h.granted.replica,
        node: h.granted.node.clone(),
        message: "its node does not answer: nothing is known of what runs there".to_owned(),
        exit_code: None,
    })
}

/// The replica that failed first. One that is being deleted was told to end: that is no failure.
pub fn first_failure<'a>(pods: impl Iterator<Item = &'a Replica>) -> Option<&'a Replica> {
    let failed = pods.filter(|p| !p.going && matches!(p.state, State::Failed { .. }));
    failed.min_by_key(|p| (p.ended_millis.unwrap_or(i64::MAX), p.role.clone(), p.replica))
}

/// The write of a status.
pub fn action(mut next: AIJobStatus, job: &AIJob) -> Action {
    next.observed_revision = job.spec.revision;
    Action::Status(Box::new(next))
}

/// Adds the write of the status, if it changes anything.
pub fn write(actions: &mut Vec<Action>, now: &AIJobStatus, mut next: AIJobStatus, job: &AIJob) {
    next.observed_revision = job.spec.revision;
    if next != *now {
        actions.push(action(next, job));
    }
}
