//! Kubernetes' objects → what is judged of them. Nothing that is not judged is read.

use std::collections::{BTreeMap, BTreeSet};

use crater_domain::Devices;
use crater_k8s::aijob::{AIJob, Class};
use crater_k8s::{AIJobStatus, Allocation, names};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde::Deserialize;

use crate::observation::{self as seen, Object, Phase, Replica, digest};

/// An object of which only a little is read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    name: String,
    namespace: String,
    uid: String,
    pub resource_version: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Pod {
    pub metadata: Metadata,
    spec: PodSpec,
    status: PodStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodSpec {
    node_name: String,
    containers: Vec<Container>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Container {
    resources: Resources,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Resources {
    requests: BTreeMap<String, Quantity>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct PodStatus {
    phase: String,
}

#[derive(Deserialize)]
struct Share {
    index: i32,
    milli: i64,
}

/// A Pod, with what it was given of GPUs.
pub fn pod(pod: &Pod) -> Object {
    let m = &pod.metadata;
    let label = |key: &str| m.labels.get(key).cloned().unwrap_or_default();
    let shares: Vec<Share> =
        m.annotations.get(names::GPUS).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let sum = |name: &str, read: fn(&Quantity) -> i64| {
        pod.spec.containers.iter().filter_map(|c| c.resources.requests.get(name)).map(read).sum()
    };
    Object::Pod(Box::new(seen::Pod {
        key: (m.namespace.clone(), m.name.clone()),
        uid: m.uid.clone(),
        job_uid: m.labels.get(names::JOB_UID).cloned(),
        replica: (label(names::ROLE), label(names::REPLICA).parse().unwrap_or(-1)),
        allocation: label(names::ALLOCATION),
        attempt: label(names::ATTEMPT).parse().unwrap_or(0),
        node: pod.spec.node_name.clone(),
        ended: matches!(pod.status.phase.as_str(), "Succeeded" | "Failed"),
        gpus: shares.into_iter().map(|s| (s.index, s.milli)).collect(),
        cpu: sum("cpu", crater_k8s::quantity::millis),
        memory: sum("memory", crater_k8s::quantity::units),
        gpu: sum(names::GPU_RESOURCE, crater_k8s::quantity::units).saturating_mul(1000),
    }))
}

/// A Node.
pub fn node(node: &k8s_openapi::api::core::v1::Node) -> Object {
    let machine = crater_k8s::node::machine(node);
    let taints = node.spec.iter().flat_map(|s| s.taints.iter().flatten());
    Object::Node(seen::Node {
        name: machine.name,
        cpu: machine.allocatable.cpu_millis,
        memory: machine.allocatable.memory_bytes,
        gpus: i64::from(machine.gpus),
        devices: machine.devices,
        model: machine.model,
        ready: !machine.lost,
        off: taints.into_iter().any(|t| t.key == "node.kubernetes.io/out-of-service"),
    })
}

/// The scheduler's Lease.
pub fn lease(lease: &Lease) -> Object {
    let annotations = lease.metadata.annotations.as_ref();
    let revision = annotations.and_then(|a| a.get(names::LIST_REVISION));
    Object::Lease(seen::Lease {
        holder: lease.spec.as_ref().and_then(|s| s.holder_identity.clone()).unwrap_or_default(),
        epoch: crater_k8s::lease::epoch_of(lease),
        list_revision: revision.and_then(|text| text.parse().ok()),
    })
}

/// An AIJob.
pub fn job(job: &AIJob) -> Object {
    let (m, spec) = (&job.metadata, &job.spec);
    let none = AIJobStatus::default();
    let status = job.status.as_ref().unwrap_or(&none);
    // what may never change, and all of it
    let text = |value: &serde_json::Value| value.to_string();
    let whole = serde_json::to_value(spec).unwrap_or_default();
    let mut fixed = whole.clone();
    for changing in [
        "revision",
        "cancelled",
        "suspended",
        "suspension",
        "priority",
        "serviceClass",
        "expectedSeconds",
        "checkpointedMillis",
    ] {
        fixed.as_object_mut().map(|map| map.remove(changing));
    }
    let scheduling = status.scheduling.as_ref().map(|s| (&s.reason, &s.message, s.position));
    let mut controlled = status.clone();
    controlled.scheduling = None;
    let controlled = serde_json::to_string(&controlled).unwrap_or_default();
    let roles = spec.roles.iter().map(|r| seen::Role {
        name: r.name.clone(),
        replicas: r.replicas,
        least: r.min_replicas,
        cpu: r.resources.cpu_millis,
        memory: r.resources.memory_bytes,
        gpu: r.resources.gpu_millis,
        devices: Devices(r.resources.devices.clone()),
    });
    Object::Job(Box::new(seen::Job {
        key: (m.namespace.clone().unwrap_or_default(), m.name.clone().unwrap_or_default()),
        uid: m.uid.clone().unwrap_or_default(),
        job_uid: spec.job_uid.clone(),
        account: spec.account.clone(),
        creator: spec.creator.clone(),
        guaranteed: spec.service_class == Class::Guaranteed,
        roles: roles.collect(),
        fixed: digest(&text(&fixed)),
        wanted: digest(&text(&whole)),
        revision: spec.revision,
        ending: spec.cancelled || m.deletion_timestamp.is_some(),
        grace_seconds: spec.grace_seconds,
        phase: phase(job.state()),
        attempts: status.attempts,
        preemptions: status.preemptions,
        observed: status.observed_revision,
        scheduling: digest(&scheduling),
        controlled: digest(&controlled),
    }))
}

/// A job's state as a phase.
pub fn phase(state: crater_domain::JobState) -> Phase {
    use crater_domain::JobState;
    match state {
        JobState::Queued => Phase::Queued,
        JobState::Starting => Phase::Starting,
        JobState::Running => Phase::Running,
        JobState::Succeeded => Phase::Succeeded,
        JobState::Failed => Phase::Failed,
        JobState::Cancelled => Phase::Cancelled,
    }
}

/// An Allocation.
pub fn allocation(allocation: &Allocation) -> Object {
    let (m, spec) = (&allocation.metadata, &allocation.spec);
    let status = allocation.status.clone().unwrap_or_default();
    let granted = allocation.granted().into_iter().map(|g| seen::Granted {
        replica: (g.role, g.replica),
        node: g.node,
        gpus: g.gpus,
        millis: g.gpu_millis,
    });
    let set = |replicas: BTreeSet<Replica>| replicas;
    Object::Allocation(Box::new(seen::Allocation {
        key: (m.namespace.clone().unwrap_or_default(), m.name.clone().unwrap_or_default()),
        uid: m.uid.clone().unwrap_or_default(),
        job: spec.job.clone(),
        job_uid: spec.job_uid.clone(),
        epoch: spec.epoch,
        granted: granted.collect(),
        revoked: set(allocation.revoked()),
        released: set(allocation.released()),
        accepted: status.accepted,
        refused: status.refused.is_some(),
        status: digest(&serde_json::to_string(&status).unwrap_or_default()),
    }))
}
