//! The smallest changes by which a job that waits would start now, each proven by deciding on it.

use std::ops::RangeInclusive;

use super::{Fate, WhatIf, amend};
use crate::model::{
    Amounts, Class, Job, JobIx, Millis, ModelIx, Node, NodeIx, Queueing, Shape, Snapshot, Verdict, WHOLE_GPU,
};
use crate::reason::{Holder, Reason, Resource};

/// Milli-cores to which less cpu is told.
const CPU_STEP: i64 = 500;
/// Bytes to which less memory is told.
const MEMORY_STEP: i64 = 1 << 30;
/// Milli-GPU to which a smaller share is told.
const SHARE_STEP: i64 = 50;
/// At most so many limits are raised together.
const LIMITS: usize = 6;
/// At most so many nodes are added, in doubling steps.
const NODES: u32 = 4096;

/// What may be thought of.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The priorities that a job may have.
    pub priorities: RangeInclusive<i32>,
}

/// One thing that would be different.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Amendment {
    /// So many replicas of a role, all of which start together.
    Replicas {
        /// Index into the request's roles.
        role: u16,
        /// How many there are.
        from: u32,
        /// How many would start.
        to: u32,
    },
    /// So many replicas of a role that must start together; the others follow.
    MinReplicas {
        /// Index into the request's roles.
        role: u16,
        /// How many there are.
        from: u32,
        /// How many would start.
        to: u32,
    },
    /// So much for each replica of a role.
    Each {
        /// Index into the request's roles.
        role: u16,
        /// Of what: cpu, memory, GPU or a device by name.
        resource: Resource,
        /// How much it asks for.
        from: i64,
        /// With how much it would start.
        to: i64,
    },
    /// These GPU models beside those that it takes.
    Models(Vec<ModelIx>),
    /// Another service class.
    Class(Class),
    /// Another priority.
    Priority(i32),
    /// It would be over in so many milliseconds, and its owner said so.
    Duration(Millis),
    /// Its replicas need not share the topology label, only prefer to.
    PreferTopology,
    /// These limits, all of them.
    Limits(Vec<(Holder, Resource, i64)>),
    /// So many more nodes, free and like this one.
    Nodes {
        /// Like which.
        like: NodeIx,
        /// How many more.
        count: u32,
    },
}

impl Amendment {
    /// Can the owner of the job do it, without an administrator?
    #[must_use]
    pub fn is_owners(&self) -> bool {
        !matches!(self, Self::Limits(_) | Self::Nodes { .. })
    }
}

/// A change, and whom it would cost what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remedy {
    /// What would be different.
    pub amendment: Amendment,
    /// Jobs of which something would be taken back for it; empty: it starts at once.
    pub evicts: Vec<JobIx>,
}

/// One search.
struct Search<'a> {
    what: &'a mut WhatIf,
    ix: JobIx,
    go_on: &'a mut dyn FnMut() -> bool,
    found: Vec<Remedy>,
}

/// All remedies for a job that waits.
pub(super) fn find(
    what: &mut WhatIf,
    verdict: &Verdict,
    scope: &Scope,
    go_on: &mut dyn FnMut() -> bool,
) -> Vec<Remedy> {
    let hopeless = |reason: &Reason| {
        use Reason::{Closed, NodeUnconfirmed, RoomIsComing, StillEnding};
        matches!(reason, Closed | NodeUnconfirmed { .. } | RoomIsComing { .. } | StillEnding { .. })
    };
    if verdict.reasons.iter().any(hopeless) {
        return Vec::new();
    }
    let mut search = Search { what, ix: verdict.job, go_on, found: Vec::new() };
    search.duration();
    search.topology();
    search.models();
    search.replicas();
    search.each();
    search.class();
    search.priority(scope);
    search.limits();
    search.nodes();
    search.found
}

impl Search<'_> {
    fn job(&self) -> &Job {
        &self.what.snapshot.jobs[self.ix.at()]
    }

    fn try_job(&mut self, change: impl FnOnce(&mut Job)) -> Option<Fate> {
        if !(self.go_on)() {
            return None;
        }
        self.what.with_job(self.ix, change)
    }

    fn try_rest(&mut self, change: impl FnOnce(&mut Snapshot)) -> Option<Fate> {
        if !(self.go_on)() {
            return None;
        }
        self.what.with_rest(self.ix, change)
    }

    fn add(&mut self, amendment: Amendment, fate: Fate) {
        let Fate::Starts { after, .. } = fate else { return };
        let evicts = after.iter().map(|revocation| revocation.job).collect();
        self.found.push(Remedy { amendment, evicts });
    }

    /// The greatest of `least..=most` with which the job starts, by bisection: what starts with more is taken to start with less.
    fn greatest(&mut self, least: i64, most: i64, change: impl Fn(&mut Job, i64)) -> Option<(i64, Fate)> {
        if least > most {
            return None;
        }
        let mut best = (least, self.try_job(|job| change(job, least))?);
        let mut beyond = most + 1;
        while beyond - best.0 > 1 {
            let middle = best.0 + (beyond - best.0) / 2;
            match self.try_job(|job| change(job, middle)) {
                Some(fate) => best = (middle, fate),
                None => beyond = middle,
            }
        }
        Some(best)
    }

    /// Short enough to be gone before those start for whom room is kept.
    fn duration(&mut self) {
        let now = self.what.snapshot.now;
        let starts = self.what.plan.reservations.iter().filter(|kept| kept.job != self.ix);
        let mut left: Vec<Millis> =
            starts.filter_map(|kept| Some(kept.expected_start? - now)).filter(|left| *left > 0).collect();
        left.sort_unstable_by(|a, b| b.cmp(a));
        left.dedup();
        let said = self.job().expected_ms.unwrap_or(Millis::MAX);
        for left in left.into_iter().filter(|left| *left < said) {
            if let Some(fate) = self.try_job(|job| job.expected_ms = Some(left)) {
                return self.add(Amendment::Duration(left), fate);
            }
        }
    }

    fn topology(&mut self) {
        if self.job().request.topology.is_none_or(|topology| !topology.required) {
            return;
        }
        let prefer = |job: &mut Job| {
            amend(job, |request| request.topology.iter_mut().for_each(|topology| topology.required = false));
        };
        if let Some(fate) = self.try_job(prefer) {
            self.add(Amendment::PreferTopology, fate);
        }
    }

    fn models(&mut self) {
        let own = self.job().request.models.clone();
        if own.is_empty() {
            return;
        }
        let Some(fate) = self.try_job(|job| amend(job, |request| request.models.clear())) else { return };
        let Fate::Starts { placements, .. } = &fate else { return };
        let used = placements.iter().filter_map(|place| self.what.snapshot.nodes[place.node.at()].model);
        let mut more: Vec<ModelIx> = used.filter(|model| !own.contains(model)).collect();
        more.sort_unstable();
        more.dedup();
        let all: Vec<ModelIx> = own.iter().chain(&more).copied().collect();
        // naming them is not the same as taking any
        if !more.is_empty()
            && let Some(fate) = self.try_job(|job| amend(job, |request| request.models = all))
        {
            self.add(Amendment::Models(more), fate);
        }
    }

    fn replicas(&mut self) {
        for (ix, role) in self.job().request.clone().roles.iter().enumerate() {
            let fixed = role.min == role.replicas;
            let change = |job: &mut Job, to: i64| {
                let to = u32::try_from(to).unwrap_or(0);
                amend(job, |request| {
                    let role = &mut request.roles[ix];
                    role.min = to;
                    role.replicas = if fixed { to } else { role.replicas };
                });
            };
            let Some((to, fate)) = self.greatest(1, i64::from(role.min) - 1, change) else { continue };
            let (role_ix, from, to) =
                (u16::try_from(ix).unwrap_or(u16::MAX), role.min, u32::try_from(to).unwrap_or(0));
            self.add(
                if fixed {
                    Amendment::Replicas { role: role_ix, from, to }
                } else {
                    Amendment::MinReplicas { role: role_ix, from, to }
                },
                fate,
            );
        }
    }

    /// Less of one resource for each replica of a role.
    fn each(&mut self) {
        for (ix, role) in self.job().request.clone().roles.iter().enumerate() {
            let each = role.each;
            let whole = each.gpu >= WHOLE_GPU;
            let kinds = [
                (Resource::Cpu, each.cpu, CPU_STEP),
                (Resource::Memory, each.memory, MEMORY_STEP),
                (Resource::Gpu, each.gpu, if whole { WHOLE_GPU } else { SHARE_STEP }),
            ];
            let named = each.extended.iter().map(|(name, count)| (Resource::Extended(name), count, 1));
            for (resource, from, step) in kinds.into_iter().chain(named) {
                // below one step nothing is told
                let most = (from - 1).div_euclid(step);
                let change = |job: &mut Job, steps: i64| {
                    amend(job, |request| set(&mut request.roles[ix].each, resource, steps * step));
                };
                let Some((steps, fate)) = self.greatest(1, most, change) else { continue };
                let role = u16::try_from(ix).unwrap_or(u16::MAX);
                self.add(Amendment::Each { role, resource, from, to: steps * step }, fate);
            }
        }
    }

    fn class(&mut self) {
        let other = match self.job().class {
            Class::Guaranteed => Class::BestEffort,
            Class::BestEffort => Class::Guaranteed,
        };
        if let Some(fate) = self.try_job(|job| job.class = other) {
            self.add(Amendment::Class(other), fate);
        }
    }

    /// Just above one of its own account: the least that helps.
    fn priority(&mut self, scope: &Scope) {
        if self.what.snapshot.settings.order == Queueing::Fifo {
            return;
        }
        let (account, own) = (self.job().account, self.job().priority);
        let others = self.what.snapshot.jobs.iter().filter(|job| job.account == account);
        let mut steps: Vec<i32> = others
            .map(|job| job.priority.saturating_add(1))
            .filter(|above| *above > own && scope.priorities.contains(above))
            .collect();
        steps.sort_unstable_by(|a, b| b.cmp(a));
        steps.dedup();
        // the least priority is the greatest number of steps down from the highest
        let most = i64::try_from(steps.len()).unwrap_or(0) - 1;
        let at = |step: i64| usize::try_from(step).ok().and_then(|step| steps.get(step)).copied();
        let found = self.greatest(0, most, |job, step| job.priority = at(step).unwrap_or(job.priority));
        if let Some((step, fate)) = found
            && let Some(priority) = at(step)
        {
            self.add(Amendment::Priority(priority), fate);
        }
    }

    /// The limits that bind, one after the other, until it starts or something else is in its way.
    fn limits(&mut self) {
        let mut raised: Vec<(Holder, Resource, i64)> = Vec::new();
        let Fate::Waits(verdict) = self.what.fate(self.ix) else { return };
        let mut reasons = verdict.reasons;
        while raised.len() < LIMITS {
            let before = raised.len();
            for reason in &reasons {
                if let Reason::Limit { holder, resource, used, wanted, .. } = reason {
                    raised.push((*holder, *resource, used.saturating_add(*wanted)));
                }
            }
            if raised.len() == before || !(self.go_on)() {
                return;
            }
            let mut changed = self.what.snapshot.clone();
            changed.reservations = super::others(&changed.reservations, self.ix);
            raised.iter().for_each(|(holder, resource, to)| raise(&mut changed, *holder, *resource, *to));
            let Ok(mut tried) = WhatIf::new(changed) else { return };
            match tried.fate(self.ix) {
                fate @ Fate::Starts { .. } => return self.add(Amendment::Limits(raised), fate),
                Fate::Waits(verdict) => reasons = verdict.reasons,
                Fate::Settled => return,
            }
        }
    }

    /// Free nodes like those that it may use: the fewest, of the kind of which there are most.
    fn nodes(&mut self) {
        let Some(like) = self.most_common() else { return };
        let more = |count: u32| {
            move |s: &mut Snapshot| {
                let node = &s.nodes[like.at()];
                let node = Node {
                    bad_gpus: Vec::new(),
                    open: true,
                    others_cpu: 0,
                    others_memory: 0,
                    others_gpus: Vec::new(),
                    ..node.clone()
                };
                s.nodes.extend(std::iter::repeat_n(node, count as usize));
            }
        };
        let total: u32 = self.job().request.roles.iter().map(|role| role.min).fold(0, u32::saturating_add);
        let most = total.clamp(1, NODES);
        let (mut beyond, mut count) = (0, 1);
        let mut best = loop {
            match self.try_rest(more(count)) {
                Some(fate) => break (count, fate),
                None if count >= most => return,
                None => (beyond, count) = (count, (count * 2).min(most)),
            }
        };
        while best.0 - beyond > 1 {
            let middle = beyond + (best.0 - beyond) / 2;
            match self.try_rest(more(middle)) {
                Some(fate) => best = (middle, fate),
                None => beyond = middle,
            }
        }
        self.add(Amendment::Nodes { like, count: best.0 }, best.1);
    }

    /// The first of the most numerous nodes that would hold a replica, were they empty.
    fn most_common(&self) -> Option<NodeIx> {
        let request = &self.job().request;
        let mut kinds: Vec<(usize, NodeIx)> = Vec::new();
        let nodes = &self.what.snapshot.nodes;
        for (ix, node) in nodes.iter().enumerate().filter(|(_, node)| !node.lost) {
            let same = |(_, first): &&mut (usize, NodeIx)| alike(&nodes[first.at()], node);
            match kinds.iter_mut().find(same) {
                Some(kind) => kind.0 += 1,
                None => kinds.push((1, NodeIx::of(ix))),
            }
        }
        kinds.sort_unstable_by_key(|(count, first)| (std::cmp::Reverse(*count), *first));
        let single = crate::model::Request {
            roles: request
                .roles
                .iter()
                .map(|role| crate::model::Role { replicas: 1, min: 1, ..role.clone() })
                .collect(),
            ..(**request).clone()
        };
        let holds = |first: &NodeIx| {
            single.roles.iter().all(|role| {
                let one = crate::model::Request { roles: vec![role.clone()], ..single.clone() };
                crate::feasible::check_feasible(&one, std::slice::from_ref(&nodes[first.at()])).is_ok()
            })
        };
        kinds.into_iter().map(|(_, first)| first).find(holds)
    }
}

/// Would a person call these the same kind of node?
fn alike(a: &Node, b: &Node) -> bool {
    (a.cpu, a.memory, a.gpus, a.model, &a.extended) == (b.cpu, b.memory, b.gpus, b.model, &b.extended)
}

fn set(each: &mut Shape, resource: Resource, to: i64) {
    match resource {
        Resource::Cpu => each.cpu = to,
        Resource::Memory => each.memory = to,
        Resource::Gpu | Resource::GpuModel(_) => each.gpu = to,
        Resource::Extended(name) => {
            each.extended = each.extended.without(name);
            each.extended.add(name, u32::try_from(to).unwrap_or(0));
        }
        Resource::Jobs => {}
    }
}

fn raise(snapshot: &mut Snapshot, holder: Holder, resource: Resource, to: i64) {
    let limit = match holder {
        Holder::Account(account) => &mut snapshot.accounts[account.at()].limit,
        Holder::User(user) => &mut snapshot.users[user.at()].limit,
    };
    set_limit(limit, resource, to);
}

fn set_limit(limit: &mut Amounts, resource: Resource, to: i64) {
    match resource {
        Resource::Cpu => limit.cpu = Some(to),
        Resource::Memory => limit.memory = Some(to),
        Resource::Gpu => limit.gpu = Some(to),
        Resource::GpuModel(of) => {
            limit
                .gpu_models
                .iter_mut()
                .filter(|(model, _)| *model == of)
                .for_each(|(_, amount)| *amount = to);
        }
        Resource::Extended(of) => {
            let known = limit.extended.iter_mut().filter(|(name, _)| *name == of);
            known.for_each(|(_, amount)| *amount = to);
        }
        Resource::Jobs => limit.jobs = Some(to),
    }
}
