//! Nodes of which something follows from what jobs hold: they are to be looked at again when that changes, and only then.

use std::collections::{BTreeMap, BTreeSet};

use crate::cache::{Cache, Given, Key};

/// Devices that were granted together on such a node, and whether they are held; in order.
type Pieces = Vec<(String, bool, Vec<i32>)>;

/// What such nodes lean on.
#[derive(Debug, Default)]
pub(super) struct Leaning {
    nodes: BTreeSet<String>,
    /// What jobs have there.
    of: BTreeMap<Key, Pieces>,
}

impl Leaning {
    /// Of these nodes.
    pub fn new(cache: &Cache, nodes: BTreeSet<String>) -> Self {
        let mut of: BTreeMap<Key, Pieces> = BTreeMap::new();
        if !nodes.is_empty() {
            for (_, given) in cache.given() {
                let pieces = pieces(&nodes, given);
                if !pieces.is_empty() {
                    of.entry(given.job.clone()).or_default().extend(pieces);
                }
            }
        }
        of.values_mut().for_each(|pieces| pieces.sort_unstable());
        Self { nodes, of }
    }

    /// Has a job there what it had?
    pub fn stands(&self, cache: &Cache, job: &Key) -> bool {
        if self.nodes.is_empty() {
            return true;
        }
        let given = cache.given_of(job).into_iter();
        let mut now: Pieces = given.flat_map(|(_, given)| pieces(&self.nodes, given)).collect();
        now.sort_unstable();
        now == self.of.get(job).map_or(&[][..], Vec::as_slice)
    }
}

fn pieces(nodes: &BTreeSet<String>, given: &Given) -> Pieces {
    let all = given.granted.iter().map(|granted| (granted, false));
    let all = all.chain(given.held.iter().map(|held| (held, true)));
    let here = all.filter(|(of, _)| nodes.contains(&of.node));
    here.map(|(of, held)| (of.node.clone(), held, of.gpus.clone())).collect()
}
