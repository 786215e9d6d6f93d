//! A replica's Pod: already on its node, with the devices that were given, and nothing that its user could widen.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{
    Capabilities, Container, EnvVar, PersistentVolumeClaimVolumeSource, Pod, PodSecurityContext, PodSpec,
    ResourceRequirements, SeccompProfile, SecurityContext, Toleration, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, ResourceExt};
use serde_json::json;

use super::PRIORITY_CLASS;
use crate::aijob::{AIJob, AIJobMount, AIJobRole};
use crate::allocation::Granted;
use crate::names;

/// Stands where a Pod must name an image and the job names none: only kubelets that run commands on their own machine
/// take it, any other says that it cannot be pulled.
pub const NO_IMAGE: &str = "crater.dev/none";
/// How long a kubelet that only pretends plays a Pod whose job said nothing of its duration.
const PLAYED_SECONDS: i64 = 30;

/// What one replica's Pod is made of.
pub struct PodOf<'a> {
    /// The job.
    pub job: &'a AIJob,
    /// The replica's role.
    pub role: &'a AIJobRole,
    /// Where it goes, and with which devices.
    pub granted: &'a Granted,
    /// The Allocation that it fills.
    pub allocation: &'a str,
    /// Which start of the job it belongs to, from 1.
    pub attempt: i32,
    /// How it finds the others; none for a job of one replica.
    pub rendezvous: Option<Rendezvous>,
}

/// How replicas find each other, in the words that training frameworks read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendezvous {
    /// The Pod of rank 0.
    pub master: String,
    /// Where rank 0 listens.
    pub port: u16,
    /// This replica's number among all.
    pub rank: usize,
    /// How many there are.
    pub world: usize,
}

/// The Pod.
///
/// Containers may run as root (images of today do), but gain no privilege, no capability and no service account.
pub fn pod(of: &PodOf<'_>) -> Pod {
    let job_name = of.job.name_any();
    let namespace = of.job.namespace().unwrap_or_default();
    let name = pod_name(&job_name, &of.granted.role, of.granted.replica);
    let labels = [
        (names::JOB_UID, of.job.spec.job_uid.clone()),
        (names::JOB, job_name.clone()),
        (names::ACCOUNT, of.job.spec.account.clone()),
        (names::ROLE, of.granted.role.clone()),
        (names::REPLICA, of.granted.replica.to_string()),
        (names::ALLOCATION, of.allocation.to_owned()),
        (names::ATTEMPT, of.attempt.to_string()),
    ];
    let several = of.rendezvous.is_some();
    Pod {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: Some(namespace.clone()),
            labels: Some(labels.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
            annotations: Some(annotations(of)),
            owner_references: of.job.controller_owner_ref(&()).map(|o| vec![o]),
            ..Default::default()
        },
        spec: Some(PodSpec {
            node_name: Some(of.granted.node.clone()),
            restart_policy: Some("Never".to_owned()),
            termination_grace_period_seconds: Some(of.job.spec.grace_seconds),
            priority_class_name: Some(PRIORITY_CLASS.to_owned()),
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            hostname: several.then_some(name),
            subdomain: several.then(|| job_name.clone()),
            tolerations: (of.granted.gpu_millis > 0 || !of.role.resources.devices.is_empty())
                .then(|| vec![gpu_toleration()]),
            security_context: Some(PodSecurityContext {
                seccomp_profile: Some(SeccompProfile {
                    type_: "RuntimeDefault".to_owned(),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            containers: vec![container(of, &namespace)],
            volumes: (!of.role.mounts.is_empty()).then(|| volumes(&of.role.mounts)),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// Nodes that offer parts of GPUs by name have the taint of GPU nodes, too.
fn gpu_toleration() -> Toleration {
    Toleration {
        key: Some(names::GPU_RESOURCE.to_owned()),
        operator: Some("Exists".to_owned()),
        ..Default::default()
    }
}

/// The name of a replica's Pod.
pub(crate) fn pod_name(job: &str, role: &str, replica: i32) -> String {
    format!("{job}-{role}-{replica}")
}

fn annotations(of: &PodOf<'_>) -> BTreeMap<String, String> {
    let devices: Vec<_> =
        of.granted.gpus.iter().map(|index| json!({"index": index, "milli": of.granted.gpu_millis})).collect();
    let declared = of.job.annotations();
    let duration = declared
        .get(names::PLAY_DURATION)
        .cloned()
        .unwrap_or_else(|| format!("{}s", of.job.spec.expected_seconds.unwrap_or(PLAYED_SECONDS)));
    let mut out = BTreeMap::from([
        (names::GPUS.to_owned(), serde_json::Value::from(devices).to_string()),
        (names::PLAY_DURATION.to_owned(), duration),
    ]);
    if let Some(code) = declared.get(names::PLAY_EXIT_CODE) {
        out.insert(names::PLAY_EXIT_CODE.to_owned(), code.clone());
    }
    out
}

fn container(of: &PodOf<'_>, namespace: &str) -> Container {
    let role = of.role;
    let or_none = |list: &[String]| (!list.is_empty()).then(|| list.iter().map(|t| literal(t)).collect());
    Container {
        name: "main".to_owned(),
        image: Some(if role.image.is_empty() { NO_IMAGE.to_owned() } else { role.image.clone() }),
        command: or_none(&role.command),
        args: or_none(&role.args),
        working_dir: (!role.working_dir.is_empty()).then(|| role.working_dir.clone()),
        env: Some(environment(of, namespace)),
        resources: Some(resources(of)),
        volume_mounts: (!role.mounts.is_empty()).then(|| volume_mounts(&role.mounts)),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), ..Default::default() }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn environment(of: &PodOf<'_>, namespace: &str) -> Vec<EnvVar> {
    let mut own = vec![
        ("CRATER_JOB", of.job.name_any()),
        ("CRATER_JOB_UID", of.job.spec.job_uid.clone()),
        ("CRATER_ACCOUNT", of.job.spec.account.clone()),
        ("CRATER_ROLE", of.granted.role.clone()),
        ("CRATER_REPLICA", of.granted.replica.to_string()),
        ("CRATER_ATTEMPT", of.attempt.to_string()),
    ];
    if let Some(r) = &of.rendezvous {
        own.push(("MASTER_ADDR", format!("{}.{}.{namespace}.svc", r.master, of.job.name_any())));
        own.push(("MASTER_PORT", r.port.to_string()));
        own.push(("RANK", r.rank.to_string()));
        own.push(("WORLD_SIZE", r.world.to_string()));
    }
    let users = of.role.env.iter().map(|e| (e.name.as_str(), literal(&e.value)));
    users
        .chain(own)
        .map(|(name, value)| EnvVar { name: name.to_owned(), value: Some(value), ..Default::default() })
        .collect()
}

/// A kubelet expands `$(X)` and halves `$$`; what a user wrote reaches the program as it was written.
fn literal(text: &str) -> String {
    text.replace('$', "$$")
}

/// What is asked of the kubelet. A share of a GPU is no amount of the extended resource: the annotation says it.
fn resources(of: &PodOf<'_>) -> ResourceRequirements {
    let r = &of.role.resources;
    let devices = r.devices.iter().map(|(name, count)| (name.clone(), Quantity(count.to_string())));
    let mut amounts: BTreeMap<String, Quantity> = devices.collect();
    if r.cpu_millis > 0 {
        amounts.insert("cpu".to_owned(), Quantity(format!("{}m", r.cpu_millis)));
    }
    if r.memory_bytes > 0 {
        amounts.insert("memory".to_owned(), Quantity(r.memory_bytes.to_string()));
    }
    if r.gpu_millis >= 1000 {
        amounts.insert(names::GPU_RESOURCE.to_owned(), Quantity((r.gpu_millis / 1000).to_string()));
    }
    ResourceRequirements { limits: Some(amounts.clone()), requests: Some(amounts), ..Default::default() }
}

/// One volume a claim, however often it is mounted; by number, for a claim's name may be longer than a volume's.
fn volumes(mounts: &[AIJobMount]) -> Vec<Volume> {
    claims(mounts)
        .into_iter()
        .enumerate()
        .map(|(i, claim)| Volume {
            name: format!("claim-{i}"),
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: claim.to_owned(),
                read_only: None,
            }),
            ..Default::default()
        })
        .collect()
}

fn claims(mounts: &[AIJobMount]) -> BTreeSet<&str> {
    mounts.iter().map(|m| m.claim.as_str()).collect()
}

fn volume_mounts(mounts: &[AIJobMount]) -> Vec<VolumeMount> {
    let claims = claims(mounts);
    let number = |claim: &str| claims.iter().position(|c| *c == claim).unwrap_or_default();
    mounts
        .iter()
        .map(|m| VolumeMount {
            name: format!("claim-{}", number(&m.claim)),
            mount_path: m.mount_path.clone(),
            sub_path: (!m.sub_path.is_empty()).then(|| m.sub_path.clone()),
            read_only: Some(m.read_only),
            ..Default::default()
        })
        .collect()
}
