//! What is wrong, in words: the law that was broken, by what, and what most likely broke it.

use std::fmt;

use serde::Serialize;

/// The laws.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Law {
    /// One writer per fact.
    I1,
    /// A gang is allocated whole or not at all.
    I2,
    /// No GPU is promised twice; no node beyond what it has; nothing is free before it is known to be gone.
    I3,
    /// No accepted job is lost, run twice at once, or waits without a reason.
    I5,
    /// Each effect once; states only along their graph.
    I6,
    /// What is used is within the limits that were in force.
    Limits,
    /// Nothing is left of what has ended.
    Orphans,
    /// API, tables and cluster say the same.
    Views,
    /// The auditor saw enough to judge.
    Blind,
}

impl Law {
    /// What it says.
    pub fn words(self) -> &'static str {
        match self {
            Self::I1 => "one writer per fact",
            Self::I2 => "a gang is allocated whole or not at all",
            Self::I3 => "no GPU has two owners, no node gives more than it has",
            Self::I5 => "no accepted job is lost, run twice at once, or waits without a reason",
            Self::I6 => "each effect once, states only along their graph",
            Self::Limits => "what is used stays within the limits in force",
            Self::Orphans => "nothing is held or runs after its job has ended",
            Self::Views => "API, tables and cluster say the same",
            Self::Blind => "the auditor saw what it was to judge",
        }
    }
}

impl fmt::Display for Law {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limits => f.write_str("limits"),
            Self::Orphans => f.write_str("orphans"),
            Self::Views => f.write_str("views"),
            Self::Blind => f.write_str("blind"),
            law => write!(f, "{law:?}"),
        }
    }
}

/// What most likely broke it: a name for machines and an explanation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Cause {
    /// For machines.
    pub id: &'static str,
    /// For people.
    pub why: &'static str,
}

/// The causes that the auditor knows.
pub mod cause {
    use super::Cause;

    /// Concurrent creates each saw room.
    pub const NO_LOCK: Cause = Cause {
        id: "no-lock",
        why: "the limit was checked outside the transaction, or without the lock of the account's row",
    };
    /// A void grant was taken.
    pub const NO_EPOCH_CHECK: Cause = Cause {
        id: "no-epoch-check",
        why: "the controller accepted an Allocation without holding it against the Lease's epoch and list revision",
    };
    /// OK was said too early.
    pub const ANSWER_BEFORE_COMMIT: Cause = Cause {
        id: "answer-before-commit",
        why: "the caller was answered before the transaction was durable",
    };
    /// The controller kept what is gone.
    pub const MISSED_RELEASE: Cause = Cause {
        id: "missed-release",
        why: "the controller did not release what an ended or revoked replica held",
    };
    /// The same twice.
    pub const DOUBLE_CONSUMPTION: Cause =
        Cause { id: "double-consumption", why: "an idempotency row or an outbox row was consumed twice" };
    /// A watcher is behind for good.
    pub const IGNORED_410: Cause = Cause {
        id: "ignored-410",
        why: "a watch went on after 410 Gone without a list, so its follower missed versions for good",
    };
    /// The scheduler's snapshot was wrong.
    pub const DOUBLE_GRANT: Cause =
        Cause { id: "double-grant", why: "the scheduler gave what another Allocation still held" };
    /// The engine placed a part.
    pub const PARTIAL_GRANT: Cause =
        Cause { id: "partial-grant", why: "the scheduler gave less than the gang's minimum" };
    /// Given back too soon.
    pub const EARLY_RELEASE: Cause = Cause {
        id: "early-release",
        why: "the controller released a replica whose Pod was not known to be gone",
    };
    /// Somebody writes what is not theirs.
    pub const SECOND_WRITER: Cause =
        Cause { id: "second-writer", why: "a field was written by who does not own it" };
    /// Pods without right.
    pub const STRAY_POD: Cause =
        Cause { id: "stray-pod", why: "a Pod was made, or left, for what no valid Allocation holds" };
    /// The limit was not looked at.
    pub const LIMIT_IGNORED: Cause =
        Cause { id: "limit-ignored", why: "the scheduler granted above a limit that it had been told" };
    /// A state that cannot follow.
    pub const WRONG_STEP: Cause =
        Cause { id: "wrong-step", why: "a state was written that cannot follow the one before" };
    /// Work that nobody does.
    pub const STUCK: Cause = Cause { id: "stuck", why: "a loop has stopped working on this object" };
    /// Somebody took the wrong one.
    pub const LEASE: Cause = Cause { id: "lease", why: "the Lease changed hands without a new epoch" };
    /// No words for the owner.
    pub const NO_REASON: Cause =
        Cause { id: "no-reason", why: "the scheduler says nothing of a job that waits" };
    /// The auditor's own.
    pub const TOO_LITTLE: Cause = Cause { id: "too-little", why: "the audit saw less than it was to see" };
}

/// A law that was broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Which law.
    pub law: Law,
    /// By what: objects by name.
    pub subject: String,
    /// How.
    pub what: String,
    /// When, in milliseconds since the audit began.
    pub at_ms: i64,
    /// At which version of the cluster; 0: not at one.
    pub revision: u64,
    /// What most likely broke it.
    pub cause: Cause,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { law, subject, what, at_ms, revision, cause } = self;
        let at = *at_ms as f64 / 1000.0;
        write!(f, "{law} ({}): {subject}: {what}\n    at {at:.3} s", law.words())?;
        if *revision > 0 {
            write!(f, ", revision {revision}")?;
        }
        write!(f, "; likely cause {}: {}", cause.id, cause.why)
    }
}
