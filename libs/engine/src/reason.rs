//! Why a job waits, as numbers; [`Reason::render`] makes a sentence of it once names are given.

use serde::{Deserialize, Serialize};

use crate::model::{AccountIx, ExtendedIx, JobIx, KeyIx, Millis, ModelIx, NodeIx, UserIx, ValueIx};

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
    /// Devices by name.
    Extended(ExtendedIx),
    /// Jobs that hold something.
    Jobs,
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
    /// No node that it may use offers any device of this name.
    NoSuchExtended {
        /// The name.
        name: ExtendedIx,
    },
    /// No node carries the labels asked for.
    NoSuchNode {
        /// The labels that it asks for.
        #[serde(default)]
        selector: Vec<(KeyIx, ValueIx)>,
        /// The models that it asks for.
        #[serde(default)]
        models: Vec<ModelIx>,
    },
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
        /// Milli-GPU that must come free at least, on the nodes where that is least, whatever else is short.
        #[serde(default)]
        missing_gpu: i64,
        /// Where devices by name are short: how many of them must come free at least, on the nodes where that is least.
        #[serde(default)]
        missing_extended: i64,
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
    /// The name of a device, such as a MIG profile. Who never uses any need not name them.
    fn extended(&self, _name: ExtendedIx) -> &str {
        "a device by name"
    }
    /// A label key.
    fn key(&self, key: KeyIx) -> &str;
    /// A label value.
    fn value(&self, value: ValueIx) -> &str;
}

impl Resource {
    fn render(self, amount: i64, names: &dyn Names) -> String {
        match self {
            Resource::Cpu => format!("{} cpu", thousandths(amount)),
            Resource::Memory => format!("{} memory", bytes(amount)),
            Resource::Gpu => format!("{} GPU", thousandths(amount)),
            Resource::GpuModel(model) => format!("{} {} GPU", thousandths(amount), names.model(model)),
            Resource::Extended(name) => format!("{amount} {}", names.extended(name)),
            Resource::Jobs if amount == 1 => "1 job".into(),
            Resource::Jobs => format!("{amount} jobs"),
        }
    }

    fn name(self, names: &dyn Names) -> String {
        match self {
            Resource::Cpu => "cpu".into(),
            Resource::Memory => "memory".into(),
            Resource::Gpu => "GPUs".into(),
            Resource::GpuModel(model) => format!("{} GPUs", names.model(model)),
            Resource::Extended(name) => names.extended(name).to_owned(),
            Resource::Jobs => "jobs".into(),
        }
    }
}

/// Thousandths without needless zeros: 1500 is `1.5`.
fn thousandths(milli: i64) -> String {
    let text = format!("{}.{:03}", milli / 1000, (milli % 1000).abs());
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Bytes in the largest binary unit that leaves at least one, to a tenth.
fn bytes(amount: i64) -> String {
    let units = [("Ti", 1i64 << 40), ("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)];
    match units.into_iter().find(|(_, size)| amount >= *size) {
        Some((unit, size)) => {
            let tenths = i128::from(amount) * 10 / i128::from(size);
            if tenths % 10 == 0 {
                format!("{}{unit}", tenths / 10)
            } else {
                format!("{}.{}{unit}", tenths / 10, tenths % 10)
            }
        }
        None => format!("{amount} B"),
    }
}

fn holder(of: Holder, names: &dyn Names) -> String {
    match of {
        Holder::Account(account) => format!("account {}", names.account(account)),
        Holder::User(user) => format!("user {}", names.user(user)),
    }
}

fn no_such_node(selector: &[(KeyIx, ValueIx)], models: &[ModelIx], names: &dyn Names) -> String {
    let labels = selector.iter().filter(|(key, _)| *key < KeyIx::MARKS);
    let labels: Vec<String> =
        labels.map(|(key, value)| format!("{}={}", names.key(*key), names.value(*value))).collect();
    let models: Vec<&str> = models.iter().map(|model| names.model(*model)).collect();
    let wanted = [("label", labels.join(" and ")), ("GPU model", models.join(" or "))];
    let wanted = wanted.into_iter().filter(|(_, which)| !which.is_empty());
    let wanted: Vec<String> = wanted.map(|(what, which)| format!("{what} {which}")).collect();
    if wanted.is_empty() {
        "no node may be used by it".into()
    } else {
        format!("no node has {}", wanted.join(" and "))
    }
}

impl Infeasible {
    /// The sentence for people.
    #[must_use]
    pub fn render(&self, names: &dyn Names) -> String {
        match self {
            Infeasible::NoSuchModel { models } if models.is_empty() => "no node has a GPU".into(),
            Infeasible::NoSuchModel { models } => {
                let models: Vec<&str> = models.iter().map(|model| names.model(*model)).collect();
                format!("no node has GPU model {}", models.join(" or "))
            }
            Infeasible::NoSuchExtended { name } => {
                format!("no node that it may use offers {}", names.extended(*name))
            }
            Infeasible::NoSuchNode { selector, models } => no_such_node(selector, models, names),
            Infeasible::NoSuchTopology { key } => format!("no node has a {} label", names.key(*key)),
            Infeasible::ReplicaTooLarge { resource, wanted, largest, .. } => format!(
                "a replica asks for {}, the largest node it may use has {}",
                resource.render(*wanted, names),
                resource.render(*largest, names)
            ),
            Infeasible::GangTooLarge { fit, need, key: None } => {
                format!("the empty cluster has room for {fit} of {need} replicas that must start together")
            }
            Infeasible::GangTooLarge { fit, need, key: Some(key) } => format!(
                "even when empty, no {} has room for more than {fit} of {need} replicas that must start together",
                names.key(*key)
            ),
        }
    }
}

impl Reason {
    /// The sentence for people. `now` makes instants relative.
    #[must_use]
    pub fn render(&self, now: Millis, names: &dyn Names) -> String {
        match self {
            Reason::Infeasible(infeasible) => infeasible.render(names),
            Reason::Limit { holder: of, resource: Resource::Jobs, used, limit, .. } => format!(
                "limit of {}: {} running, at most {limit} may (jobs.running)",
                holder(*of, names),
                Resource::Jobs.render(*used, names)
            ),
            Reason::Limit { holder: of, resource, used, wanted, limit } => format!(
                "limit of {}: {} in use, {} asked for, limit {}",
                holder(*of, names),
                resource.render(*used, names),
                resource.render(*wanted, names),
                resource.render(*limit, names)
            ),
            Reason::MayNotBorrow { account } => format!(
                "it may not be preempted, so it must fit the guarantee of account {}, which is used up",
                names.account(*account)
            ),
            Reason::NoRoom {
                fit,
                need,
                short,
                missing_gpu: _,
                missing_extended,
                candidates,
                best,
                domain,
            } => {
                let place = match domain {
                    Some((key, Some(value))) => {
                        format!(" in one {} (best: {})", names.key(*key), names.value(*value))
                    }
                    Some((key, None)) => format!(" in one {}", names.key(*key)),
                    None => String::new(),
                };
                let best = best.map_or(String::new(), |node| format!("; best fit {}", names.node(node)));
                let missing = match (short, missing_extended) {
                    (Resource::Extended(_), 1..) => format!(", {missing_extended} more must come free"),
                    _ => String::new(),
                };
                format!(
                    "room for {fit} of {need} replicas{place}: short of {} on {candidates} nodes it may use{missing}{best}",
                    short.name(names)
                )
            }
            Reason::KeptForOthers { first, jobs: 1 } => {
                format!("what is free is kept for job {}, which is before it", names.job(*first))
            }
            Reason::KeptForOthers { first, jobs } => {
                format!("what is free is kept for job {} and {} more before it", names.job(*first), jobs - 1)
            }
            Reason::RoomIsComing { going } => {
                format!("room is being made for it: {going} replicas are still ending")
            }
            Reason::StillEnding { going } => format!("{going} of its own former replicas are still ending"),
            Reason::NodeUnconfirmed { node } => format!(
                "node {} does not answer, and its former replicas may still run there",
                names.node(*node)
            ),
            Reason::Reserved { expected_start: Some(start) } => format!(
                "it is first in line and room is kept for it; expected to start in {} s",
                (start - now).max(0) / 1000
            ),
            Reason::Reserved { expected_start: None } => "it is first in line and room is kept for it".into(),
            Reason::Closed => "it is being ended".into(),
        }
    }
}
