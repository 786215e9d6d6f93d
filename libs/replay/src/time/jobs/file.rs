//! A file of nodes and jobs of one's own, checked: YAML, or a table (`table`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crater_engine::predict::stem;
use crater_engine::{Millis, Settings, WHOLE_GPU};
use serde::Deserialize;

use super::table;
use crate::document::Document;
use crate::input::InputError;
use crate::scenario::build::{Asked as Names, Start};
use crate::scenario::fault::Fault;
use crate::scenario::format::{
    AccountSpec, ClassSpec, Each, JobSpec, NodeSpec, Priority, RoleSpec, SettingsSpec, TopologySpec,
};
use crate::scenario::world::World;
use crate::time::workload::{Asked, Workload};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    nodes: Option<Vec<NodeSpec>>,
    #[serde(default)]
    accounts: Vec<AccountSpec>,
    #[serde(default)]
    priority_classes: BTreeMap<String, i32>,
    #[serde(default)]
    settings: SettingsSpec,
    jobs: Vec<TimedJob>,
}

/// A job of the file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::time) struct TimedJob {
    pub name: String,
    /// Seconds from the beginning.
    pub submit: u32,
    /// Seconds with all its replicas.
    pub duration: u32,
    /// The same as its owner said.
    pub estimate: Option<u32>,
    pub account: Option<String>,
    pub user: Option<String>,
    #[serde(default)]
    pub class: ClassSpec,
    pub priority: Option<Priority>,
    #[serde(default = "one")]
    pub replicas: u32,
    pub min_replicas: Option<u32>,
    #[serde(default)]
    pub each: Each,
    #[serde(default)]
    pub roles: Vec<RoleSpec>,
    #[serde(default)]
    pub gpu_model: Vec<String>,
    #[serde(default)]
    pub node_selector: BTreeMap<String, String>,
    pub topology: Option<TopologySpec>,
    pub preemptible: Option<bool>,
}

fn one() -> u32 {
    1
}

impl TimedJob {
    pub fn spec(&self) -> JobSpec {
        JobSpec {
            name: self.name.clone(),
            account: self.account.clone(),
            class: self.class,
            priority: self.priority.clone(),
            replicas: self.replicas,
            min_replicas: self.min_replicas,
            each: self.each.clone(),
            roles: self.roles.clone(),
            gpu_model: self.gpu_model.clone(),
            node_selector: self.node_selector.clone(),
            topology: self.topology.clone(),
            preemptible: self.preemptible,
            running_on: Vec::new(),
            started: 0,
            estimate: None,
            submit: 0,
        }
    }
}

/// Where something was read, so that a fault in it has a line.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Yaml(Document),
    /// Rows of a table, by line.
    Table {
        file: PathBuf,
        lines: Vec<u64>,
    },
    Options,
}

impl Source {
    /// A fault in a field such as `jobs[3].each.gpu`.
    pub fn fault(&self, field: &str, why: impl Into<String>) -> InputError {
        match self {
            Self::Yaml(document) => document.fault(field, why),
            Self::Table { file, lines } => {
                let row = field.split(['[', ']']).nth(1).and_then(|row| row.parse::<usize>().ok());
                let line = row.and_then(|row| lines.get(row)).copied().unwrap_or(1);
                let column = field.rsplit('.').next().unwrap_or(field);
                InputError::in_file(file, why).at_line(line).in_field(column)
            }
            Self::Options => InputError::in_option("--nodes", why),
        }
    }
}

/// The nodes, where the caller gives them beside the jobs.
#[derive(Clone, Debug)]
pub(in crate::time) enum Cluster {
    /// In the file of the jobs.
    Within,
    /// So many, with so many GPUs each.
    Of(u32, u16),
    /// A table of their own.
    Table(PathBuf),
}

/// A cluster and its jobs, checked.
#[derive(Clone, Debug)]
pub(in crate::time) struct Jobs {
    pub workload: Workload,
    /// GPUs in all.
    pub gpus: u64,
    pub(super) world: World,
    pub(super) specs: Vec<TimedJob>,
}

impl Jobs {
    /// The settings of the file.
    pub fn settings(&self) -> Settings {
        self.world.snapshot.settings
    }
}

/// What was read and is still to be checked.
pub(super) struct Read {
    pub nodes: Option<Vec<NodeSpec>>,
    pub accounts: Vec<AccountSpec>,
    pub priority_classes: BTreeMap<String, i32>,
    pub settings: SettingsSpec,
    pub jobs: Vec<TimedJob>,
    pub source: Source,
}

fn yaml(path: &Path) -> Result<Read, InputError> {
    let document = Document::read(path)?;
    let File { nodes, accounts, priority_classes, settings, jobs } = document.decode()?;
    let source = Source::Yaml(document);
    Ok(Read { nodes, accounts, priority_classes, settings, jobs, source })
}

fn is_table(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    name.ends_with(".csv") || name.ends_with(".csv.gz")
}

/// Reads and checks a file, `restart`: milliseconds before a job that was stopped computes again.
pub(in crate::time) fn load(path: &Path, cluster: &Cluster, restart: Millis) -> Result<Jobs, InputError> {
    let read = if is_table(path) { table::jobs(path)? } else { yaml(path)? };
    let option = |what: &str| Err(InputError::in_option("--nodes", what));
    let (nodes, nodes_source) = match (cluster, read.nodes) {
        (Cluster::Within, Some(nodes)) => (nodes, read.source.clone()),
        (Cluster::Within, None) => return option("needed: the workload says nothing of nodes"),
        (_, Some(_)) => return option("the nodes stand in the workload"),
        (Cluster::Of(count, gpus), None) => {
            let model = Some("gpu".to_owned());
            let all = NodeSpec {
                name: "node".to_owned(),
                count: Some(*count),
                cpu: None,
                memory: None,
                gpu: *gpus,
                gpu_model: model,
                extended: BTreeMap::new(),
                labels: BTreeMap::new(),
            };
            (vec![all], Source::Options)
        }
        (Cluster::Table(file), None) => table::nodes(file)?,
    };
    let source = read.source;
    if nodes.is_empty() {
        return Err(nodes_source.fault("nodes", "there is no node"));
    }
    let mut names = Names::default();
    for job in &read.jobs {
        names.add(&job.gpu_model, job.roles.iter().map(|role| &role.each).chain([&job.each]));
    }
    let start = Start {
        nodes: &nodes,
        accounts: &read.accounts,
        settings: read.settings,
        priority_classes: &read.priority_classes,
        asked: &names,
    };
    let world = World::new(&start).map_err(|Fault { field, why }| {
        let of = if field.starts_with("nodes") { &nodes_source } else { &source };
        of.fault(&field, why)
    })?;
    let gpus = world.snapshot.nodes.iter().map(|node| u64::from(node.gpus)).sum();
    let mut workload = Workload::default();
    let mut last = 0;
    // all of them once, so that what is wrong is said before anything runs
    let mut trial = world.clone();
    for (i, job) in read.jobs.iter().enumerate() {
        let at = format!("jobs[{i}]");
        let fault = |field: &str, why: &str| source.fault(&format!("{at}.{field}"), why);
        trial.submit(&job.spec(), &at).map_err(|Fault { field, why }| source.fault(&field, why))?;
        if job.submit < last {
            return Err(fault("submit", "is before the job above: times go back"));
        }
        if job.duration == 0 {
            return Err(fault("duration", "must be at least 1 second"));
        }
        if job.estimate == Some(0) {
            return Err(fault("estimate", "must be at least 1 second"));
        }
        last = job.submit;
        let asked = trial.snapshot.jobs.last().map_or(0, |job| {
            let roles = job.request.roles.iter();
            roles.map(|role| role.each.gpu.saturating_mul(i64::from(role.replicas))).sum::<i64>()
        });
        let whole = u32::try_from((asked + WHOLE_GPU - 1) / WHOLE_GPU).unwrap_or(u32::MAX);
        let asked = Asked {
            name: job.name.clone(),
            submitted: Millis::from(job.submit) * 1000,
            gpus: whole,
            user: job.user.clone(),
            stem: Some(stem(&job.name)).filter(|stem| !stem.is_empty()).map(str::to_owned),
            estimate: job.estimate.map(|estimate| Millis::from(estimate) * 1000),
            restart,
            ..Asked::default()
        };
        workload.push(asked, Millis::from(job.duration) * 1000);
    }
    if workload.is_empty() {
        return Err(source.fault("jobs", "there is no job"));
    }
    Ok(Jobs { workload, gpus, world, specs: read.jobs })
}

/// The accounts that jobs name, all alike.
pub(super) fn accounts_of(jobs: &[TimedJob]) -> Vec<AccountSpec> {
    let names: BTreeSet<&str> = jobs.iter().filter_map(|job| job.account.as_deref()).collect();
    names.into_iter().map(AccountSpec::named).collect()
}
