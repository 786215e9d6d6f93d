//! What is held, summed from Allocations: nothing is counted up and down.

use std::collections::BTreeMap;

use crater_domain::{AccountId, ResourceKind, Resources, ServiceClass, UserId};
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

/// What an account with all below it holds, or one user in the account itself.
pub fn usage(
    cache: &Cache,
    tree: &Tree,
    account: &AccountId,
    user: Option<&UserId>,
) -> BTreeMap<ResourceKind, Held> {
    let mut sums: BTreeMap<ResourceKind, Held> = [ResourceKind::Cpu, ResourceKind::Memory, ResourceKind::Gpu]
        .map(|kind| (kind, Held::default()))
        .into();
    for (_, given) in cache.given() {
        let entry = cache.jobs.get(&given.job);
        let Some(wanted) = entry.and_then(|entry| entry.wanted.as_ref().ok()) else { continue };
        let counts = match user {
            Some(user) => wanted.account == *account && wanted.creator == *user,
            None => within(tree, &wanted.account, account),
        };
        if !counts {
            continue;
        }
        for held in &given.held {
            let what = of(entry, held);
            let node = Key { namespace: String::new(), name: held.node.clone() };
            let model = cache.nodes.get(&node).map(|m| m.model.clone()).filter(|m| !m.is_empty());
            let model = model.filter(|_| what.gpu_millis > 0).map(ResourceKind::GpuModel);
            let amounts = [
                (Some(ResourceKind::Cpu), what.cpu_millis),
                (Some(ResourceKind::Memory), what.memory_bytes),
                (Some(ResourceKind::Gpu), what.gpu_millis),
                (model, what.gpu_millis),
            ];
            for (kind, amount) in amounts {
                let Some(kind) = kind else { continue };
                let sum = sums.entry(kind).or_default();
                match wanted.spec.class {
                    ServiceClass::Guaranteed => sum.guaranteed = sum.guaranteed.saturating_add(amount),
                    ServiceClass::BestEffort => sum.best_effort = sum.best_effort.saturating_add(amount),
                }
            }
        }
    }
    sums
}

/// Whether `account` is `above` or below it.
fn within(tree: &Tree, account: &AccountId, above: &AccountId) -> bool {
    let mut at = account;
    for _ in 0..=tree.len() {
        if at == above {
            return true;
        }
        match tree.get(at) {
            Some(Some(parent)) => at = parent,
            _ => return false,
        }
    }
    false
}
