//! Nodes that no score tells apart: equal when empty, with the same room. Each such class is scored once, however many nodes it has.

use std::collections::{BTreeMap, BTreeSet};

use super::Room;
use crate::model::{NodeIx, Shape, WHOLE_GPU};

/// Devices wholly free, the most free on one device, the kind of node, and what is free.
type State = (i64, i64, usize, Room);

/// The nodes of one group in one view.
#[derive(Clone, Debug, Default)]
pub(crate) struct Alike {
    /// Those with something free on a device.
    classes: BTreeMap<State, BTreeSet<NodeIx>>,
    /// The others: without devices (`false`), or with nothing free on them; by what is free of CPU.
    spent: BTreeSet<(bool, i64, NodeIx)>,
}

fn state(kind: usize, room: Room) -> State {
    let most = room.gpus.iter().copied().max().unwrap_or(0);
    (room.whole(), most.min(WHOLE_GPU), kind, room)
}

impl Alike {
    pub fn insert(&mut self, node: NodeIx, kind: usize, room: &Room) {
        if room.milli() > 0 {
            self.classes.entry(state(kind, room.clone())).or_default().insert(node);
        } else {
            self.spent.insert((!room.gpus.is_empty(), room.cpu, node));
        }
    }

    pub fn remove(&mut self, node: NodeIx, kind: usize, room: &mut Room) {
        if room.milli() == 0 {
            self.spent.remove(&(!room.gpus.is_empty(), room.cpu, node));
            return;
        }
        // lent for the search
        let state = state(kind, std::mem::take(room));
        if let Some(nodes) = self.classes.get_mut(&state) {
            nodes.remove(&node);
            if nodes.is_empty() {
                self.classes.remove(&state);
            }
        }
        *room = state.3;
    }

    /// The first node of each class that may hold a replica; for work without GPUs also the one with the least CPU that holds one of those
    /// without devices, and of those with nothing free on them.
    pub fn firsts<'a>(&'a self, rooms: &'a [Room], each: &'a Shape) -> impl Iterator<Item = NodeIx> + 'a {
        let least = if each.gpu >= WHOLE_GPU { (each.gpu / WHOLE_GPU, 0) } else { (0, each.gpu) };
        let none = Room::new(i64::MIN, i64::MIN, Vec::new());
        let classes = self.classes.range((least.0, least.1, 0, none)..);
        let spent = |devices: bool| {
            let least = if each.cpu > 0 { each.cpu } else { i64::MIN };
            let all = self.spent.range((devices, least, NodeIx(0))..=(devices, i64::MAX, NodeIx(u32::MAX)));
            let mut nodes = all.map(|(_, _, node)| *node);
            nodes.find(|node| rooms[node.at()].capacity(each, 1) > 0)
        };
        let spent = [false, true].into_iter().filter(|_| each.gpu == 0).filter_map(spent);
        classes.filter_map(|(_, nodes)| nodes.first().copied()).chain(spent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_is_met_once_and_no_node_that_holds_a_replica_is_without_one() {
        let rooms: Vec<Room> = [
            (8000, vec![1000, 1000]),
            (8000, vec![1000, 1000]),
            (8000, vec![0, 400]),
            (2000, vec![0, 0]),
            (9000, vec![0, 0]),
            (9000, vec![]),
            (8000, vec![1000, 1000]),
        ]
        .into_iter()
        .map(|(cpu, gpus)| Room::new(cpu, 1 << 30, gpus))
        .collect();
        // the last is like the first two, but of another kind
        let kind = |node: usize| usize::from(node == 6);
        let mut alike = Alike::default();
        (0..rooms.len()).for_each(|node| alike.insert(NodeIx::of(node), kind(node), &rooms[node]));
        let firsts = |alike: &Alike, gpu: i64, cpu: i64| {
            let each = Shape { cpu, memory: 1, gpu, ..Shape::default() };
            let mut all: Vec<u32> = alike.firsts(&rooms, &each).map(|node| node.0).collect();
            all.sort_unstable();
            all
        };
        assert_eq!(firsts(&alike, 1000, 1), [0, 6]);
        assert_eq!(firsts(&alike, 3000, 1), [0u32; 0]);
        assert_eq!(firsts(&alike, 400, 1), [0, 2, 6]);
        // without GPUs: the tightest spent node that has the cores, and the one without devices
        assert_eq!(firsts(&alike, 0, 3000), [0, 2, 4, 5, 6]);
        assert_eq!(firsts(&alike, 0, 1000), [0, 2, 3, 5, 6]);
        let mut first = rooms[0].clone();
        alike.remove(NodeIx(0), 0, &mut first);
        assert_eq!(first, rooms[0]);
        assert_eq!(firsts(&alike, 2000, 1), [1, 6]);
    }
}
