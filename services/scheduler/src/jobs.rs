//! An AIJob as the engine needs it, read once when it changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use crater_domain::{AccountId, JobSpec, JobState, UserId};
use crater_engine::{KeyIx, ModelIx, Request, Role, Shape, Topology, ValueIx};
use crater_k8s::AIJob;
use crater_k8s::aijob::Suspension;
use kube::ResourceExt;

/// GPU models by number; a number once given stays, so that requests can be shared between snapshots.
#[derive(Clone, Debug, Default)]
pub struct Models(Arc<Mutex<Vec<String>>>);

impl Models {
    /// The number of a model. There are few: they are looked through.
    pub fn intern(&self, model: &str) -> ModelIx {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = names.iter().position(|name| name == model).unwrap_or_else(|| {
            names.push(model.to_owned());
            names.len() - 1
        });
        ModelIx::of(at)
    }

    /// All names, by number.
    pub fn names(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Labels of nodes that jobs ask for, by number; a number once given stays.
#[derive(Clone, Debug, Default)]
pub struct Labels(Arc<Mutex<Interned>>);

#[derive(Debug, Default)]
struct Interned {
    keys: Vec<String>,
    values: BTreeMap<String, ValueIx>,
}

impl Labels {
    /// The number of a key. There are few: they are looked through.
    fn key(&self, key: &str) -> KeyIx {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = all.keys.iter().position(|known| known == key).unwrap_or_else(|| {
            all.keys.push(key.to_owned());
            all.keys.len() - 1
        });
        KeyIx::of(at)
    }

    /// The number of a value.
    fn value(&self, value: &str) -> ValueIx {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let next = ValueIx::of(all.values.len());
        *all.values.entry(value.to_owned()).or_insert(next)
    }

    /// All keys, by number.
    pub fn keys(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).keys.clone()
    }

    /// All values, by number.
    pub fn values(&self) -> Vec<String> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut values: Vec<(&ValueIx, &String)> = all.values.iter().map(|(value, ix)| (ix, value)).collect();
        values.sort_unstable();
        values.into_iter().map(|(_, value)| value.clone()).collect()
    }

    /// Those labels of a node that some job asks for.
    pub fn of(&self, keys: &[String], labels: &BTreeMap<String, String>) -> Vec<(KeyIx, ValueIx)> {
        let asked = keys.iter().enumerate().filter_map(|(at, key)| Some((at, labels.get(key)?)));
        asked.map(|(at, value)| (KeyIx::of(at), self.value(value))).collect()
    }
}

/// Names by number.
#[derive(Clone, Debug, Default)]
pub struct Words {
    /// GPU models.
    pub models: Models,
    /// Labels.
    pub labels: Labels,
}

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
            ..Shape::default()
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
