//! What goes in and what comes out: [`Snapshot`] and [`Plan`], plain integers and dense ordinals.
//!
//! Units everywhere: cpu in milli-cores, memory in bytes, GPU in milli-GPU (1000 is one whole device), time in
//! milliseconds. Names stay with the caller: a [`NodeIx`] is an index into [`Snapshot::nodes`], and so on. Where two
//! things are equal the smaller ordinal wins, so the caller numbers nodes by name, and jobs that were submitted in the same millisecond in their order.

mod extended;
mod settings;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::reason::Reason;
use crate::usage::Borrowed;

pub use extended::Extended;
pub use settings::{Backfill, Placing, Queueing, Settings};

/// Milliseconds since any epoch the caller likes; only differences matter.
pub type Millis = i64;

/// One whole GPU in milli-GPU.
pub const WHOLE_GPU: i64 = 1000;

macro_rules! ordinal {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u32);

        impl $name {
            /// The ordinal as an index.
            pub fn at(self) -> usize {
                self.0 as usize
            }

            /// The ordinal of an index (saturating; no snapshot has 2³² of anything).
            pub fn of(index: usize) -> Self {
                Self(u32::try_from(index).unwrap_or(u32::MAX))
            }
        }
    )*};
}

ordinal! {
    /// Index into [`Snapshot::nodes`], numbered in order of node names.
    NodeIx,
    /// Index into [`Snapshot::jobs`]. An ordinal may come to stand for another job once one is gone.
    JobIx,
    /// Index into [`Snapshot::accounts`].
    AccountIx,
    /// Index into [`Snapshot::users`]: one person in one account.
    UserIx,
    /// A GPU model, `0..Snapshot::models`.
    ModelIx,
    /// A device by name, such as a MIG profile, `0..Snapshot::extended`.
    ExtendedIx,
    /// A label key the caller has interned.
    KeyIx,
    /// A label value the caller has interned.
    ValueIx,
}

impl KeyIx {
    /// Keys from here on are no labels but marks of the caller's own: they are not told to people, and are no levels of a topology.
    pub const MARKS: Self = Self(1 << 30);
}

/// Everything a decision depends on.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Snapshot {
    /// The present instant.
    pub now: Millis,
    /// A number that grows with each cycle; only echoed in [`Plan::cycle`].
    pub cycle: u64,
    /// How many GPU models have an ordinal, those that no node has included.
    pub models: u32,
    /// How many names of other devices have an ordinal.
    #[serde(default)]
    pub extended: u32,
    /// What an administrator may turn.
    pub settings: Settings,
    /// In order of name.
    pub nodes: Vec<Node>,
    /// The account tree. An account that is its own ancestor is refused by [`Snapshot::check`].
    pub accounts: Vec<Account>,
    /// People with guarantees or limits of their own inside an account; others need no entry.
    pub users: Vec<User>,
    /// Jobs that want or hold something; which was submitted first is told by [`Job::submitted`]. Ended jobs are left out once nothing is held.
    pub jobs: Vec<Job>,
    /// What is allocated and not yet released, one entry a replica.
    pub holdings: Vec<Holding>,
    /// [`Plan::holds`] of the last cycle, as they came out. A new leader starts without; rights are found again.
    pub holds: Vec<Hold>,
    /// [`Plan::reservations`] of the last cycle, as they came out. Only [`Backfill::Conservative`] looks at them; a new leader starts
    /// without, and starts are promised anew.
    #[serde(default)]
    pub reservations: Vec<Reservation>,
    /// What each account borrowed lately, by ordinal; of those left out, nothing. Only with [`Settings::half_life_ms`]; the caller keeps it
    /// ([`crate::usage::decay_all`]).
    #[serde(default)]
    pub lately: Vec<Borrowed>,
}

impl Snapshot {
    /// What a grant holds once it is carried out, from now on.
    pub fn holdings_of<'a>(&'a self, grant: &'a Grant) -> impl Iterator<Item = Holding> + 'a {
        let request = &self.jobs[grant.job.at()].request;
        grant.placements.iter().map(move |place| Holding {
            job: grant.job,
            role: place.role,
            replica: place.replica,
            node: place.node,
            each: request.roles[usize::from(place.role)].each,
            gpus: place.gpus.clone(),
            started: self.now,
            going: false,
        })
    }
}

/// One machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Allocatable milli-cores, what DaemonSets and Pods of others take included (see `others_*`).
    pub cpu: i64,
    /// Allocatable bytes.
    pub memory: i64,
    /// GPU devices, numbered `0..gpus`. 0 for a node without.
    pub gpus: u16,
    /// The model of all its devices; `None` exactly when `gpus` is 0.
    pub model: Option<ModelIx>,
    /// Devices that may not be given (unhealthy, or excluded by an administrator).
    pub bad_gpus: Vec<u16>,
    /// May it take new work: ready, not cordoned, no taint that our Pods do not tolerate, not barred?
    pub open: bool,
    /// Is it unknown whether its Pods still run (see "Gone" in the design)? What it holds stays held.
    pub lost: bool,
    /// Labels, in any order.
    pub labels: Vec<(KeyIx, ValueIx)>,
    /// Milli-cores held by Pods that are not ours.
    pub others_cpu: i64,
    /// Bytes held by Pods that are not ours.
    pub others_memory: i64,
    /// Devices (and milli-GPU of each) held by Pods that are not ours.
    pub others_gpus: Vec<(u16, i64)>,
    /// Devices that it offers by name, those that others hold included; a name at most once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extended: Vec<(ExtendedIx, u32)>,
    /// Those held by Pods that are not ours.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others_extended: Vec<(ExtendedIx, u32)>,
}

/// An amount per resource, of which those not named are `None`: no guarantee, or no limit.
///
/// A guarantee that names GPUs and not cpu covers the cpu of GPU jobs: a job is judged by the resources that are named,
/// but a job with GPUs only by a guarantee that names GPUs (in total, or of its model), and one with other devices only by one that names them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amounts {
    /// Milli-cores.
    pub cpu: Option<i64>,
    /// Bytes.
    pub memory: Option<i64>,
    /// Milli-GPU of all models together.
    pub gpu: Option<i64>,
    /// Milli-GPU of one model.
    pub gpu_models: Vec<(ModelIx, i64)>,
    /// Devices by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extended: Vec<(ExtendedIx, i64)>,
    /// Jobs that hold something, those that are going and best effort included. In a limit only: nobody is promised jobs.
    #[serde(default)]
    pub jobs: Option<i64>,
}

/// A team with its quota. Guarantees and limits hold for the whole subtree; jobs may sit in any account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// `None` for the top level.
    pub parent: Option<AccountIx>,
    /// Its part of what is borrowed, beside its siblings; at least 1.
    pub weight: i64,
    /// Always reachable. Where children are promised more than their parent, the sum of the children counts.
    pub guaranteed: Amounts,
    /// Binds; a limit below the guarantee wins.
    pub limit: Amounts,
}

impl Default for Account {
    fn default() -> Self {
        Self { parent: None, weight: 1, guaranteed: Amounts::default(), limit: Amounts::default() }
    }
}

/// One person in one account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The account in which these hold.
    pub account: AccountIx,
    /// Always reachable for this person inside the account.
    pub guaranteed: Amounts,
    /// Binds for this person inside the account.
    pub limit: Amounts,
}

/// Service class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Class {
    /// Counts against quota; never preempted inside the guarantee.
    #[default]
    Guaranteed,
    /// Uses what is idle, is preempted first, and is queued again by itself.
    BestEffort,
}

/// What the owner said about being stopped. Best-effort work may always be stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Preemptible {
    /// Only while it runs over the guarantee.
    #[default]
    WhenBorrowing,
    /// Inside the guarantee too: by higher priority in its account, or to be migrated. (Never by another account.)
    Always,
    /// Never, and so it may not borrow. (What a lowered guarantee no longer covers runs to its end.)
    Never,
}

/// What one replica needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Shape {
    /// Milli-cores.
    pub cpu: i64,
    /// Bytes.
    pub memory: i64,
    /// Milli-GPU: 0, a part of one device (1..1000), or whole devices (a multiple of 1000).
    pub gpu: i64,
    /// Devices by name, beside the GPUs. All roles of a request together name at most [`Extended::MOST`].
    #[serde(default, skip_serializing_if = "Extended::is_empty")]
    pub extended: Extended,
}

impl Shape {
    /// Could it have its devices by name where names are offered as [`crate::room::Room::offers`] tells?
    pub(crate) fn may_be_offered(&self, offers: u64) -> bool {
        self.extended.iter().all(|(name, _)| offers & 1 << (name.at() % 64) != 0)
    }
}

/// Replicas of one kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Role {
    /// What one replica needs.
    pub each: Shape,
    /// How many it wants; at least 1.
    pub replicas: u32,
    /// How many must start together; `0..=replicas`. Below `replicas` the role is elastic.
    pub min: u32,
}

/// How far apart replicas may be. What lies within what (islands in racks, racks in zones) is seen from the labels of all nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Topology {
    /// The label whose value all replicas shall share.
    pub key: KeyIx,
    /// Wait for it (true), or start where they share one of a coarser label, and else anywhere (false)?
    pub required: bool,
}

/// What a job asks for: equal requests are judged once a cycle. Share it between snapshots.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Request {
    /// At least one.
    pub roles: Vec<Role>,
    /// Any of these, the preferred first; empty = any model.
    pub models: Vec<ModelIx>,
    /// Labels that a node must have, all of them.
    pub selector: Vec<(KeyIx, ValueIx)>,
    /// All replicas near each other.
    pub topology: Option<Topology>,
}

/// A job that wants to run, or holds something.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Whose queue it is in.
    pub account: AccountIx,
    /// Who submitted it, if that person has an entry in this account.
    pub user: Option<UserIx>,
    /// Service class.
    pub class: Class,
    /// Greater goes first, inside its account.
    pub priority: i32,
    /// When it was submitted. Equal instants go by ordinal.
    pub submitted: Millis,
    /// Since when it waits (its submission, or its last eviction).
    pub queued_since: Millis,
    /// How long its owner says that it runs, once started.
    pub expected_ms: Option<Millis>,
    /// When it last wrote a checkpoint, as it reported: what it did until then is not lost if it is stopped.
    #[serde(default)]
    pub checkpointed: Option<Millis>,
    /// How much longer the caller's predictor thinks that it runs, after what it was served: [`Prediction::cost`]. Only
    /// [`Queueing::Sjf`] asks; without it goes what its owner said.
    ///
    /// [`Prediction::cost`]: crate::predict::Prediction::cost
    #[serde(default)]
    pub predicted_ms: Option<Millis>,
    /// What it was served so far, in milli-GPU times milliseconds (work without GPUs counts as one milli-GPU). The caller adds to
    /// it; what is held now is not looked at.
    #[serde(default)]
    pub served: i64,
    /// What its owner said about being stopped.
    pub preemptible: Preemptible,
    /// Wants nothing more (cancelled, or ending by itself); what it holds is only waited for.
    pub closed: bool,
    /// What it asks for.
    pub request: Arc<Request>,
}

impl Job {
    /// What stands at an ordinal that no job has (now). It wants and holds nothing.
    #[must_use]
    pub fn nobody(account: AccountIx) -> Self {
        let role = Role { each: Shape::default(), replicas: 1, min: 1 };
        let request = Arc::new(Request { roles: vec![role], ..Request::default() });
        Self { account, class: Class::BestEffort, closed: true, request, ..Self::default() }
    }
}

/// One replica that is allocated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// Whose.
    pub job: JobIx,
    /// Index into the request's roles.
    pub role: u16,
    /// Index of the replica in its role.
    pub replica: u32,
    /// Where.
    pub node: NodeIx,
    /// What it really requests (admission may have added to the role's shape).
    pub each: Shape,
    /// Device and milli-GPU of it; adds up to `each.gpu`.
    pub gpus: Vec<(u16, i64)>,
    /// When it was allocated.
    pub started: Millis,
    /// Revoked and not yet released: still held, and waited for.
    pub going: bool,
}

/// Where one replica goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Placement {
    /// Index into the request's roles.
    pub role: u16,
    /// Index of the replica in its role.
    pub replica: u32,
    /// Where.
    pub node: NodeIx,
    /// Device and milli-GPU of it.
    pub gpus: Vec<(u16, i64)>,
}

/// Room that is kept for a job until it is free: it becomes a [`Grant`] of a later cycle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// For whom.
    pub job: JobIx,
    /// Since when.
    pub since: Millis,
    /// Which room; some of it is still held by replicas that are going.
    pub placements: Vec<Placement>,
}

/// A job that gets room which is free now: write one Allocation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Who.
    pub job: JobIx,
    /// At least the gang's minimum, unless the job already holds that.
    pub placements: Vec<Placement>,
}

/// Why replicas are taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RevokeCause {
    /// It runs as best effort and a guaranteed job needs the room.
    BestEffortYields,
    /// It runs over its account's guarantee and another account is owed its own.
    Reclaimed,
    /// It runs over its account's guarantee, and another that does too has less.
    FairShare,
    /// A job of higher priority in the same account needs the room or the limit.
    Priority,
    /// It is migrated, to let another job start.
    Consolidated,
    /// Its gang fell below the minimum and cannot be completed.
    BrokenGang,
}

/// One replica that is taken back.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RevokedReplica {
    /// Index into the request's roles.
    pub role: u16,
    /// Index of the replica in its role.
    pub replica: u32,
    /// Where it is now.
    pub node: NodeIx,
    /// Where room is held for it (see [`Plan::holds`]); `None`: it goes back to the queue.
    pub moves_to: Option<NodeIx>,
}

/// Replicas to take back, with the grace period of their job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// Whose.
    pub job: JobIx,
    /// Which: everything the job holds, or what is safely above its minimum.
    pub replicas: Vec<RevokedReplica>,
    /// Why.
    pub cause: RevokeCause,
    /// For whom; `None` for a broken gang.
    pub beneficiary: Option<JobIx>,
}

/// A job for which room is kept from those behind: the head of a line, or, with [`Backfill::Conservative`], any that waits for room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// For whom.
    pub job: JobIx,
    /// When it starts if those before it end as they said; `None` when one of them said nothing.
    pub expected_start: Option<Millis>,
    /// Where it waits.
    pub nodes: Vec<NodeIx>,
    /// Which room it gets then, where that is promised: only with [`Backfill::Conservative`], and only where a start is expected.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub placements: Vec<Placement>,
}

/// What a waiting job is told. One for every job that holds nothing and gets nothing now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Who.
    pub job: JobIx,
    /// Its place in the order in which jobs were considered, from 1, over the whole cluster.
    pub position: u32,
    /// The job considered before it that waits too.
    pub after: Option<JobIx>,
    /// What keeps it, the first blocker first. Never empty.
    pub reasons: Vec<Reason>,
    /// When it is expected to start, where that is known.
    pub expected_start: Option<Millis>,
}

/// Totals of one cycle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Jobs that hold something that is not going.
    pub running: u32,
    /// Jobs without anything at the end of the cycle.
    pub waiting: u32,
    /// Replicas granted.
    pub granted: u32,
    /// Replicas revoked, moved ones included.
    pub revoked: u32,
    /// Times a placement was searched for.
    pub searches: u32,
}

/// What to do. Apply revocations and grants as written; feed `holds` back in the next snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// From the snapshot.
    pub cycle: u64,
    /// At most one a job, in the order decided.
    pub grants: Vec<Grant>,
    /// At most one a job.
    pub revocations: Vec<Revocation>,
    /// Room promised and not yet free, at most one a job.
    pub holds: Vec<Hold>,
    /// Heads of lines; with [`Backfill::Conservative`] whoever waits for room, in the order in which they go.
    pub reservations: Vec<Reservation>,
    /// Every waiting job, in the order considered.
    pub verdicts: Vec<Verdict>,
    /// What each account borrows once this plan is carried out, by ordinal; nothing without [`Settings::half_life_ms`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub borrowed: Vec<Borrowed>,
    /// Totals.
    pub counts: Counts,
}
