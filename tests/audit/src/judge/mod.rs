//! The judge: a pure function of what was seen so far and of the times at which it was. No IO, no clock, bounded memory.
//!
//! What must hold at every version is judged at that version; what must come to hold in time is judged as time passes
//! ([`quiet`]). After a list that may have missed versions, nothing is judged that needs those versions.

mod allocations;
mod books;
mod fence;
mod jobs;
mod limits;
mod pods;
mod quiet;
mod rows;
mod told;

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use crate::observation::{Change, Key, Kind, Node, Object, Observation, Pod, Source};
use crate::violation::{Cause, Law, Violation, cause};

use self::allocations::Given;
use self::books::Books;
use self::fence::Fences;
use self::limits::Limits;
use self::rows::Rows;
use self::told::Tellings;

/// How many ended jobs, answered requests and findings are remembered.
const MEMORY: usize = 300_000;
const FINDINGS: usize = 1_000;

/// How long things may take that need not be so at once.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Until API, tables and cluster say the same of a job of which nothing changes, in milliseconds.
    pub settle_ms: i64,
    /// Until nothing is held and nothing runs of a job that has ended.
    pub orphan_ms: i64,
    /// How long after a limit was changed the former one may still be used.
    pub lag_ms: i64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { settle_ms: 10_000, orphan_ms: 30_000, lag_ms: 10_000 }
    }
}

/// How much was seen.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Seen {
    /// Versions of objects, lists not counted.
    pub versions: u64,
    /// Of these, of AIJobs.
    pub job_versions: u64,
    /// Of these, of Allocations.
    pub allocation_versions: u64,
    /// Of these, of Pods.
    pub pod_versions: u64,
    /// AIJobs.
    pub jobs: u64,
    /// Allocations.
    pub allocations: u64,
    /// Pods of ours.
    pub pods: u64,
    /// Nodes.
    pub nodes: u64,
    /// Epochs of the Lease.
    pub epochs: u64,
    /// Rows of jobs, each time that one was changed.
    pub rows: u64,
    /// Jobs in the tables.
    pub jobs_in_tables: u64,
    /// Snapshots of the tables.
    pub snapshots: u64,
    /// Jobs that the API told.
    pub told: u64,
    /// Events of jobs that the API listed.
    pub events: u64,
    /// Reasons for waiting that were asked for.
    pub reasons: u64,
    /// Answers to callers.
    pub acknowledged: u64,
    /// Single judgements that could have gone wrong.
    pub judgements: u64,
    /// Lists that may have missed versions.
    pub gaps: u64,
    /// Clusters.
    pub clusters: u64,
    /// Jobs that ended, in the tables.
    pub ended: u64,
}

/// Something to be asked of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// All events of this job.
    Events(String),
    /// Why this job waits.
    Explain(String),
}

/// The judge.
pub struct Auditor {
    settings: Settings,
    now: i64,
    revision: u64,
    /// Versions up to this one were not all seen in order.
    judged_from: u64,
    first_lists: BTreeSet<Kind>,
    fences: Fences,
    nodes: HashMap<String, Machine>,
    jobs: HashMap<Key, crate::observation::Job>,
    by_uid: HashMap<String, Key>,
    /// Jobs that had an AIJob in this cluster.
    applied: Ring,
    allocations: HashMap<Key, Given>,
    allocations_of: HashMap<String, BTreeSet<Key>>,
    undecided: BTreeSet<Key>,
    pods: HashMap<Key, Pod>,
    pods_of: HashMap<String, BTreeSet<Key>>,
    made: HashMap<String, HashSet<u64>>,
    books: Books,
    running: Books,
    limits: Limits,
    rows: Rows,
    told: Tellings,
    /// Jobs of which something has still to become so.
    open: HashSet<String>,
    /// What lasts of each job that should not: its fingerprint, and since when.
    since: HashMap<String, Vec<(&'static str, u64, i64)>>,
    looked_ms: i64,
    down: BTreeSet<Source>,
    questions: Vec<Question>,
    reported: HashSet<(Law, &'static str, String)>,
    found: Vec<Violation>,
    /// Findings beyond those that are kept.
    pub unkept: u64,
    /// How much was seen.
    pub seen: Seen,
}

/// A node, and when what it offers last became less.
struct Machine {
    node: Node,
    shrunk_ms: i64,
}

/// The last so many keys.
#[derive(Default)]
struct Ring {
    set: HashSet<String>,
    row: VecDeque<String>,
}

impl Ring {
    /// Whether it was not there.
    fn insert(&mut self, key: &str) -> bool {
        if !self.set.insert(key.to_owned()) {
            return false;
        }
        self.row.push_back(key.to_owned());
        if self.row.len() > MEMORY
            && let Some(oldest) = self.row.pop_front()
        {
            self.set.remove(&oldest);
        }
        true
    }
}

impl Auditor {
    /// Knows nothing yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            now: 0,
            revision: 0,
            judged_from: 0,
            first_lists: BTreeSet::new(),
            fences: Fences::default(),
            nodes: HashMap::new(),
            jobs: HashMap::new(),
            by_uid: HashMap::new(),
            applied: Ring::default(),
            allocations: HashMap::new(),
            allocations_of: HashMap::new(),
            undecided: BTreeSet::new(),
            pods: HashMap::new(),
            pods_of: HashMap::new(),
            made: HashMap::new(),
            books: Books::default(),
            running: Books::default(),
            limits: Limits::default(),
            rows: Rows::default(),
            told: Tellings::default(),
            open: HashSet::new(),
            since: HashMap::new(),
            looked_ms: 0,
            down: BTreeSet::new(),
            questions: Vec::new(),
            reported: HashSet::new(),
            found: Vec::new(),
            unkept: 0,
            seen: Seen::default(),
        }
    }

    /// Takes something in that was seen at a time (milliseconds since the audit began; never going back). Returns what it
    /// shows to be wrong; each finding once.
    pub fn observe(&mut self, at_ms: i64, observation: Observation) -> Vec<Violation> {
        self.now = self.now.max(at_ms);
        match observation {
            Observation::Version(version) => {
                self.revision = version.revision;
                self.seen.versions += 1;
                self.object(version.change, version.object, true);
            }
            Observation::Listed { kind, revision, objects } => self.listed(kind, revision, objects),
            Observation::NewCluster => self.new_cluster(),
            Observation::Row(row) => self.row(row),
            Observation::RowsRead { began_ms } => self.rows_read(began_ms),
            Observation::Limits(all) => self.limits.set(self.now, self.settings.lag_ms, all),
            Observation::Accounts(all) => self.limits.set_accounts(all),
            Observation::Told(name, told) => self.tell(name, told),
            Observation::Events(name, events) => self.events(&name, &events),
            Observation::Explained(name, reason) => self.explained(&name, &reason),
            Observation::Acknowledged(ack) => self.acknowledged(ack),
            Observation::Link(source, up) => {
                let changed = if up { self.down.remove(&source) } else { self.down.insert(source) };
                if changed {
                    self.since.clear();
                }
            }
            Observation::Tick => self.tick(),
        }
        std::mem::take(&mut self.found)
    }

    /// What should be asked of the API now.
    pub fn questions(&mut self) -> Vec<Question> {
        std::mem::take(&mut self.questions)
    }

    /// Jobs of which something has still to become so: API, tables and cluster differ, or an end is not cleared away.
    pub fn unsettled(&self) -> usize {
        self.open.len()
    }

    /// Whether every source can be read.
    pub fn hears_all(&self) -> bool {
        self.down.is_empty()
    }

    /// Whether nothing lasts that should not.
    pub fn at_rest(&self) -> bool {
        self.since.is_empty()
    }

    fn listed(&mut self, kind: Kind, revision: u64, objects: Vec<Object>) {
        self.judged_from = self.judged_from.max(revision);
        self.revision = self.revision.max(revision);
        if !self.first_lists.insert(kind) {
            self.seen.gaps += 1;
        }
        self.forget_kind(kind);
        for object in objects {
            self.object(Change::Added, object, false);
        }
    }

    /// Another cluster: whatever was in the former is gone, its Pods with it.
    fn new_cluster(&mut self) {
        self.seen.clusters += 1;
        for kind in [Kind::Pod, Kind::Allocation, Kind::Job, Kind::Node, Kind::Lease] {
            self.forget_kind(kind);
        }
        self.first_lists.clear();
        self.applied = Ring::default();
        self.made.clear();
        self.since.clear();
        (self.revision, self.judged_from) = (0, 0);
    }

    fn forget_kind(&mut self, kind: Kind) {
        match kind {
            Kind::Lease => self.fences = Fences::default(),
            Kind::Node => self.nodes.clear(),
            Kind::Job => {
                self.jobs.clear();
                self.by_uid.clear();
            }
            Kind::Allocation => {
                self.allocations.clear();
                self.allocations_of.clear();
                self.undecided.clear();
                self.books = Books::default();
                self.limits.forget_usage();
            }
            Kind::Pod => {
                self.pods.clear();
                self.pods_of.clear();
                self.running = Books::default();
            }
        }
    }

    fn object(&mut self, change: Change, object: Object, version: bool) {
        match object {
            Object::Lease(lease) => self.lease(change, lease),
            Object::Node(node) => self.node(change, node),
            Object::Job(job) => {
                self.seen.job_versions += u64::from(version);
                self.job(change, *job, version);
            }
            Object::Allocation(allocation) => {
                self.seen.allocation_versions += u64::from(version);
                self.allocation(change, *allocation, version);
            }
            Object::Pod(pod) => {
                self.seen.pod_versions += u64::from(version);
                self.pod(change, *pod, version);
            }
        }
    }

    fn node(&mut self, change: Change, node: Node) {
        if change == Change::Deleted {
            self.nodes.remove(&node.name);
            return;
        }
        let before = self.nodes.get(&node.name);
        if before.is_none() {
            self.seen.nodes += 1;
        }
        let fewer = |b: &Node| b.devices.0.iter().any(|(name, count)| node.devices.of(name) < *count);
        let less = |Machine { node: b, .. }: &Machine| {
            node.cpu < b.cpu || node.memory < b.memory || node.gpus < b.gpus || fewer(b)
        };
        let shrunk_ms = match before {
            Some(before) if less(before) => self.now,
            Some(before) => before.shrunk_ms,
            None => i64::MIN / 2,
        };
        self.nodes.insert(node.name.clone(), Machine { node, shrunk_ms });
    }

    /// Whether what came before this version was seen too.
    fn seen_all(&self) -> bool {
        self.revision > self.judged_from
    }

    /// A judgement: `wrong` says how it went wrong.
    fn judge(&mut self, law: Law, cause: Cause, subject: &str, wrong: Option<String>) {
        self.seen.judgements += 1;
        if let Some(what) = wrong {
            self.report(law, cause, subject, what, self.revision);
        }
    }

    fn report(&mut self, law: Law, cause: Cause, subject: &str, what: String, revision: u64) {
        if self.reported.len() >= FINDINGS {
            self.unkept += 1;
            return;
        }
        if self.reported.insert((law, cause.id, subject.to_owned())) {
            let subject = subject.to_owned();
            self.found.push(Violation { law, subject, what, at_ms: self.now, revision, cause });
        }
    }

    /// At the end: was anything seen at all? `jobs`: how many jobs there must have been at least.
    pub fn close(&mut self, jobs: u64, store: bool, api: bool) -> Vec<Violation> {
        let seen = self.seen.clone();
        let mut need = |what: &str, number: u64, least: u64| {
            let wrong = (number < least).then(|| format!("{number} seen, at least {least} expected"));
            self.judge(Law::Blind, cause::TOO_LITTLE, what, wrong);
        };
        need("versions of objects", seen.versions, jobs.max(1));
        need("AIJobs", seen.jobs, jobs);
        need("nodes", seen.nodes, 1);
        need("epochs of the Lease", seen.epochs, 1);
        if store {
            need("snapshots of the tables", seen.snapshots, 1);
            need("jobs in the tables", seen.jobs_in_tables, jobs);
        }
        if api {
            need("jobs told by the API", seen.told, jobs);
        }
        let missed = (seen.gaps > 0).then(|| format!("{} lists may have missed versions", seen.gaps));
        self.judge(Law::Blind, cause::TOO_LITTLE, "versions in between", missed);
        std::mem::take(&mut self.found)
    }
}

fn name(key: &Key) -> String {
    format!("{}/{}", key.0, key.1)
}
