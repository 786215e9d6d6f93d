//! What the auditor sees, as plain values: objects of the cluster in the order of their versions, rows of the tables, what
//! the API told, and what callers were answered. Whoever makes them does the IO; tests make them up.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use crater_domain::Devices;

/// Namespace and name.
pub type Key = (String, String);
/// Role and number.
pub type Replica = (String, i32);

/// Something that was seen.
#[derive(Clone, Debug)]
pub enum Observation {
    /// A version of an object, later than all that were given before it.
    Version(Version),
    /// All objects of a kind as they were at a revision: what came before is not known, or was missed.
    Listed {
        /// Which.
        kind: Kind,
        /// The list's.
        revision: u64,
        /// All there are.
        objects: Vec<Object>,
    },
    /// Another cluster is there: nothing of the former counts any more.
    NewCluster,
    /// A row as a snapshot of the tables has it.
    Row(Row),
    /// The rows given so far are those of one snapshot, whose reading began at this time.
    RowsRead {
        /// Milliseconds since the audit began.
        began_ms: i64,
    },
    /// What may be used, as it is now: all of it.
    Limits(BTreeMap<Subject, BTreeMap<String, i64>>),
    /// Each account with the one above it: all there are.
    Accounts(BTreeMap<String, Option<String>>),
    /// A job as the API streams it; `None`: the API says that it was deleted.
    Told(String, Option<Told>),
    /// All events of a job, as the API lists them.
    Events(String, Vec<JobEvent>),
    /// Why a job waits, as the API explains it; empty: it gives no reason.
    Explained(String, String),
    /// What a caller was answered.
    Acknowledged(Acknowledged),
    /// A source cannot be read, or can be read again.
    Link(Source, bool),
    /// Time passes.
    Tick,
}

/// Where observations come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// The Kubernetes API.
    Cluster,
    /// The tables.
    Store,
    /// Crater's API.
    Api,
}

/// Kinds of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The scheduler's Lease.
    Lease,
    /// Nodes.
    Node,
    /// AIJobs.
    Job,
    /// Allocations.
    Allocation,
    /// Pods.
    Pod,
}

/// One write.
#[derive(Clone, Debug)]
pub struct Version {
    /// The cluster's count at it.
    pub revision: u64,
    /// What it did.
    pub change: Change,
    /// The object after it; of a deletion: as it was last.
    pub object: Object,
}

/// What a write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The object is new.
    Added,
    /// It changed.
    Modified,
    /// It is gone.
    Deleted,
}

/// An object, reduced to what is judged.
#[derive(Clone, Debug)]
pub enum Object {
    /// The scheduler's Lease.
    Lease(Lease),
    /// A Node.
    Node(Node),
    /// An AIJob.
    Job(Box<Job>),
    /// An Allocation.
    Allocation(Box<Allocation>),
    /// A Pod.
    Pod(Box<Pod>),
}

/// The scheduler's Lease.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lease {
    /// Who holds it; empty: nobody.
    pub holder: String,
    /// Its epoch.
    pub epoch: i64,
    /// The list that its holder began with.
    pub list_revision: Option<u64>,
}

/// A Node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Thousandths of a core.
    pub cpu: i64,
    /// Bytes.
    pub memory: i64,
    /// Whole devices.
    pub gpus: i64,
    /// Other devices, by name.
    pub devices: Devices,
    /// Their model.
    pub model: String,
    /// Whether its kubelet reports.
    pub ready: bool,
    /// Whether an admin said that it is off.
    pub off: bool,
}

/// Where an AIJob is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Waits.
    #[default]
    Queued,
    /// Is being started.
    Starting,
    /// Runs.
    Running,
    /// Ended well.
    Succeeded,
    /// Ended badly.
    Failed,
    /// Was cancelled.
    Cancelled,
}

impl Phase {
    /// Whether it has ended.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }

    /// Whether a job may go from here to there by one write.
    pub fn leads_to(self, next: Self) -> bool {
        match self {
            _ if self == next => true,
            Self::Queued => matches!(next, Self::Starting | Self::Failed | Self::Cancelled),
            // Starting again is a retry
            Self::Starting => true,
            Self::Running => true,
            Self::Succeeded | Self::Failed | Self::Cancelled => false,
        }
    }
}

/// An AIJob.
#[derive(Clone, Debug, Default)]
pub struct Job {
    /// Where it is.
    pub key: Key,
    /// The object's uid.
    pub uid: String,
    /// The job's uid in the tables.
    pub job_uid: String,
    /// Whose queue.
    pub account: String,
    /// Who submitted it.
    pub creator: String,
    /// Whether it counts against limits.
    pub guaranteed: bool,
    /// What its replicas ask for.
    pub roles: Vec<Role>,
    /// Changes with what may never change of the spec.
    pub fixed: u64,
    /// Changes with the rest of the spec.
    pub wanted: u64,
    /// The spec's revision.
    pub revision: i64,
    /// Whether its end is wanted, or its deletion under way.
    pub ending: bool,
    /// Seconds between the polite and the hard signal.
    pub grace_seconds: i64,
    /// Where it is.
    pub phase: Phase,
    /// How often it was started.
    pub attempts: i32,
    /// How often it was preempted.
    pub preemptions: i32,
    /// The spec's revision that its status speaks of.
    pub observed: i64,
    /// Changes with the scheduler's part of the status.
    pub scheduling: u64,
    /// Changes with the controller's part of the status.
    pub controlled: u64,
}

/// A group of equal replicas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// How many are wanted.
    pub replicas: i32,
    /// How many must start together.
    pub least: i32,
    /// What each gets: thousandths of a core.
    pub cpu: i64,
    /// Bytes.
    pub memory: i64,
    /// Thousandths of a GPU.
    pub gpu: i64,
    /// Other devices, by name.
    pub devices: Devices,
}

/// One replica of a grant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Granted {
    /// Which.
    pub replica: Replica,
    /// Where.
    pub node: String,
    /// Its devices.
    pub gpus: Vec<i32>,
    /// Thousandths of each.
    pub millis: i64,
}

/// An Allocation.
#[derive(Clone, Debug, Default)]
pub struct Allocation {
    /// Where it is.
    pub key: Key,
    /// The object's uid.
    pub uid: String,
    /// The AIJob's name.
    pub job: String,
    /// The job's uid.
    pub job_uid: String,
    /// Who gave it.
    pub epoch: i64,
    /// What it gives.
    pub granted: Vec<Granted>,
    /// What was taken back.
    pub revoked: BTreeSet<Replica>,
    /// What is known to be gone.
    pub released: BTreeSet<Replica>,
    /// The epoch under which it was accepted.
    pub accepted: Option<i64>,
    /// Whether it was refused.
    pub refused: bool,
    /// Changes with the part of the status that says so.
    pub status: u64,
}

impl Allocation {
    /// What it still holds, if it counts.
    pub fn held(&self) -> impl Iterator<Item = &Granted> {
        self.granted.iter().filter(|g| !self.refused && !self.released.contains(&g.replica))
    }
}

/// A Pod.
#[derive(Clone, Debug, Default)]
pub struct Pod {
    /// Where it is.
    pub key: Key,
    /// The object's uid.
    pub uid: String,
    /// The job's uid; none: it is not ours.
    pub job_uid: Option<String>,
    /// Which replica.
    pub replica: Replica,
    /// The Allocation that it fills.
    pub allocation: String,
    /// Which start of the job.
    pub attempt: i32,
    /// Its node.
    pub node: String,
    /// Whether its kubelet said that nothing of it runs any more.
    pub ended: bool,
    /// Devices and thousandths of each.
    pub gpus: Vec<(i32, i64)>,
    /// What it requests: thousandths of a core.
    pub cpu: i64,
    /// Bytes.
    pub memory: i64,
    /// Thousandths of GPUs.
    pub gpu: i64,
}

/// A job's row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// The job.
    pub uid: String,
    /// `accounts/{account}/jobs/{job}`.
    pub name: String,
    /// Whose queue.
    pub account: String,
    /// Who submitted it.
    pub creator: String,
    /// Where it is.
    pub state: Phase,
    /// Whether its end is wanted.
    pub cancelled: bool,
    /// What is wanted.
    pub revision: i64,
    /// Whether the cluster lacks it.
    pub dirty: bool,
    /// The uid of its AIJob.
    pub kube_uid: Option<String>,
    /// The number of its last change.
    pub change: i64,
    /// Whether it has an end.
    pub ended: bool,
    /// Whether it is a tombstone.
    pub deleted: bool,
    /// Why it is where it is.
    pub reason: String,
    /// How often it was started.
    pub attempts: i32,
}

/// Whose limit: an account's, or a user's in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    /// The account.
    pub account: String,
    /// The user.
    pub user: Option<String>,
}

/// A job as the API tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The job.
    pub uid: String,
    /// Where it is.
    pub state: Phase,
    /// What is wanted.
    pub revision: i64,
}

/// Something that happened to a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobEvent {
    /// Its number.
    pub sequence: i64,
    /// When, in milliseconds since 1970.
    pub time_ms: i64,
    /// What.
    pub reason: String,
}

/// An answer to a caller who created a job.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
pub struct Acknowledged {
    /// `accounts/{account}/jobs/{job}`.
    #[serde(alias = "job")]
    pub name: String,
    /// The job's uid, if it was kept.
    #[serde(default)]
    pub uid: String,
    /// The request's own name, if it had one.
    #[serde(default)]
    pub request_id: String,
}

/// A number that is the same for equal values, within this process.
pub fn digest(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}
