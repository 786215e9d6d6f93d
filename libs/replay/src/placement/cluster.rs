//! The cluster while it fills: what each node has free, nodes by rank, and what changed since when.

use crater_engine::WHOLE_GPU;
use crater_engine::score::published::Kinds;
use crater_engine::score::{Ask, Spare};

use super::load::World;
use super::order::Order;

/// What is held and free. Nodes are numbered by rank, so the smaller number wins between equals.
#[derive(Clone, Debug)]
pub struct Cluster {
    rooms: Vec<Room>,
    /// Devices of all nodes, node after node.
    gpus: Vec<i64>,
    /// The node of each placement, in order.
    log: Vec<u32>,
}

#[derive(Clone, Debug)]
struct Room {
    cpu: i64,
    memory: i64,
    first: usize,
    end: usize,
    model: u32,
    kinds: Kinds,
    /// Index into the log of its last change; none yet.
    changed: Option<usize>,
}

impl Cluster {
    /// Empty, with the ranks of `order`.
    pub fn new(world: &World, order: &Order) -> Self {
        let mut by_rank: Vec<(usize, usize)> = order.ranks.iter().copied().zip(0..).collect();
        by_rank.sort_unstable();
        let (mut rooms, mut gpus) = (Vec::with_capacity(by_rank.len()), Vec::new());
        for node in by_rank.into_iter().filter_map(|(_, node)| world.nodes.get(node)) {
            let first = gpus.len();
            gpus.resize(first + node.devices, WHOLE_GPU);
            let (cpu, memory, model) = (node.cpu, node.memory, node.model);
            let kinds = Kinds::default();
            rooms.push(Room { cpu, memory, first, end: gpus.len(), model, kinds, changed: None });
        }
        Self { rooms, gpus, log: Vec::new() }
    }

    /// How many nodes.
    pub fn len(&self) -> usize {
        self.rooms.len()
    }

    /// What a node has free.
    pub fn spare(&self, node: usize) -> Spare<'_> {
        let room = &self.rooms[node];
        let gpus = &self.gpus[room.first..room.end];
        Spare { cpu: room.cpu, memory: room.memory, gpus, model: room.model }
    }

    /// Memory free, MiB.
    pub fn memory(&self, node: usize) -> i64 {
        self.rooms[node].memory
    }

    /// Which kinds of tasks it holds.
    pub fn kinds(&self, node: usize) -> Kinds {
        self.rooms[node].kinds
    }

    /// Takes what `ask` wants on a node where it fits: a share on `device`, whole devices the first idle ones.
    pub fn place(&mut self, node: usize, ask: &Ask, device: Option<usize>) {
        let changed = self.log.len();
        let room = &mut self.rooms[node];
        room.cpu -= ask.cpu;
        room.memory -= ask.memory;
        room.kinds = room.kinds.with(ask);
        room.changed = Some(changed);
        let gpus = &mut self.gpus[room.first..room.end];
        if let Some(device) = device {
            gpus[device] -= ask.milli;
        } else {
            let idle = gpus.iter_mut().filter(|free| **free == WHOLE_GPU).take(ask.devices as usize);
            idle.for_each(|free| *free -= ask.milli);
        }
        self.log.push(u32::try_from(node).unwrap_or(u32::MAX));
    }

    /// How many placements there were.
    pub fn version(&self) -> usize {
        self.log.len()
    }

    /// The nodes that changed since `version`, each once.
    pub fn changed_since(&self, version: usize) -> impl Iterator<Item = usize> {
        let recent = self.log.iter().enumerate().skip(version);
        recent
            .map(|(at, node)| (at, *node as usize))
            .filter(|(at, node)| self.rooms[*node].changed == Some(*at))
            .map(|(_, node)| node)
    }

    /// Whether nothing is below zero and nothing above what a device has.
    pub fn is_sound(&self) -> bool {
        self.rooms.iter().all(|room| room.cpu >= 0 && room.memory >= 0)
            && self.gpus.iter().all(|free| (0..=WHOLE_GPU).contains(free))
    }
}
