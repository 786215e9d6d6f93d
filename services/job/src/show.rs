//! What is told: rows → messages.

use crater_api::convert::{job_spec, state, timestamp};
use crater_api::job::v1 as pb;
use crater_store::job::{Event, Job, RoleCounts, Status, UsageSpan};

use crate::app::etag;

/// A job.
pub fn job(job: &Job) -> pb::Job {
    let status = &job.status;
    pb::Job {
        name: job.name.to_string(),
        uid: job.uid.to_string(),
        creator: job.creator.resource_name(),
        spec: Some(job_spec(&job.spec)),
        labels: job.labels.clone().into_iter().collect(),
        state: state(job.state).into(),
        reason: status.reason.clone(),
        message: status.message.clone(),
        exit_code: status.exit_code,
        attempts: status.attempts,
        preemptions: status.preemptions,
        cancelling: job.cancelled && !job.state.is_final(),
        roles: status.roles.iter().map(role).collect(),
        nodes: status.nodes.clone(),
        create_time: Some(timestamp(job.created_ms)),
        queue_time: Some(timestamp(status.queued_ms)),
        start_time: status.started_ms.map(timestamp),
        end_time: job.ended_ms.map(timestamp),
        revision: job.revision,
        etag: etag(job),
        suspended: job.is_suspended(),
        checkpoint_time: checkpoint(status).map(timestamp),
    }
}

/// The last one of this start: what an earlier one saved says nothing of what would be lost now.
fn checkpoint(status: &Status) -> Option<i64> {
    let last = status.reported_ms.max(status.checkpointed_ms)?;
    (last >= status.started_ms?).then_some(last)
}

fn role(r: &RoleCounts) -> pb::RoleStatus {
    pb::RoleStatus {
        role: r.role.clone(),
        waiting: r.waiting,
        starting: r.starting,
        running: r.running,
        succeeded: r.succeeded,
        failed: r.failed,
    }
}

/// Something that happened.
pub fn event(e: &Event) -> pb::JobEvent {
    pb::JobEvent {
        sequence: e.sequence,
        time: Some(timestamp(e.time_ms)),
        reason: e.reason.clone(),
        message: e.message.clone(),
    }
}

/// What a job held from one moment to another.
pub fn span(s: &UsageSpan) -> pb::UsageSpan {
    let resources = crater_api::common::v1::Resources {
        cpu_millis: s.cpu_millis,
        memory_bytes: s.memory_bytes,
        gpu_millis: s.gpu_millis,
        ..Default::default()
    };
    pb::UsageSpan {
        attempt: i32::try_from(s.attempt).unwrap_or(i32::MAX),
        start_time: Some(timestamp(s.from_ms)),
        end_time: s.until_ms.map(timestamp),
        replicas: i32::try_from(s.replicas).unwrap_or(i32::MAX),
        resources: Some(resources),
        nodes: s.nodes.clone(),
        outcome: s.outcome.clone(),
    }
}
