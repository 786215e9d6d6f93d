//! What no plan may ever do: a node overfull, a gang in part.

use std::collections::BTreeMap;

use crater_engine::{Holding, Role, WHOLE_GPU};

use super::world::World;

impl World {
    /// The laws that are broken now, in words.
    pub(crate) fn broken_laws(&self) -> Vec<String> {
        let mut on_node: BTreeMap<u32, Vec<&Holding>> = BTreeMap::new();
        let mut of_job: BTreeMap<u32, Vec<u16>> = BTreeMap::new();
        for held in &self.snapshot.holdings {
            on_node.entry(held.node.0).or_default().push(held);
            of_job.entry(held.job.0).or_default().push(held.role);
        }
        let over = on_node.iter().filter(|(node, here)| self.is_overfull(**node, here));
        let over = over.map(|(node, _)| format!("node {} holds more than it has", self.nodes.name(*node)));
        let short = of_job.iter().filter(|(job, roles)| {
            let request = &self.snapshot.jobs[**job as usize].request;
            let below =
                |(role, of): (u16, &Role)| roles.iter().filter(|r| **r == role).count() < of.min as usize;
            (0..).zip(&request.roles).any(below)
        });
        let short = short.map(|(job, _)| format!("job {} runs below its minimum", self.jobs.name(*job)));
        over.chain(short).collect()
    }

    fn is_overfull(&self, node: u32, here: &[&Holding]) -> bool {
        let node = &self.snapshot.nodes[node as usize];
        let cpu: i64 = here.iter().map(|held| held.each.cpu).sum();
        let memory: i64 = here.iter().map(|held| held.each.memory).sum();
        let mut gpus = vec![0i64; usize::from(node.gpus)];
        for (device, milli) in here.iter().flat_map(|held| &held.gpus) {
            // a device that the node does not have is overfull in any case
            match gpus.get_mut(usize::from(*device)) {
                Some(used) => *used += milli,
                None => return true,
            }
        }
        let mut named: BTreeMap<_, i64> = BTreeMap::new();
        for (name, count) in here.iter().flat_map(|held| held.each.extended.iter()) {
            *named.entry(name).or_default() += count;
        }
        let has = |name| {
            let of = node.extended.iter().filter(|(of, _)| *of == name);
            of.map(|(_, count)| i64::from(*count)).sum::<i64>()
        };
        cpu > node.cpu
            || memory > node.memory
            || gpus.iter().any(|milli| *milli > WHOLE_GPU)
            || named.into_iter().any(|(name, count)| count > has(name))
    }
}
