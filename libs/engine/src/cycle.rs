//! One cycle: promises that are ready, then each job in its turn: place, else wait for room that is coming, else take it
//! back where there is a right, else keep what is free for the head of the line.

mod ahead;
mod placing;
mod taking;

use std::collections::BTreeMap;

use crate::ahead::Ahead;
use crate::evict::Orders;
use crate::feasible::Feasible;
use crate::judge::{Bench, Facts, Judge, Lasting};
use crate::model::{
    Backfill, Class, Counts, Grant, Hold, JobIx, Millis, Placement, Plan, Preemptible, Reservation,
    Revocation, Snapshot, ValueIx,
};
use crate::place::Want;
use crate::pool::{Choice, Pool};
use crate::queue::{Ground, Lines, Queue, Turn};
use crate::reason::Reason;
use crate::reserve::Kept;
use crate::room::{Rooms, View};
use crate::shapes::{AskIx, Shapes, demands_for};
use crate::tree::{Asker, Bound, Demand, Tree, Vertex};
use crate::work::{PieceIx, Spot, Work};
use crate::world::{Vacant, World};

use ahead::Lifted;

/// What came of a turn.
enum Outcome {
    /// It got something; these lines' use changed too.
    Got(Vec<Vertex>),
    Waits(Blocked),
}

/// What keeps a job.
#[derive(Clone, Debug)]
pub(crate) enum Blocked {
    Limit(Bound),
    MayNotBorrow,
    Past(Reason),
    Never(Reason),
    Room,
}

/// Room that is kept for others and lent.
#[derive(Clone, Copy)]
enum Loan {
    /// One bit for each of what is kept.
    Kept(u64),
    /// All that is not booked until then.
    Until(Millis),
}

/// How a want is tried.
#[derive(Clone, Copy)]
struct Trial<'a> {
    want: &'a Want,
    pin: Option<ValueIx>,
    /// It is judged like all that ask for this.
    ask: Option<AskIx>,
}

pub(crate) struct Cycle<'a> {
    s: &'a Snapshot,
    shapes: &'a Shapes,
    lines: &'a Lines,
    rooms: &'a mut Rooms,
    tree: &'a mut Tree,
    work: &'a mut Work,
    vacant: &'a mut Vacant,
    feasible: &'a mut Feasible,
    judge: Judge,
    orders: Orders,
    grants: Vec<Grant>,
    revoked: BTreeMap<usize, Revocation>,
    kept: Vec<Kept>,
    /// What is booked, where everybody who waits for room has a start.
    ahead: Option<Ahead>,
    /// For so many of them nobody can tell it.
    unknown: usize,
    searches: u32,
}

/// A plan without its verdicts, and the room that is kept in it.
pub(crate) struct Decided {
    pub plan: Plan,
    pub kept: Vec<Kept>,
    pub ahead: Option<Ahead>,
    /// For [`World::lasting`].
    pub lasting: Lasting,
}

impl<'a> Cycle<'a> {
    pub fn new(world: &'a mut World<'_>) -> Self {
        let World { s, shapes, tree, rooms, work, lines, vacant, feasible, lasting, .. } = world;
        let s: &Snapshot = s;
        work.promise(s, tree, rooms, shapes);
        let facts = Facts { snapshot: s, shapes, tree, rooms, work, kept: &[], ahead: None, unknown: 0 };
        let judge = Judge::new(facts, std::mem::take(lasting));
        Self {
            s,
            shapes,
            lines,
            rooms,
            tree,
            work,
            vacant,
            feasible,
            judge,
            orders: Orders::default(),
            grants: Vec::new(),
            revoked: BTreeMap::new(),
            kept: Vec::new(),
            ahead: (s.settings.backfill == Backfill::Conservative).then(Ahead::default),
            unknown: 0,
            searches: 0,
        }
    }

    pub fn run(mut self, idle: u32) -> Decided {
        self.grant_what_is_ready();
        self.book_again();
        self.run_class(Class::Guaranteed);
        self.run_class(Class::BestEffort);
        self.finish(idle)
    }

    fn finish(self, idle: u32) -> Decided {
        let holds = self.holds();
        let reservation = |kept: &Kept| Reservation {
            job: JobIx::of(kept.job),
            expected_start: kept.start,
            nodes: kept.nodes.clone(),
            placements: kept.placements.clone(),
        };
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let started = self.grants.iter().filter(|grant| self.work.was_idle(grant.job.at())).count();
        let counts = Counts {
            running: self.work.running,
            waiting: idle.saturating_sub(count(started)),
            granted: count(self.grants.iter().map(|grant| grant.placements.len()).sum()),
            revoked: count(self.revoked.values().map(|r| r.replicas.len()).sum()),
            searches: self.searches,
        };
        let plan = Plan {
            cycle: self.s.cycle,
            grants: self.grants,
            revocations: self.revoked.into_values().collect(),
            holds,
            reservations: self.kept.iter().map(reservation).collect(),
            verdicts: Vec::new(),
            borrowed: if self.s.settings.half_life_ms > 0 { self.tree.borrowed() } else { Vec::new() },
            counts,
        };
        Decided { plan, kept: self.kept, ahead: self.ahead, lasting: self.judge.into_lasting() }
    }

    /// Promises that are not ready yet.
    fn holds(&self) -> Vec<Hold> {
        let mut holds: BTreeMap<usize, Hold> = BTreeMap::new();
        let promised = self.work.promised.iter().map(|ix| &self.work.pieces[*ix]);
        for piece in promised.filter(|piece| piece.promised && piece.alive) {
            let since: Millis = piece.started;
            let hold = holds.entry(piece.job).or_insert_with(|| Hold {
                job: JobIx::of(piece.job),
                since,
                placements: Vec::new(),
            });
            hold.since = hold.since.min(since);
            hold.placements.extend(piece.spots.iter().map(placement));
        }
        holds.into_values().collect()
    }
}

impl Cycle<'_> {
    fn leaf(&self, job: usize) -> Vertex {
        self.tree.leaf(self.s.jobs[job].account, self.s.jobs[job].user)
    }

    /// Promises whose room is free now become grants: a gang whole, then what is above it.
    fn grant_what_is_ready(&mut self) {
        let mut promised: Vec<PieceIx> = self.work.promised.clone();
        promised.sort_by_key(|ix| (self.work.pieces[*ix].surplus, *ix));
        for ix in promised {
            let piece = self.work.pieces[ix].clone();
            let job = piece.job;
            let placements: Vec<Placement> = piece.spots.iter().map(placement).collect();
            let replicas = placements.iter().map(|place| (place.role, place.replica));
            if !self.work.has(job).clear_of_going(replicas) || (piece.surplus && !self.gang_runs(job)) {
                continue;
            }
            self.tree.remove(piece.leaf, &piece.demands, piece.charge);
            let asker = Asker { leaf: piece.leaf, best_effort: piece.charge.best_effort, enters: false };
            let bound = self.tree.bound(asker, &piece.demands, true);
            self.tree.add(piece.leaf, &piece.demands, piece.charge);
            let full = !self.work.has(job).runs() && self.tree.full(piece.leaf).is_some();
            if bound.is_some() || full {
                continue;
            }
            let mut charged = 0;
            for spot in &piece.spots {
                if !self.rooms.has(View::Raw, spot.node, &spot.each, &spot.gpus) {
                    break;
                }
                self.rooms.keep_promise(spot.node, &spot.each, &spot.gpus);
                charged += 1;
            }
            if charged < piece.spots.len() {
                for spot in &piece.spots[..charged] {
                    self.rooms.break_promise(spot.node, &spot.each, &spot.gpus);
                }
                continue;
            }
            self.work.keep_promise(self.tree, ix);
            self.grant(job, placements);
        }
    }

    fn gang_runs(&self, job: usize) -> bool {
        let has = self.work.has(job);
        let mut roles = self.s.jobs[job].request.roles.iter().enumerate();
        roles.all(|(ix, role)| has.live(ix).len() >= role.min as usize)
    }

    fn grant(&mut self, job: usize, placements: Vec<Placement>) {
        let Some(at) = self.work.grant_mut(job) else { return };
        if let Some(grant) = (*at as usize).checked_sub(1).and_then(|at| self.grants.get_mut(at)) {
            grant.placements.extend(placements);
        } else {
            self.grants.push(Grant { job: JobIx::of(job), placements });
            *at = u32::try_from(self.grants.len()).unwrap_or(u32::MAX);
        }
    }

    fn run_class(&mut self, class: Class) {
        let mut judge = std::mem::take(&mut self.judge);
        let mut bench = Bench { judge: &mut judge, facts: self.facts(), class };
        let mut queue = Queue::new(self.ground(), class, &mut bench);
        let mut changed = Vec::new();
        while let Some(turn) = queue.next() {
            changed.clear();
            changed.push(turn.line);
            if judge.skip(self.facts(), turn, class) {
                // what is known now was not when its line was looked at
                queue.done(self.ground(), turn);
                let mut bench = Bench { judge: &mut judge, facts: self.facts(), class };
                queue.refresh(self.ground(), turn.line, &mut bench);
                continue;
            }
            self.judge = judge;
            let lifted = self.lift_ahead(turn);
            match self.take_turn(turn, &lifted) {
                Some(Outcome::Got(lines)) => {
                    self.lower_ahead(lifted, true);
                    changed.extend(lines);
                    if !turn.growth {
                        queue.done(self.ground(), turn);
                        if let Some(role) = self.elastic(turn.job) {
                            let ask = self.shapes.ask(turn.job, 1 + role);
                            queue.grow(self.ground(), Turn { growth: true, new: false, ask, ..turn });
                        }
                    }
                }
                Some(Outcome::Waits(blocked)) => {
                    queue.done(self.ground(), turn);
                    if turn.growth {
                        self.lower_ahead(lifted, false);
                    } else {
                        self.refuse(turn, &blocked, lifted, &mut changed);
                    }
                }
                None => {
                    self.lower_ahead(lifted, false);
                    queue.done(self.ground(), turn);
                }
            }
            judge = std::mem::take(&mut self.judge);
            changed.sort_unstable();
            changed.dedup();
            let mut bench = Bench { judge: &mut judge, facts: self.facts(), class };
            for line in &changed {
                queue.refresh(self.ground(), *line, &mut bench);
            }
        }
        self.judge = judge;
    }

    /// The role by which a job that was placed in this cycle may grow; those that ran before have their turns already.
    fn elastic(&self, job: usize) -> Option<usize> {
        if !self.work.was_new(job) {
            return None;
        }
        self.work.grows(self.s, job)
    }

    fn ground(&self) -> Ground<'_> {
        Ground { snapshot: self.s, shapes: self.shapes, tree: self.tree, lines: self.lines }
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
            snapshot: self.s,
            shapes: self.shapes,
            tree: self.tree,
            rooms: self.rooms,
            work: self.work,
            kept: &self.kept,
            ahead: self.ahead.as_ref(),
            unknown: self.unknown,
        }
    }

    /// A claim was in vain: on the nodes of one choice, or (`None`) wherever it was tried.
    fn remember_vain(&mut self, turn: Turn, choice: Option<Choice>) {
        let mut judge = std::mem::take(&mut self.judge);
        judge.remember_vain(self.facts(), turn, self.s.jobs[turn.job].class, choice);
        self.judge = judge;
    }

    /// `None`: there is nothing (more) to do.
    fn take_turn(&mut self, turn: Turn, lifted: &Lifted) -> Option<Outcome> {
        let job = turn.job;
        if self.revoked.contains_key(&job) {
            return None;
        }
        if !turn.growth && self.work.is_new(job) {
            let want = self.shapes.asks[turn.ask].want.clone();
            return Some(self.consider(turn, &want, lifted));
        }
        if turn.growth && self.work.lacks(self.s, job) {
            return None;
        }
        let mut outcome = None;
        let mut grows = turn.growth.then_some(0);
        loop {
            let want = self.work.missing(self.s, job, grows);
            let Some(first) = want.parts.first() else { return outcome };
            if let Some(node) = self.work.has(job).unconfirmed {
                return Some(Outcome::Waits(Blocked::Past(Reason::NodeUnconfirmed { node })));
            }
            let ask = if turn.growth { self.shapes.ask(job, 1 + usize::from(first.role)) } else { turn.ask };
            match self.consider(Turn { ask, ..turn }, &want, lifted) {
                // where one role finds no room to grow, the next one may
                Outcome::Waits(blocked) if turn.growth => outcome = Some(Outcome::Waits(blocked)),
                other => return Some(other),
            }
            grows = Some(1 + usize::from(first.role));
        }
    }

    fn consider(&mut self, turn: Turn, want: &Want, lifted: &Lifted) -> Outcome {
        let job = turn.job;
        let of = &self.s.jobs[job];
        let best_effort = of.class == Class::BestEffort;
        let asker = self.work.asker(self.s, self.tree, job);
        let pool = self.shapes.pool(job);
        let has = self.work.has(job);
        let part = match want.parts.first() {
            Some(first) if turn.growth => Some(1 + usize::from(first.role)),
            _ => (!has.runs() && !has.is_promised()).then_some(0),
        };
        let pin = pinned(pool, self.work, job);
        // a job pinned to its domain is not judged like the others of its shape
        let ask = part.filter(|_| pin.is_none()).map(|part| self.shapes.ask(job, part));
        let replicas = || want.parts.iter().flat_map(|part| part.replicas.iter().map(|r| (part.role, *r)));
        let at_once = has.clear_of_going(replicas()) && (!turn.growth || self.gang_runs(job));
        let own: Vec<(Choice, Vec<Demand>)>;
        let choices = match ask {
            Some(ask) => self.shapes.asks[ask].options.as_slice(),
            None => {
                let choices = pool.choices(&want.largest()).into_iter();
                own = choices.map(|choice| (choice, demands_for(pool, choice, want))).collect();
                own.as_slice()
            }
        };
        let mut options: Vec<(Choice, &[Demand], bool)> = Vec::with_capacity(choices.len());
        let mut blocked = None;
        for (choice, demands) in choices {
            let never = of.preemptible == Preemptible::Never && !best_effort;
            if never && !self.tree.covers_for_good(asker.leaf, demands) {
                blocked.get_or_insert(Blocked::MayNotBorrow);
                continue;
            }
            let bound = self.tree.bound(asker, demands, false);
            if let Some(bound) = bound {
                blocked.get_or_insert(Blocked::Limit(bound));
            }
            options.push((*choice, demands, bound.is_some()));
        }
        if options.len() > 1
            && of.request.models.is_empty()
            && let Some(scorer) = self.rooms.scorer()
        {
            options.sort_by_key(|(choice, _, _)| scorer.dearness(pool, *choice, &want.largest()));
        }
        if self.strictly_behind(turn) {
            let all_limited = options.iter().all(|(_, _, limited)| *limited);
            return Outcome::Waits(blocked.filter(|_| all_limited).unwrap_or(Blocked::Room));
        }
        // with its own booking gone, it is not judged like the others of its shape
        let trial = Trial { want, pin, ask: ask.filter(|_| lifted.is_nothing()) };
        for view in [View::Now, View::Soon] {
            if view == View::Now && !at_once {
                continue;
            }
            for (choice, demands, _) in options.iter().filter(|(_, _, limited)| !limited) {
                if view == View::Now && self.tree.bound(asker, demands, true).is_some() {
                    continue;
                }
                if let Some(placements) = self.try_place(job, trial, view, *choice) {
                    return self.got(turn, placements, view == View::Soon);
                }
            }
            if view == View::Now
                && let Some(placements) = self.try_loan(turn, trial, &options, (asker, choices.len()), lifted)
            {
                return self.got(turn, placements, false);
            }
        }
        if let Some(past) = self.work.own_past(job).filter(|_| !at_once) {
            return Outcome::Waits(Blocked::Past(past));
        }
        let shape = self.shapes.of(job);
        if let Err(reason) = self.feasible.judge(self.s, self.shapes, shape) {
            self.judge.remember_never(shape);
            return Outcome::Waits(Blocked::Never(Reason::Infeasible(reason.clone())));
        }
        for (choice, demands, _) in &options {
            if *choice == Choice::Mixed && want.largest().gpu > 0 {
                continue;
            }
            if let Some(lines) = self.try_reclaim(turn, trial, *choice, demands) {
                return Outcome::Got(lines);
            }
        }
        if ask.is_some() {
            self.remember_vain(turn, None);
        }
        let all_limited = options.iter().all(|(_, _, limited)| *limited);
        Outcome::Waits(blocked.filter(|_| all_limited).unwrap_or(Blocked::Room))
    }

    fn got(&mut self, turn: Turn, placements: Vec<Placement>, promised: bool) -> Outcome {
        self.work.decided(self.s, self.tree, turn.job, &placements, (turn.growth, promised));
        if !promised {
            self.grant(turn.job, placements);
        }
        Outcome::Got(Vec::new())
    }
}

pub(crate) fn placement(spot: &Spot) -> Placement {
    Placement { role: spot.role, replica: spot.replica, node: spot.node, gpus: spot.gpus.clone() }
}

/// Does a pool bind a want to a domain, and is it known which?
pub(crate) fn pinned(pool: &Pool, work: &Work, job: usize) -> Option<ValueIx> {
    if pool.bound() { work.has(job).anchor().and_then(|node| pool.value(node)) } else { None }
}
