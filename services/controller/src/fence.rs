//! Which Allocations count: those of the Lease's present epoch, and older ones that its holder found when it began.

use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt;

use crater_k8s::{Allocation, names};
use crater_plant::{Bug, planted};

/// What the scheduler's Lease said, read after the Allocation was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fence {
    /// The holder's epoch.
    pub epoch: i64,
    /// The resourceVersion of the list of Allocations that it began with; none: not listed yet.
    pub list_revision: Option<u64>,
}

/// What is to become of an Allocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// It counts, now and in all later epochs.
    Valid,
    /// It cannot be told yet.
    Wait,
    /// A scheduler that had lost its Lease gave it.
    Stale,
}

impl Fence {
    /// Reads the Lease; none where it carries no epoch.
    pub fn of(lease: &Lease) -> Option<Self> {
        let number = |key: &str| lease.annotations().get(key)?.parse::<u64>().ok();
        let epoch = i64::try_from(number(names::EPOCH)?).ok()?;
        Some(Self { epoch, list_revision: number(names::LIST_REVISION) })
    }

    /// Judges an Allocation that was not accepted yet.
    pub fn judge(&self, allocation: &Allocation) -> Judgement {
        if allocation.spec.epoch == self.epoch || planted(Bug::NoEpochCheck) {
            return Judgement::Valid;
        }
        let revision = allocation.resource_version().and_then(|r| r.parse::<u64>().ok());
        match (revision, self.list_revision) {
            (Some(seen), Some(listed)) if seen <= listed => Judgement::Valid,
            (Some(_), Some(_)) => Judgement::Stale,
            _ => Judgement::Wait,
        }
    }
}
