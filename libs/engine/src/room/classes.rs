//! Nodes by class, and what is left of each kind of node: kept as rooms change, where nodes are told apart by scores.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Room;
use super::alike::Alike;
use crate::model::{NodeIx, WHOLE_GPU};
use crate::score::outlook::Outlook;
use crate::scorer::Sites;

/// Nodes that are alike, by group.
#[derive(Clone, Debug)]
pub(super) struct Classes {
    sites: Arc<Sites>,
    pub now: Vec<Alike>,
    /// Only where what is free soon differs from what is free now somewhere.
    pub soon: Option<Vec<Alike>>,
    /// What will be free of each kind.
    pub left: ByKind,
}

impl Classes {
    /// `soon`: what is free soon, and does it differ from what is free now?
    pub fn new(sites: Arc<Sites>, group: &[u32], groups: usize, now: &[Room], soon: (&[Room], bool)) -> Self {
        let mut left = ByKind::new(sites.kinds());
        for (node, room) in soon.0.iter().enumerate() {
            left.count(&sites, NodeIx::of(node), room, 1);
        }
        let mut all = Self { now: Vec::new(), soon: None, left, sites };
        all.now = all.classify(group, groups, now);
        if soon.1 {
            all.part_views(group, groups, soon.0);
        }
        all
    }

    fn classify(&self, group: &[u32], groups: usize, rooms: &[Room]) -> Vec<Alike> {
        let mut all = vec![Alike::default(); groups];
        for (node, room) in rooms.iter().enumerate() {
            let ix = NodeIx::of(node);
            all[group[node] as usize].insert(ix, self.sites.of(ix).kind(), room);
        }
        all
    }

    /// What is free soon differs from what is free now from here on.
    pub fn part_views(&mut self, group: &[u32], groups: usize, soon: &[Room]) {
        if self.soon.is_none() {
            self.soon = Some(self.classify(group, groups, soon));
        }
    }

    /// Forgets a node of a group, before its room changes.
    pub fn remove(&mut self, node: NodeIx, group: usize, now: &mut Room, soon: &mut Room) {
        let kind = self.sites.of(node).kind();
        self.now[group].remove(node, kind, now);
        if let Some(alike) = &mut self.soon {
            alike[group].remove(node, kind, soon);
        }
        self.left.count(&self.sites, node, soon, -1);
    }

    /// Takes a node of a group in, after its room changed.
    pub fn insert(&mut self, node: NodeIx, group: usize, now: &Room, soon: &Room) {
        let kind = self.sites.of(node).kind();
        self.now[group].insert(node, kind, now);
        if let Some(alike) = &mut self.soon {
            alike[group].insert(node, kind, soon);
        }
        self.left.count(&self.sites, node, soon, 1);
    }
}

/// What is free of the GPUs of each kind, on nodes that are open and answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct ByKind {
    /// Milli-GPU in all.
    free: Vec<i64>,
    /// How many devices have so much free, of those of which a part is.
    parts: Vec<BTreeMap<i64, i64>>,
}

impl ByKind {
    fn new(kinds: usize) -> Self {
        Self { free: vec![0; kinds], parts: vec![BTreeMap::new(); kinds] }
    }

    fn count(&mut self, sites: &Sites, node: NodeIx, room: &Room, sign: i64) {
        let site = sites.of(node);
        if !site.usable || room.milli() == 0 {
            return;
        }
        self.free[site.kind()] += sign * room.milli();
        let parts = &mut self.parts[site.kind()];
        for free in room.gpus.iter().filter(|free| (1..WHOLE_GPU).contains(*free)) {
            let devices = parts.entry(*free).or_default();
            *devices += sign;
            if *devices == 0 {
                parts.remove(free);
            }
        }
    }

    /// What tasks are expected to use of each kind, milli-GPU; CPU and memory are left aside.
    pub fn useful(&self, outlook: &Outlook) -> Vec<i64> {
        let rests = self
            .parts
            .iter()
            .map(|parts| -> i64 { parts.iter().map(|(free, devices)| outlook.rest(*free) * devices).sum() });
        self.free.iter().zip(rests).map(|(free, rest)| free - rest).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ModelIx, Node, Shape};
    use crate::pool::Groups;
    use crate::score::Ask;

    #[test]
    fn what_is_left_of_each_kind_is_what_its_usable_nodes_have_free_less_what_no_task_will_use() {
        let node = |gpus: u16, open: bool| Node {
            cpu: 8000,
            memory: 1 << 30,
            gpus,
            model: Some(ModelIx(0)),
            open,
            ..Node::default()
        };
        let nodes = [node(2, true), node(4, true), node(2, true), node(2, false)];
        let groups = Groups::new(&nodes, vec![Vec::new()]);
        let mut rooms: Vec<Room> = nodes.iter().map(|node| Room::empty(node, false)).collect();
        let sites = Arc::new(Sites::new(&nodes, &groups));
        let mut classes = Classes::new(sites, &groups.of, groups.len(), &rooms, (&rooms, false));
        let half = Ask { cpu: 1, devices: 1, milli: 500, ..Ask::default() };
        let outlook = Outlook::new(&[(half, 1)]);
        assert_eq!(classes.left.useful(&outlook), [4000, 4000]);
        let (mut now, mut soon) = (rooms[2].clone(), rooms[2].clone());
        rooms[2].take(&Shape { gpu: 700, ..Shape::default() }, &[(1, 700)]);
        let group = groups.of[2] as usize;
        classes.remove(NodeIx(2), group, &mut now, &mut soon);
        classes.insert(NodeIx(2), group, &rooms[2], &rooms[2]);
        // 300 of a device are of no use to halves
        assert_eq!(classes.left.useful(&outlook), [3000, 4000]);
        let all = |rooms: &[Room], nodes: &[usize]| -> i64 {
            nodes.iter().map(|node| outlook.useful(&rooms[*node].gpus)).sum()
        };
        assert_eq!([all(&rooms, &[0, 2]), all(&rooms, &[1])], [3000, 4000]);
    }
}
