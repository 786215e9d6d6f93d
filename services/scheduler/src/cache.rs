//! What the scheduler knows of the cluster: indexes fed by watch events, synchronous, without IO.
//!
//! An Allocation that was written here and not yet seen in the watch is *assumed*: it counts as if it were there, until the watch
//! shows it or a list that began after the write does not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crater_domain::{Devices, Limits, QuotaSubject, Resources, Weight};
use crater_k8s::allocation::Granted;
use crater_k8s::node::{Machine, machine, occupied};
use crater_k8s::{AIJob, Allocation, names};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt;
use kube::runtime::watcher::Event;

use crate::bars::Bars;
use crate::jobs::JobEntry;
use crate::store::{Before, Store};
use crate::words::Words;

pub use crate::store::Key;

/// One replica: its role and its number.
pub type Replica = (String, i32);

/// An Allocation with what is derived from it.
#[derive(Clone, Debug)]
pub struct Given {
    /// The object.
    pub object: Arc<Allocation>,
    /// The AIJob that it says it is for.
    pub job: Key,
    /// Granted and not known to be gone.
    pub held: Vec<Granted>,
    /// Granted, whatever became of it.
    pub granted: Vec<Granted>,
    /// Taken back by us.
    pub revoked: BTreeSet<Replica>,
    /// Turned away by a kubelet or by admission.
    pub rejected: BTreeSet<Replica>,
    /// Not taken by the controller: as if it had never been.
    pub refused: bool,
}

impl Given {
    /// Reads an Allocation.
    pub fn new(object: Allocation) -> Self {
        let status = object.status.as_ref();
        let rejected = status.iter().flat_map(|s| &s.rejected).map(|r| (r.role.clone(), r.replica)).collect();
        Self {
            job: Key { namespace: object.namespace().unwrap_or_default(), name: object.spec.job.clone() },
            held: object.held(),
            granted: object.granted(),
            revoked: object.revoked(),
            rejected,
            refused: status.is_some_and(|s| s.refused.is_some()),
            object: Arc::new(object),
        }
    }
}

/// What the quota service says of one subject.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Its limits.
    pub limits: Limits,
    /// Its part of what is borrowed.
    pub weight: Weight,
}

/// What it says of all.
pub type Quotas = BTreeMap<QuotaSubject, Quota>;

/// A Pod that is not ours and holds something.
#[derive(Clone, Debug, PartialEq)]
pub struct Other {
    /// Its node.
    pub node: String,
    /// What it requests.
    pub requests: Resources,
    /// The devices that it requests by name.
    pub devices: Devices,
}

fn other(pod: &Pod) -> Option<Other> {
    let ours = pod.labels().contains_key(names::JOB_UID);
    let (node, requests, devices) = occupied(pod).filter(|_| !ours)?;
    Some(Other { node, requests, devices })
}

/// A write that the watch has not shown yet.
#[derive(Debug)]
struct Assumed<T> {
    what: T,
    /// It was answered: a list that begins from now on shows it, if it is there.
    answered: bool,
    /// A list that began after the answer is under way.
    covered: bool,
}

/// So many ends are remembered for those who learn from them; a standby hears of no cycle and learns nothing.
const UNHEARD: usize = 10_000;

/// Of so many jobs something may be new before another look at everything is no dearer: somebody who never asks keeps no more.
const NEW: usize = 10_000;

/// What is new since somebody last asked: of whom another look is due.
#[derive(Debug, Default)]
pub struct News {
    /// Of everything: something was listed.
    pub all: bool,
    /// Of nodes, or of what Pods of others take.
    pub nodes: bool,
    /// Of limits or weights.
    pub quotas: bool,
    /// Of these jobs, or of what they were given.
    pub jobs: BTreeSet<Key>,
}

impl News {
    /// Nothing is known yet.
    pub fn all() -> Self {
        Self { all: true, ..Self::default() }
    }

    fn of_job(&mut self, job: Key) {
        if !self.all {
            self.jobs.insert(job);
        }
        if self.jobs.len() > NEW {
            self.of_all();
        }
    }

    fn of_all(&mut self) {
        self.all = true;
        self.jobs.clear();
    }
}

/// Everything that is known.
#[derive(Debug, Default)]
pub struct Cache {
    pub(crate) jobs: Store<JobEntry>,
    pub(crate) nodes: Store<Machine>,
    pub(crate) others: Store<Other>,
    allocations: Store<Given>,
    assumed: BTreeMap<Key, Assumed<Given>>,
    revoking: BTreeMap<Key, Assumed<BTreeSet<Replica>>>,
    /// The greatest request for a list of Allocations that was met.
    listed: u64,
    pub(crate) words: Words,
    pub(crate) bars: Bars,
    /// Jobs whose end was seen, until somebody takes note.
    ended: Vec<JobEntry>,
    /// The uids of those that were deleted.
    gone: Vec<String>,
    quotas: Option<Quotas>,
    /// Allocations by job; some may be gone.
    of_job: BTreeMap<Key, BTreeSet<Key>>,
    news: News,
}

impl Cache {
    /// What is new since the last call.
    pub fn take_news(&mut self) -> News {
        std::mem::take(&mut self.news)
    }

    /// Something is new of an Allocation: of one that is there, or that was a moment ago.
    fn note(&mut self, allocation: &Key) {
        let Some(given) = self.given_one(allocation) else { return };
        let job = given.job.clone();
        self.of_job.entry(job.clone()).or_default().insert(allocation.clone());
        self.news.of_job(job);
    }

    /// Forgets Allocations that are gone.
    fn clean(&mut self, job: &Key) {
        let Some(mut of) = self.of_job.remove(job) else { return };
        of.retain(|key| self.given_one(key).is_some_and(|given| given.job == *job));
        if !of.is_empty() {
            self.of_job.insert(job.clone(), of);
        }
    }

    /// An event of the watch of AIJobs. Answers whether it matters to a decision: what we say of a job does not.
    pub fn job(&mut self, event: Event<AIJob>) -> bool {
        if let Event::Apply(object) | Event::Delete(object) = &event {
            self.note_end(object, matches!(event, Event::Delete(_)));
        }
        let matters = match &event {
            Event::Apply(object) => {
                self.jobs.get(&Key::of(object)).is_none_or(|before| before.differs(object))
            }
            _ => true,
        };
        match &event {
            Event::Apply(object) | Event::Delete(object) => {
                self.news.of_job(Key::of(object));
            }
            Event::InitDone => self.news.of_all(),
            Event::Init | Event::InitApply(_) => {}
        }
        let words = &self.words;
        if let Before::All(before) = self.jobs.apply(event, |object| Some(JobEntry::new(object, words))) {
            self.note_ends(&before);
        }
        matters
    }

    fn note_end(&mut self, object: &AIJob, deleted: bool) {
        let before = self.jobs.get(&Key::of(object));
        // an end that was there before we looked is no news
        let ends = before.is_some_and(|before| !before.state().is_final()) && object.state().is_final();
        let ended = ends.then(|| JobEntry::new(object.clone(), &self.words));
        let gone = (ends || deleted).then(|| object.spec.job_uid.clone());
        self.note_over(ended, gone);
    }

    /// Of jobs that ended or went while the watch was broken, the list after it tells alone.
    fn note_ends(&mut self, before: &BTreeMap<Key, JobEntry>) {
        for (key, was) in before {
            let uid = &was.object.spec.job_uid;
            let is = self.jobs.get(key).filter(|is| is.object.spec.job_uid == *uid);
            let ended = is.filter(|is| is.state().is_final() && !was.state().is_final()).cloned();
            let gone = (is.is_none() || ended.is_some()).then(|| uid.clone());
            self.note_over(ended, gone);
        }
    }

    fn note_over(&mut self, ended: Option<JobEntry>, gone: Option<String>) {
        let room = |have: usize| UNHEARD.saturating_sub(have);
        let (ends, goes) = (room(self.ended.len()), room(self.gone.len()));
        self.ended.extend(ended.into_iter().take(ends));
        self.gone.extend(gone.into_iter().take(goes));
    }

    /// Jobs whose end was seen since the last call, and the uids of all that start no more.
    pub fn take_ended(&mut self) -> (Vec<JobEntry>, Vec<String>) {
        (std::mem::take(&mut self.ended), std::mem::take(&mut self.gone))
    }

    /// An event of the watch of Allocations.
    pub fn allocation(&mut self, event: Event<Allocation>, now_ms: i64) {
        let (key, listed) = match &event {
            Event::Apply(object) | Event::Delete(object) => (Some(Key::of(object)), false),
            event => (None, matches!(event, Event::InitDone)),
        };
        let before = key.as_ref().and_then(|key| self.given_one(key)).map(|given| given.job.clone());
        match &event {
            Event::Init => {
                self.assumed.values_mut().for_each(|a| a.covered = a.answered);
                self.revoking.values_mut().for_each(|r| r.covered = r.answered);
            }
            // what a list shows is seen when all of it is in: until then the list before it counts, which may lack it
            Event::InitApply(object) => self.note_rejections(object, now_ms),
            Event::Apply(object) => {
                self.seen(&Key::of(object), &object.revoked());
                self.note_rejections(object, now_ms);
            }
            Event::Delete(object) => self.forget(&Key::of(object)),
            Event::InitDone => {
                self.assumed.retain(|_, a| !a.covered);
                self.revoking.retain(|_, r| !r.covered);
            }
        }
        self.allocations.apply(event, |object| Some(Given::new(object)));
        if let Some(key) = key {
            self.note(&key);
        }
        if let Some(job) = before {
            self.clean(&job);
            self.news.of_job(job);
        }
        if listed {
            self.see_list();
            let mut of_job: BTreeMap<Key, BTreeSet<Key>> = BTreeMap::new();
            for (key, given) in self.given() {
                of_job.entry(given.job.clone()).or_default().insert(key.clone());
            }
            self.of_job = of_job;
            self.news.of_all();
        }
    }

    /// The watch shows an Allocation, and what of it was taken back.
    fn seen(&mut self, key: &Key, revoked: &BTreeSet<Replica>) {
        self.assumed.remove(key);
        if self.revoking.get(key).is_some_and(|r| r.what.is_subset(revoked)) {
            self.revoking.remove(key);
        }
    }

    /// A list is in: what it shows is seen.
    fn see_list(&mut self) {
        let shown = &self.allocations;
        self.assumed.retain(|key, _| shown.get(key).is_none());
        self.revoking.retain(|key, r| shown.get(key).is_none_or(|given| !r.what.is_subset(&given.revoked)));
    }

    fn note_rejections(&mut self, object: &Allocation, now_ms: i64) {
        let Some(status) = &object.status else { return };
        let known = self.allocations.get(&Key::of(object)).map(|g| &g.rejected);
        let job = Key { namespace: object.namespace().unwrap_or_default(), name: object.spec.job.clone() };
        for rejected in &status.rejected {
            let replica = (rejected.role.clone(), rejected.replica);
            if known.is_some_and(|known| known.contains(&replica)) {
                continue;
            }
            let shape = self.jobs.get(&job).and_then(|entry| entry.shape(&rejected.role));
            if let Some(shape) = shape {
                self.bars.add(&rejected.node, shape, &rejected.message, now_ms);
            }
        }
    }

    /// An event of the watch of Nodes.
    pub fn node(&mut self, event: Event<Node>) {
        let models = &self.words.models;
        let before = self.nodes.apply(event, |node| {
            let machine = machine(&node);
            models.intern(&machine.model);
            Some(machine)
        });
        let is_as = |key: &Key, before: &Machine| self.nodes.get(key) == Some(before);
        // what a node says of itself again and again is no news
        self.news.nodes |= match before {
            Before::Same => false,
            Before::One(key, None) => self.nodes.get(&key).is_some(),
            Before::One(key, Some(before)) => {
                let differs = !is_as(&key, &before);
                if differs {
                    self.bars.lift(&key.name);
                }
                differs
            }
            Before::All(before) => {
                for (key, _) in before.iter().filter(|(key, before)| !is_as(key, before)) {
                    self.bars.lift(&key.name);
                }
                true
            }
        };
    }

    /// An event of the watch of Pods that are not ours.
    pub fn pod(&mut self, event: Event<Pod>) {
        let before = self.others.apply(event, |pod| other(&pod));
        self.news.nodes |= match before {
            Before::Same => false,
            Before::One(key, before) => self.others.get(&key) != before.as_ref(),
            Before::All(_) => true,
        };
    }

    /// Which kinds have not been listed yet.
    pub fn unsynced(&self) -> Vec<&'static str> {
        let kinds = [
            ("aijobs", self.jobs.synced),
            ("allocations", self.allocations.synced),
            ("nodes", self.nodes.synced),
            ("pods", self.others.synced),
        ];
        kinds.into_iter().filter(|(_, synced)| !synced).map(|(kind, _)| kind).collect()
    }

    /// The greatest request for a list of Allocations that was met, see [`crate::shared::Shared::relist`].
    pub fn listed(&self) -> u64 {
        self.listed
    }

    /// A list that began after this request is in.
    pub fn set_listed(&mut self, request: u64) {
        self.listed = self.listed.max(request);
    }

    /// The limits and weights, once known.
    pub fn quotas(&self) -> Option<&Quotas> {
        self.quotas.as_ref()
    }

    /// Replaces all of them.
    pub fn set_quotas(&mut self, quotas: Quotas) {
        self.quotas = Some(quotas);
        self.news.quotas = true;
    }

    /// Replaces those of one subject.
    pub fn set_quota(&mut self, subject: QuotaSubject, quota: Quota) {
        self.quotas.get_or_insert_default().insert(subject, quota);
        self.news.quotas = true;
    }

    /// Counts an Allocation that is about to be created.
    pub fn assume(&mut self, allocation: Allocation) {
        let what = Given::new(allocation);
        let key = Key::of(&*what.object);
        self.assumed.insert(key.clone(), Assumed { what, answered: false, covered: false });
        self.note(&key);
    }

    /// It was created as this object.
    pub fn created(&mut self, allocation: Allocation) {
        let key = Key::of(&allocation);
        if let Some(assumed) = self.assumed.get_mut(&key) {
            assumed.what = Given::new(allocation);
            assumed.answered = true;
        }
        self.note(&key);
    }

    /// Counts replicas of an Allocation that are about to be revoked.
    pub fn assume_revoked(&mut self, key: &Key, replicas: BTreeSet<Replica>) {
        self.revoking.insert(key.clone(), Assumed { what: replicas, answered: false, covered: false });
        self.note(key);
    }

    /// The revocation was written; the watch may have been faster.
    pub fn revoked(&mut self, allocation: &Allocation) {
        let key = Key::of(allocation);
        let shown = self.allocations.get(&key).map(|g| g.revoked.clone()).unwrap_or_default();
        if let Some(revoking) = self.revoking.get_mut(&key) {
            revoking.answered = true;
            if revoking.what.is_subset(&shown) {
                self.revoking.remove(&key);
            }
        }
        if let Some(assumed) = self.assumed.get_mut(&key) {
            assumed.what = Given::new(allocation.clone());
        }
        self.note(&key);
    }

    /// A write did certainly not happen, or what it was about is gone.
    pub fn forget(&mut self, key: &Key) {
        self.note(key);
        let job = self.given_one(key).map(|given| given.job.clone());
        self.assumed.remove(key);
        self.revoking.remove(key);
        if let Some(job) = job {
            self.clean(&job);
        }
    }

    /// A revocation did certainly not happen.
    pub fn unrevoke(&mut self, key: &Key) {
        self.revoking.remove(key);
        self.note(key);
    }

    /// A write may have happened or not: the next list tells.
    pub fn doubt(&mut self, key: &Key) {
        if let Some(assumed) = self.assumed.get_mut(key) {
            assumed.answered = true;
        }
        if let Some(revoking) = self.revoking.get_mut(key) {
            revoking.answered = true;
        }
    }

    /// All Allocations, the assumed included, with what is being revoked.
    pub fn given(&self) -> impl Iterator<Item = (&Key, &Given)> {
        let shown = self.allocations.iter();
        let assumed = self.assumed.iter().filter(|(key, _)| self.allocations.get(key).is_none());
        shown.chain(assumed.map(|(key, a)| (key, &a.what)))
    }

    /// One Allocation, an assumed one included.
    pub fn given_one(&self, key: &Key) -> Option<&Given> {
        self.allocations.get(key).or_else(|| self.assumed.get(key).map(|a| &a.what))
    }

    /// Whether a replica is taken back, or is about to be.
    pub fn is_revoked(&self, key: &Key, given: &Given, replica: &Replica) -> bool {
        given.revoked.contains(replica) || self.revoking.get(key).is_some_and(|r| r.what.contains(replica))
    }

    /// What a job was given, the assumed included, in order.
    pub fn given_of(&self, job: &Key) -> Vec<(&Key, &Given)> {
        let given = self.of_job.get(job).into_iter().flatten();
        given
            .filter_map(|key| Some((key, self.given_one(key)?)))
            .filter(|(_, given)| given.job == *job)
            .collect()
    }

    /// Everything by job, in order.
    pub fn given_by_job(&self) -> BTreeMap<&Key, Vec<(&Key, &Given)>> {
        let mut by_job: BTreeMap<&Key, Vec<(&Key, &Given)>> = BTreeMap::new();
        for (key, given) in self.given() {
            by_job.entry(&given.job).or_default().push((key, given));
        }
        by_job
    }
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
