//! A world in motion: the snapshot that the engine sees, with names, and plans carried out at once.

use std::collections::{BTreeMap, BTreeSet};

use crater_engine::usage::decay_all;
use crater_engine::{Borrowed, Grant, Holding, JobIx, KeyIx, Names, NodeIx, Plan, Snapshot};

use super::fault::Fault;
use super::names::Interned;

/// Milliseconds between two cycles.
const BETWEEN_CYCLES: i64 = 1_000;
/// When the world begins.
pub(crate) const START: i64 = 1_000_000_000_000;

/// The state of one scenario.
#[derive(Clone, Debug)]
pub struct World {
    pub(crate) snapshot: Snapshot,
    pub(super) nodes: Interned,
    pub(super) jobs: Interned,
    pub(super) accounts: Interned,
    pub(super) models: Interned,
    pub(super) extended: Interned,
    pub(super) keys: Interned,
    pub(super) values: Interned,
    pub(super) priorities: BTreeMap<String, i32>,
    /// Jobs that lost a replica which found no other place in the same plan.
    pub(crate) evicted: BTreeSet<String>,
    /// Jobs that were migrated.
    pub(crate) moved: BTreeSet<String>,
    /// Replicas that left their node by decision.
    pub(crate) evictions: u32,
    /// Jobs that ended.
    pub(super) ended: BTreeSet<u32>,
    /// What accounts borrow since the last plan.
    pub(super) borrowed: Vec<Borrowed>,
}

impl World {
    /// Time passes until an instant; what accounts borrow all along is remembered.
    pub(crate) fn wait_until(&mut self, now: i64) {
        let s = &mut self.snapshot;
        if s.settings.half_life_ms > 0 {
            decay_all(&mut s.lately, &self.borrowed, now - s.now, s.settings.half_life_ms);
        }
        s.now = now;
    }

    /// Time passes between two cycles.
    pub(crate) fn next_cycle(&mut self) {
        self.snapshot.cycle += 1;
        self.wait_until(self.snapshot.now + BETWEEN_CYCLES);
    }

    /// Carries a plan out at once; says whether anything changed.
    pub(crate) fn carry_out(&mut self, plan: &Plan) -> bool {
        if !plan.revocations.is_empty() {
            self.revoke(plan);
        }
        for grant in &plan.grants {
            self.grant(grant);
        }
        let holds_changed = self.snapshot.holds != plan.holds;
        self.snapshot.holds.clone_from(&plan.holds);
        self.snapshot.reservations.clone_from(&plan.reservations);
        self.borrowed.clone_from(&plan.borrowed);
        !plan.revocations.is_empty() || !plan.grants.is_empty() || holds_changed
    }

    fn revoke(&mut self, plan: &Plan) {
        let mut taken = BTreeSet::new();
        for revocation in &plan.revocations {
            let name = self.job(revocation.job).to_owned();
            for replica in &revocation.replicas {
                match replica.moves_to {
                    Some(_) => self.moved.insert(name.clone()),
                    None => self.evicted.insert(name.clone()),
                };
                // who comes back to its own node has not left it
                self.evictions += u32::from(replica.moves_to != Some(replica.node));
                taken.insert((revocation.job, replica.role, replica.replica));
            }
            self.snapshot.jobs[revocation.job.at()].queued_since = self.snapshot.now;
        }
        self.snapshot.holdings.retain(|held| !taken.contains(&(held.job, held.role, held.replica)));
    }

    fn grant(&mut self, grant: &Grant) {
        let held: Vec<Holding> = self.snapshot.holdings_of(grant).collect();
        self.snapshot.holdings.extend(held);
    }

    pub(crate) fn known_job(&self, name: &str, at: &str) -> Result<JobIx, Fault> {
        self.jobs.get(name).map(JobIx).ok_or_else(|| Fault::new(at, format!("there is no job {name}")))
    }

    pub(super) fn known_node(&self, name: &str, at: &str) -> Result<NodeIx, Fault> {
        self.nodes.get(name).map(NodeIx).ok_or_else(|| Fault::new(at, format!("there is no node {name}")))
    }

    /// The names of the nodes of a job's replicas, sorted.
    pub(crate) fn replicas(&self, job: &str) -> Vec<String> {
        let job = self.jobs.get(job);
        let held = self.snapshot.holdings.iter().filter(|held| Some(held.job.0) == job);
        let mut nodes: Vec<String> = held.map(|held| self.node(held.node).to_owned()).collect();
        nodes.sort();
        nodes
    }

    /// The value of a label on a node.
    pub(crate) fn label_of(&self, node: &str, key: &str) -> Option<&str> {
        let (node, key) = (self.nodes.get(node)?, KeyIx(self.keys.get(key)?));
        let labels = &self.snapshot.nodes[node as usize].labels;
        labels.iter().find(|(k, _)| *k == key).map(|(_, value)| self.values.name(value.0))
    }

    /// Does any node have this label?
    pub(super) fn has_label(&self, key: &str) -> bool {
        let of = |key| self.snapshot.nodes.iter().any(|node| node.labels.iter().any(|(k, _)| *k == key));
        self.keys.get(key).is_some_and(|key| of(KeyIx(key)))
    }

    pub(crate) fn job_names(&self) -> impl Iterator<Item = &str> {
        self.jobs.names.iter().map(String::as_str)
    }
}
