//! Nodes in order of what is free, so that the tightest that holds a replica is a seek and not a scan.

use std::collections::BTreeSet;

use crate::model::{NodeIx, Shape, WHOLE_GPU};
use crate::room::Room;

/// How tight a node is for a shape, smaller is tighter, and the node: what [`Room::score`] says, in order.
pub(crate) type Tight = ((i64, i64), NodeIx);

/// The nodes of one group (see [`crate::pool::Groups`]) in one view.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    /// (milli-GPU free, cpu free) of nodes with a device that is wholly free.
    whole: BTreeSet<Tight>,
    /// (free on one device, milli-GPU free on the node), one entry for each amount that some device has free.
    part: BTreeSet<Tight>,
    /// (has GPUs or other devices, cpu free).
    cpu: BTreeSet<Tight>,
    /// Milli-GPU and milli-cores free on all of them.
    free: (i64, i64),
    /// What any node here offers by name ([`Room::offers`]).
    offers: u64,
}

impl Index {
    pub fn insert(&mut self, node: NodeIx, room: &Room) {
        self.free = (self.free.0 + room.milli(), self.free.1 + room.cpu.max(0));
        self.offers |= room.offers();
        if room.whole() > 0 {
            self.whole.insert(((room.milli(), room.cpu), node));
        }
        for free in distinct(room) {
            self.part.insert(((free, room.milli()), node));
        }
        self.cpu.insert(((i64::from(room.equipped()), room.cpu), node));
    }

    pub fn remove(&mut self, node: NodeIx, room: &Room) {
        self.free = (self.free.0 - room.milli(), self.free.1 - room.cpu.max(0));
        if room.whole() > 0 {
            self.whole.remove(&((room.milli(), room.cpu), node));
        }
        for free in distinct(room) {
            self.part.remove(&((free, room.milli()), node));
        }
        self.cpu.remove(&((i64::from(room.equipped()), room.cpu), node));
    }

    /// Could any node here have the devices by name that a replica needs?
    pub fn may_offer(&self, each: &Shape) -> bool {
        each.may_be_offered(self.offers)
    }

    /// The tightest node that holds `times` replicas.
    pub fn tightest(&self, rooms: &[Room], each: &Shape, times: u32) -> Option<Tight> {
        if !self.may_offer(each) {
            return None;
        }
        let fits = |tight: &&Tight| rooms[tight.1.at()].capacity(each, times) >= times;
        let times = i64::from(times);
        let from = |first: i64, second: i64| ((first, second), NodeIx(0));
        if each.gpu >= WHOLE_GPU {
            return self.whole.range(from(each.gpu.saturating_mul(times), i64::MIN)..).find(fits).copied();
        }
        if each.gpu > 0 {
            return self.part.range(from(each.gpu, i64::MIN)..).find(fits).copied();
        }
        let cpu = if each.cpu > 0 { each.cpu.saturating_mul(times) } else { i64::MIN };
        let bare = self.cpu.range(from(0, cpu)..from(1, i64::MIN)).find(fits);
        bare.or_else(|| self.cpu.range(from(1, cpu)..).find(fits)).copied()
    }

    /// Could any node hold one replica, as far as the resource goes by which nodes are ordered?
    pub fn may_hold(&self, each: &Shape) -> bool {
        if !self.may_offer(each) {
            return false;
        }
        let (order, least) = if each.gpu >= WHOLE_GPU {
            (&self.whole, each.gpu)
        } else if each.gpu > 0 {
            (&self.part, each.gpu)
        } else {
            return self.cpu.iter().next_back().is_some_and(|tight| tight.0.1 >= each.cpu)
                || self
                    .cpu
                    .range(..((1, i64::MIN), NodeIx(0)))
                    .next_back()
                    .is_some_and(|t| t.0.1 >= each.cpu);
        };
        order.iter().next_back().is_some_and(|tight| tight.0.0 >= least)
    }

    /// What is free on all nodes: milli-GPU, or milli-cores for work without GPUs.
    pub fn total(&self, each: &Shape) -> i64 {
        if each.gpu > 0 { self.free.0 } else { self.free.1 }
    }

    /// At most so many nodes, those with most free on one device (cpu, for work without GPUs), then on all.
    pub fn emptiest(&self, each: &Shape, most: usize) -> Vec<Tight> {
        if each.gpu == 0 {
            return self.cpu.iter().rev().take(most).copied().collect();
        }
        let mut found: Vec<Tight> = Vec::with_capacity(most);
        for tight in self.part.iter().rev() {
            if found.len() == most {
                break;
            }
            if !found.iter().any(|other| other.1 == tight.1) {
                found.push(*tight);
            }
        }
        found
    }

    /// Every node that may hold a replica, and some that do not; each once, in no order that matters.
    pub fn candidates(&self, each: &Shape, mut visit: impl FnMut(NodeIx)) {
        if !self.may_offer(each) {
            return;
        }
        let from = |first: i64, second: i64| ((first, second), NodeIx(0));
        if each.gpu >= WHOLE_GPU {
            self.whole.range(from(each.gpu, i64::MIN)..).for_each(|tight| visit(tight.1));
        } else if each.gpu > 0 {
            let mut nodes: Vec<NodeIx> =
                self.part.range(from(each.gpu, i64::MIN)..).map(|tight| tight.1).collect();
            nodes.sort_unstable();
            nodes.dedup();
            nodes.into_iter().for_each(visit);
        } else {
            self.cpu.iter().for_each(|tight| visit(tight.1));
        }
    }
}

/// The amounts that devices have free, each once.
fn distinct(room: &Room) -> impl Iterator<Item = i64> + '_ {
    let devices = room.gpus.iter().enumerate();
    devices.filter(|(at, free)| **free > 0 && !room.gpus[..*at].contains(free)).map(|(_, free)| *free)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rooms() -> Vec<Room> {
        let gpus = [vec![1000, 1000, 300], vec![1000], vec![], vec![0, 400, 400], vec![1000, 1000]];
        let cpu = [8000, 2000, 4000, 8000, 6000];
        gpus.into_iter().zip(cpu).map(|(gpus, cpu)| Room::new(cpu, 1 << 30, gpus)).collect()
    }

    #[test]
    fn the_seek_finds_what_a_scan_finds() {
        let rooms = rooms();
        let mut index = Index::default();
        rooms.iter().enumerate().for_each(|(ix, room)| index.insert(NodeIx::of(ix), room));
        for gpu in [0, 100, 300, 350, 400, 500, 1000, 2000, 3000] {
            for cpu in [0, 1000, 3000, 7000] {
                for times in 1..=3 {
                    let each = Shape { cpu, memory: 1 << 28, gpu, ..Shape::default() };
                    let fits = |ix: &usize| rooms[*ix].capacity(&each, times) >= times;
                    let scan =
                        (0..rooms.len()).filter(fits).map(|ix| (rooms[ix].score(&each), NodeIx::of(ix)));
                    assert_eq!(index.tightest(&rooms, &each, times), scan.min(), "{each:?} {times}");
                }
            }
        }
        rooms.iter().enumerate().for_each(|(ix, room)| index.remove(NodeIx::of(ix), room));
        assert!(index.whole.is_empty() && index.part.is_empty() && index.cpu.is_empty());
    }
}
