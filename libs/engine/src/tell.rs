//! What everybody who waits is told, from the state in which a cycle ended; only what is asked for is worked out.

use std::collections::BTreeMap;

use crate::cycle::{Blocked, Decided};
use crate::explain::{KeptFor, fits, fits_on, kept_on, no_room, short_of};
use crate::feasible::Feasible;
use crate::model::{Class, JobIx, Millis, NodeIx, Preemptible, Snapshot, Verdict};
use crate::queue::{Ground, Kind, Lines, Modest, Pass, Queue, Turn};
use crate::reason::Reason;
use crate::reserve::Kept;
use crate::room::{Rooms, View};
use crate::shapes::Shapes;
use crate::tree::{Bound, Tree, Vertex};
use crate::work::Work;
use crate::world::World;

/// What was worked out already.
#[derive(Default)]
pub(crate) struct Told {
    /// Why there is no room, by shape.
    room: Vec<Option<Reason>>,
    /// Whether there is room, by shape.
    fits: Vec<Option<bool>>,
    /// Replicas taken back in this cycle, by node.
    going: Option<BTreeMap<NodeIx, u32>>,
    /// In whose favour something is kept, in order.
    kept_for: Option<Vec<KeptFor>>,
}

/// Every gang that waits has its turn, and nobody grows.
struct Gangs<'a>(&'a Work);

impl Pass for Gangs<'_> {
    fn all(&mut self, _: Vertex, kind: &Kind, _: Modest) -> bool {
        kind.growth
    }

    fn one(&mut self, turn: Turn) -> bool {
        turn.growth || self.0.has(turn.job).runs()
    }
}

/// Tells about one plan.
pub(crate) struct Teller<'a> {
    s: &'a Snapshot,
    shapes: &'a Shapes,
    lines: &'a Lines,
    tree: &'a Tree,
    rooms: &'a mut Rooms,
    work: &'a Work,
    feasible: &'a mut Feasible,
    decided: &'a Decided,
    told: &'a mut Told,
}

impl<'a> Teller<'a> {
    pub fn new(world: &'a mut World<'_>, decided: &'a Decided, told: &'a mut Told) -> Self {
        let World { s, shapes, tree, rooms, work, lines, feasible, .. } = world;
        told.room.resize(shapes.len(), None);
        told.fits.resize(shapes.len(), None);
        Self { s, shapes, lines, tree, rooms, work, feasible, decided, told }
    }

    /// Every job that waits, in the order in which jobs go.
    pub fn all(&mut self) -> Vec<Verdict> {
        let mut told = vec![false; self.s.jobs.len()];
        let mut order: Vec<usize> = Vec::new();
        let mut next = |job: usize| {
            if !std::mem::replace(&mut told[job], true) {
                order.push(job);
            }
        };
        self.decided.plan.holds.iter().for_each(|hold| next(hold.job.at()));
        let ground = Ground { snapshot: self.s, shapes: self.shapes, tree: self.tree, lines: self.lines };
        for class in [Class::Guaranteed, Class::BestEffort] {
            let mut queue = Queue::new(ground, class, &mut Gangs(self.work));
            while let Some(turn) = queue.next() {
                next(turn.job);
                queue.done(ground, turn);
                queue.refresh(ground, turn.line, &mut Gangs(self.work));
            }
        }
        (0..self.s.jobs.len()).for_each(next);
        let mut verdicts: Vec<Verdict> = Vec::new();
        let mut after = None;
        for job in order {
            let Some((reasons, expected_start)) = self.of(job) else { continue };
            let position = u32::try_from(verdicts.len() + 1).unwrap_or(u32::MAX);
            let job = JobIx::of(job);
            verdicts.push(Verdict { job, position, after: after.replace(job), reasons, expected_start });
        }
        verdicts
    }

    /// What keeps one job, and when it is expected to start; `None`: it does not wait.
    pub fn of(&mut self, job: usize) -> Option<(Vec<Reason>, Option<Millis>)> {
        if self.silent(job) {
            return None;
        }
        let holds = &self.decided.plan.holds;
        if let Ok(at) = holds.binary_search_by_key(&job, |hold| hold.job.at()) {
            return Some((self.promised(job, holds[at].placements.iter().map(|place| place.node)), None));
        }
        let kept = self.decided.kept.iter().find(|kept| kept.job == job);
        if let Some(kept) = kept {
            let first = self.first_in_line(kept);
            return Some((vec![first, Reason::Reserved { expected_start: kept.start }], kept.start));
        }
        let quota = match self.blocked(job) {
            Blocked::Limit(first) => self.limits(job, first),
            Blocked::MayNotBorrow => vec![Reason::MayNotBorrow { account: self.s.jobs[job].account }],
            Blocked::Past(reason) | Blocked::Never(reason) => return Some((vec![reason], None)),
            Blocked::Room => return Some((vec![self.room_reason(job)], None)),
        };
        let mut reasons = quota;
        if !self.fits_now(job) {
            reasons.push(self.room_reason(job));
        }
        Some((reasons, None))
    }

    /// Runs, gets something, is only just being revoked, or wants nothing: no verdict.
    fn silent(&self, job: usize) -> bool {
        let has = self.work.has(job);
        let revocations = &self.decided.plan.revocations;
        has.runs()
            || revocations.binary_search_by_key(&job, |revocation| revocation.job.at()).is_ok()
            || (self.s.jobs[job].closed && has.going() == 0)
    }

    fn promised(&mut self, job: usize, nodes: impl Iterator<Item = NodeIx>) -> Vec<Reason> {
        let revocations = &self.decided.plan.revocations;
        let now_going = self.told.going.get_or_insert_with(|| {
            let mut going = BTreeMap::new();
            for replica in revocations.iter().flat_map(|revocation| &revocation.replicas) {
                *going.entry(replica.node).or_insert(0) += 1;
            }
            going
        });
        let mut nodes: Vec<NodeIx> = nodes.collect();
        nodes.sort_unstable();
        nodes.dedup();
        let here = |node: &NodeIx| self.work.going_on[node.at()] + now_going.get(node).copied().unwrap_or(0);
        let going: u32 = nodes.iter().map(here).sum();
        // its room may be there, and only the limit of jobs not yet
        let of = &self.s.jobs[job];
        let full = if going == 0 { self.tree.full(self.tree.leaf(of.account, of.user)) } else { None };
        let mut reasons = vec![full.map_or(Reason::RoomIsComing { going }, limit)];
        reasons.extend(self.work.own_past(job));
        reasons
    }

    /// The first thing in a job's way.
    fn blocked(&mut self, job: usize) -> Blocked {
        let of = &self.s.jobs[job];
        if of.closed {
            return Blocked::Past(Reason::Closed);
        }
        if let Some(past) = self.work.own_past(job) {
            return Blocked::Past(past);
        }
        let shape = self.shapes.of(job);
        if let Err(reason) = self.feasible.judge(self.s, self.shapes, shape) {
            return Blocked::Never(Reason::Infeasible(reason.clone()));
        }
        let ask = &self.shapes.asks[self.shapes.ask(job, 0)];
        let asker = self.work.asker(self.s, self.tree, job);
        let never = of.preemptible == Preemptible::Never && of.class == Class::Guaranteed;
        let mut first = None;
        for (_, demands) in &ask.options {
            if never && !self.tree.covers_for_good(asker.leaf, demands) {
                first.get_or_insert(Blocked::MayNotBorrow);
                continue;
            }
            match self.tree.bound(asker, demands, false) {
                Some(bound) => first.get_or_insert(Blocked::Limit(bound)),
                None => return Blocked::Room,
            };
        }
        first.unwrap_or(Blocked::Room)
    }

    /// What keeps a job for which room is kept itself: what it is short of, or what is kept for those before it.
    fn first_in_line(&mut self, kept: &Kept) -> Reason {
        let (job, pool) = (kept.job, self.shapes.pool(kept.job));
        let want = self.work.missing(self.s, job, None);
        let Some(ahead) = &self.decided.ahead else {
            // its own room is not in its way
            kept.lend(self.rooms);
            let short = short_of(self.s, pool, self.rooms, job, &want);
            kept.charge(self.rooms);
            return short;
        };
        let all = &self.decided.kept;
        ahead.lend(self.rooms);
        all.iter().for_each(|kept| kept.lend(self.rooms));
        // a promise to who is behind it stands too
        let others = all.iter().filter(|other| other.job != job);
        let others: Vec<KeptFor> =
            others.map(|other| KeptFor { job: JobIx::of(other.job), nodes: other.nodes.clone() }).collect();
        let nodes = fits_on(pool, self.rooms, &want, View::Now);
        let kept = nodes.and_then(|nodes| kept_on(&others, &nodes));
        let first = kept.unwrap_or_else(|| short_of(self.s, pool, self.rooms, job, &want));
        all.iter().for_each(|kept| kept.charge(self.rooms));
        ahead.charge_again(self.rooms);
        first
    }

    /// All limits in a job's way, from its own account up, where `first` is the first.
    fn limits(&self, job: usize, first: Bound) -> Vec<Reason> {
        let ask = &self.shapes.asks[self.shapes.ask(job, 0)];
        let asker = self.work.asker(self.s, self.tree, job);
        let of = |demands| self.tree.bounds(asker, demands, false).map(limit).collect::<Vec<Reason>>();
        let first = limit(first);
        let same = ask.options.iter().map(|(_, demands)| of(demands)).find(|all| all.first() == Some(&first));
        same.unwrap_or_else(|| vec![first])
    }

    /// Is there room for it, whatever its quota says?
    fn fits_now(&mut self, job: usize) -> bool {
        let shape = self.shapes.of(job);
        if let Some(known) = self.told.fits[shape] {
            return known;
        }
        let (want, pool) = (self.work.missing(self.s, job, None), self.shapes.pool(job));
        let fits = fits(pool, self.rooms, &want, View::Now);
        self.told.fits[shape] = Some(fits);
        fits
    }

    fn room_reason(&mut self, job: usize) -> Reason {
        let shape = self.shapes.of(job);
        if let Some(known) = &self.told.room[shape] {
            return known.clone();
        }
        let plan = &self.decided.plan;
        let kept_for = self.told.kept_for.get_or_insert_with(|| {
            let reserved = plan.reservations.iter();
            let reserved =
                reserved.map(|reserved| KeptFor { job: reserved.job, nodes: reserved.nodes.clone() });
            let held = plan.holds.iter().map(|hold| {
                let mut nodes: Vec<NodeIx> = hold.placements.iter().map(|place| place.node).collect();
                nodes.sort_unstable();
                KeptFor { job: hold.job, nodes }
            });
            reserved.chain(held).collect()
        });
        let want = self.work.missing(self.s, job, None);
        let reason = no_room(self.s, self.shapes.pool(job), self.rooms, job, &want, kept_for);
        self.told.room[shape] = Some(reason.clone());
        reason
    }
}

fn limit(bound: Bound) -> Reason {
    let Bound { holder, resource, used, wanted, limit, .. } = bound;
    Reason::Limit { holder, resource, used, wanted, limit }
}
