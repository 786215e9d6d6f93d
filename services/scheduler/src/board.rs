//! The nodes as people see them, made once for all who look: what each has, what is held of it, and by whom.
//!
//! A node that has not changed keeps its place in memory from one board to the next, so that who follows the boards finds what is new by
//! comparing pointers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crater_auth::Caller;
use crater_domain::{AccountId, Devices, JobName, Resources};
use crater_k8s::node::Machine;

use crate::cache::{Cache, Key};
use crate::jobs::JobEntry;
use crate::usage;

/// A device, and who holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// How much is held, in thousandths.
    pub held_millis: i64,
    /// The jobs that hold it.
    pub jobs: BTreeSet<JobName>,
}

/// A node, and what is held of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeView {
    /// The node.
    pub machine: Machine,
    /// By jobs of Crater.
    pub held: Resources,
    /// By Pods of others.
    pub others: Resources,
    /// The devices by name that jobs of Crater hold.
    pub held_devices: Devices,
    /// The same of others.
    pub others_devices: Devices,
    /// How many replicas of jobs hold something.
    pub replicas: usize,
    /// The jobs that hold something, those without GPUs included.
    pub jobs: BTreeSet<JobName>,
    /// Each device.
    pub gpus: Vec<Device>,
}

impl NodeView {
    /// Nothing is held of it.
    pub fn empty(machine: Machine) -> Self {
        Self {
            gpus: vec![Device::default(); usize::from(machine.gpus)],
            machine,
            held: Resources::ZERO,
            others: Resources::ZERO,
            held_devices: Devices::default(),
            others_devices: Devices::default(),
            replicas: 0,
            jobs: BTreeSet::new(),
        }
    }

    /// The same with a newer Node.
    pub fn with(&self, machine: Machine) -> Self {
        Self { machine, ..self.clone() }
    }
}

/// The cluster at one moment.
#[derive(Debug, Default)]
pub struct Board {
    /// Of which change this is, see [`crate::shared::Shared::board_now`].
    pub(crate) change: u64,
    /// By name.
    pub nodes: Vec<Arc<NodeView>>,
    /// Jobs that wait.
    pub waiting: usize,
    /// Jobs that hold something.
    pub running: usize,
}

impl Board {
    /// What the cache shows now; what is as it was `before` is shared with it.
    pub fn new(cache: &Cache, before: &Self, change: u64) -> Self {
        let views = cache.nodes.iter().map(|(key, machine)| (&*key.name, NodeView::empty(machine.clone())));
        let mut nodes: BTreeMap<&str, NodeView> = views.collect();
        for (_, other) in cache.others.iter() {
            if let Some(node) = nodes.get_mut(other.node.as_str()) {
                node.others = sum(node.others, other.requests);
                node.others_devices.add(&other.devices, 1);
            }
        }
        let mut running: BTreeSet<&Key> = BTreeSet::new();
        for (_, given) in cache.given().filter(|(_, given)| !given.held.is_empty()) {
            running.insert(&given.job);
            let entry = cache.jobs.get(&given.job);
            let name = entry.and_then(name_of);
            for held in &given.held {
                let Some(node) = nodes.get_mut(held.node.as_str()) else { continue };
                node.held = sum(node.held, usage::of(entry, held));
                if let Some(devices) = usage::devices_of(entry, held) {
                    node.held_devices.add(devices, 1);
                }
                node.replicas += 1;
                node.jobs.extend(name.clone());
                for device in &held.gpus {
                    let gpu = usize::try_from(*device).ok().and_then(|device| node.gpus.get_mut(device));
                    let Some(gpu) = gpu else { continue };
                    gpu.held_millis = gpu.held_millis.saturating_add(held.gpu_millis);
                    gpu.jobs.extend(name.clone());
                }
            }
        }
        let waiting =
            cache.jobs.iter().filter(|(key, entry)| !entry.over() && !running.contains(key)).count();
        let mut known = before.nodes.iter().peekable();
        let nodes = nodes.into_values().map(|node| {
            while known.next_if(|was| was.machine.name < node.machine.name).is_some() {}
            match known.next_if(|was| ***was == node) {
                Some(was) => was.clone(),
                None => Arc::new(node),
            }
        });
        Self { change, nodes: nodes.collect(), waiting, running: running.len() }
    }
}

/// Which accounts' jobs a caller may hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight {
    /// Of all.
    All,
    /// Of those that the caller is in.
    Of(BTreeSet<AccountId>),
}

impl Sight {
    /// What the caller may see at this moment.
    pub fn of(caller: &Caller) -> Self {
        if caller.is_platform_admin_still() {
            return Self::All;
        }
        Self::Of(caller.accounts().into_iter().collect())
    }

    /// Whether a job may be named.
    pub fn sees(&self, job: &JobName) -> bool {
        match self {
            Self::All => true,
            Self::Of(accounts) => accounts.contains(&job.account),
        }
    }

    /// Whether a node looks different through another's eyes.
    pub fn differs(&self, other: &Self, node: &NodeView) -> bool {
        node.jobs.iter().any(|job| self.sees(job) != other.sees(job))
    }
}

fn name_of(entry: &JobEntry) -> Option<JobName> {
    let account = entry.object.spec.account.parse().ok()?;
    Some(JobName { account, job: entry.object.metadata.name.as_deref()?.parse().ok()? })
}

fn sum(a: Resources, b: Resources) -> Resources {
    a.checked_add(b).unwrap_or(a)
}
