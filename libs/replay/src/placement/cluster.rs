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
    /// The node of each change, in order.
    log: Vec<u32>,
}

/// A task in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// What it wants.
    pub ask: Ask,
    /// Its devices.
    pub devices: Vec<usize>,
}

#[derive(Clone, Debug)]
struct Room {
    cpu: i64,
    memory: i64,
    first: usize,
    end: usize,
    model: u32,
    held: Vec<Held>,
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
            let (end, held) = (gpus.len(), Vec::new());
            rooms.push(Room { cpu, memory, first, end, model, held, changed: None });
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
        self.rooms[node].held.iter().fold(Kinds::default(), |kinds, held| kinds.with(&held.ask))
    }

    /// The tasks on a node, in the order in which they came.
    pub fn held(&self, node: usize) -> &[Held] {
        &self.rooms[node].held
    }

    /// Takes what `ask` wants on a node where it fits: a share on `device`, whole devices the first idle ones.
    pub fn place(&mut self, node: usize, ask: &Ask, device: Option<usize>) {
        let spare = self.spare(node);
        let devices = device.map_or_else(|| spare.whole(ask.devices).collect(), |device| vec![device]);
        self.amend(node, &Held { ask: *ask, devices: devices.clone() }, -1);
        self.rooms[node].held.push(Held { ask: *ask, devices });
    }

    /// Takes a task off a node, by its index in [`Cluster::held`], and gives it back.
    pub fn take_off(&mut self, node: usize, index: usize) -> Held {
        let held = self.rooms[node].held.remove(index);
        self.amend(node, &held, 1);
        held
    }

    fn amend(&mut self, node: usize, held: &Held, sign: i64) {
        let changed = self.log.len();
        let room = &mut self.rooms[node];
        room.cpu += sign * held.ask.cpu;
        room.memory += sign * held.ask.memory;
        room.changed = Some(changed);
        for device in &held.devices {
            self.gpus[room.first + device] += sign * held.ask.milli;
        }
        self.log.push(u32::try_from(node).unwrap_or(u32::MAX));
    }

    /// How many changes there were.
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

    /// Milli-GPU held by all tasks, if every node's sums are right: nothing below zero, and what is held and what is free is what
    /// the node has.
    pub fn audited(&self, world: &World, order: &Order) -> Option<i64> {
        let mut all = 0;
        for (index, rank) in order.ranks.iter().enumerate() {
            let (node, room) = (world.nodes.get(index)?, self.rooms.get(*rank)?);
            let (mut cpu, mut memory, mut gpus) = (0, 0, vec![0; node.devices]);
            for held in &room.held {
                cpu += held.ask.cpu;
                memory += held.ask.memory;
                all += held.ask.total();
                let count = usize::try_from(held.ask.devices).ok()?;
                if held.devices.len() != count || (count > 0 && !held.ask.models.allow(room.model)) {
                    return None;
                }
                for device in &held.devices {
                    *gpus.get_mut(*device)? += held.ask.milli;
                }
            }
            let free = &self.gpus[room.first..room.end];
            let devices_right =
                gpus.iter().zip(free).all(|(held, free)| *free >= 0 && held + free == WHOLE_GPU);
            let rest_right = cpu + room.cpu == node.cpu && memory + room.memory == node.memory;
            if !devices_right || !rest_right || room.cpu < 0 || room.memory < 0 {
                return None;
            }
        }
        Some(all)
    }
}
