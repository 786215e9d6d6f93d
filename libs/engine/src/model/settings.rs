//! What an administrator may turn.

use serde::{Deserialize, Serialize};

use super::Millis;

/// What an administrator may turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// How long after its start a job is spared by priority preemption, fair-share reclaim and migration. Never shields
    /// from an account that is owed its guarantee, nor best-effort work from guaranteed work.
    pub protection_ms: Millis,
    /// May preemptible work be migrated, so that a waiting job finds a place?
    pub consolidate: bool,
    /// Does what runs as best effort count against limits too? (It never counts against guarantees, and always against
    /// [`Amounts::jobs`].)
    pub best_effort_limited: bool,
    /// In which order the jobs of one account go.
    #[serde(default)]
    pub order: Queueing,
    /// Where replicas go among the nodes that have room. Written down before there was a choice, it is [`Placing::Pack`].
    #[serde(default = "Placing::as_ever")]
    pub placement: Placing,
    /// Who may pass a job that waits for room.
    #[serde(default)]
    pub backfill: Backfill,
    /// After how long half of what accounts borrowed is forgotten ([`Snapshot::lately`]); 0: at once, and only what they borrow now counts.
    ///
    /// [`Snapshot::lately`]: super::Snapshot::lately
    #[serde(default)]
    pub half_life_ms: Millis,
}

impl Settings {
    /// Does a decision look at [`Job::predicted_ms`](super::Job::predicted_ms)?
    #[must_use]
    pub fn asks_for_predictions(&self) -> bool {
        self.order == Queueing::Sjf || self.backfill == Backfill::Conservative
    }

    /// Does a decision, or the prediction that it asks for, look at [`Job::served`](super::Job::served)?
    #[must_use]
    pub fn asks_what_was_served(&self) -> bool {
        self.order == Queueing::Las || self.asks_for_predictions()
    }
}

/// Who may pass a job that waits for room. A job runs as long as its owner said ([`Job::expected_ms`]).
///
/// [`Job::expected_ms`]: super::Job::expected_ms
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backfill {
    /// The first of each line has a reservation; others pass it where they do not delay it.
    #[default]
    Easy,
    /// Whoever waits for room has one, up to [`Backfill::DEPTH`] jobs, with a start and a place that stand from cycle to cycle; others pass
    /// them where they delay none. Where no owner said anything, [`Job::predicted_ms`] counts.
    ///
    /// [`Job::predicted_ms`]: super::Job::predicted_ms
    Conservative,
    /// Nobody passes the first of a line, but for who is owed a guarantee.
    None,
}

impl Backfill {
    /// For so many jobs [`Backfill::Conservative`] keeps room.
    pub const DEPTH: usize = 64;
}

/// Where replicas go among the nodes that have room. All but `Spread` keep a gang on the fewest nodes and choose between those that hold
/// equally many of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Placing {
    /// The node with the fewest GPUs free, a share on the fullest device: a seek. The others look at every kind of room that nodes have.
    Pack,
    /// The node on which the least stays unused, of CPU and GPUs together.
    BestFit,
    /// The emptiest node, each replica by itself, a share on the emptiest device.
    Spread,
    /// Where the least becomes of no use to the mix of jobs that wait and run ([`crate::score::exact::Expected`]).
    Fragmentation,
    /// Where the least is lost in the end, and what others need more is spared ([`crate::score::outlook`],
    /// [`crate::score::scarcity`]).
    #[default]
    Crater,
}

impl Placing {
    /// What there was before there was a choice.
    fn as_ever() -> Self {
        Self::Pack
    }
}

/// In which order the jobs of one account go. What is equal goes by submission, then by ordinal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Queueing {
    /// By submission alone.
    Fifo,
    /// By priority.
    #[default]
    Priority,
    /// By priority, then by the least GPU-time that is expected, with ageing ([`Order::Sjf`](crate::order::Order::Sjf)).
    Sjf,
    /// By priority, then by least attained service in two levels ([`Order::Las`](crate::order::Order::Las)).
    Las,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            protection_ms: 60_000,
            consolidate: true,
            best_effort_limited: false,
            order: Queueing::default(),
            placement: Placing::default(),
            backfill: Backfill::default(),
            half_life_ms: 0,
        }
    }
}
