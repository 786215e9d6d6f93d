//! Doing what the plan says: one API write an action. What the API answers is taken in at once, so that the next plan
//! is not made from the state before.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crater_k8s::aijob::AIJobStatus;
use crater_k8s::build::{self, PodOf};
use crater_k8s::{AIJob, Allocation};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client, ResourceExt};
use serde_json::{Map, Value, json};

use crate::index::{Index, Key};
use crate::plan::Action;

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
}

impl Actor<'_> {
    /// Does one action. `Ok(false)`: what the plan saw is stale, look again.
    ///
    /// # Errors
    /// The API server's.
    pub async fn act(&self, action: &Action) -> Result<bool, kube::Error> {
        let done = match action {
            Action::Status(next) => self.status(next).await,
            Action::Accept { allocation, epoch } => {
                self.allocation(allocation, json!({"accepted": epoch})).await
            }
            Action::Refuse { allocation, message } => {
                self.allocation(allocation, json!({"refused": message})).await
            }
            Action::Release { allocation, released, rejected } => {
                let mut change = json!({"released": released});
                if !rejected.is_empty() {
                    change["rejected"] = json!(rejected);
                }
                self.allocation(allocation, change).await
            }
            Action::EnsureService => self.service().await,
            Action::Create { granted, allocation, attempt, rendezvous } => {
                let Some(role) = self.job.spec.roles.iter().find(|r| r.name == granted.role) else {
                    return Ok(true);
                };
                let of = PodOf {
                    job: self.job,
                    role,
                    granted,
                    allocation,
                    attempt: *attempt,
                    rendezvous: rendezvous.clone(),
                };
                self.create(&build::pod(&of)).await
            }
            Action::Delete { pod, uid } => self.delete(pod, uid).await,
        };
        match done {
            Ok(()) => Ok(true),
            // somebody wrote meanwhile, or it is gone: the watch tells, and the plan is made anew
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {
                tracing::debug!(job = self.key.job, message = status.message, "a write met a newer state");
                Ok(false)
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
        let before = serde_json::to_value(self.job.status.as_ref()).unwrap_or(Value::Null);
        let after = serde_json::to_value(next).unwrap_or(Value::Null);
        let mut change = difference(&before, &after);
        // the scheduler's part is never touched
        change.remove("scheduling");
        let patch = json!({"metadata": {"resourceVersion": self.job.resource_version()}, "status": change});
        let api: Api<AIJob> = self.api();
        let job = api.patch_status(&self.key.job, &PatchParams::default(), &Patch::Merge(&patch)).await?;
        lock(&self.known.jobs).assume(job);
        Ok(())
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

    async fn service(&self) -> Result<(), kube::Error> {
        let api: Api<Service> = self.api();
        match api.create(&PostParams::default(), &build::service(self.job)).await {
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            other => other.map(drop),
        }
    }

    async fn create(&self, pod: &Pod) -> Result<(), kube::Error> {
        let api: Api<Pod> = self.api();
        let pod = api.create(&PostParams::default(), pod).await?;
        lock(&self.known.pods).assume(pod);
        Ok(())
    }

    async fn delete(&self, name: &str, uid: &str) -> Result<(), kube::Error> {
        let api: Api<Pod> = self.api();
        let only = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
        match api.delete(name, &DeleteParams::default().preconditions(only)).await {
            Ok(_) => Ok(()),
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
