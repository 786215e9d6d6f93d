//! What would come of something: the question read, the answer put into messages.

use crater_api::convert::{parse_devices, parse_job_spec, parse_limits, parse_resources, timestamp};
use crater_api::quota::v1::Quota;
use crater_api::scheduling::v1 as pb;
use crater_api::scheduling::v1::remedy::Change;
use crater_auth::Caller;
use crater_domain::{AccountId, Error, Resources, Result, is_device_name};

use super::{blocker, count, forecast, placement, wrong};
use crate::remedies::Remedy;
use crate::whatif::{Answer, NodeGroup, Outcome, Question, Thought};

/// Nodes that may be thought of at once, all groups together.
const MOST_NODES: i64 = 10_000;
/// Quotas that may be thought of at once.
const MOST_QUOTAS: usize = 100;

/// Reads a question.
pub fn question(caller: &Caller, request: &pb::SimulateRequest) -> Result<Question> {
    let job = match &request.job {
        Some(spec) => {
            let account = AccountId::parse_name(&request.parent).map_err(wrong("parent"))?;
            let spec = parse_job_spec(Some(spec), "job")?;
            Some(Thought { account, creator: caller.require_user()?.clone(), spec })
        }
        None if request.parent.is_empty() => None,
        None => return Err(Error::field("job", "must be set where parent is")),
    };
    if job.is_none() && request.nodes.is_empty() && request.quotas.is_empty() {
        return Err(Error::field("job", "must be set, or nodes or quotas"));
    }
    let nodes =
        request.nodes.iter().enumerate().map(|(at, group)| nodes(at, group)).collect::<Result<Vec<_>>>()?;
    let total: i64 = nodes.iter().map(|group| i64::from(group.count)).sum();
    if total > MOST_NODES {
        return Err(Error::field("nodes", format!("must be at most {MOST_NODES} nodes in all")));
    }
    if request.quotas.len() > MOST_QUOTAS {
        return Err(Error::field("quotas", format!("must be at most {MOST_QUOTAS}")));
    }
    let quotas = request
        .quotas
        .iter()
        .enumerate()
        .map(|(at, quota)| quota_of(at, quota))
        .collect::<Result<Vec<_>>>()?;
    Ok(Question { job, nodes, quotas, remedies: request.with_remedies })
}

fn nodes(at: usize, group: &pb::NodeGroup) -> Result<NodeGroup> {
    let field = |name: &str| format!("nodes[{at}].{name}");
    let some = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let count = u32::try_from(group.count).ok().filter(|count| (1..=10_000).contains(count));
    let count = count.ok_or_else(|| Error::field(field("count"), "must be from 1 to 10,000"))?;
    let has = group.allocatable.as_ref();
    let allocatable = has.map(|_| (parse_resources(has), parse_devices(has)));
    if group.like.is_empty() && allocatable.is_none() {
        return Err(Error::field(field("allocatable"), "must be set, or like"));
    }
    if let Some((Resources { cpu_millis, memory_bytes, gpu_millis }, devices)) = &allocatable {
        let (cpu_millis, memory_bytes, gpu_millis) = (*cpu_millis, *memory_bytes, *gpu_millis);
        for (name, count) in &devices.0 {
            let at = || field(&format!("allocatable.devices[{name}]"));
            if !is_device_name(name) {
                return Err(Error::field(at(), "must be the name of a device, for example rdma/hca"));
            }
            if *count < 0 {
                return Err(Error::field(at(), "must not be negative"));
            }
        }
        let amounts =
            [("cpu_millis", cpu_millis), ("memory_bytes", memory_bytes), ("gpu_millis", gpu_millis)];
        if let Some((name, _)) = amounts.into_iter().find(|(_, amount)| *amount < 0) {
            return Err(Error::field(field(&format!("allocatable.{name}")), "must not be negative"));
        }
        if gpu_millis % 1000 != 0 || gpu_millis > 64_000 {
            let why = "must be whole GPUs, at most 64: a multiple of 1000";
            return Err(Error::field(field("allocatable.gpu_millis"), why));
        }
    }
    Ok(NodeGroup { count, like: some(&group.like), allocatable, model: some(&group.gpu_model) })
}

fn quota_of(at: usize, quota: &Quota) -> Result<(crater_domain::QuotaSubject, crater_domain::Limits)> {
    let subject = quota.name.parse();
    let subject = subject.map_err(|error| Error::field(format!("quotas[{at}].name"), format!("{error}")))?;
    Ok((subject, parse_limits(&quota.resources, &format!("quotas[{at}].resources"))?))
}

/// An answer as a message.
pub fn answer(of: Answer) -> pb::SimulateResponse {
    pb::SimulateResponse {
        job: of.job.map(outcome),
        starting_jobs: count(of.starting.count),
        starting: of.starting.named,
        preempted_jobs: count(of.preempted.count),
        preempted: of.preempted.named,
    }
}

fn outcome(of: Outcome) -> pb::simulate_response::Outcome {
    pb::simulate_response::Outcome {
        starts: !of.placements.is_empty(),
        at_once: of.at_once,
        placements: of.placements.into_iter().map(placement).collect(),
        blockers: of.blockers.into_iter().map(blocker).collect(),
        message: of.message,
        expected_start_time: of.expected_start_ms.map(timestamp),
        remedies: of.remedies.into_iter().map(remedy).collect(),
        forecast: of.forecast.map(forecast),
    }
}

/// A remedy as a message.
pub fn remedy(of: Remedy) -> pb::Remedy {
    let change = |of: crate::remedies::Change| Change { target: of.target, field: of.field, value: of.value };
    pb::Remedy {
        changes: of.changes.into_iter().map(change).collect(),
        message: of.message,
        needs_admin: of.needs_admin,
        preempted_jobs: count(of.preempted_jobs),
    }
}
