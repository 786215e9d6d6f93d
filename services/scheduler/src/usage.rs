//! What is held, summed from Allocations: nothing is counted up and down.

use std::collections::BTreeMap;

use crater_domain::{AccountId, Devices, ResourceKind, Resources, ServiceClass, UserId};
use crater_k8s::allocation::Granted;

use crate::cache::{Cache, Key};
use crate::jobs::JobEntry;
use crate::snapshot::Tree;

/// What is held of one resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// By guaranteed jobs.
    pub guaranteed: i64,
    /// By best-effort jobs.
    pub best_effort: i64,
}

/// What one replica holds.
pub fn of(entry: Option<&JobEntry>, held: &Granted) -> Resources {
    let shape = entry.and_then(|entry| entry.shape(&held.role)).unwrap_or_default();
    let devices = i64::try_from(held.gpus.len()).unwrap_or(0);
    Resources {
        cpu_millis: shape.cpu,
        memory_bytes: shape.memory,
        gpu_millis: held.gpu_millis.saturating_mul(devices),
    }
}

/// The devices by name that one replica holds.
pub fn devices_of<'a>(entry: Option<&'a JobEntry>, held: &Granted) -> Option<&'a Devices> {
    let wanted = entry?.wanted.as_ref().ok()?;
    let role = wanted.spec.roles.iter().find(|role| role.name.as_str() == held.role)?;
    Some(&role.devices)
}

/// Whose usage is asked: an account with all below it, or one user in the account itself.
pub type Subject = (AccountId, Option<UserId>);

type Sums = BTreeMap<ResourceKind, Held>;

/// What each of the subjects holds, all at one moment and in one pass.
pub fn usages(cache: &Cache, tree: &Tree, subjects: &[Subject]) -> Vec<Sums> {
    let by_owner = by_owner(cache);
    let mut sums: Vec<Sums> = vec![blank(); subjects.len()];
    let mut users: BTreeMap<(&AccountId, &UserId), Vec<usize>> = BTreeMap::new();
    let mut accounts: BTreeMap<&AccountId, Vec<usize>> = BTreeMap::new();
    for (ix, (account, user)) in subjects.iter().enumerate() {
        match user {
            Some(user) => users.entry((account, user)).or_default().push(ix),
            None => accounts.entry(account).or_default().push(ix),
        }
    }
    for ((account, creator), owned) in &by_owner {
        let own = users.get(&(*account, *creator)).into_iter().flatten();
        let above = lineage(tree, account).filter_map(|above| accounts.get(above)).flatten();
        for ix in own.chain(above) {
            for (kind, held) in owned {
                let sum = sums[*ix].entry(kind.clone()).or_default();
                sum.guaranteed = sum.guaranteed.saturating_add(held.guaranteed);
                sum.best_effort = sum.best_effort.saturating_add(held.best_effort);
            }
        }
    }
    sums
}

/// What is listed though nothing of it is held.
fn blank() -> Sums {
    let kinds = [
        ResourceKind::Cpu,
        ResourceKind::Memory,
        ResourceKind::Gpu,
        ResourceKind::JobsRunning,
        ResourceKind::JobsWaiting,
    ];
    kinds.map(|kind| (kind, Held::default())).into()
}

/// What the jobs of each account and creator hold, and how many of them hold something or wait.
fn by_owner(cache: &Cache) -> BTreeMap<(&AccountId, &UserId), Sums> {
    let mut sums: BTreeMap<(&AccountId, &UserId), Sums> = BTreeMap::new();
    let by_job = cache.given_by_job();
    for (key, entry) in cache.jobs.iter() {
        let Ok(wanted) = &entry.wanted else { continue };
        let held = by_job.get(key).into_iter().flatten().flat_map(|(_, given)| &given.held);
        let mut amounts: BTreeMap<ResourceKind, i64> = BTreeMap::new();
        let mut runs = false;
        for held in held {
            runs = true;
            let what = of(Some(entry), held);
            let node = Key { namespace: String::new(), name: held.node.clone() };
            let model = cache.nodes.get(&node).map(|m| m.model.clone()).filter(|m| !m.is_empty());
            let model = model.filter(|_| what.gpu_millis > 0).map(ResourceKind::GpuModel);
            let each = [
                (Some(ResourceKind::Cpu), what.cpu_millis),
                (Some(ResourceKind::Memory), what.memory_bytes),
                (Some(ResourceKind::Gpu), what.gpu_millis),
                (model, what.gpu_millis),
            ];
            for (kind, amount) in each {
                let Some(kind) = kind else { continue };
                let sum = amounts.entry(kind).or_default();
                *sum = sum.saturating_add(amount);
            }
            for (name, count) in devices_of(Some(entry), held).into_iter().flat_map(|devices| &devices.0) {
                let sum = amounts.entry(ResourceKind::Device(name.clone())).or_default();
                *sum = sum.saturating_add(*count);
            }
        }
        match runs {
            true => amounts.insert(ResourceKind::JobsRunning, 1),
            false if entry.over() => continue,
            false => amounts.insert(ResourceKind::JobsWaiting, 1),
        };
        let owner = sums.entry((&wanted.account, &wanted.creator)).or_default();
        for (kind, amount) in amounts {
            let sum = owner.entry(kind).or_default();
            match wanted.spec.class {
                ServiceClass::Guaranteed => sum.guaranteed = sum.guaranteed.saturating_add(amount),
                ServiceClass::BestEffort => sum.best_effort = sum.best_effort.saturating_add(amount),
            }
        }
    }
    sums
}

/// The account and all above it.
fn lineage<'a>(tree: &'a Tree, account: &'a AccountId) -> impl Iterator<Item = &'a AccountId> {
    let parent = |account: &&'a AccountId| tree.get(*account).and_then(Option::as_ref);
    // a circle ends somewhere, too
    std::iter::successors(Some(account), parent).take(tree.len() + 1)
}
