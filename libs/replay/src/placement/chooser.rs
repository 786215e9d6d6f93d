//! Where a policy puts a task: scores for each shape on every node, brought up to date for the nodes that changed.

use std::collections::BTreeMap;

use crater_engine::score::fragmentation::{Mix, Scratch, gradient};
use crater_engine::score::outlook::Outlook;
use crater_engine::score::scarcity::Scarcity;
use crater_engine::score::{Ask, Spare, published};

use super::cluster::Cluster;
use super::load::World;
use super::policy::Policy;
use super::rng::Rng;

/// The published mix is made of the most frequent shapes up to this part of the list, percent.
const POPULAR: u32 = 95;
/// Keeps the stream of the random policy apart from that of the order.
const OF_CHOICE: u64 = 0x5ca1_ab1e;
/// Prices are found anew after so many GPU tasks.
const REPRICE: usize = 64;

/// The scores of one shape on every node, as of a version of the cluster; none where it does not fit.
struct Scores {
    version: usize,
    of: Vec<Option<i64>>,
}

/// Chooses nodes, and keeps account of fragmentation whatever the policy.
pub(super) struct Chooser {
    policy: Policy,
    mix: Mix,
    ours: Ours,
    rng: Rng,
    scores: BTreeMap<Ask, Scores>,
    /// Fragmentation of each node, milli-GPU, and of all.
    of_node: Vec<f64>,
    fragmented: f64,
    scratch: Scratch,
    gpus: Vec<i64>,
}

impl Chooser {
    pub fn new(world: &World, cluster: &Cluster, policy: Policy, seed: u64) -> Self {
        let mix = Mix::new(&world.shapes(), POPULAR);
        let mut scratch = Scratch::default();
        let of_node: Vec<f64> =
            (0..cluster.len()).map(|node| mix.fragmentation(&cluster.spare(node), &mut scratch)).collect();
        Self {
            policy,
            ours: Ours::new(world, cluster),
            mix,
            rng: Rng::new(seed ^ OF_CHOICE),
            scores: BTreeMap::new(),
            fragmented: of_node.iter().sum(),
            of_node,
            scratch,
            gpus: Vec::new(),
        }
    }

    /// Milli-GPU free that a task of the mix cannot use, on the average, all nodes together.
    pub fn fragmented(&self) -> f64 {
        self.fragmented
    }

    /// The best node for `ask`, the one of the smaller rank among equals; `but` is left out.
    pub fn choose(&mut self, cluster: &Cluster, ask: &Ask, but: Option<usize>) -> Option<usize> {
        let shape = Ask { memory: 0, ..*ask };
        // our losses depend on memory
        let key = if self.policy.is_ours() { *ask } else { shape };
        let mut scores = self.scores.remove(&key).unwrap_or_else(|| {
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
            scored.filter(|(node, _)| cluster.memory(*node) >= ask.memory && Some(*node) != but)
        };
        let chosen = match self.policy {
            Policy::Random => fitting().nth(self.rng.below(fitting().count())),
            Policy::Crater | Policy::CraterMigrating => {
                fitting().min_by_key(|(node, loss)| (self.ours.cost(*node, *loss, ask), *node))
            }
            _ => fitting().reduce(|best, next| if next.1 > best.1 { next } else { best }),
        };
        self.scores.insert(key, scores);
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
            Policy::Crater | Policy::CraterMigrating => self.ours.outlook.loss(&spare, ask),
        })
    }

    fn gradient(&mut self, cluster: &Cluster, node: usize, ask: &Ask) -> (i64, Option<usize>) {
        gradient(&self.mix, &cluster.spare(node), ask, self.of_node[node], &mut self.gpus, &mut self.scratch)
    }

    /// The device for a share; none for tasks that want whole devices, or none.
    pub fn device(&mut self, cluster: &Cluster, node: usize, ask: &Ask) -> Option<usize> {
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

    /// Takes note of an arrival before it is placed.
    pub fn arrives(&mut self, cluster: &Cluster, ask: &Ask) {
        if self.policy.is_ours() && ask.devices > 0 {
            self.ours.arrives(cluster);
        }
    }

    /// Takes note of a node that changed.
    pub fn changed(&mut self, cluster: &Cluster, node: usize) {
        let now = self.mix.fragmentation(&cluster.spare(node), &mut self.scratch);
        self.fragmented += now - self.of_node[node];
        self.of_node[node] = now;
    }
}

/// What our policy knows: the mix of the whole list, as the published one does (memory too), and the cluster.
struct Ours {
    outlook: Outlook,
    scarcity: Scarcity,
    /// The kind of each node.
    kinds: Vec<usize>,
    count: usize,
    arrivals: usize,
}

impl Ours {
    fn new(world: &World, cluster: &Cluster) -> Self {
        let mut mix: BTreeMap<Ask, u32> = BTreeMap::new();
        for task in &world.tasks {
            *mix.entry(task.ask).or_default() += 1;
        }
        let mix: Vec<(Ask, u32)> = mix.into_iter().collect();
        let outlook = Outlook::new(&mix);
        let mut known: BTreeMap<(u32, usize, i64, i64), usize> = BTreeMap::new();
        let mut empty: Vec<Spare<'_>> = Vec::new();
        let mut kinds = Vec::with_capacity(cluster.len());
        for node in 0..cluster.len() {
            let spare = cluster.spare(node);
            let kind =
                *known.entry((spare.model, spare.gpus.len(), spare.cpu, spare.memory)).or_insert(empty.len());
            if kind == empty.len() {
                empty.push(spare);
            }
            kinds.push(kind);
        }
        let scarcity = Scarcity::new(&empty, &mix, &outlook);
        Self { outlook, scarcity, kinds, count: empty.len(), arrivals: 0 }
    }

    fn arrives(&mut self, cluster: &Cluster) {
        if self.arrivals.is_multiple_of(REPRICE) {
            let mut left = vec![0; self.count];
            for (node, kind) in self.kinds.iter().enumerate() {
                left[*kind] += self.outlook.useful(cluster.spare(node).gpus);
            }
            self.scarcity.update(&left);
        }
        self.arrivals += 1;
    }

    fn cost(&self, node: usize, loss: i64, ask: &Ask) -> i64 {
        self.scarcity.cost(self.kinds[node], loss, ask)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::load::{Node, Task};
    use crate::placement::order::Order;
    use crater_engine::score::Models;

    fn small_world(rng: &mut Rng) -> World {
        let nodes = (0..12).map(|n| Node {
            name: format!("n{n:02}"),
            cpu: [16_000, 64_000, 96_000][rng.below(3)],
            memory: 64_000,
            devices: [1, 2, 4, 8][rng.below(4)],
            model: u32::try_from(rng.below(3)).unwrap(),
        });
        let nodes = nodes.collect();
        let tasks = (0..60).map(|n| {
            let devices = [0, 1, 1, 1, 2, 4][rng.below(6)];
            let milli = if devices == 1 {
                [320, 470, 810, 1000][rng.below(4)]
            } else {
                1000 * i64::from(devices > 0)
            };
            let model = u32::try_from(rng.below(6)).unwrap();
            let models =
                if model < 3 && devices > 0 { Models::default().with(model) } else { Models::default() };
            let (cpu, memory) = ([2_000, 8_000, 12_000][rng.below(3)], [1_000, 9_000][rng.below(2)]);
            let ask = Ask { cpu, memory, devices, milli, models };
            Task { name: format!("t{n:02}"), ask, spec: format!("{models:?}") }
        });
        World { nodes, tasks: tasks.collect() }
    }

    /// Scores that are kept and brought up to date give the same choice as scores that are all found anew.
    #[test]
    fn kept_scores_are_those_found_anew() {
        for (seed, policy) in (0..6).flat_map(|seed| Policy::ALL.map(|policy| (seed, policy))) {
            if policy == Policy::Random {
                continue;
            }
            let world = small_world(&mut Rng::new(seed));
            let order = Order::draw(&world, seed);
            let mut cluster = Cluster::new(&world, &order);
            let mut chooser = Chooser::new(&world, &cluster, policy, seed);
            for ask in order.arrivals.iter().map(|task| world.tasks[*task].ask) {
                chooser.arrives(&cluster, &ask);
                let mut anew = Chooser::new(&world, &cluster, policy, seed);
                std::mem::swap(&mut anew.ours, &mut chooser.ours);
                let expected = anew.choose(&cluster, &ask, None);
                std::mem::swap(&mut anew.ours, &mut chooser.ours);
                assert_eq!(chooser.choose(&cluster, &ask, None), expected, "{policy} of seed {seed}");
                if let Some(node) = expected {
                    let device = chooser.device(&cluster, node, &ask);
                    cluster.place(node, &ask, device);
                    chooser.changed(&cluster, node);
                }
            }
            assert!(cluster.audited(&world, &order).is_some());
            let recount: f64 = chooser.of_node.iter().sum();
            assert!((recount - chooser.fragmented()).abs() < 1e-3);
        }
    }
}
