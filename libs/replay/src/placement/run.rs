//! The replay: each task goes where the policy says, or nowhere.

use std::time::Instant;

use serde::Serialize;

use super::chooser::Chooser;
use super::cluster::Cluster;
use super::load::World;
use super::metric::Curve;
use super::migrate::Mover;
use super::order::Order;
use super::policy::Policy;

/// What can be turned in a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The order's seed, echoed; the random policy draws from it.
    pub seed: u64,
    /// Moves allowed for each hundred tasks placed, with [`Policy::CraterMigrating`].
    pub migrate_percent: usize,
}

impl Options {
    /// The moves allowed where nothing is said.
    pub const MIGRATE_PERCENT: usize = 5;

    /// With the usual budget.
    pub fn new(seed: u64) -> Self {
        Self { seed, migrate_percent: Self::MIGRATE_PERCENT }
    }
}

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
    /// Moves of tasks that had a place; 0 but for the policy that may.
    pub moved: usize,
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
///
/// [`Policy::CraterMigrating`] moves at most `migrate_percent` tasks for each hundred that are placed.
pub fn replay(world: &World, order: &Order, policy: Policy, options: Options) -> Outcome {
    let started = Instant::now();
    let Options { seed, migrate_percent } = options;
    let mut cluster = Cluster::new(world, order);
    let mut chooser = Chooser::new(world, &cluster, policy, seed);
    let mut mover = Mover::new(if policy == Policy::CraterMigrating { migrate_percent } else { 0 });
    let mut curve = Curve::new(world.capacity());
    let (mut arrived, mut allocated, mut placed, mut dropped) = (0, 0, 0, 0);
    for ask in order.arrivals.iter().filter_map(|task| world.tasks.get(*task)).map(|task| task.ask) {
        arrived += ask.total();
        chooser.arrives(&cluster, &ask);
        let node = chooser.choose(&cluster, &ask, None);
        if let Some(node) = node.or_else(|| mover.make_room(&mut chooser, &mut cluster, &ask, placed)) {
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
    debug_assert_eq!(cluster.audited(world, order), Some(allocated));
    let (allocated_percent, fragmented_percent) = curve.columns();
    let seconds = started.elapsed().as_secs_f64();
    let moved = mover.moved();
    Outcome { policy, seed, allocated_percent, fragmented_percent, placed, dropped, moved, seconds }
}
