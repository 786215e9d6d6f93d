//! What nodes are when they are empty: which are equal then, and which of those are in a group.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{ModelIx, Node, NodeIx, WHOLE_GPU};
use crate::pool::Groups;
use crate::room::Room;
use crate::score::exact::Span;
use crate::score::{Models, Spare};

/// What does not change as long as the nodes stay what they are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sites {
    /// Of each node.
    sites: Vec<Site>,
    /// Each kind: what an empty node of it has.
    kinds: Vec<Vacant>,
    /// The kinds of the nodes of each group.
    kinds_in: Vec<Vec<u32>>,
    span: Span,
}

/// One node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site {
    /// Nodes that are equal when empty are of a kind.
    pub kind: u32,
    pub model: u32,
    pub cpu: i64,
    /// Is it open, and does it answer?
    pub usable: bool,
}

#[derive(Clone, Debug)]
struct Vacant {
    cpu: i64,
    memory: i64,
    gpus: Vec<i64>,
    model: u32,
}

impl Sites {
    pub fn new(nodes: &[Node], groups: &Groups) -> Self {
        let mut known: BTreeMap<(Option<ModelIx>, u16, i64, i64), u32> = BTreeMap::new();
        let mut all = Self::default();
        let mut kinds_in = vec![BTreeSet::new(); groups.len()];
        for (node, group) in nodes.iter().zip(&groups.of) {
            let model = node.model.map_or(Models::MOST, |model| model.0);
            let next = u32::try_from(all.kinds.len()).unwrap_or(u32::MAX);
            let kind = *known.entry((node.model, node.gpus, node.cpu, node.memory)).or_insert(next);
            if kind == next {
                let gpus = vec![WHOLE_GPU; usize::from(node.gpus)];
                all.kinds.push(Vacant { cpu: node.cpu, memory: node.memory, gpus, model });
            }
            kinds_in[*group as usize].insert(kind);
            all.span.cpu = all.span.cpu.max(node.cpu);
            all.span.gpu = all.span.gpu.max(i64::from(node.gpus) * WHOLE_GPU);
            all.sites.push(Site { kind, model, cpu: node.cpu, usable: node.open && !node.lost });
        }
        all.kinds_in = kinds_in.into_iter().map(|kinds| kinds.into_iter().collect()).collect();
        all
    }

    pub fn of(&self, node: NodeIx) -> Site {
        self.sites[node.at()]
    }

    pub fn kinds(&self) -> usize {
        self.kinds.len()
    }

    /// Each kind, empty.
    pub fn vacant(&self) -> Vec<Spare<'_>> {
        self.kinds.iter().map(Vacant::spare).collect()
    }

    /// The kinds of the nodes of a group.
    pub fn kinds_in(&self, group: u32) -> impl Iterator<Item = usize> + '_ {
        self.kinds_in[group as usize].iter().map(|kind| *kind as usize)
    }

    /// The most that any node has of each resource.
    pub fn span(&self) -> Span {
        self.span
    }
}

impl Vacant {
    fn spare(&self) -> Spare<'_> {
        Spare { cpu: self.cpu, memory: self.memory, gpus: &self.gpus, model: self.model }
    }
}

impl Site {
    pub fn kind(self) -> usize {
        self.kind as usize
    }

    pub fn spare(self, room: &Room) -> Spare<'_> {
        Spare { cpu: room.cpu, memory: room.memory, gpus: &room.gpus, model: self.model }
    }
}
