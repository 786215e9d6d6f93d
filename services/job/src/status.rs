//! What an AIJob says of itself → the job's row, and what of the difference is worth an event.

use crater_domain::JobState;
use crater_k8s::AIJob;
use crater_k8s::aijob::SUSPENDED;
use crater_store::job::{Job, RoleCounts};
use kube::ResourceExt;

use crate::change::aside;

/// The same job, as the AIJob says it is at `now_ms`. A job that has ended stays as it is.
pub fn seen(job: &Job, object: &AIJob, now_ms: i64) -> Job {
    let mut new = job.clone();
    if job.state.is_final() {
        return new;
    }
    let status = object.status.clone().unwrap_or_default();
    new.state = object.state();
    let told = match (new.state, status.scheduling) {
        (JobState::Queued, Some(why)) => Some((why.reason, why.message)),
        _ => status.reason.map(|reason| (reason, status.message.unwrap_or_default())),
    };
    // the cluster may be behind what was asked for a moment ago
    let told = match (new.state, aside(job)) {
        (JobState::Queued, Some(aside)) => Some(aside),
        _ => told.filter(|(reason, _)| reason != SUSPENDED || job.suspended.is_some()),
    };
    match told {
        Some((reason, message)) => (new.status.reason, new.status.message) = (reason, message),
        // what was told of another state is not true of this one
        None if new.state != job.state => {
            (new.status.reason, new.status.message) = (new.state.as_str().to_owned(), String::new());
        }
        None => {}
    }
    new.status.exit_code = status.exit_code;
    new.status.attempts = new.status.attempts_before + status.attempts;
    new.status.failures = status.failures;
    new.status.preemptions = status.preemptions;
    new.status.started_ms = status.start_millis;
    new.status.checkpointed_ms = status.checkpointed_millis;
    new.status.queued_ms = status.queued_millis.unwrap_or(job.status.queued_ms);
    new.status.nodes = status.nodes;
    let counts = |r: crater_k8s::aijob::RoleCounts| RoleCounts {
        role: r.role,
        waiting: r.waiting,
        starting: r.starting,
        running: r.running,
        succeeded: r.succeeded,
        failed: r.failed,
    };
    new.status.roles = status.roles.into_iter().map(counts).collect();
    new.ended_ms = new.state.is_final().then(|| status.end_millis.unwrap_or(now_ms));
    new
}

/// The AIJob's version, where it is a number, as Kubernetes' are.
pub fn version(object: &AIJob) -> u64 {
    object.resource_version().and_then(|v| v.parse().ok()).unwrap_or(0)
}

/// The event that says why a job goes on waiting; it may come often.
pub const WAITING: &str = "Waiting";

/// What happened between the two, in order: short codes with a text.
pub fn happened(old: &Job, new: &Job) -> Vec<(&'static str, String)> {
    let mut out = Vec::new();
    let said = |default: &str| match new.status.message.as_str() {
        "" => default.to_owned(),
        message => message.to_owned(),
    };
    let preempted = new.status.preemptions > old.status.preemptions;
    let failed = new.status.failures > old.status.failures;
    if preempted {
        out.push(("Preempted", said("its GPUs were needed elsewhere; it is queued again")));
    }
    if failed && !new.state.is_final() {
        out.push(("Retrying", said("it failed and is started again")));
    }
    if old.state == new.state {
        if new.state == JobState::Queued && new.status.reason != old.status.reason && out.is_empty() {
            out.push((WAITING, format!("{}: {}", new.status.reason, new.status.message)));
        }
        return out;
    }
    let started = || match new.status.nodes.as_slice() {
        [] => "it has its place".to_owned(),
        nodes => format!("on {}", nodes.join(", ")),
    };
    match new.state {
        JobState::Queued if out.is_empty() => out.push(("Queued", said("it waits again"))),
        JobState::Queued => {}
        JobState::Starting => out.push(("Allocated", started())),
        JobState::Running => {
            if old.state == JobState::Queued {
                out.push(("Allocated", started()));
            }
            out.push(("Running", said("all replicas of its gang run")));
        }
        JobState::Succeeded => out.push(("Succeeded", said("it ended well"))),
        JobState::Failed => out.push(("Failed", said("it ended badly"))),
        JobState::Cancelled => out.push(("Cancelled", said("it was cancelled"))),
    }
    out
}
