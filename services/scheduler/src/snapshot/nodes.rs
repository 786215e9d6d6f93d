//! Nodes with what Pods of others take of them, as the engine counts them.

use std::collections::{BTreeMap, BTreeSet};

use crater_engine::{Node, NodeIx};
use crater_k8s::node::UNKNOWN_MODEL;

use super::leaning::Leaning;
use crate::cache::{Cache, Given, Key, News};

/// All nodes.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    /// By ordinal, which is the order of names.
    pub names: Vec<String>,
    /// By ordinal.
    pub all: Vec<Node>,
    /// Those that are drained, with the words for it.
    pub drained: BTreeMap<String, String>,
    ix: BTreeMap<String, NodeIx>,
    /// What of it follows from what jobs hold.
    leaning: Leaning,
    /// So many labels were known.
    pub labels: usize,
}

impl Nodes {
    /// A node that is gone and on which something is held is there as lost.
    pub fn new(cache: &Cache) -> Self {
        let words = &cache.words;
        for (_, machine) in cache.nodes.iter() {
            // what says where nodes are is given whether or not a job asks for it: one level is told by the others
            machine.topology.keys().for_each(|key| {
                words.labels.key(key);
            });
        }
        let keys = words.labels.keys();
        let mut found: BTreeMap<&str, Node> = BTreeMap::new();
        let mut nodes = Self { labels: keys.len(), ..Self::default() };
        for (key, machine) in cache.nodes.iter() {
            let model = (machine.gpus > 0).then(|| words.models.intern(&machine.model));
            found.insert(
                &key.name,
                Node {
                    cpu: machine.allocatable.cpu_millis,
                    memory: machine.allocatable.memory_bytes,
                    gpus: machine.gpus,
                    model,
                    open: machine.closed.is_none(),
                    lost: machine.lost,
                    labels: words.labels.of(&keys, 0, &machine.labels),
                    extended: words.devices.counts(&machine.devices),
                    ..Node::default()
                },
            );
            if let Some(word) = &machine.drained {
                let why = format!("node {} is drained{}", key.name, word.sentence());
                nodes.drained.insert(key.name.clone(), why);
            }
        }
        for (name, devices) in named(cache) {
            let devices = u16::try_from(devices).unwrap_or(0);
            let node = found.entry(name).or_insert_with(|| Node { lost: true, ..Node::default() });
            if node.gpus < devices {
                // devices that the node does not report any more: held, and not to be given
                node.bad_gpus.extend(node.gpus..devices);
                node.gpus = devices;
                node.model.get_or_insert_with(|| words.models.intern(UNKNOWN_MODEL));
            }
        }
        let gone =
            |name: &str| cache.nodes.get(&Key { namespace: String::new(), name: name.to_owned() }).is_none();
        let lean = found.iter().filter(|(name, node)| !node.bad_gpus.is_empty() || (node.lost && gone(name)));
        let mut lean: BTreeSet<String> = lean.map(|(name, _)| (*name).to_owned()).collect();
        for (index, (name, node)) in found.into_iter().enumerate() {
            nodes.ix.insert(name.to_owned(), NodeIx::of(index));
            nodes.names.push(name.to_owned());
            nodes.all.push(node);
        }
        let shared = nodes.others(cache);
        lean.extend(shared.into_iter().map(|ix| nodes.names[ix.at()].clone()));
        nodes.leaning = Leaning::new(cache, lean);
        nodes
    }

    /// Is all of it as it was?
    pub fn stand(&self, cache: &Cache, news: &News) -> bool {
        let known = |key| cache.given_of(key).iter().all(|(_, given)| self.know(given));
        !news.nodes
            && self.labels == cache.words.labels.keys().len()
            && news.jobs.iter().all(|job| known(job) && self.leaning.stands(cache, job))
    }

    /// Are all nodes and devices there that were given?
    fn know(&self, given: &Given) -> bool {
        given.granted.iter().all(|held| {
            let node = self.of(&held.node).map(|ix| &self.all[ix.at()]);
            node.is_some_and(|node| held.gpus.iter().all(|device| *device < i32::from(node.gpus)))
        })
    }

    /// Do the ordinals mean the same, and is as much drained?
    pub fn mean_the_same_as(&self, other: &Self) -> bool {
        self.names == other.names && self.drained == other.drained
    }

    pub fn of(&self, name: &str) -> Option<NodeIx> {
        self.ix.get(name).copied()
    }

    /// What Pods of others take. Answers on which nodes that depends on what jobs hold.
    fn others(&mut self, cache: &Cache) -> Vec<NodeIx> {
        let mut devices: BTreeMap<NodeIx, i64> = BTreeMap::new();
        for (_, other) in cache.others.iter() {
            let Some(ix) = self.of(&other.node) else { continue };
            let node = &mut self.all[ix.at()];
            node.others_cpu = node.others_cpu.saturating_add(other.requests.cpu_millis);
            node.others_memory = node.others_memory.saturating_add(other.requests.memory_bytes);
            if other.requests.gpu_millis > 0 {
                *devices.entry(ix).or_default() += other.requests.gpu_millis;
            }
            for (name, count) in cache.words.devices.counts(&other.devices) {
                let known = node.others_extended.iter_mut().find(|(of, _)| *of == name);
                match known {
                    Some((_, sum)) => *sum = sum.saturating_add(count),
                    None => node.others_extended.push((name, count)),
                }
            }
        }
        let shared: Vec<NodeIx> = devices.keys().copied().collect();
        if !shared.is_empty() {
            self.others_devices(cache, devices);
        }
        shared
    }

    /// Which devices the Pods of others got is not told: those that we did not give, from the last one down.
    fn others_devices(&mut self, cache: &Cache, wanted: BTreeMap<NodeIx, i64>) {
        let mut ours: BTreeSet<(&str, i32)> = BTreeSet::new();
        for held in cache.given().flat_map(|(_, given)| &given.held) {
            ours.extend(held.gpus.iter().map(|device| (held.node.as_str(), *device)));
        }
        for (ix, millis) in wanted {
            let name = &self.names[ix.at()];
            let node = &mut self.all[ix.at()];
            let whole = usize::try_from(millis / 1000).unwrap_or(0);
            let free = (0..node.gpus).rev().filter(|d| !ours.contains(&(name.as_str(), i32::from(*d))));
            node.others_gpus = free.take(whole).map(|device| (device, 1000)).collect();
        }
    }
}

/// The nodes on which anything was given, each with how many devices it has at least.
fn named(cache: &Cache) -> BTreeMap<&str, i32> {
    let mut named: BTreeMap<&str, i32> = BTreeMap::new();
    for held in cache.given().flat_map(|(_, given)| &given.granted) {
        let most = named.entry(&held.node).or_insert(0);
        *most = held.gpus.iter().map(|device| device + 1).fold(*most, i32::max);
    }
    named
}
