//! Nodes with what Pods of others take of them, as the engine counts them.

use std::collections::{BTreeMap, BTreeSet};

use crater_engine::{Node, NodeIx};
use crater_k8s::node::UNKNOWN_MODEL;

use super::Build;

impl Build<'_> {
    /// Nodes by name; one that is gone and on which something is held is there as lost.
    pub(super) fn nodes(&mut self) {
        let mut ghosts: BTreeMap<&str, i32> = BTreeMap::new();
        for held in self.by_job.values().flatten().flat_map(|(_, given)| &given.granted) {
            let most = ghosts.entry(&held.node).or_insert(0);
            *most = held.gpus.iter().map(|device| device + 1).fold(*most, i32::max);
        }
        let words = &self.cache.words;
        let keys = words.labels.keys();
        let mut nodes: BTreeMap<String, Node> = BTreeMap::new();
        for (key, machine) in self.cache.nodes.iter() {
            let model = (machine.gpus > 0).then(|| self.cache.words.models.intern(&machine.model));
            nodes.insert(
                key.name.clone(),
                Node {
                    cpu: machine.allocatable.cpu_millis,
                    memory: machine.allocatable.memory_bytes,
                    gpus: machine.gpus,
                    model,
                    open: machine.closed.is_none(),
                    lost: machine.lost,
                    labels: words.labels.of(&keys, &machine.labels),
                    extended: words.devices.counts(&machine.devices),
                    ..Node::default()
                },
            );
        }
        for (name, devices) in ghosts {
            let devices = u16::try_from(devices).unwrap_or(0);
            let node = nodes.entry(name.to_owned()).or_insert_with(|| Node { lost: true, ..Node::default() });
            if node.gpus < devices {
                // devices that the node does not report any more: held, and not to be given
                node.bad_gpus.extend(node.gpus..devices);
                node.gpus = devices;
                node.model.get_or_insert_with(|| self.cache.words.models.intern(UNKNOWN_MODEL));
            }
        }
        for (index, (name, node)) in nodes.into_iter().enumerate() {
            self.node_ix.insert(name.clone(), NodeIx::of(index));
            self.frame.nodes.push(name);
            self.frame.snapshot.nodes.push(node);
        }
        let mut devices: BTreeMap<NodeIx, i64> = BTreeMap::new();
        for (_, other) in self.cache.others.iter() {
            let Some(ix) = self.node_ix.get(&other.node).copied() else { continue };
            let node = &mut self.frame.snapshot.nodes[ix.at()];
            node.others_cpu = node.others_cpu.saturating_add(other.requests.cpu_millis);
            node.others_memory = node.others_memory.saturating_add(other.requests.memory_bytes);
            *devices.entry(ix).or_default() += other.requests.gpu_millis;
            for (name, count) in words.devices.counts(&other.devices) {
                let known = node.others_extended.iter_mut().find(|(of, _)| *of == name);
                match known {
                    Some((_, sum)) => *sum = sum.saturating_add(count),
                    None => node.others_extended.push((name, count)),
                }
            }
        }
        self.others_devices(devices);
    }

    /// Which devices the Pods of others got is not told: those that we did not give, from the last one down.
    fn others_devices(&mut self, wanted: BTreeMap<NodeIx, i64>) {
        if wanted.is_empty() {
            return;
        }
        let mut ours: BTreeSet<(&str, i32)> = BTreeSet::new();
        for held in self.by_job.values().flatten().flat_map(|(_, given)| &given.held) {
            ours.extend(held.gpus.iter().map(|device| (held.node.as_str(), *device)));
        }
        for (ix, millis) in wanted {
            let name = &self.frame.nodes[ix.at()];
            let node = &mut self.frame.snapshot.nodes[ix.at()];
            let whole = usize::try_from(millis / 1000).unwrap_or(0);
            let free = (0..node.gpus).rev().filter(|d| !ours.contains(&(name.as_str(), i32::from(*d))));
            node.others_gpus = free.take(whole).map(|device| (device, 1000)).collect();
        }
    }
}
