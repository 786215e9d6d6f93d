//! Why a job waits, as numbers; [`Reason::render`] makes a sentence of it once names are given.

use serde::{Deserialize, Serialize};

use crate::model::{AccountIx, JobIx, KeyIx, Millis, ModelIx, NodeIx, UserIx, ValueIx};

/// A resource as people count it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Resource {
    /// Milli-cores.
    Cpu,
    /// Bytes.
    Memory,
    /// Milli-GPU of all models.
    Gpu,
    /// Milli-GPU of one model.
    GpuModel(ModelIx),
}

/// Whose limit or guarantee.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Holder {
    /// An account (its whole subtree).
    Account(AccountIx),
    /// One person in an account.
    User(UserIx),
}

/// Why a job could never run on this cluster, were it empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Infeasible {
    /// No node has any of these GPU models (empty: no node has a GPU).
    NoSuchModel {
        /// What was asked for.
        models: Vec<ModelIx>,
    },
    /// No node carries the labels asked for.
    NoSuchNode,
    /// No node carries the topology label at all.
    NoSuchTopology {
        /// The label.
        key: KeyIx,
    },
    /// One replica is larger than any node that it may use.
    ReplicaTooLarge {
        /// Which role.
        role: u16,
        /// Of what it asks too much.
        resource: Resource,
        /// How much a replica asks for.
        wanted: i64,
        /// The most that a node has.
        largest: i64,
    },
    /// All nodes together, or the best topology domain, hold fewer replicas than must start together.
    GangTooLarge {
        /// Replicas that fit an empty cluster (or domain).
        fit: u32,
        /// Replicas that must start together.
        need: u32,
        /// The topology label that all must share, if one is required.
        key: Option<KeyIx>,
    },
}

/// One thing that keeps a job waiting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// It can never run here as it is.
    Infeasible(Infeasible),
    /// A limit binds.
    Limit {
        /// Whose.
        holder: Holder,
        /// Of what.
        resource: Resource,
        /// How much is in use (with what is promised).
        used: i64,
        /// How much the job's gang asks for.
        wanted: i64,
        /// The limit.
        limit: i64,
    },
    /// It may not be preempted, so it may not borrow, and the guarantee is used up.
    MayNotBorrow {
        /// Whose guarantee.
        account: AccountIx,
    },
    /// There is no room for the whole gang now.
    NoRoom {
        /// Replicas for which there is room (in the best topology domain, if one is required).
        fit: u32,
        /// Replicas that must start together.
        need: u32,
        /// What is short: giving more of this one would help most.
        short: Resource,
        /// Nodes that the job may use at all.
        candidates: u32,
        /// The node with the best fit, if any has room for one replica.
        best: Option<NodeIx>,
        /// The topology label that all must share, with the value that fits best.
        domain: Option<(KeyIx, Option<ValueIx>)>,
    },
    /// Enough is free, but it is kept for jobs before it.
    KeptForOthers {
        /// The one for whom most is kept.
        first: JobIx,
        /// How many jobs room is kept for.
        jobs: u32,
    },
    /// Room was taken back for it and is being released.
    RoomIsComing {
        /// Replicas of others that must be gone.
        going: u32,
    },
    /// Its own former replicas are not gone yet.
    StillEnding {
        /// How many.
        going: u32,
    },
    /// A node on which its former replicas ran does not answer; they may still run.
    NodeUnconfirmed {
        /// Which.
        node: NodeIx,
    },
    /// It is the head of its line, and room is kept for it.
    Reserved {
        /// When it is expected to start, if those before it said how long they run.
        expected_start: Option<Millis>,
    },
    /// It wants nothing more.
    Closed,
}

/// Names for what is an ordinal here.
pub trait Names {
    /// A node's name.
    fn node(&self, node: NodeIx) -> &str;
    /// A job's name.
    fn job(&self, job: JobIx) -> &str;
    /// An account's name.
    fn account(&self, account: AccountIx) -> &str;
    /// A user's name.
    fn user(&self, user: UserIx) -> &str;
    /// A GPU model's name.
    fn model(&self, model: ModelIx) -> &str;
    /// A label key.
    fn key(&self, key: KeyIx) -> &str;
    /// A label value.
    fn value(&self, value: ValueIx) -> &str;
}
