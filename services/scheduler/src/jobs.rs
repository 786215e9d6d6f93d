//! An AIJob as the engine needs it, read once when it changes.

use std::collections::BTreeSet;
use std::sync::Arc;

use crater_domain::{AccountId, JobSpec, JobState, MAX_DEVICES, UserId};
use crater_engine::{Extended, Request, Role, Shape, Topology};
use crater_k8s::AIJob;
use crater_k8s::aijob::Suspension;
use kube::ResourceExt;

use crate::words::Words;

/// What the engine needs of a job that it can judge.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Whose queue.
    pub account: AccountId,
    /// Who submitted it.
    pub creator: UserId,
    /// What is wanted.
    pub spec: Arc<JobSpec>,
    /// The same in the engine's words.
    pub request: Arc<Request>,
}

/// An AIJob, read.
#[derive(Clone, Debug)]
pub struct JobEntry {
    /// The object.
    pub object: Arc<AIJob>,
    /// What it wants, or why that cannot be.
    pub wanted: Result<Arc<Wanted>, String>,
}

impl JobEntry {
    /// Reads an AIJob. Somebody may have written it by hand, so it is checked.
    pub fn new(object: AIJob, words: &Words) -> Self {
        let wanted = read(&object, words).map(Arc::new);
        Self { object: Arc::new(object), wanted }
    }

    /// Whose queue it is in, or would be if it could be judged.
    pub fn account(&self) -> Option<AccountId> {
        match &self.wanted {
            Ok(wanted) => Some(wanted.account.clone()),
            Err(_) => self.object.spec.account.parse().ok(),
        }
    }

    /// Whether it wants nothing more: ended, cancelled, or being deleted.
    pub fn over(&self) -> bool {
        self.object.state().is_final()
            || self.object.spec.cancelled
            || self.object.metadata.deletion_timestamp.is_some()
    }

    /// Who had it stand aside, unless it is over anyway.
    pub fn suspended(&self) -> Option<&Suspension> {
        self.object.spec.suspended.as_ref().filter(|_| !self.over())
    }

    /// Whether anything but our own words about it is new.
    pub fn differs(&self, object: &AIJob) -> bool {
        let rest = |job: &AIJob| {
            let status = job.status.as_ref();
            (status.and_then(|s| s.phase), status.and_then(|s| s.queued_millis))
        };
        self.object.metadata.uid != object.metadata.uid
            || self.object.metadata.deletion_timestamp != object.metadata.deletion_timestamp
            || self.object.spec != object.spec
            || rest(&self.object) != rest(object)
    }

    /// Where it is.
    pub fn state(&self) -> JobState {
        self.object.state()
    }

    /// The version of the object, as a number.
    pub fn version(&self) -> u64 {
        version(&*self.object)
    }

    /// What a replica of a role needs.
    pub fn shape(&self, role: &str) -> Option<Shape> {
        let wanted = self.wanted.as_ref().ok()?;
        let at = wanted.spec.roles.iter().position(|r| r.name.as_str() == role)?;
        Some(wanted.request.roles.get(at)?.each)
    }
}

/// The resourceVersion of an object, as a number; 0 where it is none.
pub fn version(object: &impl ResourceExt) -> u64 {
    object.resource_version().and_then(|v| v.parse().ok()).unwrap_or(0)
}

fn read(object: &AIJob, words: &Words) -> Result<Wanted, String> {
    let account: AccountId =
        object.spec.account.parse().map_err(|e| format!("spec.account {:?} {e}", object.spec.account))?;
    if object.namespace().unwrap_or_default() != account.namespace() {
        return Err(format!("spec.account: jobs of {account} belong into namespace {}", account.namespace()));
    }
    let creator: UserId =
        object.spec.creator.parse().map_err(|e| format!("spec.creator {:?} {e}", object.spec.creator))?;
    let spec = object.spec.parse().map_err(|e| e.to_string())?;
    let request = request(&spec, words)?;
    Ok(Wanted { account, creator, spec: Arc::new(spec), request: Arc::new(request) })
}

// a spec that is sound names no more devices than the engine can count
const _: () = assert!(MAX_DEVICES <= Extended::MOST);

/// The engine knows one choice of models a job: what all roles with GPUs agree on.
fn request(spec: &JobSpec, words: &Words) -> Result<Request, String> {
    let mut agreed: Option<Vec<String>> = None;
    for role in spec.roles.iter().filter(|r| r.resources.gpu_millis > 0 && !r.gpu_models.is_empty()) {
        agreed = Some(match agreed {
            None => role.gpu_models.clone(),
            Some(before) => before.into_iter().filter(|m| role.gpu_models.contains(m)).collect(),
        });
    }
    if agreed.as_ref().is_some_and(Vec::is_empty) {
        return Err("spec.roles: all roles with GPUs must have a GPU model in common; submit them as \
                    separate jobs otherwise"
            .to_owned());
    }
    let count = |n: i32| u32::try_from(n.max(0)).unwrap_or(0);
    let roles = spec.roles.iter().map(|role| Role {
        each: Shape {
            cpu: role.resources.cpu_millis,
            memory: role.resources.memory_bytes,
            gpu: role.resources.gpu_millis,
            extended: Extended::new(words.devices.counts(&role.devices)).unwrap_or_default(),
        },
        replicas: count(role.replicas),
        min: count(role.min_replicas),
    });
    let mut seen = BTreeSet::new();
    let models = agreed
        .unwrap_or_default()
        .iter()
        .map(|m| words.models.intern(m))
        .filter(|m| seen.insert(*m))
        .collect();
    let labels = &words.labels;
    let selector = spec.place.node_selector.iter().map(|(key, value)| (labels.key(key), labels.value(value)));
    let topology = spec.place.topology.as_ref();
    let topology = topology.map(|t| Topology { key: labels.key(&t.key), required: t.required });
    Ok(Request { roles: roles.collect(), models, selector: selector.collect(), topology })
}
