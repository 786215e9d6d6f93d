//! The Lease's history, and which Allocations count under it.

use std::collections::BTreeMap;

use crate::observation::{Allocation, Change, Lease};
use crate::violation::{Law, cause};

use super::Auditor;

/// The epochs so far.
#[derive(Debug, Default)]
pub struct Fences {
    now: Option<Lease>,
    /// Each epoch's list revision.
    epochs: BTreeMap<i64, Option<u64>>,
}

/// Whether an Allocation counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It does.
    Counts,
    /// It will be told.
    Open,
    /// It gives nothing.
    Void,
}

impl Fences {
    /// How an Allocation made at `created` (none: before the audit) stands now.
    pub fn standing(&self, allocation: &Allocation, created: Option<u64>) -> Standing {
        if allocation.refused {
            return Standing::Void;
        }
        if allocation.accepted.is_some() {
            return Standing::Counts;
        }
        let Some(lease) = &self.now else { return Standing::Open };
        match (created, lease.list_revision) {
            _ if allocation.epoch == lease.epoch => Standing::Counts,
            (Some(created), Some(listed)) if created <= listed => Standing::Counts,
            (Some(_), Some(_)) => Standing::Void,
            _ => Standing::Open,
        }
    }

    /// Whether an Allocation of `epoch`, made at `created`, could be accepted under the epoch `under`; none: not known.
    pub fn could(&self, epoch: i64, created: u64, under: i64) -> Option<bool> {
        if epoch == under {
            return Some(true);
        }
        match self.epochs.get(&under) {
            Some(Some(listed)) => Some(created <= *listed),
            Some(None) => Some(false),
            // from before the audit
            None if self.epochs.keys().next().is_none_or(|first| under < *first) => None,
            None => Some(false),
        }
    }
}

impl Auditor {
    pub(super) fn lease(&mut self, change: Change, lease: Lease) {
        if change == Change::Deleted {
            self.fences.now = None;
            return;
        }
        if let Some(before) = self.fences.now.clone() {
            let back = (lease.epoch < before.epoch)
                .then(|| format!("epoch {} came after epoch {}", lease.epoch, before.epoch));
            self.judge(Law::I3, cause::LEASE, "the scheduler's Lease", back);
            let other =
                !before.holder.is_empty() && !lease.holder.is_empty() && before.holder != lease.holder;
            let stolen = (other && lease.epoch == before.epoch).then(|| {
                format!("{} took it from {} within epoch {}", lease.holder, before.holder, lease.epoch)
            });
            self.judge(Law::I3, cause::LEASE, "the scheduler's Lease", stolen);
        }
        let new = self.fences.epochs.insert(lease.epoch, lease.list_revision).is_none();
        self.seen.epochs += u64::from(new);
        if self.fences.epochs.len() > 10_000 {
            self.fences.epochs.pop_first();
        }
        self.fences.now = Some(lease);
        for key in self.undecided.clone() {
            self.rebook(&key);
        }
    }
}
