//! What one cycle decides on, with the names of everything. Jobs keep their ordinals from one snapshot to the next while they are there; nodes,
//! accounts and users are numbered anew when there are others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crater_engine::{
    AccountIx, ExtendedIx, Holding, Job, JobIx, KeyIx, ModelIx, Names, NodeIx, Placement, Plan, Reservation,
    Snapshot, UserIx, ValueIx,
};

use crate::cache::{Key, Replica};
use crate::jobs::JobEntry;
use crate::words::Words;

/// What was promised in the last cycle, by name: an ordinal may mean another in the next.
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
    /// By ordinal; those of nobody have no name.
    pub jobs: Vec<Arc<Key>>,
    /// The ordinals of all, in order of name.
    pub by_name: Vec<JobIx>,
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
    /// Nodes that turned such a job's replicas away, in words.
    pub barred: BTreeMap<usize, String>,
    /// What is not for the engine.
    pub rest: Rest,
}

/// What there is to do and to say of jobs beside deciding.
#[derive(Clone, Debug, Default)]
pub struct Rest {
    /// Jobs that wait for something that is not the engine's business: code and words.
    pub aside: Vec<(JobEntry, &'static str, String)>,
    /// Jobs that stand aside, whether they still hold something or not.
    pub suspended: Vec<JobEntry>,
    /// Allocations of which nothing is left to be known.
    pub spent: Vec<(Key, String)>,
    /// What is to be taken back, in these words: what jobs that went back to the queue still hold of earlier Allocations, all that jobs
    /// hold that stand aside, and all that jobs hold that are on a node that is drained.
    pub taken_back: Vec<(Key, BTreeSet<Replica>, (&'static str, String))>,
}

impl Rest {
    /// Is there nothing?
    pub fn is_nothing(&self) -> bool {
        let Self { aside, suspended, spent, taken_back } = self;
        aside.is_empty() && suspended.is_empty() && spent.is_empty() && taken_back.is_empty()
    }

    /// Adds that of another job.
    pub fn add(&mut self, other: &Self) {
        self.aside.extend_from_slice(&other.aside);
        self.suspended.extend_from_slice(&other.suspended);
        self.spent.extend_from_slice(&other.spent);
        self.taken_back.extend_from_slice(&other.taken_back);
    }
}

impl Frame {
    /// What a plan promises by name, for the next cycle.
    pub fn keep(&self, plan: &Plan) -> Promised {
        let promise = |job: JobIx, since: i64, placements: &[Placement]| {
            let entry = self.entries[job.at()].as_ref()?;
            let places = placements.iter().map(|p| (p.clone(), self.nodes[p.node.at()].clone()));
            Some(Promise {
                job: (*self.jobs[job.at()]).clone(),
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

    /// The job of this namespace and name.
    pub fn find(&self, name: (&str, &str)) -> Option<JobIx> {
        let of = |ix: &JobIx| (&*self.jobs[ix.at()].namespace, &*self.jobs[ix.at()].name);
        let at = self.by_name.binary_search_by(|ix| of(ix).cmp(&name)).ok()?;
        self.by_name.get(at).copied()
    }

    /// All that is decided on, by name and without order: equal for frames of one moment, whatever the ordinals.
    pub fn in_words(&self) -> BTreeSet<String> {
        let s = &self.snapshot;
        let account = |ix: AccountIx| self.accounts.get(ix.at());
        let mut words = BTreeSet::new();
        for ((key, entry), job) in
            self.jobs.iter().zip(&self.entries).zip(&s.jobs).filter(|((key, _), _)| !key.name.is_empty())
        {
            let uid = entry.as_ref().map(|entry| &entry.object.spec.job_uid);
            let user = job.user.and_then(|user| self.users.get(user.at()));
            let rest = Job { account: AccountIx(0), user: None, ..job.clone() };
            words.insert(format!("job {key:?} {uid:?} of {:?}, {user:?}: {rest:?}", account(job.account)));
        }
        for held in &s.holdings {
            let (job, node) = (&self.jobs[held.job.at()], &self.nodes[held.node.at()]);
            let rest = Holding { job: JobIx(0), node: NodeIx(0), ..held.clone() };
            words.insert(format!("held by {job:?} on {node}: {rest:?}"));
        }
        for hold in &s.holds {
            words.insert(format!(
                "hold for {:?}: {} {:?}",
                self.jobs[hold.job.at()],
                hold.since,
                hold.placements
            ));
        }
        for start in &s.reservations {
            words.insert(format!("start of {:?}: {:?}", self.jobs[start.job.at()], start.placements));
        }
        words.extend(self.nodes.iter().zip(&s.nodes).map(|(name, node)| format!("node {name}: {node:?}")));
        words.extend(self.users.iter().zip(&s.users).map(|(name, user)| {
            format!("user {name} of {:?}: {:?} {:?}", account(user.account), user.guaranteed, user.limit)
        }));
        let Rest { aside, suspended, spent, taken_back } = &self.rest;
        words.extend(
            aside
                .iter()
                .map(|(entry, code, why)| format!("aside {:?}: {code} {why}", Key::of(&*entry.object))),
        );
        words.extend(suspended.iter().map(|entry| format!("suspended {:?}", Key::of(&*entry.object))));
        words.extend(spent.iter().map(|spent| format!("spent {spent:?}")));
        words.extend(taken_back.iter().map(|back| format!("back {back:?}")));
        words
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
