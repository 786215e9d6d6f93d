//! Several watches, one order: versions are given on in the order in which they were written.
//!
//! Each watch tells its kind in order, and one may be behind another. A version is given on when every other kind has told
//! something later, or when it has waited so long that what is not there by now is not there.

use std::collections::{BTreeMap, VecDeque};

use crate::observation::{Kind, Version};

/// Versions that wait for their turn.
#[derive(Debug)]
pub struct Order {
    hold_ms: i64,
    waiting: BTreeMap<Kind, VecDeque<(i64, Version)>>,
    /// Up to which revision a kind has been told.
    told: BTreeMap<Kind, u64>,
    last: u64,
    /// Versions that came after a later one had been given on.
    pub late: u64,
}

impl Order {
    /// Of these kinds; a version waits `hold_ms` at most.
    pub fn new(kinds: impl IntoIterator<Item = Kind>, hold_ms: i64) -> Self {
        let kinds: Vec<Kind> = kinds.into_iter().collect();
        Self {
            hold_ms,
            waiting: kinds.iter().map(|kind| (*kind, VecDeque::new())).collect(),
            told: kinds.into_iter().map(|kind| (kind, 0)).collect(),
            last: 0,
            late: 0,
        }
    }

    /// A version of a kind came in.
    pub fn push(&mut self, at_ms: i64, kind: Kind, version: Version) {
        self.reaches(kind, version.revision);
        if version.revision < self.last {
            self.late += 1;
        }
        self.waiting.entry(kind).or_default().push_back((at_ms, version));
    }

    /// A kind has been told up to a revision.
    pub fn reaches(&mut self, kind: Kind, revision: u64) {
        let told = self.told.entry(kind).or_default();
        *told = (*told).max(revision);
    }

    /// The next in order, if its turn has come.
    pub fn pop(&mut self, now_ms: i64) -> Option<Version> {
        let heads = self.waiting.iter().filter_map(|(kind, row)| Some((*kind, row.front()?)));
        let (kind, (at, version)) = heads.min_by_key(|(_, (_, version))| version.revision)?;
        let told = self.told.iter().all(|(other, told)| *other == kind || *told >= version.revision);
        if !told && now_ms - at < self.hold_ms {
            return None;
        }
        self.last = version.revision;
        self.waiting.get_mut(&kind)?.pop_front().map(|(_, version)| version)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.values().map(VecDeque::len).sum()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Another cluster counts from the beginning: what is left of the former is given up.
    pub fn restart(&mut self) {
        self.waiting.values_mut().for_each(VecDeque::clear);
        self.told.values_mut().for_each(|told| *told = 0);
        self.last = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::{Change, Lease, Object};

    fn version(revision: u64) -> Version {
        Version { revision, change: Change::Modified, object: Object::Lease(Lease::default()) }
    }

    #[test]
    fn what_was_written_first_comes_first_however_late_it_is_told() {
        let mut order = Order::new([Kind::Job, Kind::Pod], 500);
        order.push(0, Kind::Pod, version(7));
        assert!(order.pop(100).is_none(), "an AIJob of before may still come");
        order.push(120, Kind::Job, version(6));
        let mut given = || order.pop(130).map(|v| v.revision);
        assert_eq!((given(), given()), (Some(6), None), "an AIJob between may still come");
        order.reaches(Kind::Job, 9);
        assert_eq!(order.pop(131).map(|v| v.revision), Some(7));
        order.push(200, Kind::Pod, version(12));
        assert_eq!(order.pop(699).map(|v| v.revision), None);
        assert_eq!(order.pop(700).map(|v| v.revision), Some(12), "nothing came for as long as it may take");
        order.push(800, Kind::Job, version(11));
        assert_eq!(order.late, 1);
    }
}
