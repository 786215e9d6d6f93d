//! AIJob: what is wanted (written by the job service) and what is (written by the controller, but for
//! `status.scheduling`, which is the scheduler's).

use std::collections::BTreeMap;

use crater_domain::{
    AccountId, Devices, EnvVar, JobSpec, JobState, JobUid, Mount, Place, Resources, Role, ServiceClass,
    Topology, UserId,
};
use k8s_openapi::jiff::Timestamp;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a person asked for, as the job service writes it. Only `revision`, `cancelled`, `suspended`, `checkpointedMillis`,
/// `serviceClass`, `priority` and `expectedSeconds` ever change.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "crater.dev",
    version = "v1",
    kind = "AIJob",
    plural = "aijobs",
    singular = "aijob",
    shortname = "aj",
    namespaced,
    status = "AIJobStatus",
    printcolumn = r#"{"name":"Phase","type":"string","jsonPath":".status.phase"}"#,
    printcolumn = r#"{"name":"Class","type":"string","jsonPath":".spec.serviceClass"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".status.scheduling.reason"}"#,
    printcolumn = r#"{"name":"Creator","type":"string","jsonPath":".spec.creator","priority":1}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct AIJobSpec {
    /// The job's uid in the database: unique for all time.
    pub job_uid: String,
    /// The account whose queue it waits in.
    pub account: String,
    /// The user who submitted it.
    pub creator: String,
    /// How it stands to quota and preemption.
    pub service_class: Class,
    /// Higher goes first within the account.
    pub priority: i32,
    /// Groups of equal replicas.
    pub roles: Vec<AIJobRole>,
    /// How long the user thinks it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_seconds: Option<i64>,
    /// How often it is started again after a failure.
    #[serde(default)]
    pub max_retries: i32,
    /// Seconds between the polite and the hard signal at the end.
    #[serde(default)]
    pub grace_seconds: i64,
    /// Labels that each node must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// All replicas near each other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topology: Option<AIJobTopology>,
    /// When it was submitted, in milliseconds since 1970: its place in the queue.
    pub submitted_millis: i64,
    /// Whether its end is wanted.
    #[serde(default)]
    pub cancelled: bool,
    /// That it stands aside: it is given nothing and gives back what it holds, until this is taken away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended: Option<Suspension>,
    /// When it last saved its work, in milliseconds since 1970, as its owner reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpointed_millis: Option<i64>,
    /// Grows with each change of what is wanted; a lower one is never written over a higher one.
    pub revision: i64,
}

/// Why a job waits that stands aside, and why what it held was taken back: for machines.
pub const SUSPENDED: &str = "Suspended";

/// Who had a job stand aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Suspension {
    /// By whom, as events name people.
    pub by: String,
    /// Since when, in milliseconds since 1970.
    pub since_millis: i64,
}

impl Suspension {
    /// What a person should know of it.
    pub fn words(&self) -> String {
        let since = Timestamp::from_second(self.since_millis.div_euclid(1000));
        let since = since.map(|t| format!(" since {t}")).unwrap_or_default();
        format!("suspended by {}{since}: resume it to put it back into the line", self.by)
    }
}

/// How a job stands to quota and preemption.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Class {
    /// Counts against quota; never preempted inside the guarantee.
    Guaranteed,
    /// Uses what is idle, may be preempted, is queued again by itself.
    BestEffort,
}

/// A group of equal replicas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AIJobRole {
    /// Unique in the job.
    pub name: String,
    /// How many are wanted.
    pub replicas: i32,
    /// How many must start together.
    pub min_replicas: i32,
    /// What each replica gets.
    pub resources: AIJobResources,
    /// Any of these GPU models; none means any model.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpu_models: Vec<String>,
    /// The container image.
    #[serde(default)]
    pub image: String,
    /// What is run, in place of the image's entry point.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Its arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Environment variables.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<AIJobEnv>,
    /// Where it runs inside the container.
    #[serde(default)]
    pub working_dir: String,
    /// Storage that is mounted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<AIJobMount>,
}

/// How near each other replicas are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AIJobTopology {
    /// The label whose value their nodes share.
    pub key: String,
    /// Whether the job waits for that; else it starts as near as it can be.
    #[serde(default)]
    pub required: bool,
}

/// Amounts, in whole numbers of a small unit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AIJobResources {
    /// Thousandths of a core.
    #[serde(default)]
    pub cpu_millis: i64,
    /// Bytes.
    #[serde(default)]
    pub memory_bytes: i64,
    /// Thousandths of a GPU.
    #[serde(default)]
    pub gpu_millis: i64,
    /// Other devices, by the name by which nodes offer them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub devices: BTreeMap<String, i64>,
}

/// An environment variable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AIJobEnv {
    /// Its name.
    pub name: String,
    /// Its value.
    #[serde(default)]
    pub value: String,
}

/// Storage of the account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AIJobMount {
    /// The PersistentVolumeClaim in the same namespace.
    pub claim: String,
    /// A path inside the claim; empty for its root.
    #[serde(default)]
    pub sub_path: String,
    /// Where it appears.
    pub mount_path: String,
    /// Whether it can only be read.
    #[serde(default)]
    pub read_only: bool,
}

/// What is. All but `scheduling` is written by the controller, by merge patch of what changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AIJobStatus {
    /// `Queued`, `Starting`, `Running`, `Succeeded`, `Failed` or `Cancelled`; absent reads as `Queued`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// Why, for machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Once ended: the first failing replica's exit code, else 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// How often it was started.
    #[serde(default)]
    pub attempts: i32,
    /// How many of the starts failed and were counted against `maxRetries`.
    #[serde(default)]
    pub failures: i32,
    /// How often all of it was preempted.
    #[serde(default)]
    pub preemptions: i32,
    /// When its gang last began to run, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_millis: Option<i64>,
    /// When it ended, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_millis: Option<i64>,
    /// When it last saved its work, in milliseconds since 1970: the latest that was reported for a start of it and can be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpointed_millis: Option<i64>,
    /// Why what a Pod says of a checkpoint does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint_ignored: Option<String>,
    /// When it last began to wait again, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued_millis: Option<i64>,
    /// The spec's revision that this status speaks of.
    #[serde(default)]
    pub observed_revision: i64,
    /// Counts per role.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<RoleCounts>,
    /// Nodes that it runs on, or last ran on; at most 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<String>,
    /// The replicas that fare worst; at most 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub worst: Vec<ReplicaNote>,
    /// What it held and holds: the last spans, oldest first; of them only the last may go on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub usage: Vec<UsageSpan>,
    /// What it was served in spans that are no more in `usage`: thousandths of a GPU (of work without GPUs: one) times milliseconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub served_before: i64,
    /// Why it waits: the scheduler's part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduling: Option<SchedulingStatus>,
}

fn is_zero(n: &i64) -> bool {
    *n == 0
}

/// Where a job is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// Waits for its GPUs.
    Queued,
    /// Has its GPUs; replicas are being started.
    Starting,
    /// All replicas of its gang run.
    Running,
    /// Ended well.
    Succeeded,
    /// Ended badly, retries used up.
    Failed,
    /// Was cancelled.
    Cancelled,
}

/// How the replicas of a role are doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RoleCounts {
    /// The role.
    pub role: String,
    /// Wait for a node.
    #[serde(default)]
    pub waiting: i32,
    /// Being started.
    #[serde(default)]
    pub starting: i32,
    /// Run.
    #[serde(default)]
    pub running: i32,
    /// Ended well.
    #[serde(default)]
    pub succeeded: i32,
    /// Ended badly.
    #[serde(default)]
    pub failed: i32,
}

/// A replica of which something is to be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaNote {
    /// Its role.
    pub role: String,
    /// Its number in the role.
    pub replica: i32,
    /// Its node.
    #[serde(default)]
    pub node: String,
    /// What is with it.
    pub message: String,
    /// Its exit code, if it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
}

/// What a job held from one moment to another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsageSpan {
    /// From 1; grows by one.
    pub number: i64,
    /// Which start of the job, from 1.
    pub attempt: i32,
    /// From when, in milliseconds since 1970.
    pub from_millis: i64,
    /// Until when; absent while it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_millis: Option<i64>,
    /// How many replicas.
    pub replicas: i64,
    /// Thousandths of a core, of all replicas together.
    #[serde(default)]
    pub cpu_millis: i64,
    /// Bytes, of all together.
    #[serde(default)]
    pub memory_bytes: i64,
    /// Thousandths of a GPU, of all together.
    #[serde(default)]
    pub gpu_millis: i64,
    /// Where; at most 100 nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<String>,
    /// How it ended: the phase, `Resized`, or why the job waits again; empty while it goes on.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub outcome: String,
}

impl UsageSpan {
    /// What was served in it until then: thousandths of a GPU (of work without GPUs: one) times milliseconds.
    pub fn served(&self, now_millis: i64) -> i64 {
        let until = self.until_millis.unwrap_or(now_millis);
        until.saturating_sub(self.from_millis).max(0).saturating_mul(self.gpu_millis.max(1))
    }
}

impl AIJobStatus {
    /// What the job was served in all its starts, in the units of [`UsageSpan::served`].
    pub fn served(&self, now_millis: i64) -> i64 {
        let spans = self.usage.iter().map(|span| span.served(now_millis));
        spans.fold(self.served_before, i64::saturating_add)
    }
}

/// Why a job waits, as the scheduler last said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SchedulingStatus {
    /// For machines.
    pub reason: String,
    /// For people.
    pub message: String,
    /// Its place in its account's queue, from 1.
    #[serde(default)]
    pub position: i32,
}

impl From<Phase> for JobState {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Queued => Self::Queued,
            Phase::Starting => Self::Starting,
            Phase::Running => Self::Running,
            Phase::Succeeded => Self::Succeeded,
            Phase::Failed => Self::Failed,
            Phase::Cancelled => Self::Cancelled,
        }
    }
}

impl AIJob {
    /// Where it is; an AIJob that nobody has looked at yet is queued.
    pub fn state(&self) -> JobState {
        self.status.as_ref().and_then(|s| s.phase).map_or(JobState::Queued, JobState::from)
    }
}

/// What identifies a job beside its spec.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Unique for all time.
    pub uid: JobUid,
    /// Whose queue.
    pub account: AccountId,
    /// Who submitted it.
    pub creator: UserId,
    /// When, in milliseconds since 1970.
    pub submitted_millis: i64,
    /// Grows with each change of what is wanted.
    pub revision: i64,
    /// Whether its end is wanted.
    pub cancelled: bool,
    /// That it stands aside.
    pub suspended: Option<Suspension>,
    /// When it last saved its work, in milliseconds since 1970, as its owner reported.
    pub checkpointed_millis: Option<i64>,
}

impl AIJobSpec {
    /// The object's spec for a job.
    pub fn new(id: &Identity, spec: &JobSpec) -> Self {
        Self {
            job_uid: id.uid.to_string(),
            account: id.account.to_string(),
            creator: id.creator.to_string(),
            service_class: match spec.class {
                ServiceClass::Guaranteed => Class::Guaranteed,
                ServiceClass::BestEffort => Class::BestEffort,
            },
            priority: spec.priority,
            roles: spec.roles.iter().map(AIJobRole::from).collect(),
            expected_seconds: spec.expected_seconds,
            max_retries: spec.max_retries,
            grace_seconds: spec.grace_seconds,
            node_selector: spec.place.node_selector.clone(),
            topology: spec
                .place
                .topology
                .as_ref()
                .map(|t| AIJobTopology { key: t.key.clone(), required: t.required }),
            submitted_millis: id.submitted_millis,
            cancelled: id.cancelled,
            suspended: id.suspended.clone(),
            checkpointed_millis: id.checkpointed_millis,
            revision: id.revision,
        }
    }

    /// Reads the spec back. Somebody may have written the object by hand, so it is checked like a request.
    ///
    /// # Errors
    /// Every violation, by the path of its field (`spec.roles[0].replicas`).
    pub fn parse(&self) -> Result<JobSpec, crater_domain::Error> {
        let mut roles = Vec::with_capacity(self.roles.len());
        for (i, r) in self.roles.iter().enumerate() {
            let name = r
                .name
                .parse()
                .map_err(|e| crater_domain::Error::field(format!("spec.roles[{i}].name"), format!("{e}")))?;
            roles.push(Role {
                name,
                replicas: r.replicas,
                min_replicas: r.min_replicas,
                resources: Resources {
                    cpu_millis: r.resources.cpu_millis,
                    memory_bytes: r.resources.memory_bytes,
                    gpu_millis: r.resources.gpu_millis,
                },
                devices: Devices(r.resources.devices.clone()),
                gpu_models: r.gpu_models.clone(),
                image: r.image.clone(),
                command: r.command.clone(),
                args: r.args.clone(),
                env: r.env.iter().map(|e| EnvVar { name: e.name.clone(), value: e.value.clone() }).collect(),
                working_dir: r.working_dir.clone(),
                mounts: r
                    .mounts
                    .iter()
                    .map(|m| Mount {
                        claim: m.claim.clone(),
                        sub_path: m.sub_path.clone(),
                        mount_path: m.mount_path.clone(),
                        read_only: m.read_only,
                    })
                    .collect(),
            });
        }
        let spec = JobSpec {
            class: match self.service_class {
                Class::Guaranteed => ServiceClass::Guaranteed,
                Class::BestEffort => ServiceClass::BestEffort,
            },
            priority: self.priority,
            roles,
            expected_seconds: self.expected_seconds,
            max_retries: self.max_retries,
            grace_seconds: self.grace_seconds,
            place: Place {
                node_selector: self.node_selector.clone(),
                topology: self
                    .topology
                    .as_ref()
                    .map(|t| Topology { key: t.key.clone(), required: t.required }),
            },
        };
        let wrong = spec.violations("spec");
        if wrong.is_empty() { Ok(spec) } else { Err(crater_domain::Error::fields(wrong)) }
    }
}

impl From<&Role> for AIJobRole {
    fn from(r: &Role) -> Self {
        Self {
            name: r.name.to_string(),
            replicas: r.replicas,
            min_replicas: r.min_replicas,
            resources: AIJobResources {
                cpu_millis: r.resources.cpu_millis,
                memory_bytes: r.resources.memory_bytes,
                gpu_millis: r.resources.gpu_millis,
                devices: r.devices.0.clone(),
            },
            gpu_models: r.gpu_models.clone(),
            image: r.image.clone(),
            command: r.command.clone(),
            args: r.args.clone(),
            env: r.env.iter().map(|e| AIJobEnv { name: e.name.clone(), value: e.value.clone() }).collect(),
            working_dir: r.working_dir.clone(),
            mounts: r
                .mounts
                .iter()
                .map(|m| AIJobMount {
                    claim: m.claim.clone(),
                    sub_path: m.sub_path.clone(),
                    mount_path: m.mount_path.clone(),
                    read_only: m.read_only,
                })
                .collect(),
        }
    }
}
