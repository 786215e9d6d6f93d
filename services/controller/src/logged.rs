//! Pods that are told to end wait for their output to be kept, for a while.
//!
//! The finalizer is put on just before a Pod is deleted, so that Pods which nobody deletes cost no write. The job service takes
//! it off once it has read the output; should it be away, it goes from here after a time.

use std::collections::BTreeMap;
use std::time::Duration;

use crater_k8s::names::LOG_FINALIZER;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use tokio::time::Instant;

/// Whether something of the Pod was started and may have written.
pub fn may_have_output(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    matches!(phase, Some("Running" | "Succeeded" | "Failed"))
}

/// Whether it waits already.
pub fn waits(pod: &Pod) -> bool {
    pod.finalizers().iter().any(|f| f == LOG_FINALIZER)
}

/// A Pod of which nothing but its object is left, and which waits for its output to be kept.
fn only_waits(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    let over = matches!(phase, Some("Succeeded" | "Failed"))
        || pod.metadata.deletion_grace_period_seconds == Some(0);
    waits(pod) && pod.metadata.deletion_timestamp.is_some() && over
}

/// Since when the Pods of a job wait, by uid.
#[derive(Debug, Default)]
pub struct Since(BTreeMap<String, Instant>);

impl Since {
    /// The Pods that have waited long enough, and when the next one will have.
    pub fn overdue<'a>(
        &mut self,
        pods: impl Iterator<Item = &'a Pod>,
        patience: Duration,
        now: Instant,
    ) -> (Vec<&'a Pod>, Option<Duration>) {
        let (mut waiting, mut overdue, mut next) = (BTreeMap::new(), Vec::new(), None);
        for pod in pods.filter(|p| only_waits(p)) {
            let uid = pod.uid().unwrap_or_default();
            let since = self.0.get(&uid).copied().unwrap_or(now);
            let left = (since + patience).saturating_duration_since(now);
            if left.is_zero() {
                overdue.push(pod);
            } else {
                next = Some(next.map_or(left, |n: Duration| n.min(left)));
            }
            waiting.insert(uid, since);
        }
        self.0 = waiting;
        (overdue, next)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_waits_for_its_output_no_longer_than_is_allowed() {
        let pod = |phase: &str, grace: i64| -> Pod {
            serde_json::from_value(json!({
                "metadata": {"name": phase, "uid": phase, "finalizers": [LOG_FINALIZER],
                    "deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": grace},
                "status": {"phase": phase},
            }))
            .unwrap()
        };
        let pods = [pod("Running", 30), pod("Failed", 30), pod("Pending", 0)];
        let (mut since, now, patience) = (Since::default(), Instant::now(), Duration::from_secs(60));
        let (overdue, next) = since.overdue(pods.iter(), patience, now);
        assert!(overdue.is_empty() && next == Some(patience) && !since.is_empty());
        let (overdue, next) = since.overdue(pods.iter(), patience, now + patience);
        let names: Vec<String> = overdue.into_iter().map(ResourceExt::name_any).collect();
        assert_eq!((names, next), (vec!["Failed".to_owned(), "Pending".to_owned()], None));
    }
}
