//! Making room by moving one task, for a task that fits nowhere.

use std::collections::BTreeSet;

use crater_engine::score::{Ask, Spare};

use super::chooser::Chooser;
use super::cluster::Cluster;

/// Moves tasks, within a budget.
#[derive(Debug)]
pub(super) struct Mover {
    /// Moves allowed for each hundred tasks placed.
    percent: usize,
    moved: usize,
    /// Shapes for which no single move made room. Room only shrinks, so they are not tried again.
    hopeless: BTreeSet<Ask>,
}

impl Mover {
    pub fn new(percent: usize) -> Self {
        Self { percent, moved: 0, hopeless: BTreeSet::new() }
    }

    /// How many moves there were.
    pub fn moved(&self) -> usize {
        self.moved
    }

    /// Moves one task so that `ask` fits, and gives the node where it does; `placed` tasks are there so far. The task that
    /// holds the least GPU goes, and the policy says where to.
    pub fn make_room(
        &mut self,
        chooser: &mut Chooser,
        cluster: &mut Cluster,
        ask: &Ask,
        placed: usize,
    ) -> Option<usize> {
        if (self.moved + 1) * 100 > placed * self.percent || self.hopeless.contains(ask) {
            return None;
        }
        let mut candidates: Vec<(i64, i64, usize, usize)> = Vec::new();
        let mut gpus = Vec::new();
        for node in 0..cluster.len() {
            let spare = cluster.spare(node);
            if ask.devices > 0 && !ask.models.allow(spare.model) {
                continue;
            }
            for (index, held) in cluster.held(node).iter().enumerate() {
                let (cpu, memory) = (spare.cpu + held.ask.cpu, spare.memory + held.ask.memory);
                if cpu < ask.cpu || memory < ask.memory {
                    continue;
                }
                gpus.clear();
                gpus.extend_from_slice(spare.gpus);
                for device in &held.devices {
                    gpus[*device] += held.ask.milli;
                }
                // what is moved should be less than what is gained by it
                if held.ask.total() < ask.total() && (Spare { cpu, memory, gpus: &gpus, ..spare }).fits(ask) {
                    candidates.push((held.ask.total(), held.ask.cpu, node, index));
                }
            }
        }
        candidates.sort_unstable();
        let mut stuck: BTreeSet<Ask> = BTreeSet::new();
        for (_, _, from, index) in candidates {
            let Some(moving) = cluster.held(from).get(index).map(|held| held.ask) else { continue };
            if stuck.contains(&moving) {
                continue;
            }
            let Some(to) = chooser.choose(cluster, &moving, Some(from)) else {
                stuck.insert(moving);
                continue;
            };
            let device = chooser.device(cluster, to, &moving);
            cluster.place(to, &moving, device);
            chooser.changed(cluster, to);
            cluster.take_off(from, index);
            chooser.changed(cluster, from);
            self.moved += 1;
            return Some(from);
        }
        self.hopeless.insert(*ask);
        None
    }
}
