//! What a job holds, replica by replica, and what is known of each. Pure, and linear in the size of the gang.

use std::collections::{BTreeMap, BTreeSet};

use crater_k8s::Allocation;
use crater_k8s::allocation::Granted;
use kube::ResourceExt;

use crate::plan::{Heard, View, undecided};
use crate::pods::{Replica, State};

/// A replica that is held.
#[derive(Debug)]
pub struct Held<'a> {
    /// By which Allocation.
    pub allocation: &'a Allocation,
    /// That Allocation's number, from the oldest.
    pub order: usize,
    /// Where, with what.
    pub granted: Granted,
    /// The scheduler takes it back.
    pub revoked: bool,
    /// It was told to leave its node: written down, for its Pod may be gone before the plan is made again.
    pub evicted: bool,
    /// The job has no such replica, or an older Allocation holds it too: it is given back unused.
    pub surplus: bool,
    /// The Pod that fills it, of whatever attempt.
    pub pod: Option<&'a Replica>,
}

impl Held<'_> {
    /// Whether it is to run.
    pub fn live(&self) -> bool {
        !self.revoked && !self.evicted && !self.surplus
    }

    /// What the kubelet said that would not have it.
    pub fn refusal(&self) -> Option<&str> {
        match self.pod.map(|p| &p.state) {
            Some(State::Refused { message }) => Some(message),
            _ => None,
        }
    }
}

/// All that a job holds: Allocations from the oldest on, in each the roles in their order, then by number.
#[derive(Debug)]
pub struct Holdings<'a> {
    /// The replicas.
    pub all: Vec<Held<'a>>,
    /// Pods that fill nothing that is held.
    pub strays: Vec<&'a Replica>,
    /// Roles and numbers whose Pod's name is in use.
    taken: BTreeSet<(&'a str, i32)>,
}

impl<'a> Holdings<'a> {
    /// Reads the view; Allocations that are not decided hold nothing yet.
    pub fn of(view: &View<'a>) -> Self {
        let pods: BTreeMap<(&str, i32), &'a Replica> =
            view.pods.iter().map(|p| ((p.role.as_str(), p.replica), p)).collect();
        let roles: BTreeMap<&str, (usize, i32)> =
            view.job.spec.roles.iter().enumerate().map(|(n, r)| (r.name.as_str(), (n, r.replicas))).collect();
        let mut allocations: Vec<&'a Allocation> =
            view.allocations.iter().map(|a| &**a).filter(|a| !undecided(a)).collect();
        allocations.sort_by_key(|a| (a.spec.epoch, a.spec.granted_millis, a.name_any()));
        let mut all = Vec::new();
        let mut given = BTreeSet::new();
        let mut filled = BTreeSet::new();
        for (order, allocation) in allocations.into_iter().enumerate() {
            let (name, taken_back) = (allocation.name_any(), allocation.revoked());
            let rejected = allocation.status.iter().flat_map(|s| &s.rejected);
            let rejected: BTreeSet<(&str, i32)> = rejected.map(|r| (r.role.as_str(), r.replica)).collect();
            let mut held = allocation.held();
            held.sort_by_key(|g| (roles.get(g.role.as_str()).map_or(usize::MAX, |r| r.0), g.replica));
            for granted in held {
                let key = (granted.role.clone(), granted.replica);
                let revoked = taken_back.contains(&key);
                let evicted = rejected.contains(&(granted.role.as_str(), granted.replica));
                let known = roles.get(granted.role.as_str()).is_some_and(|(_, n)| (0..*n).contains(&key.1));
                let surplus = !known || (!revoked && !evicted && !given.insert(key.clone()));
                let pod = pods.get(&(key.0.as_str(), key.1)).copied().filter(|p| p.allocation == name);
                filled.extend(pod.map(|p| p.name.as_str()));
                all.push(Held { allocation, order, granted, revoked, evicted, surplus, pod });
            }
        }
        let strays = view.pods.iter().filter(|p| !filled.contains(p.name.as_str())).collect();
        Self { all, strays, taken: pods.into_keys().collect() }
    }

    /// The replicas that are to run, in the order of their ranks.
    pub fn live(&self) -> impl Iterator<Item = &Held<'a>> {
        self.all.iter().filter(|h| h.live())
    }

    /// Whether a Pod of that name is there, whatever it fills.
    pub fn taken(&self, granted: &Granted) -> bool {
        self.taken.contains(&(granted.role.as_str(), granted.replica))
    }

    /// Their nodes that say nothing.
    pub fn silent<'b>(&'b self, view: &'b View<'_>) -> impl Iterator<Item = &'b Held<'a>> {
        self.all.iter().filter(|h| !view.heard.contains_key(&h.granted.node) && !gone(view, h))
    }
}

/// Whether these make up the gang's minimum.
pub fn whole<'h, 'a: 'h>(view: &View<'_>, held: impl Iterator<Item = &'h Held<'a>>) -> bool {
    let mut counts: BTreeMap<&str, i32> = BTreeMap::new();
    for h in held {
        *counts.entry(h.granted.role.as_str()).or_default() += 1;
    }
    let enough = |name: &str, least: i32| counts.get(name).is_some_and(|n| *n >= least);
    let roles = &view.job.spec.roles;
    !roles.is_empty() && roles.iter().all(|r| enough(&r.name, r.min_replicas.max(1)))
}

/// Whether nothing of the replica runs any more, for sure. A Pod that is not there proves nothing while its node is
/// silent; where the node reports, the Pod was never made or its kubelet has let it go.
pub fn gone(view: &View<'_>, held: &Held<'_>) -> bool {
    let heard = view.heard.get(&held.granted.node);
    match (heard, held.pod.map(|p| &p.state)) {
        (Some(Heard::Off), _) | (_, Some(State::Succeeded | State::Failed { .. })) => true,
        // a control plane may write this of a node that it has lost
        (_, None | Some(State::Refused { .. })) => heard.is_some(),
        (_, Some(State::Starting { .. } | State::Running)) => false,
    }
}

/// Nothing of it was taken back or given back so far.
pub fn untouched(allocation: &Allocation) -> bool {
    allocation.spec.revoked.is_empty()
        && allocation.status.as_ref().is_none_or(|s| s.released.is_empty() && s.rejected.is_empty())
}
