//! What one job comes to in a snapshot: what it wants, what it holds, and what is to be done about its Allocations.

use std::collections::BTreeSet;
use std::sync::Arc;

use crater_domain::{AccountId, JobState, ServiceClass};
use crater_engine::{Class, Holding, Job, JobIx, Request, Role, Shape};
use crater_k8s::aijob::{Phase, SUSPENDED};
use crater_k8s::allocation::{Granted, NODE_DRAINED};

use super::accounts::Accounts;
use super::nodes::Nodes;
use crate::cache::{Cache, Given, Key, Replica};
use crate::frame::Rest;
use crate::jobs::{JobEntry, version};
use crate::setbacks::Setbacks;

fn queued(entry: &JobEntry) -> bool {
    entry.object.status.as_ref().is_some_and(|s| s.phase == Some(Phase::Queued))
}

/// Whether the job went back to the queue after this Allocation: the rest of it is of no use. (The writer dates no grant before
/// the job's return to the queue, whatever the clocks of two machines say.)
fn outlived(entry: &JobEntry, given: &Given) -> bool {
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

/// What one job comes to.
#[derive(Clone, Debug, Default)]
pub(super) struct Part {
    /// For the engine, if it has to do with it.
    pub job: Option<Job>,
    /// The AIJob; none where only its Allocations are left.
    pub entry: Option<JobEntry>,
    /// What it holds, with the ordinal of whoever is first.
    pub holdings: Vec<Holding>,
    /// All else.
    pub rest: Rest,
}

/// What parts are found in.
pub(super) struct Reader<'a> {
    pub cache: &'a Cache,
    pub setbacks: &'a Setbacks,
    pub now_ms: i64,
    pub accounts: &'a Accounts,
    pub nodes: &'a Nodes,
}

impl Reader<'_> {
    /// Finds what a job comes to. (Its [`Job::served`] is left to whoever needs it: it changes with time.)
    pub fn part(&self, key: &Key, entry: Option<&JobEntry>) -> Part {
        let given = self.cache.given_of(key);
        let mut part = Part::default();
        match entry {
            Some(entry) => self.job(&mut part, key, entry, &given),
            None => self.orphan(&mut part, &given),
        }
        part
    }

    /// What is to be given back of a job that holds something on a node that is drained: all of it, wherever it is. (Of a job that is over,
    /// everything goes anyway.)
    fn drains(&self, part: &mut Part, given: &[(&Key, &Given)]) -> bool {
        let mut held = given.iter().flat_map(|(_, of)| &of.held);
        let Some(why) = held.find_map(|held| self.nodes.drained.get(held.node.as_str())).cloned() else {
            return false;
        };
        for (name, of) in given {
            let rest = of.held.iter().map(|g| (g.role.clone(), g.replica));
            let rest: BTreeSet<Replica> = rest.filter(|r| !self.cache.is_revoked(name, of, r)).collect();
            if !rest.is_empty() {
                part.rest.taken_back.push(((*name).clone(), rest, (NODE_DRAINED, why.clone())));
            }
        }
        true
    }

    fn job(&self, part: &mut Part, key: &Key, entry: &JobEntry, given: &[(&Key, &Given)]) {
        let (over, suspended) = (entry.over(), entry.suspended());
        for (name, of) in given {
            let done = over || returned(entry, of) || ended(of).next().is_none();
            if of.held.is_empty() && done {
                spent(part, name, of);
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
                    part.rest.taken_back.push(((*name).clone(), rest, words));
                }
            }
        }
        if suspended.is_some() {
            part.rest.suspended.push(entry.clone());
        }
        let wanted = match &entry.wanted {
            Ok(wanted) => wanted,
            Err(why) => {
                if !over && suspended.is_none() {
                    part.rest.aside.push((
                        entry.clone(),
                        "Invalid",
                        format!("it cannot be scheduled: {why}"),
                    ));
                }
                self.orphan_holdings(part, given);
                return;
            }
        };
        let nothing = given.iter().all(|(_, of)| of.held.is_empty());
        let closed = over || suspended.is_some();
        if closed && nothing {
            return;
        }
        if let Some(why) = self.setbacks.now(key, self.now_ms).filter(|_| nothing) {
            part.rest.aside.push((entry.clone(), "WriteRefused", why));
            return;
        }
        let running = matches!(entry.state(), JobState::Starting | JobState::Running);
        if running && given.is_empty() {
            let why = "its replicas are gone and the controller has not yet said what comes of it";
            part.rest.aside.push((entry.clone(), "Settling", why.to_owned()));
            return;
        }
        let Some(account) = self.accounts.of(&wanted.account) else { return };
        let spec = &entry.object.spec;
        let queued = entry.object.status.as_ref().and_then(|s| s.queued_millis);
        part.job = Some(Job {
            account,
            user: self.accounts.user(&wanted.account, &wanted.creator),
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
            request: wanted.request.clone(),
            ..Job::default()
        });
        part.entry = Some(entry.clone());
        let leaves = closed || self.drains(part, given);
        for (name, of) in given {
            self.holdings(part, (entry, leaves), name, of);
        }
    }

    fn holdings(&self, part: &mut Part, (entry, leaves): (&JobEntry, bool), name: &Key, of: &Given) {
        let clearing = leaves || outlived(entry, of) || (queued(entry) && touched(of));
        let started = of.object.spec.granted_millis;
        for held in &of.held {
            let replica: Replica = (held.role.clone(), held.replica);
            let going = clearing || self.cache.is_revoked(name, of, &replica);
            let each = entry.shape(&held.role).unwrap_or_default();
            self.hold(part, held, each, (started, going));
        }
        // nothing that ended stays behind of a job that leaves its nodes: it starts anew as a whole
        if leaves || returned(entry, of) {
            return;
        }
        for past in ended(of) {
            self.hold(
                part,
                &Granted { gpus: Vec::new(), ..past.clone() },
                Shape::default(),
                (started, false),
            );
        }
    }

    fn hold(&self, part: &mut Part, held: &Granted, each: Shape, (started, going): (i64, bool)) {
        let roles = part.entry.as_ref().and_then(|entry| entry.wanted.as_ref().ok());
        let role = roles.map_or(Some(0), |w| w.spec.roles.iter().position(|r| r.name.as_str() == held.role));
        let (Some(role), Some(node)) = (role, self.nodes.of(&held.node)) else { return };
        let gpus =
            held.gpus.iter().filter_map(|device| Some((u16::try_from(*device).ok()?, held.gpu_millis)));
        part.holdings.push(Holding {
            job: JobIx(0),
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
    fn orphan(&self, part: &mut Part, given: &[(&Key, &Given)]) {
        for (name, of) in given {
            if of.held.is_empty() {
                spent(part, name, of);
            }
        }
        self.orphan_holdings(part, given);
    }

    /// Nothing is known of cpu and memory where no spec can be read; the GPUs are.
    fn orphan_holdings(&self, part: &mut Part, given: &[(&Key, &Given)]) {
        let account = given.iter().find_map(|(_, of)| orphans_account(of)).and_then(|a| self.accounts.of(&a));
        let (Some(account), Some((_, first))) = (account, given.iter().find(|(_, of)| !of.held.is_empty()))
        else {
            return;
        };
        let started = first.object.spec.granted_millis;
        let role = Role { each: Shape::default(), replicas: 1, min: 1 };
        part.job = Some(Job {
            account,
            class: Class::BestEffort,
            submitted: started,
            queued_since: started,
            closed: true,
            request: Arc::new(Request { roles: vec![role], ..Request::default() }),
            ..Job::default()
        });
        // which roles there were is not known, so each replica has a number of its own
        for (number, held) in (0..).zip(given.iter().flat_map(|(_, of)| &of.held)) {
            let devices = i64::try_from(held.gpus.len()).unwrap_or(0);
            let each = Shape { gpu: held.gpu_millis.saturating_mul(devices), ..Shape::default() };
            let held = Granted { replica: number, ..held.clone() };
            self.hold(part, &held, each, (started, true));
        }
    }
}

fn spent(part: &mut Part, name: &Key, given: &Given) {
    if let Some(uid) = given.object.metadata.uid.clone() {
        part.rest.spent.push((name.clone(), uid));
    }
}

/// The account that an Allocation is in.
pub(super) fn orphans_account(given: &Given) -> Option<AccountId> {
    given.job.namespace.strip_prefix("crater-")?.parse().ok()
}
