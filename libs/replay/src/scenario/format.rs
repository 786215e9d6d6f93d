//! The scenario format as it is written: YAML in, plain structs out. Keys that it does not know are errors.

use std::collections::BTreeMap;

use crater_engine::{Backfill, Placing, Queueing};
use serde::{Deserialize, Deserializer};

use super::quantity::Quantity;

/// One world and what is expected of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Unique, kebab-case.
    pub name: String,
    /// The law that this world tests.
    pub law: String,
    /// `invariant` or `policy`.
    pub kind: Kind,
    /// Where the facts are from.
    #[serde(default)]
    pub source: String,
    /// The cluster.
    pub nodes: Vec<NodeSpec>,
    /// Without it every job is in `default`.
    #[serde(default)]
    pub accounts: Vec<AccountSpec>,
    /// What an administrator may turn; what is left out is as by default.
    #[serde(default)]
    pub settings: SettingsSpec,
    /// Priorities by name, beside or instead of those that there are anyway.
    #[serde(default)]
    pub priority_classes: BTreeMap<String, i32>,
    /// In order of submission.
    #[serde(default)]
    pub jobs: Vec<JobSpec>,
    /// Later events.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// After the last step.
    pub expect: Expect,
    /// How many cycles the engine may need to settle after each event.
    #[serde(default = "default_max_cycles")]
    pub max_cycles: u32,
    /// In how many more cycles nothing may move.
    #[serde(default = "default_stable_cycles")]
    pub stable_cycles: u32,
}

/// See [`crater_engine::Settings`].
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SettingsSpec {
    /// `easy`, `conservative` or `none`.
    #[serde(default)]
    pub backfill: Backfill,
    /// `fifo`, `priority`, `sjf` or `las`.
    #[serde(default)]
    pub order: Queueing,
    /// `pack`, `best-fit`, `spread`, `fragmentation` or `crater`.
    #[serde(default)]
    pub placement: Placing,
    /// After how many seconds half of what accounts borrowed is forgotten; 0: at once.
    #[serde(default)]
    pub half_life: u32,
}

fn default_max_cycles() -> u32 {
    10
}

fn default_stable_cycles() -> u32 {
    5
}

/// Must any good scheduler do so, or is it our choice?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Any good scheduler must.
    Invariant,
    /// Our choice.
    Policy,
}

/// One node, or `count` equal ones.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeSpec {
    /// Its name; with `count` the stem of their names.
    pub name: String,
    /// Makes `name-0`, `name-1`…
    pub count: Option<u32>,
    /// Cores; unlimited if left out.
    pub cpu: Option<Quantity>,
    /// Bytes; unlimited if left out.
    pub memory: Option<Quantity>,
    /// Devices.
    #[serde(default)]
    pub gpu: u16,
    /// Their model.
    pub gpu_model: Option<String>,
    /// Devices that it offers by name, such as `nvidia.com/mig-1g.10gb`.
    #[serde(default)]
    pub extended: BTreeMap<String, u32>,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// A team.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountSpec {
    /// Its name.
    pub name: String,
    /// The account above.
    pub parent: Option<String>,
    /// Its part of what is borrowed.
    #[serde(default = "one")]
    pub weight: u32,
    /// By resource: `cpu`, `memory`, `gpu`, a GPU model, or a device by name.
    #[serde(default)]
    pub guaranteed: BTreeMap<String, Quantity>,
    /// By resource, and `jobs`: how many may hold something at one time.
    #[serde(default)]
    pub limit: BTreeMap<String, Quantity>,
    /// What it and the accounts below it borrowed lately, on the average: `cpu`, `memory`, or a GPU model (`gpu`, where there is one model).
    #[serde(default)]
    pub borrowed_lately: BTreeMap<String, Quantity>,
}

fn one() -> u32 {
    1
}

impl AccountSpec {
    /// One with this name, without guarantee or limit.
    pub(crate) fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            parent: None,
            weight: one(),
            guaranteed: BTreeMap::new(),
            limit: BTreeMap::new(),
            borrowed_lately: BTreeMap::new(),
        }
    }
}

/// What a replica needs.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Each {
    /// Cores.
    pub cpu: Option<Quantity>,
    /// Bytes.
    pub memory: Option<Quantity>,
    /// Devices, or a fraction of one.
    pub gpu: Option<Quantity>,
    /// Devices by name; at most four names.
    #[serde(default)]
    pub extended: BTreeMap<String, u32>,
}

/// Service class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClassSpec {
    /// Counts against quota.
    #[default]
    Guaranteed,
    /// Uses what is idle.
    BestEffort,
}

/// How near to each other replicas must be.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopologySpec {
    /// The label.
    pub key: String,
    /// Wait for it, or do without.
    pub mode: Mode,
}

/// See [`TopologySpec`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Waits for it.
    Required,
    /// Starts without.
    Preferred,
}

/// A priority by name or number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Priority {
    /// One of the classes.
    Class(String),
    /// As it is.
    Value(i32),
}

impl Priority {
    /// A number if it is one, else a name.
    pub(crate) fn of(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::Class(text.to_owned()), Self::Value)
    }
}

impl<'de> Deserialize<'de> for Priority {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self::of(&text))
    }
}

/// A job.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobSpec {
    /// Unique.
    pub name: String,
    /// Its account; `default` if left out.
    pub account: Option<String>,
    /// Service class.
    #[serde(default)]
    pub class: ClassSpec,
    /// `normal` if left out.
    pub priority: Option<Priority>,
    /// How many it wants.
    #[serde(default = "one")]
    pub replicas: u32,
    /// Its gang; all replicas if left out.
    pub min_replicas: Option<u32>,
    /// Per replica.
    #[serde(default)]
    pub each: Each,
    /// Instead of the three above: replicas of several kinds, in one gang.
    #[serde(default)]
    pub roles: Vec<RoleSpec>,
    /// Any of these.
    #[serde(default)]
    pub gpu_model: Vec<String>,
    /// Labels of the nodes.
    #[serde(default)]
    pub node_selector: BTreeMap<String, String>,
    /// Replicas near each other.
    pub topology: Option<TopologySpec>,
    /// What its owner says about being stopped.
    pub preemptible: Option<bool>,
    /// Nodes on which its replicas already run.
    #[serde(default)]
    pub running_on: Vec<String>,
    /// For how many seconds.
    #[serde(default)]
    pub started: u32,
    /// How many seconds it runs, as its owner said.
    pub estimate: Option<u32>,
    /// When it is submitted, in seconds; orders the jobs.
    #[serde(default)]
    pub submit: u32,
}

/// Replicas of one kind.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleSpec {
    /// Unique in the job.
    pub name: String,
    /// How many it wants.
    #[serde(default = "one")]
    pub replicas: u32,
    /// How many of them belong to the gang; all if left out.
    pub min_replicas: Option<u32>,
    /// Per replica.
    #[serde(default)]
    pub each: Each,
}

/// One event: exactly one of these.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// A new job.
    pub submit: Option<JobSpec>,
    /// A job ends.
    pub finish: Option<String>,
    /// Some replicas of a job end.
    pub finish_replicas: Option<BTreeMap<String, u32>>,
    /// A node is gone with all that ran there.
    pub fail_node: Option<String>,
    /// `evicted`: those that were evicted and wait are submitted anew, behind all others.
    pub resubmit: Option<String>,
}

/// What is judged; a key left out is not.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// Exact nodes, in any order of replicas.
    #[serde(default)]
    pub placed: BTreeMap<String, Vec<String>>,
    /// How many replicas run.
    #[serde(default)]
    pub running: BTreeMap<String, u32>,
    /// Waits, with a reason that contains this.
    #[serde(default)]
    pub pending: BTreeMap<String, String>,
    /// Waits, and is told that it starts so many seconds after the beginning.
    #[serde(default)]
    pub starts: BTreeMap<String, i64>,
    /// Jobs that lost a replica which found no other place, exactly these.
    pub evicted: Option<Vec<String>>,
    /// At most so many replicas left their node by decision.
    pub evictions_max: Option<u32>,
    /// All replicas of a job on nodes with one value of a label.
    #[serde(default)]
    pub same_value: BTreeMap<String, String>,
    /// Jobs that were migrated, exactly these.
    pub moved: Option<Vec<String>>,
}
