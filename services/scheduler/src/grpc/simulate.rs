//! What would come of something: the question read, the answer put into messages.

use std::collections::BTreeSet;

use crater_api::convert::{parse_devices, parse_job_spec, parse_limits, parse_resources, timestamp};
use crater_api::quota::v1::Quota;
use crater_api::scheduling::v1 as pb;
use crater_api::scheduling::v1::remedy::Change;
use crater_auth::Caller;
use crater_domain::{
    AccountId, Devices, Error, IdError, Limits, MAX_DEVICE_COUNT, QuotaSubject, ResourceKind, Resources,
    Result, is_device_name,
};

use super::{blocker, count, forecast, placement, wrong};
use crate::remedies::Remedy;
use crate::whatif::{Answer, NodeGroup, Outcome, Question, Thought};

/// Nodes that may be thought of at once, all groups together.
const MOST_NODES: i64 = 10_000;
/// Kinds of nodes that may be thought of at once.
const MOST_GROUPS: usize = 100;
/// What a node may have, in thousandths of a core and in bytes (64 TiB): that of all nodes together can still be counted.
const MOST_CPU: i64 = 10_000_000;
const MOST_MEMORY: i64 = 1 << 46;
/// Quotas that may be thought of at once, rows of one, and what a row may say.
const MOST_QUOTAS: usize = 100;
const MOST_ROWS: usize = 100;
const MOST_AMOUNT: i64 = 1 << 56;
/// Devices and models that may be named in all: the engine keeps an amount of each for every account.
const MOST_NAMES: usize = 100;

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
    if request.nodes.len() > MOST_GROUPS {
        return Err(Error::field("nodes", format!("must be at most {MOST_GROUPS} groups")));
    }
    if request.quotas.len() > MOST_QUOTAS {
        return Err(Error::field("quotas", format!("must be at most {MOST_QUOTAS}")));
    }
    let mut names = BTreeSet::new();
    let nodes = request.nodes.iter().enumerate();
    let nodes = nodes.map(|(at, group)| nodes_of(at, group, &mut names)).collect::<Result<Vec<_>>>()?;
    let total: i64 = nodes.iter().map(|group| i64::from(group.count)).sum();
    if total > MOST_NODES {
        return Err(Error::field("nodes", format!("must be at most {MOST_NODES} nodes in all")));
    }
    let quotas = request.quotas.iter().enumerate();
    let quotas = quotas.map(|(at, quota)| quota_of(at, quota, &mut names)).collect::<Result<Vec<_>>>()?;
    Ok(Question { job, nodes, quotas, remedies: request.with_remedies })
}

/// Adds a name to those of the question.
fn hear(names: &mut BTreeSet<String>, name: &str, field: impl FnOnce() -> String) -> Result<()> {
    names.insert(name.to_owned());
    if names.len() > MOST_NAMES {
        let why = format!("is one of more than {MOST_NAMES} devices and models that are named in all");
        return Err(Error::field(field(), why));
    }
    Ok(())
}

fn nodes_of(at: usize, group: &pb::NodeGroup, names: &mut BTreeSet<String>) -> Result<NodeGroup> {
    let field = |name: &str| format!("nodes[{at}].{name}");
    let some = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let count = u32::try_from(group.count).ok().filter(|count| (1..=10_000).contains(count));
    let count = count.ok_or_else(|| Error::field(field("count"), "must be from 1 to 10,000"))?;
    let has = group.allocatable.as_ref();
    if group.like.is_empty() && has.is_none() {
        return Err(Error::field(field("allocatable"), "must be set, or like"));
    }
    let allocatable = has.map(|_| (parse_resources(has), parse_devices(has)));
    if let Some((resources, devices)) = &allocatable {
        amounts(at, *resources)?;
        devices_of(at, devices, names)?;
    }
    let model = some(&group.gpu_model);
    if let Some(model) = &model {
        // as quotas name it
        let name = format!("gpu/{model}");
        if name.parse::<ResourceKind>().is_err() {
            let why =
                "must be the name of a model: at most 63 letters, digits, hyphens, underscores and dots";
            return Err(Error::field(field("gpu_model"), why));
        }
        hear(names, &name, || field("gpu_model"))?;
    }
    Ok(NodeGroup { count, like: some(&group.like), allocatable, model })
}

fn amounts(at: usize, of: Resources) -> Result<()> {
    let field = |name: &str| format!("nodes[{at}].allocatable.{name}");
    let amounts = [
        ("cpu_millis", of.cpu_millis, MOST_CPU),
        ("memory_bytes", of.memory_bytes, MOST_MEMORY),
        ("gpu_millis", of.gpu_millis, i64::MAX),
    ];
    for (name, amount, most) in amounts {
        if amount < 0 {
            return Err(Error::field(field(name), "must not be negative"));
        }
        if amount > most {
            return Err(Error::field(field(name), format!("must be at most {most}, not {amount}")));
        }
    }
    if of.gpu_millis % 1000 != 0 || of.gpu_millis > 64_000 {
        let why = "must be whole GPUs, at most 64: a multiple of 1000";
        return Err(Error::field(field("gpu_millis"), why));
    }
    Ok(())
}

fn devices_of(at: usize, devices: &Devices, names: &mut BTreeSet<String>) -> Result<()> {
    for (name, count) in &devices.0 {
        let at = || format!("nodes[{at}].allocatable.devices[{name}]");
        if !is_device_name(name) {
            return Err(Error::field(at(), "must be the name of a device, for example rdma/hca"));
        }
        if !(0..=MAX_DEVICE_COUNT).contains(count) {
            return Err(Error::field(at(), format!("must be from 0 to {MAX_DEVICE_COUNT}, not {count}")));
        }
        hear(names, name, at)?;
    }
    Ok(())
}

fn quota_of(at: usize, quota: &Quota, names: &mut BTreeSet<String>) -> Result<(QuotaSubject, Limits)> {
    let field = |name: &str| format!("quotas[{at}].{name}");
    let subject =
        quota.name.parse().map_err(|error: IdError| Error::field(field("name"), error.to_string()))?;
    if quota.resources.len() > MOST_ROWS {
        return Err(Error::field(field("resources"), format!("must have at most {MOST_ROWS} rows")));
    }
    let limits = parse_limits(&quota.resources, &field("resources"))?;
    for (row, of) in quota.resources.iter().enumerate() {
        let field = |name: &str| field(&format!("resources[{row}].{name}"));
        for (name, amount) in [("guaranteed", of.guaranteed), ("limit", of.limit)] {
            if let Some(amount) = amount.filter(|amount| *amount > MOST_AMOUNT) {
                return Err(Error::field(
                    field(name),
                    format!("must be at most {MOST_AMOUNT}, not {amount}"),
                ));
            }
        }
        hear(names, &of.resource, || field("resource"))?;
    }
    Ok((subject, limits))
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
