//! The replay: each task goes where the policy says, or nowhere.

use std::time::Instant;

use serde::Serialize;

use super::chooser::Chooser;
use super::cluster::Cluster;
use super::load::World;
use super::metric::Curve;
use super::order::Order;
use super::policy::Policy;

/// What came of a replay.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// The policy's name.
    pub policy: Policy,
    /// The order's seed.
    pub seed: u64,
    /// GPU allocated, percent of capacity, to two decimals; index = percent of capacity that has arrived, 0 to 130.
    pub allocated_percent: Vec<f64>,
    /// Free GPU that a task of the list's mix cannot use, on the average, percent of capacity; the same index.
    pub fragmented_percent: Vec<f64>,
    /// Tasks that got a place.
    pub placed: usize,
    /// Tasks that fitted nowhere.
    pub dropped: usize,
    /// How long the replay took, without reading files.
    pub seconds: f64,
}

impl Outcome {
    /// GPU that is not allocated when so much has arrived, percent.
    pub fn unallocated(&self, arrived: usize) -> f64 {
        100.0 - self.allocated_percent.get(arrived).copied().unwrap_or(0.0)
    }
}

/// Replays `order` under `policy`.
pub fn replay(world: &World, order: &Order, policy: Policy, seed: u64) -> Outcome {
    let started = Instant::now();
    let mut cluster = Cluster::new(world, order);
    let mut chooser = Chooser::new(world, &cluster, policy, seed);
    let mut curve = Curve::new(world.capacity());
    let (mut arrived, mut allocated, mut placed, mut dropped) = (0, 0, 0, 0);
    for ask in order.arrivals.iter().filter_map(|task| world.tasks.get(*task)).map(|task| task.ask) {
        arrived += ask.total();
        chooser.arrives(&cluster, &ask);
        if let Some(node) = chooser.choose(&cluster, &ask, None) {
            let device = chooser.device(&cluster, node, &ask);
            cluster.place(node, &ask, device);
            chooser.changed(&cluster, node);
            allocated += ask.total();
            placed += 1;
        } else {
            dropped += 1;
        }
        curve.after(arrived, allocated, chooser.fragmented());
    }
    debug_assert!(cluster.is_sound());
    let (allocated_percent, fragmented_percent) = curve.columns();
    let seconds = started.elapsed().as_secs_f64();
    Outcome { policy, seed, allocated_percent, fragmented_percent, placed, dropped, seconds }
}
