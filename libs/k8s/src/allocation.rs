//! Allocation: which replicas of a job get which GPUs of which nodes. The grant never changes; `spec.revoked` (the
//! scheduler's) and `status.released` (the controller's) only grow; what is held is granted − released.

use std::collections::BTreeSet;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a job was given. Owned by its AIJob.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "crater.dev",
    version = "v1",
    kind = "Allocation",
    plural = "allocations",
    singular = "allocation",
    shortname = "alloc",
    namespaced,
    status = "AllocationStatus",
    printcolumn = r#"{"name":"Job","type":"string","jsonPath":".spec.job"}"#,
    printcolumn = r#"{"name":"Nodes","type":"string","jsonPath":".spec.placements[*].node"}"#,
    printcolumn = r#"{"name":"Epoch","type":"integer","jsonPath":".spec.epoch"}"#,
    printcolumn = r#"{"name":"Accepted","type":"integer","jsonPath":".status.accepted"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct AllocationSpec {
    /// The AIJob, in the same namespace.
    pub job: String,
    /// The job's uid in the database.
    pub job_uid: String,
    /// The epoch of the scheduler that gave it.
    pub epoch: i64,
    /// When it was given, in milliseconds since 1970.
    pub granted_millis: i64,
    /// The grant. Never changes.
    pub placements: Vec<Placement>,
    /// What the scheduler takes back. Only grows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revoked: Vec<Revoked>,
}

/// Equal replicas, numbered on from `first_replica`, on one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Placement {
    /// The node.
    pub node: String,
    /// The role.
    pub role: String,
    /// The first replica's number.
    pub first_replica: i32,
    /// How many.
    pub count: i32,
    /// The devices of each replica in turn, by index on the node; empty without GPUs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<Vec<i32>>,
    /// Thousandths of each of these devices; 0 without GPUs.
    #[serde(default)]
    pub gpu_millis: i64,
}

/// [`Revoked::reason`] of what is taken off a node that is drained.
pub const NODE_DRAINED: &str = "NodeDrained";

/// Replicas that are taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Revoked {
    /// Which.
    pub replicas: Range,
    /// Why, for machines: `BestEffortYields`, `Reclaimed`, `Priority`...
    pub reason: String,
    /// Why, for people.
    pub message: String,
}

/// Replicas of a role, numbered on from `first`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Range {
    /// The role.
    pub role: String,
    /// The first replica's number.
    pub first: i32,
    /// How many.
    pub count: i32,
}

/// What became of it: the controller's part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AllocationStatus {
    /// The epoch of the Lease under which the controller took it as valid; it holds in all later ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<i64>,
    /// Why the controller did not take it; then all of it counts as released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// Replicas that are known to be gone. Only grows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub released: Vec<Range>,
    /// Replicas that a kubelet or admission refused: given back, and the node is barred for that shape for a while.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rejected: Vec<Rejected>,
}

/// A replica that a kubelet or admission refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rejected {
    /// Its role.
    pub role: String,
    /// Its number.
    pub replica: i32,
    /// The node that would not have it.
    pub node: String,
    /// Its words.
    pub message: String,
}

/// One replica of a grant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Granted {
    /// Its role.
    pub role: String,
    /// Its number.
    pub replica: i32,
    /// Its node.
    pub node: String,
    /// Its devices.
    pub gpus: Vec<i32>,
    /// Thousandths of each device.
    pub gpu_millis: i64,
}

impl Allocation {
    /// Every replica that was granted.
    pub fn granted(&self) -> Vec<Granted> {
        let mut out = Vec::new();
        for p in &self.spec.placements {
            for i in 0..p.count.max(0) {
                out.push(Granted {
                    role: p.role.clone(),
                    replica: p.first_replica + i,
                    node: p.node.clone(),
                    gpus: usize::try_from(i).ok().and_then(|i| p.gpus.get(i)).cloned().unwrap_or_default(),
                    gpu_millis: p.gpu_millis,
                });
            }
        }
        out
    }

    /// The replicas that are taken back, by role and number.
    pub fn revoked(&self) -> BTreeSet<(String, i32)> {
        members(self.spec.revoked.iter().map(|r| &r.replicas))
    }

    /// The replicas that are known to be gone, by role and number.
    pub fn released(&self) -> BTreeSet<(String, i32)> {
        members(self.status.iter().flat_map(|s| &s.released))
    }

    /// What is held: granted − released; nothing, where the controller refused it whole.
    pub fn held(&self) -> Vec<Granted> {
        if self.status.as_ref().is_some_and(|s| s.refused.is_some()) {
            return Vec::new();
        }
        let released = self.released();
        self.granted().into_iter().filter(|g| !released.contains(&(g.role.clone(), g.replica))).collect()
    }
}

fn members<'a>(ranges: impl Iterator<Item = &'a Range>) -> BTreeSet<(String, i32)> {
    ranges.flat_map(|r| (r.first..r.first.saturating_add(r.count)).map(|i| (r.role.clone(), i))).collect()
}

/// Single replicas as the fewest ranges, in order.
pub fn ranges(replicas: &BTreeSet<(String, i32)>) -> Vec<Range> {
    let mut out: Vec<Range> = Vec::new();
    for (role, replica) in replicas {
        match out.last_mut() {
            Some(last) if last.role == *role && last.first + last.count == *replica => last.count += 1,
            _ => out.push(Range { role: role.clone(), first: *replica, count: 1 }),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_is_granted_less_released() {
        let mut allocation = Allocation::new(
            "a",
            AllocationSpec {
                job: "train".into(),
                job_uid: String::new(),
                epoch: 1,
                granted_millis: 0,
                placements: vec![Placement {
                    node: "n0".into(),
                    role: "worker".into(),
                    first_replica: 2,
                    count: 3,
                    gpus: vec![vec![0, 1], vec![2, 3], vec![4, 5]],
                    gpu_millis: 1000,
                }],
                revoked: vec![],
            },
        );
        assert_eq!(allocation.held().len(), 3);
        let gone: BTreeSet<_> = [("worker".to_owned(), 3), ("worker".to_owned(), 4)].into();
        assert_eq!(ranges(&gone), [Range { role: "worker".into(), first: 3, count: 2 }]);
        allocation.status = Some(AllocationStatus { released: ranges(&gone), ..Default::default() });
        let held = allocation.held();
        assert_eq!(held.len(), 1);
        assert_eq!((held[0].replica, held[0].gpus.as_slice()), (2, [0, 1].as_slice()));
    }
}
