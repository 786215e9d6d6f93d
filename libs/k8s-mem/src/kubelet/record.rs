//! What a kubelet remembers of a Pod, and what it reads from the Pod's object.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::report::{Life, Outcome};
use super::{local, play};
use crate::api::object::{self, at};
use crate::api::store::Key;
use crate::clock::later;

/// A Pod that a kubelet has admitted and not yet seen the last of.
pub(super) struct Pod {
    pub key: Key,
    pub node: String,
    pub object: Arc<Value>,
    pub admitted: Timestamp,
    pub ip: String,
    pub life: Life,
    /// When the clock has to look at it again.
    pub due: Option<Timestamp>,
    /// The object is gone; only the process is left.
    pub gone: bool,
    pub deadline_passed: bool,
    pub play: Option<play::Plan>,
    pub local: Option<local::Handle>,
}

pub(super) fn deletion_time(pod: &Value) -> Option<Timestamp> {
    at(pod, &["metadata", "deletionTimestamp"]).and_then(Value::as_str).and_then(|t| t.parse().ok())
}

/// When the deletion was asked for, if it ends at `until`.
pub(super) fn asked_to_stop(pod: &Value, until: Timestamp) -> Timestamp {
    until.checked_sub(grace(pod)).unwrap_or(until)
}

pub(super) fn grace(pod: &Value) -> Duration {
    let seconds = at(pod, &["metadata", "deletionGracePeriodSeconds"]).and_then(Value::as_u64);
    Duration::from_secs(seconds.unwrap_or(0))
}

/// When `activeDeadlineSeconds` runs out.
pub(super) fn deadline(pod: &Value, admitted: Timestamp) -> Option<Timestamp> {
    let seconds = at(pod, &["spec", "activeDeadlineSeconds"]).and_then(Value::as_u64)?;
    Some(later(admitted, Duration::from_secs(seconds)))
}

pub(super) fn ended(
    pod: &Value,
    since: Option<Timestamp>,
    at: Timestamp,
    outcome: Outcome,
    reason: &str,
) -> Life {
    let containers = object::list(pod, &["spec", "containers"]).len();
    Life::Ended {
        since,
        at,
        outcomes: vec![outcome; containers],
        reason: reason.into(),
        message: String::new(),
    }
}

pub(super) fn failed_to_start(at: Timestamp, reason: &str, message: String) -> Life {
    let outcomes = vec![Outcome::not_started(reason, message.clone())];
    Life::Ended { since: None, at, outcomes, reason: reason.into(), message }
}
