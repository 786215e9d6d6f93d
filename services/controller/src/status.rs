//! The status of a job: counts, notes, ends. Pure.

use crater_k8s::AIJob;
use crater_k8s::aijob::{AIJobStatus, Phase, ReplicaNote, RoleCounts};

use crate::plan::Action;
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
    next.end_millis = Some(now);
}

/// Counts the replicas of each role: those that hold a place (`live` names their roles) by their Pod, the others wait.
pub fn count(next: &mut AIJobStatus, job: &AIJob, live: &[&str], pods: &[Replica]) {
    next.roles = job
        .spec
        .roles
        .iter()
        .map(|role| {
            let mut counts = RoleCounts { role: role.name.clone(), ..Default::default() };
            let placed = live.iter().filter(|r| **r == role.name).count();
            for pod in pods.iter().filter(|p| p.role == role.name && p.attempt == next.attempts) {
                match pod.state {
                    State::Starting => counts.starting += 1,
                    State::Running => counts.running += 1,
                    State::Succeeded => counts.succeeded += 1,
                    State::Failed { .. } | State::Refused { .. } => counts.failed += 1,
                }
            }
            let seen = counts.starting + counts.running + counts.succeeded + counts.failed;
            let placed = i32::try_from(placed).unwrap_or(i32::MAX);
            counts.starting += (placed - seen).max(0);
            counts.waiting = (role.replicas - placed.max(seen)).max(0);
            counts
        })
        .collect();
    worst(next, pods);
}

/// Names the replicas that fare worst.
pub fn worst(next: &mut AIJobStatus, pods: &[Replica]) {
    let bad = pods.iter().filter_map(|p| {
        let (message, exit_code) = match &p.state {
            State::Failed { exit_code, message } => (message.clone(), Some(*exit_code)),
            State::Refused { message } => (message.clone(), None),
            _ => return None,
        };
        Some(ReplicaNote {
            role: p.role.clone(),
            replica: p.replica,
            node: p.node.clone(),
            message,
            exit_code,
        })
    });
    let notes: Vec<_> = bad.take(MOST_NOTES).collect();
    if !notes.is_empty() {
        next.worst = notes;
    }
}

/// The replica that failed first. One that is being deleted was told to end: that is no failure.
pub fn first_failure<'a>(pods: &[&'a Replica]) -> Option<&'a Replica> {
    let failed = pods.iter().copied().filter(|p| !p.going && matches!(p.state, State::Failed { .. }));
    failed.min_by_key(|p| (p.ended_millis.unwrap_or(i64::MAX), p.role.clone(), p.replica))
}

/// Adds the write of the status, if it changes anything.
pub fn write(actions: &mut Vec<Action>, now: &AIJobStatus, mut next: AIJobStatus, job: &AIJob) {
    next.observed_revision = job.spec.revision;
    if next != *now {
        actions.push(Action::Status(Box::new(next)));
    }
}
