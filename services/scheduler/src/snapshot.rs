//! The cache as the engine's snapshot: names become ordinals, and what each job holds, has spent and still wants is found.
//!
//! A replica that the controller released by itself has ended. It is *spent*, and not wanted again before the whole job is back
//! in the queue: else the first worker to finish would be started once more. Spent replicas are told to the engine as holdings of
//! nothing. A job is back in the queue when its status says so of an instant after the Allocation (see [`returned`]).

mod accounts;
mod nodes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crater_domain::{AccountId, JobState, ServiceClass, UserId};
use crater_engine::{
    AccountIx, Class, Hold, Holding, Job, JobIx, KeyIx, NodeIx, Placement, Request, Reservation, Role,
    Settings, Shape, UserIx, ValueIx,
};
use crater_k8s::aijob::{Phase, SUSPENDED};
use crater_k8s::allocation::{Granted, NODE_DRAINED};
use crater_k8s::node::Word;

use crate::cache::{Cache, Given, Key, Replica};
use crate::frame::{Frame, Promise, Promised};
use crate::jobs::{JobEntry, version};
use crate::setbacks::Setbacks;

pub use accounts::set_amount;

/// Accounts, each with the one above it.
pub type Tree = BTreeMap<AccountId, Option<AccountId>>;

/// Keys from here on are no labels, but say which nodes turned whom away.
pub const BARS: KeyIx = KeyIx(1 << 30);

/// What is given in beside the cache.
pub struct Beside<'a> {
    /// The tree of accounts.
    pub tree: &'a Tree,
    /// Jobs whose writes were refused a moment ago.
    pub setbacks: &'a Setbacks,
    /// What was promised in the last cycle.
    pub promises: &'a Promised,
    /// A job that is thought of: it comes last, as if it had just been submitted.
    pub thought: Option<&'a JobEntry>,
    /// The engine's.
    pub settings: Settings,
    /// Milliseconds since 1970.
    pub now_ms: i64,
    /// Grows with each cycle.
    pub cycle: u64,
}

fn queued(entry: &JobEntry) -> bool {
    entry.object.status.as_ref().is_some_and(|s| s.phase == Some(Phase::Queued))
}

/// Whether the job went back to the queue after this Allocation: the rest of it is of no use. (The writer dates no grant before
/// the job's return to the queue, whatever the clocks of two machines say.)
pub fn outlived(entry: &JobEntry, given: &Given) -> bool {
    let since = entry.object.status.as_ref().and_then(|s| s.queued_millis);
    queued(entry) && since.is_some_and(|at| at >= given.object.spec.granted_millis)
}

/// Whether the controller has taken note that all of this Allocation is gone, and has put the job back into the queue: its status
/// says since when, or was written after the last release.
fn returned(entry: &JobEntry, given: &Given) -> bool {
    let noted = given.held.is_empty() && entry.version() > version(&*given.object);
    outlived(entry, given) || (queued(entry) && noted)
}

/// Whether something of it was taken back or is gone: of a queued job, the controller then gives back the rest.
fn touched(given: &Given) -> bool {
    !given.revoked.is_empty() || !given.rejected.is_empty() || given.held.len() < given.granted.len()
}

/// Granted, released, and neither taken back nor turned away: it ran to its end.
fn ended(given: &Given) -> impl Iterator<Item = &Granted> {
    let held: BTreeSet<(&str, i32)> = given.held.iter().map(|g| (g.role.as_str(), g.replica)).collect();
    given.granted.iter().filter(move |g| {
        let replica: Replica = (g.role.clone(), g.replica);
        !given.refused
            && !held.contains(&(g.role.as_str(), g.replica))
            && !given.revoked.contains(&replica)
            && !given.rejected.contains(&replica)
    })
}

/// Builds the snapshot of this moment.
pub fn frame(cache: &Cache, beside: &Beside<'_>) -> Frame {
    let mut build = Build::new(cache, beside);
    build.accounts();
    build.nodes();
    build.jobs();
    build.promises();
    let mut frame = build.frame;
    frame.name(&cache.words);
    frame.snapshot.now = beside.now_ms;
    frame.snapshot.cycle = beside.cycle;
    frame.snapshot.settings = beside.settings;
    frame
}

struct Build<'a> {
    cache: &'a Cache,
    beside: &'a Beside<'a>,
    by_job: BTreeMap<&'a Key, Vec<(&'a Key, &'a Given)>>,
    /// Nodes that are drained, with the words for it.
    drained: BTreeMap<&'a str, String>,
    account_ix: BTreeMap<AccountId, AccountIx>,
    user_ix: BTreeMap<(AccountId, UserId), UserIx>,
    node_ix: BTreeMap<String, NodeIx>,
    frame: Frame,
}

impl<'a> Build<'a> {
    fn new(cache: &'a Cache, beside: &'a Beside<'a>) -> Self {
        Self {
            cache,
            beside,
            by_job: cache.given_by_job(),
            drained: drained(cache),
            account_ix: BTreeMap::new(),
            user_ix: BTreeMap::new(),
            node_ix: BTreeMap::new(),
            frame: Frame::default(),
        }
    }

    fn jobs(&mut self) {
        let cache = self.cache;
        let mut order: Vec<(i64, &str, &Key, Option<&JobEntry>)> = Vec::new();
        for (key, entry) in cache.jobs.iter() {
            let spec = &entry.object.spec;
            order.push((spec.submitted_millis, &spec.job_uid, key, Some(entry)));
        }
        for (key, given) in &self.by_job {
            if cache.jobs.get(key).is_none()
                && let Some((_, first)) = given.first()
            {
                order.push((first.object.spec.granted_millis, &first.object.spec.job_uid, key, None));
            }
        }
        order.sort_by(|a, b| (a.0, a.1, a.2).cmp(&(b.0, b.1, b.2)));
        let bars = cache.bars.now(self.beside.now_ms);
        let mut selectors: BTreeMap<Shape, KeyIx> = BTreeMap::new();
        for (shape, nodes) in &bars {
            // a label that all nodes have but those that are barred for this shape
            let label = KeyIx::of(BARS.at() + selectors.len());
            selectors.insert(*shape, label);
            for (name, node) in self.frame.nodes.iter().zip(&mut self.frame.snapshot.nodes) {
                if !nodes.contains_key(name.as_str()) {
                    node.labels.push((label, ValueIx(0)));
                }
            }
        }
        for (_, _, key, entry) in order {
            let given = self.by_job.get(key).cloned().unwrap_or_default();
            match entry {
                Some(entry) => self.job(key, entry, &given),
                None => self.orphan(key, &given),
            }
        }
        if let Some(thought) = self.beside.thought {
            self.job(&Key::of(&*thought.object), thought, &[]);
        }
        for ix in 0..self.frame.jobs.len() {
            let request = &self.frame.snapshot.jobs[ix].request;
            let shapes: BTreeSet<Shape> = request.roles.iter().map(|role| role.each).collect();
            let barring: Vec<KeyIx> =
                shapes.iter().filter_map(|shape| selectors.get(shape)).copied().collect();
            if barring.is_empty() {
                continue;
            }
            let told = shapes.iter().filter_map(|shape| bars.get(shape)).flatten();
            let told: Vec<String> = told
                .map(|(node, bar)| {
                    let left = (bar.until_ms - self.beside.now_ms).max(0).div_euclid(1000) + 1;
                    format!("node {node} turned it away ({}) and is asked again in {left} s", bar.message)
                })
                .take(3)
                .collect();
            self.frame.barred.insert(ix, told.join("; "));
            let mut request: Request = (**request).clone();
            request.selector.extend(barring.into_iter().map(|key| (key, ValueIx(0))));
            self.frame.snapshot.jobs[ix].request = Arc::new(request);
        }
    }

    /// What is to be given back of a job that holds something on a node that is drained: all of it, wherever it is. (Of a job that is over,
    /// everything goes anyway.)
    fn drains(&mut self, given: &[(&Key, &Given)]) -> bool {
        let mut held = given.iter().flat_map(|(_, of)| &of.held);
        let Some(why) = held.find_map(|held| self.drained.get(held.node.as_str())).cloned() else {
            return false;
        };
        for (name, of) in given {
            let rest = of.held.iter().map(|g| (g.role.clone(), g.replica));
            let rest: BTreeSet<Replica> = rest.filter(|r| !self.cache.is_revoked(name, of, r)).collect();
            if !rest.is_empty() {
                self.frame.taken_back.push(((*name).clone(), rest, (NODE_DRAINED, why.clone())));
            }
        }
        true
    }

    fn job(&mut self, key: &Key, entry: &JobEntry, given: &[(&Key, &Given)]) {
        let (over, suspended) = (entry.over(), entry.suspended());
        for (name, of) in given {
            let done = over || returned(entry, of) || ended(of).next().is_none();
            if of.held.is_empty() && done {
                self.spent(name, of);
            }
            let back = match suspended {
                Some(suspended) => Some((SUSPENDED, suspended.words())),
                None if !over && outlived(entry, of) => {
                    Some(("Returned", "the job went back to the queue".to_owned()))
                }
                None => None,
            };
            if let Some(words) = back {
                let rest = of.held.iter().map(|g| (g.role.clone(), g.replica));
                let rest: BTreeSet<Replica> = rest.filter(|r| !self.cache.is_revoked(name, of, r)).collect();
                if !rest.is_empty() {
                    self.frame.taken_back.push(((*name).clone(), rest, words));
                }
            }
        }
        if suspended.is_some() {
            self.frame.suspended.push(entry.clone());
        }
        let wanted = match &entry.wanted {
            Ok(wanted) => wanted,
            Err(why) => {
                if !over && suspended.is_none() {
                    self.frame.aside.push((
                        entry.clone(),
                        "Invalid",
                        format!("it cannot be scheduled: {why}"),
                    ));
                }
                self.orphan_holdings(key, given);
                return;
            }
        };
        let nothing = given.iter().all(|(_, of)| of.held.is_empty());
        let closed = over || suspended.is_some();
        if closed && nothing {
            return;
        }
        if let Some(why) = self.beside.setbacks.now(key, self.beside.now_ms).filter(|_| nothing) {
            self.frame.aside.push((entry.clone(), "WriteRefused", why));
            return;
        }
        let running = matches!(entry.state(), JobState::Starting | JobState::Running);
        if running && given.is_empty() {
            let why = "its replicas are gone and the controller has not yet said what comes of it";
            self.frame.aside.push((entry.clone(), "Settling", why.to_owned()));
            return;
        }
        let Some(account) = self.account_ix.get(&wanted.account).copied() else { return };
        let spec = &entry.object.spec;
        let queued = entry.object.status.as_ref().and_then(|s| s.queued_millis);
        let job = Job {
            account,
            user: self.user_ix.get(&(wanted.account.clone(), wanted.creator.clone())).copied(),
            class: match wanted.spec.class {
                ServiceClass::Guaranteed => Class::Guaranteed,
                ServiceClass::BestEffort => Class::BestEffort,
            },
            priority: wanted.spec.priority,
            submitted: spec.submitted_millis,
            queued_since: queued.unwrap_or(spec.submitted_millis),
            expected_ms: wanted.spec.expected_seconds.map(|s| s.saturating_mul(1000)),
            closed,
            checkpointed: entry.object.status.as_ref().and_then(|status| status.checkpointed_millis),
            served: self.served(entry),
            request: wanted.request.clone(),
            ..Job::default()
        };
        let ix = self.push(key, Some(entry.clone()), job);
        let leaves = closed || self.drains(given);
        for (name, of) in given {
            self.holdings(ix, (entry, leaves), name, of);
        }
    }

    /// What a job was served; where nobody asks, it does not change with every cycle.
    fn served(&self, entry: &JobEntry) -> i64 {
        let status = entry.object.status.as_ref().filter(|_| self.beside.settings.asks_what_was_served());
        status.map_or(0, |status| status.served(self.beside.now_ms))
    }

    fn holdings(&mut self, ix: JobIx, (entry, leaves): (&JobEntry, bool), name: &Key, of: &Given) {
        let clearing = leaves || outlived(entry, of) || (queued(entry) && touched(of));
        let started = of.object.spec.granted_millis;
        for held in &of.held {
            let replica: Replica = (held.role.clone(), held.replica);
            let going = clearing || self.cache.is_revoked(name, of, &replica);
            let each = entry.shape(&held.role).unwrap_or_default();
            self.hold(ix, held, each, (started, going));
        }
        // nothing that ended stays behind of a job that leaves its nodes: it starts anew as a whole
        if leaves || returned(entry, of) {
            return;
        }
        for past in ended(of) {
            self.hold(ix, &Granted { gpus: Vec::new(), ..past.clone() }, Shape::default(), (started, false));
        }
    }

    fn hold(&mut self, job: JobIx, held: &Granted, each: Shape, (started, going): (i64, bool)) {
        let roles = self.frame.entries[job.at()].as_ref().and_then(|entry| entry.wanted.as_ref().ok());
        let role = roles.map_or(Some(0), |w| w.spec.roles.iter().position(|r| r.name.as_str() == held.role));
        let (Some(role), Some(node)) = (role, self.node_ix.get(&held.node).copied()) else { return };
        let gpus =
            held.gpus.iter().filter_map(|device| Some((u16::try_from(*device).ok()?, held.gpu_millis)));
        self.frame.snapshot.holdings.push(Holding {
            job,
            role: u16::try_from(role).unwrap_or(u16::MAX),
            replica: u32::try_from(held.replica).unwrap_or(0),
            node,
            each,
            gpus: gpus.collect(),
            started,
            going,
        });
    }

    /// Allocations whose AIJob is gone: what they hold is only waited for.
    fn orphan(&mut self, key: &Key, given: &[(&Key, &Given)]) {
        for (name, of) in given {
            if of.held.is_empty() {
                self.spent(name, of);
            }
        }
        self.orphan_holdings(key, given);
    }

    /// Nothing is known of cpu and memory where no spec can be read; the GPUs are.
    fn orphan_holdings(&mut self, key: &Key, given: &[(&Key, &Given)]) {
        let account = given
            .iter()
            .find_map(|(_, of)| orphans_account(of))
            .and_then(|a| self.account_ix.get(&a).copied());
        let (Some(account), Some((_, first))) = (account, given.iter().find(|(_, of)| !of.held.is_empty()))
        else {
            return;
        };
        let started = first.object.spec.granted_millis;
        let role = Role { each: Shape::default(), replicas: 1, min: 1 };
        let job = Job {
            account,
            class: Class::BestEffort,
            submitted: started,
            queued_since: started,
            closed: true,
            request: Arc::new(Request { roles: vec![role], ..Request::default() }),
            ..Job::default()
        };
        let ix = self.push(key, None, job);
        for held in given.iter().flat_map(|(_, of)| &of.held) {
            let devices = i64::try_from(held.gpus.len()).unwrap_or(0);
            let each = Shape { gpu: held.gpu_millis.saturating_mul(devices), ..Shape::default() };
            self.hold(ix, held, each, (started, true));
        }
    }

    fn push(&mut self, key: &Key, entry: Option<JobEntry>, job: Job) -> JobIx {
        let ix = JobIx::of(self.frame.jobs.len());
        self.frame.jobs.push(key.clone());
        self.frame.entries.push(entry);
        self.frame.snapshot.jobs.push(job);
        ix
    }

    fn spent(&mut self, name: &Key, given: &Given) {
        if let Some(uid) = given.object.metadata.uid.clone() {
            self.frame.spent.push((name.clone(), uid));
        }
    }

    fn promises(&mut self) {
        let by_key: BTreeMap<&Key, usize> =
            self.frame.jobs.iter().enumerate().map(|(ix, key)| (key, ix)).collect();
        let mut holds = Vec::new();
        for promise in &self.beside.promises.room {
            let Some((job, placements)) = self.stands(&by_key, promise) else { continue };
            if !placements.is_empty() {
                holds.push(Hold { job, since: promise.since, placements });
            }
        }
        let mut reservations = Vec::new();
        for (promise, expected_start, nodes) in &self.beside.promises.starts {
            let Some((job, placements)) = self.stands(&by_key, promise) else { continue };
            // a start of which the place is gone in part is promised anew
            if placements.len() == promise.places.len() {
                let nodes = nodes.iter().filter_map(|node| self.node_ix.get(node).copied()).collect();
                reservations.push(Reservation { job, expected_start: *expected_start, nodes, placements });
            }
        }
        (self.frame.snapshot.holds, self.frame.snapshot.reservations) = (holds, reservations);
    }

    /// Whose a promise is, and what of it still can be.
    fn stands(&self, by_key: &BTreeMap<&Key, usize>, promise: &Promise) -> Option<(JobIx, Vec<Placement>)> {
        let ix = *by_key.get(&promise.job)?;
        let entry = self.frame.entries[ix].as_ref()?;
        if entry.object.spec.job_uid != promise.uid {
            return None;
        }
        let roles = &self.frame.snapshot.jobs[ix].request.roles;
        let stands = |p: &Placement, node: NodeIx| {
            roles.get(usize::from(p.role)).is_some_and(|role| p.replica < role.replicas)
                && p.gpus.iter().all(|(device, _)| *device < self.frame.snapshot.nodes[node.at()].gpus)
        };
        let placements = promise.places.iter().filter_map(|(p, node)| {
            let node = self.node_ix.get(node).copied()?;
            stands(p, node).then(|| Placement { node, ..p.clone() })
        });
        Some((JobIx::of(ix), placements.collect()))
    }
}

fn drained<'a>(cache: &'a Cache) -> BTreeMap<&'a str, String> {
    let drained = cache.nodes.iter().filter_map(|(key, machine)| Some((key, machine.drained.as_ref()?)));
    let words = |(key, word): (&'a Key, &Word)| {
        (key.name.as_str(), format!("node {} is drained{}", key.name, word.sentence()))
    };
    drained.map(words).collect()
}

fn orphans_account(given: &Given) -> Option<AccountId> {
    given.job.namespace.strip_prefix("crater-")?.parse().ok()
}
