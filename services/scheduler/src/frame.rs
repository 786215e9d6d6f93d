//! What one cycle decides on, with the names of everything: ordinals change from one snapshot to the next.

use std::collections::{BTreeMap, BTreeSet};

use crater_engine::{
    AccountIx, ExtendedIx, JobIx, KeyIx, ModelIx, Names, NodeIx, Placement, Plan, Reservation, Snapshot,
    UserIx, ValueIx,
};

use crate::cache::{Key, Replica};
use crate::jobs::JobEntry;
use crate::words::Words;

/// What was promised in the last cycle, by name: ordinals change from one snapshot to the next.
#[derive(Clone, Debug, Default)]
pub struct Promised {
    /// Room that is not free yet, or not all of it.
    pub room: Vec<Promise>,
    /// Starts, with when they are expected and the nodes that are waited for.
    pub starts: Vec<(Promise, Option<i64>, Vec<String>)>,
}

/// Room for one job.
#[derive(Clone, Debug)]
pub struct Promise {
    /// For whom.
    pub job: Key,
    /// The job's uid in the database.
    pub uid: String,
    /// Since when.
    pub since: i64,
    /// Which room, with the node's name.
    pub places: Vec<(Placement, String)>,
}

/// What one cycle decides on, with the names of everything.
#[derive(Debug, Default)]
pub struct Frame {
    /// For the engine.
    pub snapshot: Snapshot,
    /// By ordinal.
    pub jobs: Vec<Key>,
    /// The AIJob of each; none where only its Allocations are left.
    pub entries: Vec<Option<JobEntry>>,
    /// By ordinal.
    pub nodes: Vec<String>,
    /// By ordinal.
    pub accounts: Vec<String>,
    /// By ordinal.
    pub users: Vec<String>,
    /// By ordinal.
    pub models: Vec<String>,
    /// Devices that are asked for by name, by ordinal.
    pub devices: Vec<String>,
    /// By ordinal; those beyond are bars.
    pub keys: Vec<String>,
    /// By ordinal.
    pub values: Vec<String>,
    /// Jobs that wait for something that is not the engine's business: code and words.
    pub aside: Vec<(JobEntry, &'static str, String)>,
    /// Jobs that stand aside, whether they still hold something or not.
    pub suspended: Vec<JobEntry>,
    /// Nodes that turned such a job's replicas away, in words.
    pub barred: BTreeMap<usize, String>,
    /// Allocations of which nothing is left to be known.
    pub spent: Vec<(Key, String)>,
    /// What is to be taken back, in these words: what jobs that went back to the queue still hold of earlier Allocations, all that jobs
    /// hold that stand aside, and all that jobs hold that are on a node that is drained.
    pub taken_back: Vec<(Key, BTreeSet<Replica>, (&'static str, String))>,
}

impl Frame {
    /// What a plan promises by name, for the next cycle.
    pub fn keep(&self, plan: &Plan) -> Promised {
        let promise = |job: JobIx, since: i64, placements: &[Placement]| {
            let entry = self.entries[job.at()].as_ref()?;
            let places = placements.iter().map(|p| (p.clone(), self.nodes[p.node.at()].clone()));
            Some(Promise {
                job: self.jobs[job.at()].clone(),
                uid: entry.object.spec.job_uid.clone(),
                since,
                places: places.collect(),
            })
        };
        let start = |of: &Reservation| {
            let nodes = of.nodes.iter().map(|node| self.nodes[node.at()].clone());
            Some((promise(of.job, self.snapshot.now, &of.placements)?, of.expected_start, nodes.collect()))
        };
        Promised {
            room: plan
                .holds
                .iter()
                .filter_map(|hold| promise(hold.job, hold.since, &hold.placements))
                .collect(),
            starts: plan.reservations.iter().filter_map(start).collect(),
        }
    }

    /// Takes in all names that were heard until now.
    pub fn name(&mut self, words: &Words) {
        let count = |names: &Vec<String>| u32::try_from(names.len()).unwrap_or(u32::MAX);
        (self.models, self.devices) = (words.models.names(), words.devices.names());
        (self.keys, self.values) = (words.labels.keys(), words.labels.values());
        (self.snapshot.models, self.snapshot.extended) = (count(&self.models), count(&self.devices));
    }

    /// Names as somebody of this account may hear them.
    pub fn names_for(&self, account: AccountIx) -> NamesFor<'_> {
        NamesFor { frame: self, account }
    }
}

/// The names of a frame, without the jobs of other accounts.
pub struct NamesFor<'a> {
    frame: &'a Frame,
    account: AccountIx,
}

impl Names for NamesFor<'_> {
    fn node(&self, node: NodeIx) -> &str {
        self.frame.nodes.get(node.at()).map_or("?", String::as_str)
    }
    fn job(&self, job: JobIx) -> &str {
        match (self.frame.snapshot.jobs.get(job.at()), self.frame.jobs.get(job.at())) {
            (Some(of), Some(key)) if of.account == self.account => &key.name,
            _ => "of another account",
        }
    }
    fn account(&self, account: AccountIx) -> &str {
        self.frame.accounts.get(account.at()).map_or("?", String::as_str)
    }
    fn user(&self, user: UserIx) -> &str {
        self.frame.users.get(user.at()).map_or("?", String::as_str)
    }
    fn model(&self, model: ModelIx) -> &str {
        self.frame.models.get(model.at()).map_or("?", String::as_str)
    }
    fn extended(&self, name: ExtendedIx) -> &str {
        self.frame.devices.get(name.at()).map_or("?", String::as_str)
    }
    fn key(&self, key: KeyIx) -> &str {
        self.frame.keys.get(key.at()).map_or("label", String::as_str)
    }
    fn value(&self, value: ValueIx) -> &str {
        self.frame.values.get(value.at()).map_or("", String::as_str)
    }
}
