//! Doing what the plan says: one API write an action. What the API answers is taken in at once, so that the next plan
//! is not made from the state before.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crater_k8s::aijob::AIJobStatus;
use crater_k8s::allocation::{Granted, Range, Rejected};
use crater_k8s::build::{self, PodOf};
use crater_k8s::{AIJob, Allocation, names};
use crater_telemetry::follow;
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client, ResourceExt};
use serde_json::{Map, Value, json};
use tracing::{Instrument, Span};

use crate::index::{Index, Key};
use crate::logged;
use crate::plan::{self, Action};

/// Pods of one job that are created or deleted at one time.
const AT_ONCE: usize = 16;
/// Pods of one job that are written before it is looked at anew: a cancel need not wait for 10,000 creates.
const MOST_AT_ONCE: usize = 512;

/// What the watches have told of the cluster.
pub struct Known {
    /// AIJobs.
    pub jobs: Mutex<Index<AIJob>>,
    /// Allocations.
    pub allocations: Mutex<Index<Allocation>>,
    /// Pods of ours.
    pub pods: Mutex<Index<Pod>>,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What came of an action.
#[derive(Debug, PartialEq)]
enum Done {
    /// It is done.
    Yes,
    /// What the plan saw is stale.
    Stale,
    /// Admission would not have this replica of that Allocation, in these words.
    TurnedAway(String, Granted, String),
}

/// Writes for one job.
pub struct Actor<'a> {
    /// The way to the API.
    pub client: &'a Client,
    /// Where answers are taken in.
    pub known: &'a Arc<Known>,
    /// The job.
    pub key: &'a Key,
    /// The job as the plan saw it.
    pub job: &'a AIJob,
    /// Its Allocations as the plan saw them.
    pub allocations: &'a [Arc<Allocation>],
    /// Whether a Pod waits for its output to be kept before it goes.
    pub keeps_output: bool,
}

impl Actor<'_> {
    /// Does actions in their order, but creates and deletes of Pods that stand together side by side. `Ok(false)`:
    /// what the plan saw is stale, look again.
    ///
    /// # Errors
    /// The API server's.
    pub async fn act(&self, actions: &[Action]) -> Result<bool, kube::Error> {
        let of_pods = |a: &Action| matches!(a, Action::Create { .. } | Action::Delete { .. });
        for together in actions.chunk_by(|a, b| of_pods(a) && of_pods(b)) {
            let some = &together[..together.len().min(MOST_AT_ONCE)];
            let writes: Vec<_> = some.iter().map(|action| self.one(action)).collect();
            let results: Vec<_> = futures::stream::iter(writes).buffer_unordered(AT_ONCE).collect().await;
            // one that fails does not break the others off: what came of them would not be known
            let (mut done, mut failed) = (Vec::new(), None);
            for result in results {
                match result {
                    Ok(one) => done.push(one),
                    Err(error) => failed = Some(error),
                }
            }
            self.turned_away(&done).await?;
            if let Some(error) = failed {
                return Err(error);
            }
            if done.iter().any(|d| *d != Done::Yes) {
                return Ok(false);
            }
            if some.len() < together.len() {
                break;
            }
        }
        Ok(true)
    }

    async fn turned_away(&self, done: &[Done]) -> Result<(), kube::Error> {
        for allocation in self.allocations {
            let name = allocation.name_any();
            let refused = done.iter().filter_map(|d| match d {
                Done::TurnedAway(of, granted, why) if *of == name => Some((granted.clone(), why.clone())),
                _ => None,
            });
            let refused: Vec<_> = refused.collect();
            if !refused.is_empty() {
                self.one(&plan::turned_away(allocation, &refused)).await?;
            }
        }
        Ok(())
    }

    async fn one(&self, action: &Action) -> Result<Done, kube::Error> {
        tracing::debug!(job = self.key.job, ?action, "acting");
        let done = match action {
            Action::Status(next) => self.status(next).await,
            Action::Keep => self.finalizer(true).await,
            Action::LetGo => self.finalizer(false).await,
            Action::Accept { allocation, epoch } => {
                self.allocation(allocation, json!({"accepted": epoch})).await
            }
            Action::Refuse { allocation, message } => {
                self.allocation(allocation, json!({"refused": message})).await
            }
            Action::Release { allocation, released, rejected, unseen } => {
                if *unseen && self.unseen_pods().await? {
                    return Ok(Done::Stale);
                }
                self.release(allocation, released, rejected).await
            }
            Action::EnsureService => self.service().await,
            Action::Create { granted, allocation, attempt, rendezvous } => {
                let Some(role) = self.job.spec.roles.iter().find(|r| r.name == granted.role) else {
                    return Ok(Done::Yes);
                };
                let rendezvous = rendezvous.clone();
                let of = PodOf { job: self.job, role, granted, allocation, attempt: *attempt, rendezvous };
                let mut pod = build::pod(&of);
                let span = self.span(allocation, &mut pod);
                match self.create(&pod).instrument(span).await {
                    Err(kube::Error::Api(status)) if matches!(status.code, 400 | 403 | 422) => {
                        return Ok(Done::TurnedAway(
                            allocation.clone(),
                            granted.clone(),
                            status.message.clone(),
                        ));
                    }
                    other => other,
                }
            }
            Action::Delete { pod, uid } => self.delete(pod, uid).await,
        };
        match done {
            Ok(()) => Ok(Done::Yes),
            // somebody wrote meanwhile, or it is gone: the watch tells, and the plan is made anew
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {
                tracing::debug!(job = self.key.job, message = status.message, "a write met a newer state");
                Ok(Done::Stale)
            }
            Err(error) => Err(error),
        }
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.key.namespace)
    }

    async fn status(&self, next: &AIJobStatus) -> Result<(), kube::Error> {
        let known = self.job.status.as_ref().and_then(|status| status.checkpoint_ignored.as_ref());
        if let Some(why) = next.checkpoint_ignored.as_ref().filter(|why| known != Some(*why)) {
            tracing::warn!(
                job = self.key.job,
                namespace = self.key.namespace,
                why,
                "a checkpoint is ignored"
            );
        }
        let before = serde_json::to_value(self.job.status.as_ref()).unwrap_or(Value::Null);
        let after = serde_json::to_value(next).unwrap_or(Value::Null);
        let mut change = difference(&before, &after);
        // the scheduler's part is never touched
        change.remove("scheduling");
        let patch = json!({"metadata": self.version(), "status": change});
        let api: Api<AIJob> = self.api();
        let job = api.patch_status(&self.key.job, &PatchParams::default(), &Patch::Merge(&patch)).await?;
        lock(&self.known.jobs).assume(job);
        Ok(())
    }

    /// The object that the plan saw, in its uid and version.
    fn version(&self) -> Value {
        json!({"uid": self.job.uid(), "resourceVersion": self.job.resource_version()})
    }

    async fn finalizer(&self, on: bool) -> Result<(), kube::Error> {
        let mut finalizers = self.job.finalizers().to_vec();
        finalizers.retain(|f| f != names::PODS_FINALIZER);
        if on {
            finalizers.push(names::PODS_FINALIZER.to_owned());
        }
        let mut metadata = self.version();
        metadata["finalizers"] = json!(finalizers);
        let api: Api<AIJob> = self.api();
        let patch = json!({ "metadata": metadata });
        let job = api.patch(&self.key.job, &PatchParams::default(), &Patch::Merge(&patch)).await?;
        lock(&self.known.jobs).assume(job);
        Ok(())
    }

    async fn release(
        &self,
        name: &str,
        released: &[Range],
        rejected: &[Rejected],
    ) -> Result<(), kube::Error> {
        let mut change = json!({"released": released});
        if !rejected.is_empty() {
            change["rejected"] = json!(rejected);
        }
        self.allocation(name, change).await
    }

    async fn allocation(&self, name: &str, status: Value) -> Result<(), kube::Error> {
        let seen = self.allocations.iter().find(|a| a.name_any() == name);
        let version = seen.and_then(|a| a.resource_version());
        let patch = json!({"metadata": {"resourceVersion": version}, "status": status});
        let api: Api<Allocation> = self.api();
        let allocation = api.patch_status(name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
        lock(&self.known.allocations).assume(allocation);
        Ok(())
    }

    /// The answer to a create may have been lost, and the watch be behind: asks for the job's Pods, and says whether
    /// there is one that was not known.
    async fn unseen_pods(&self) -> Result<bool, kube::Error> {
        let selector = format!("{}={}", names::JOB_UID, self.job.spec.job_uid);
        let api: Api<Pod> = self.api();
        let there = api.list(&ListParams::default().labels(&selector)).await?;
        let mut known = lock(&self.known.pods);
        let mut unseen = false;
        for pod in there {
            if !known.knows(&pod) {
                unseen = true;
                known.assume(pod);
            }
        }
        Ok(unseen)
    }

    async fn service(&self) -> Result<(), kube::Error> {
        let api: Api<Service> = self.api();
        let service = build::service(self.job);
        match api.create(&PostParams::default(), &service).await {
            // that of an earlier job of this name, which may be about to go: it is ours from now on
            Err(kube::Error::Api(status)) if status.code == 409 => {
                let ours = Patch::Merge(&service);
                api.patch(&self.key.job, &PatchParams::default(), &ours).await.map(drop)
            }
            other => other.map(drop),
        }
    }

    /// The span in which a Pod is made, in the trace of its Allocation, that is its job's; the Pod says it too.
    fn span(&self, allocation: &str, pod: &mut Pod) -> Span {
        let placed = self.allocations.iter().find(|a| a.name_any() == allocation);
        let kept = placed.and_then(|a| a.annotations().get(names::TRACEPARENT));
        let Some(kept) = kept.or_else(|| self.job.annotations().get(names::TRACEPARENT)) else {
            return Span::none();
        };
        let span =
            tracing::info_span!("start", service = "controller", job = self.key.job, pod = pod.name_any());
        if let Some(trace) = follow(&span, kept) {
            pod.annotations_mut().insert(names::TRACEPARENT.to_owned(), trace);
        }
        span
    }

    async fn create(&self, pod: &Pod) -> Result<(), kube::Error> {
        let api: Api<Pod> = self.api();
        let pod = api.create(&PostParams::default(), pod).await?;
        lock(&self.known.pods).assume(pod);
        Ok(())
    }

    /// Its object may go though its output may not be kept.
    pub async fn let_pod_go(&self, pod: &Pod) -> Result<(), kube::Error> {
        let left: Vec<&String> = pod.finalizers().iter().filter(|f| *f != names::LOG_FINALIZER).collect();
        match self.finalizers(pod, json!(left)).await {
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            done => done.map(drop),
        }
    }

    async fn finalizers(&self, pod: &Pod, finalizers: Value) -> Result<Pod, kube::Error> {
        let api: Api<Pod> = self.api();
        let metadata =
            json!({"uid": pod.uid(), "resourceVersion": pod.resource_version(), "finalizers": finalizers});
        let patch = Patch::Merge(json!({ "metadata": metadata }));
        api.patch(&pod.name_any(), &PatchParams::default(), &patch).await
    }

    /// Before a Pod is deleted that may have written: its object stays until that is kept.
    async fn hold(&self, name: &str, uid: &str) -> Result<(), kube::Error> {
        let pods = lock(&self.known.pods).of(self.key);
        let pod = pods.iter().find(|p| p.name_any() == name && p.uid().as_deref() == Some(uid));
        if let Some(pod) = pod
            && self.keeps_output
            && logged::may_have_output(pod)
            && !logged::waits(pod)
        {
            let all: Vec<&str> =
                pod.finalizers().iter().map(String::as_str).chain([names::LOG_FINALIZER]).collect();
            let pod = self.finalizers(pod, json!(all)).await?;
            lock(&self.known.pods).assume(pod);
        }
        Ok(())
    }

    async fn delete(&self, name: &str, uid: &str) -> Result<(), kube::Error> {
        self.hold(name, uid).await?;
        let api: Api<Pod> = self.api();
        let only = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
        match api.delete(name, &DeleteParams::default().preconditions(only)).await {
            Ok(answer) => {
                // told to go; one that had ended is gone, and the watch says so
                if let Some(pod) = answer.left().filter(|p| p.metadata.deletion_timestamp.is_some()) {
                    lock(&self.known.pods).assume(pod);
                }
                Ok(())
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {
                lock(&self.known.pods).forget(self.key, name, uid);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

/// The merge patch that makes `after` of `before`, for one level of keys.
fn difference(before: &Value, after: &Value) -> Map<String, Value> {
    let empty = Map::new();
    let (before, after) = (before.as_object().unwrap_or(&empty), after.as_object().unwrap_or(&empty));
    let mut change = Map::new();
    for (key, value) in after {
        if before.get(key) != Some(value) {
            change.insert(key.clone(), value.clone());
        }
    }
    for key in before.keys().filter(|k| !after.contains_key(*k)) {
        change.insert(key.clone(), Value::Null);
    }
    change
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changed_is_written() {
        let change = difference(&json!({"a": 1, "b": 2, "c": 3}), &json!({"a": 1, "b": 5}));
        assert_eq!(Value::Object(change), json!({"b": 5, "c": null}));
    }
}
