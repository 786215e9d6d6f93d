//! The replay: each task goes where the policy says, or nowhere; scores are kept for each shape and brought up to date.

use std::collections::BTreeMap;
use std::time::Instant;

use crater_engine::score::fragmentation::{Mix, Scratch, gradient};
use crater_engine::score::{Ask, published};
use serde::Serialize;

use super::cluster::Cluster;
use super::load::World;
use super::metric::Curve;
use super::order::Order;
use super::policy::Policy;
use super::rng::Rng;

/// The mix is made of the most frequent shapes up to this part of the list, percent.
const POPULAR: u32 = 95;
/// Keeps the stream of the random policy apart from that of the order.
const OF_CHOICE: u64 = 0x5ca1_ab1e;

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

/// The scores of one shape on every node, as of a version of the cluster; none where it does not fit.
struct Scores {
    version: usize,
    of: Vec<Option<i64>>,
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
        if let Some(node) = chooser.choose(&cluster, &ask) {
            let device = chooser.device(&cluster, node, &ask);
            cluster.place(node, &ask, device);
            chooser.placed(&cluster, node);
            allocated += ask.total();
            placed += 1;
        } else {
            dropped += 1;
        }
        curve.after(arrived, allocated, chooser.fragmented);
    }
    debug_assert!(cluster.is_sound());
    let (allocated_percent, fragmented_percent) = curve.columns();
    let seconds = started.elapsed().as_secs_f64();
    Outcome { policy, seed, allocated_percent, fragmented_percent, placed, dropped, seconds }
}

/// Chooses nodes, and keeps account of fragmentation whatever the policy.
struct Chooser {
    policy: Policy,
    mix: Mix,
    rng: Rng,
    scores: BTreeMap<Ask, Scores>,
    /// Fragmentation of each node, milli-GPU, and of all.
    of_node: Vec<f64>,
    fragmented: f64,
    scratch: Scratch,
    gpus: Vec<i64>,
}

impl Chooser {
    fn new(world: &World, cluster: &Cluster, policy: Policy, seed: u64) -> Self {
        let mix = Mix::new(&world.shapes(), POPULAR);
        let mut scratch = Scratch::default();
        let of_node: Vec<f64> =
            (0..cluster.len()).map(|node| mix.fragmentation(&cluster.spare(node), &mut scratch)).collect();
        let fragmented = of_node.iter().sum();
        let rng = Rng::new(seed ^ OF_CHOICE);
        Self { policy, mix, rng, scores: BTreeMap::new(), of_node, fragmented, scratch, gpus: Vec::new() }
    }

    /// The node with the best score, the one of the smaller rank among equals.
    fn choose(&mut self, cluster: &Cluster, ask: &Ask) -> Option<usize> {
        let shape = Ask { memory: 0, ..*ask };
        let mut scores = self.scores.remove(&shape).unwrap_or_else(|| {
            let of = (0..cluster.len()).map(|node| self.score(cluster, node, ask)).collect();
            Scores { version: cluster.version(), of }
        });
        for node in cluster.changed_since(scores.version) {
            scores.of[node] = self.score(cluster, node, ask);
        }
        scores.version = cluster.version();
        let fitting = || {
            let scored =
                scores.of.iter().enumerate().filter_map(|(node, score)| score.map(|score| (node, score)));
            scored.filter(|(node, _)| cluster.memory(*node) >= ask.memory)
        };
        let chosen = if self.policy == Policy::Random {
            let count = fitting().count();
            fitting().nth(self.rng.below(count))
        } else {
            fitting().reduce(|best, next| if next.1 > best.1 { next } else { best })
        };
        self.scores.insert(shape, scores);
        chosen.map(|(node, _)| node)
    }

    fn score(&mut self, cluster: &Cluster, node: usize, ask: &Ask) -> Option<i64> {
        let spare = cluster.spare(node);
        if !spare.fits_without_memory(ask) {
            return None;
        }
        Some(match self.policy {
            Policy::Random => 0,
            Policy::DotProduct => published::dot_product(&spare, ask),
            Policy::GpuClustering => published::gpu_clustering(&spare, ask, cluster.kinds(node)),
            Policy::GpuPacking => published::gpu_packing(&spare, ask),
            Policy::BestFit => published::best_fit(&spare, ask),
            Policy::Fgd => self.gradient(cluster, node, ask).0,
        })
    }

    fn gradient(&mut self, cluster: &Cluster, node: usize, ask: &Ask) -> (i64, Option<usize>) {
        gradient(&self.mix, &cluster.spare(node), ask, self.of_node[node], &mut self.gpus, &mut self.scratch)
    }

    /// The device for a share; none for tasks that want whole devices, or none.
    fn device(&mut self, cluster: &Cluster, node: usize, ask: &Ask) -> Option<usize> {
        if !ask.is_share() {
            return None;
        }
        let spare = cluster.spare(node);
        match self.policy {
            Policy::Random => {
                let fitting = || spare.gpus.iter().enumerate().filter(|(_, free)| **free >= ask.milli);
                fitting().nth(self.rng.below(fitting().count())).map(|(device, _)| device)
            }
            Policy::Fgd => self.gradient(cluster, node, ask).1,
            _ => spare.tightest(ask.milli),
        }
    }

    fn placed(&mut self, cluster: &Cluster, node: usize) {
        let now = self.mix.fragmentation(&cluster.spare(node), &mut self.scratch);
        self.fragmented += now - self.of_node[node];
        self.of_node[node] = now;
    }
}
