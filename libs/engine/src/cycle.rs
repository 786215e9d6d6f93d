//! One cycle: promises that are ready, then each job in its turn: place, else wait for room that is coming, else take it
//! back where there is a right, else keep what is free for the head of the line.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::evict::{Ground, Taken};
use crate::explain::{Explainer, fits, short_of};
use crate::model::{
    Class, Counts, Grant, Hold, JobIx, Millis, Placement, Plan, Preemptible, Reservation, Revocation, RevokeCause,
    RevokedReplica, Snapshot, SnapshotError, Verdict,
};
use crate::place::{Choice, Known, Shapes, Try, Want, place, undo};
use crate::queue::{Queue, Turn};
use crate::reason::Reason;
use crate::reserve::{Kept, gone_in_time, line_of, model_of, reserve, same_line};
use crate::rights::Claim;
use crate::room::{Rooms, View};
use crate::tree::{Bound, Demand, Tree, Vertex, demand_of};
use crate::work::{PieceIx, Work};

/// Decides what to do with a snapshot. Pure: the same snapshot gives the same plan.
///
/// # Errors
/// When the snapshot is not sound, as [`Snapshot::check`] says.
pub fn decide(snapshot: &Snapshot) -> Result<Plan, SnapshotError> {
    snapshot.check()?;
    let shapes = Shapes::new(snapshot);
    Ok(Cycle::new(snapshot, &shapes).run())
}

/// What came of a turn.
enum Outcome {
    /// It got something; these lines' use changed too.
    Got(Vec<Vertex>),
    Waits(Blocked),
}

/// What keeps a job; told in full at the end of the cycle.
#[derive(Clone, Debug)]
enum Blocked {
    Limit(Bound),
    MayNotBorrow,
    Past(Reason),
    Never(Reason),
    Room,
    /// Head of its line, with what is short.
    Head(Reason),
}

/// What a claim was found to have no hope of taking back.
type Hopeless = (usize, u32, Choice, Vertex, i32, Class);

struct Cycle<'a> {
    s: &'a Snapshot,
    shapes: &'a Shapes,
    rooms: Rooms,
    tree: Tree,
    work: Work,
    known: Known,
    hopeless: BTreeSet<Hopeless>,
    explainer: Explainer<'a>,
    grants: Vec<Grant>,
    grant_of: BTreeMap<usize, usize>,
    revoked: BTreeMap<usize, Revocation>,
    kept: Vec<Kept>,
    waiting: Vec<(usize, Blocked)>,
    searches: u32,
}

impl<'a> Cycle<'a> {
    fn new(s: &'a Snapshot, shapes: &'a Shapes) -> Self {
        let mut tree = Tree::new(s);
        let mut rooms = Rooms::new(s);
        let work = Work::new(s, &mut tree, &mut rooms, shapes);
        Self {
            s,
            shapes,
            rooms,
            tree,
            work,
            known: Known::default(),
            hopeless: BTreeSet::new(),
            explainer: Explainer::new(s, shapes),
            grants: Vec::new(),
            grant_of: BTreeMap::new(),
            revoked: BTreeMap::new(),
            kept: Vec::new(),
            waiting: Vec::new(),
            searches: 0,
        }
    }

    fn run(mut self) -> Plan {
        self.grant_what_is_ready();
        self.run_class(Class::Guaranteed);
        self.run_class(Class::BestEffort);
        self.finish()
    }
}

impl Cycle<'_> {
    fn best_effort(&self, job: usize) -> bool {
        self.s.jobs[job].class == Class::BestEffort
    }

    fn leaf(&self, job: usize) -> Vertex {
        self.tree.leaf(self.s.jobs[job].account, self.s.jobs[job].user)
    }

    /// Promises whose room is free now become grants: a gang whole, then what is above it.
    fn grant_what_is_ready(&mut self) {
        let mut promised: Vec<PieceIx> = (0..self.work.pieces.len()).filter(|ix| self.work.pieces[*ix].promised).collect();
        promised.sort_by_key(|ix| (self.work.pieces[*ix].surplus, *ix));
        for ix in promised {
            let piece = self.work.pieces[ix].clone();
            let job = piece.job;
            let placements: Vec<Placement> = piece.spots.iter().map(placement).collect();
            if !self.work.has[job].clear_of_going(&placements) || (piece.surplus && !self.gang_runs(job)) {
                continue;
            }
            self.tree.remove(piece.leaf, &piece.demands, piece.charge);
            let bound = self.tree.bound(piece.leaf, &piece.demands, piece.charge.best_effort, true);
            self.tree.add(piece.leaf, &piece.demands, piece.charge);
            if bound.is_some() {
                continue;
            }
            let mut charged = 0;
            for spot in &piece.spots {
                if !self.rooms.has(View::Raw, spot.node, &spot.each, &spot.gpus) {
                    break;
                }
                self.rooms.now[spot.node.at()].take(&spot.each, &spot.gpus);
                charged += 1;
            }
            if charged < piece.spots.len() {
                for spot in &piece.spots[..charged] {
                    self.rooms.now[spot.node.at()].add(&spot.each, &spot.gpus);
                }
                continue;
            }
            self.work.keep_promise(ix);
            self.grant(job, placements);
        }
    }

    fn gang_runs(&self, job: usize) -> bool {
        let live = &self.work.has[job].live;
        let roles = self.s.jobs[job].request.roles.iter();
        roles.zip(live).all(|(role, live)| live.len() >= role.min as usize)
    }

    fn grant(&mut self, job: usize, placements: Vec<Placement>) {
        let at = *self.grant_of.entry(job).or_insert_with(|| {
            self.grants.push(Grant { job: JobIx::of(job), placements: Vec::new() });
            self.grants.len() - 1
        });
        self.grants[at].placements.extend(placements);
    }

    fn run_class(&mut self, class: Class) {
        let mut turns = Vec::new();
        for (job, of) in self.s.jobs.iter().enumerate() {
            if of.class != class || of.closed {
                continue;
            }
            let line = self.tree.line(of.account);
            if !self.work.missing(self.s, job, false).parts.is_empty() {
                turns.push(Turn { job, growth: false, line });
            }
            if of.request.roles.iter().any(|role| role.min < role.replicas) {
                turns.push(Turn { job, growth: true, line });
            }
        }
        let demands = self.demands_by_shape();
        let (s, shapes) = (self.s, self.shapes);
        let demand = move |turn: Turn| -> Vec<Vec<Demand>> {
            let of = &demands[shapes.of(turn.job)];
            if turn.growth { of.1.clone() } else { of.0.clone() }
        };
        let mut queue = Queue::new(s, &self.tree, class, turns, &demand);
        while let Some(turn) = queue.next() {
            let mut changed = vec![turn.line];
            match self.take_turn(turn) {
                Some(Outcome::Got(lines)) => {
                    changed.extend(lines);
                    if !turn.growth {
                        queue.done(turn);
                    }
                }
                Some(Outcome::Waits(blocked)) => {
                    queue.done(turn);
                    if !turn.growth {
                        self.refuse(turn.job, blocked, &mut changed);
                    }
                }
                None => queue.done(turn),
            }
            changed.sort_unstable();
            changed.dedup();
            for line in changed {
                queue.refresh(s, &self.tree, line, &demand);
            }
        }
    }

    /// What a gang, or one replica more, of each shape asks of quota, for each model it may run on.
    fn demands_by_shape(&self) -> Vec<(Vec<Vec<Demand>>, Vec<Vec<Demand>>)> {
        let mut by_shape = vec![(Vec::new(), Vec::new()); self.shapes.pools.len()];
        for (job, of) in self.s.jobs.iter().enumerate() {
            let entry = &mut by_shape[self.shapes.of(job)];
            if entry.0.is_empty() {
                let pool = self.shapes.pool(job);
                entry.0 = all_demands(pool, &crate::feasible::gang(&of.request));
                let elastic = of.request.roles.iter().find(|role| role.min < role.replicas);
                if let Some(role) = elastic {
                    let part = crate::place::Part { role: 0, each: role.each, replicas: vec![0] };
                    entry.1 = all_demands(pool, &Want { parts: vec![part] });
                }
            }
        }
        by_shape
    }

    /// `None`: there is nothing (more) to do.
    fn take_turn(&mut self, turn: Turn) -> Option<Outcome> {
        let job = turn.job;
        if self.revoked.contains_key(&job) {
            return None;
        }
        let want = self.work.missing(self.s, job, turn.growth);
        if want.parts.is_empty() || (turn.growth && !self.work.missing(self.s, job, false).parts.is_empty()) {
            return None;
        }
        if let Some(node) = self.work.has[job].unconfirmed {
            return Some(Outcome::Waits(Blocked::Past(Reason::NodeUnconfirmed { node })));
        }
        Some(self.consider(turn, &want))
    }

    fn consider(&mut self, turn: Turn, want: &Want) -> Outcome {
        let job = turn.job;
        let (leaf, best_effort) = (self.leaf(job), self.best_effort(job));
        let pool = self.shapes.pool(job);
        let has = &self.work.has[job];
        let fresh = !has.runs() && !has.is_promised();
        let part = match want.parts.first() {
            Some(first) if turn.growth => Some(1 + u32::from(first.role)),
            _ => fresh.then_some(0),
        };
        let pin = if pool.bound() { has.anchor().and_then(|node| pool.value(node)) } else { None };
        // a job pinned to its domain is not judged like the others of its shape
        let part = part.filter(|_| pin.is_none());
        let at_once = has.clear_of_going(&placeholders(want)) && (!turn.growth || self.gang_runs(job));
        let mut options = Vec::new();
        let mut blocked = None;
        for choice in pool.choices(&want.largest()) {
            let demands = demands_for(pool, choice, want);
            if self.s.jobs[job].preemptible == Preemptible::Never && !best_effort && !self.covered(turn.line, &demands) {
                blocked.get_or_insert(Blocked::MayNotBorrow);
                continue;
            }
            let bound = self.tree.bound(leaf, &demands, best_effort, false);
            if let Some(bound) = bound {
                blocked.get_or_insert(Blocked::Limit(bound));
            }
            options.push((choice, demands, bound.is_some()));
        }
        for view in [View::Now, View::Soon] {
            if view == View::Now && !at_once {
                continue;
            }
            for (choice, demands, _) in options.iter().filter(|(_, _, limited)| !limited) {
                if view == View::Now && self.tree.bound(leaf, demands, best_effort, true).is_some() {
                    continue;
                }
                if let Some(placements) = self.try_place(job, want, view, *choice, (pin, part)) {
                    return self.got(turn, placements, view == View::Soon);
                }
            }
        }
        if let Some(past) = self.work.own_past(job).filter(|_| !at_once) {
            return Outcome::Waits(Blocked::Past(past));
        }
        if let Some(reason) = self.explainer.never(job) {
            return Outcome::Waits(Blocked::Never(reason));
        }
        for (choice, demands, _) in &options {
            if *choice == Choice::Mixed && want.largest().gpu > 0 {
                continue;
            }
            if let Some(lines) = self.try_reclaim(turn, want, *choice, demands, (pin, part)) {
                return Outcome::Got(lines);
            }
        }
        let all_limited = options.iter().all(|(_, _, limited)| *limited);
        Outcome::Waits(blocked.filter(|_| all_limited).unwrap_or(Blocked::Room))
    }

    /// Is this inside the guarantee of the account itself?
    fn covered(&self, line: Vertex, demands: &[Demand]) -> bool {
        let own = if self.tree.is_account(line) { line } else { self.tree.parent(line) };
        self.tree.covers(own, demands)
    }

    fn try_place(
        &mut self, job: usize, want: &Want, view: View, choice: Choice,
        (pin, part): (Option<crate::model::ValueIx>, Option<u32>),
    ) -> Option<Vec<Placement>> {
        let shape = self.shapes.of(job);
        if part.is_none_or(|part| !self.known.misfit(shape, part, view, choice)) {
            if let Some(placed) = self.search(job, want, view, choice, pin) {
                return Some(placed);
            }
            if let Some(part) = part {
                self.known.remember(shape, part, view, choice);
            }
        }
        if view != View::Now || self.s.jobs[job].expected_ms.is_none() {
            return None;
        }
        // what is kept may be used by who is gone in time
        let kept = std::mem::take(&mut self.kept);
        let lent: Vec<&Kept> = kept.iter().filter(|kept| gone_in_time(self.s, job, kept)).collect();
        let mut placed = None;
        if !lent.is_empty() {
            lent.iter().for_each(|kept| kept.lend(&mut self.rooms));
            placed = self.search(job, want, view, choice, pin);
            lent.iter().for_each(|kept| kept.charge(&mut self.rooms));
        }
        self.kept = kept;
        placed
    }

    fn search(
        &mut self, job: usize, want: &Want, view: View, choice: Choice, pin: Option<crate::model::ValueIx>,
    ) -> Option<Vec<Placement>> {
        self.searches += 1;
        let pool = self.shapes.pool(job);
        let placed = place(&mut self.rooms, want, Try { pool, view, choice, pin }).ok()?;
        if choice == Choice::Mixed && want.largest().gpu > 0 {
            // which models it gets is known only now
            let demands = demand_of(self.s, &self.s.jobs[job].request, &placed);
            let going = view == View::Now;
            if self.tree.bound(self.leaf(job), &demands, self.best_effort(job), going).is_some() {
                undo(&mut self.rooms, want, view, &placed);
                return None;
            }
        }
        Some(placed)
    }

    fn got(&mut self, turn: Turn, placements: Vec<Placement>, promised: bool) -> Outcome {
        self.work.decided(self.s, &mut self.tree, turn.job, &placements, (turn.growth, promised));
        if !promised {
            self.grant(turn.job, placements);
        }
        Outcome::Got(Vec::new())
    }

    fn try_reclaim(
        &mut self, turn: Turn, want: &Want, choice: Choice, demands: &[Demand],
        (pin, part): (Option<crate::model::ValueIx>, Option<u32>),
    ) -> Option<Vec<Vertex>> {
        let of = &self.s.jobs[turn.job];
        let leaf = self.leaf(turn.job);
        let hopeless = part.map(|part| (self.shapes.of(turn.job), part, choice, leaf, of.priority, of.class));
        if hopeless.is_some_and(|key| self.hopeless.contains(&key)) {
            return None;
        }
        let claim =
            Claim { job: turn.job, leaf, line: turn.line, demands: demands.to_vec(), growth: turn.growth };
        let mut ground = Ground {
            snapshot: self.s,
            shapes: self.shapes,
            tree: &mut self.tree,
            rooms: &mut self.rooms,
            work: &mut self.work,
        };
        self.searches += 1;
        match ground.reclaim(&claim, want, self.shapes.pool(turn.job), choice, pin) {
            Some(taken) => Some(self.carry_out(turn, taken)),
            None => {
                if let Some(key) = hopeless {
                    self.hopeless.insert(key);
                }
                None
            }
        }
    }

    /// Writes down a set of victims, and finds other places for those that have one.
    fn carry_out(&mut self, turn: Turn, taken: Taken) -> Vec<Vertex> {
        self.known.forget();
        self.hopeless.clear();
        self.work.decided(self.s, &mut self.tree, turn.job, &taken.placements, (turn.growth, true));
        let mut lines = Vec::new();
        let mut victims = taken.victims;
        victims.sort_by_key(|(ix, cause)| {
            let piece = &self.work.pieces[*ix];
            let job = &self.s.jobs[piece.job];
            let must = *cause != RevokeCause::Consolidated;
            (must, job.class, piece.surplus, Reverse(job.priority), piece.job, *ix)
        });
        for (ix, cause) in victims {
            let piece = self.work.pieces[ix].clone();
            lines.push(piece.line);
            let job = piece.job;
            if piece.promised {
                self.waiting.push((job, Blocked::Room));
                continue;
            }
            let mut moved = BTreeMap::new();
            if !piece.surplus || self.work.missing(self.s, job, false).parts.is_empty() {
                let mut ground = Ground {
                    snapshot: self.s,
                    shapes: self.shapes,
                    tree: &mut self.tree,
                    rooms: &mut self.rooms,
                    work: &mut self.work,
                };
                if let Some((_, placements)) = ground.rehouse(ix) {
                    self.work.decided(self.s, &mut self.tree, job, &placements, (piece.surplus, true));
                    moved = placements.into_iter().map(|p| ((p.role, p.replica), p.node)).collect();
                }
            }
            self.revoke(ix, cause, Some(turn.job), &moved);
        }
        lines
    }

    fn revoke(
        &mut self, ix: PieceIx, cause: RevokeCause, beneficiary: Option<usize>,
        moved: &BTreeMap<(u16, u32), crate::model::NodeIx>,
    ) {
        let piece = &self.work.pieces[ix];
        // it counts against limits until it is gone
        for demand in &piece.demands {
            self.tree.add_going(piece.leaf, *demand, piece.charge.best_effort);
        }
        let revocation = self.revoked.entry(piece.job).or_insert_with(|| Revocation {
            job: JobIx::of(piece.job),
            replicas: Vec::new(),
            cause,
            beneficiary: beneficiary.map(JobIx::of),
        });
        revocation.replicas.extend(piece.spots.iter().map(|spot| RevokedReplica {
            role: spot.role,
            replica: spot.replica,
            node: spot.node,
            moves_to: moved.get(&(spot.role, spot.replica)).copied(),
        }));
        revocation.replicas.sort();
    }

    /// A gang that got nothing: what is left of it is torn down, or it waits, the head of a line with room kept for it.
    fn refuse(&mut self, job: usize, blocked: Blocked, changed: &mut Vec<Vertex>) {
        if self.work.has[job].runs() {
            if self.work.has[job].going() == 0 {
                for ix in self.work.has[job].pieces.clone() {
                    if !self.work.pieces[ix].alive {
                        continue;
                    }
                    self.work.evict(&mut self.tree, &mut self.rooms, ix);
                    if !self.work.pieces[ix].promised {
                        self.revoke(ix, RevokeCause::BrokenGang, None, &BTreeMap::new());
                    }
                }
                self.known.forget();
                self.hopeless.clear();
                changed.push(self.tree.line(self.s.jobs[job].account));
            }
            return;
        }
        let want = self.work.missing(self.s, job, false);
        let pool = self.shapes.pool(job);
        let line = line_of(pool, &want);
        let head = matches!(blocked, Blocked::Room) && !self.kept.iter().any(|kept| same_line(&kept.models, &line));
        // who waits only for what is kept for others needs nothing kept
        if head && !fits(pool, &mut self.rooms, &want) {
            let reason = short_of(self.s, pool, &mut self.rooms, job, &want);
            if let Some(kept) = reserve(self.s, self.shapes, &mut self.rooms, job, &want) {
                self.kept.push(kept);
                self.waiting.push((job, Blocked::Head(reason)));
                return;
            }
        }
        self.waiting.push((job, blocked));
    }

    fn finish(mut self) -> Plan {
        let holds = self.holds();
        let reservations: Vec<Reservation> = self.kept.iter().map(|kept| Reservation {
            job: JobIx::of(kept.job),
            expected_start: kept.start,
            nodes: kept.nodes.clone(),
        }).collect();
        let kept_for: Vec<JobIx> = reservations.iter().map(|r| r.job).chain(holds.iter().map(|h| h.job)).collect();
        let verdicts = self.verdicts(&holds, &kept_for);
        let running = self.work.has.iter().filter(|has| has.runs()).count();
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let counts = Counts {
            running: count(running),
            waiting: count(verdicts.len()),
            granted: count(self.grants.iter().map(|grant| grant.placements.len()).sum()),
            revoked: count(self.revoked.values().map(|r| r.replicas.len()).sum()),
            searches: self.searches,
        };
        Plan {
            cycle: self.s.cycle,
            grants: self.grants,
            revocations: self.revoked.into_values().collect(),
            holds,
            reservations,
            verdicts,
            counts,
        }
    }

    /// Promises that are not ready yet.
    fn holds(&self) -> Vec<Hold> {
        let mut holds: BTreeMap<usize, Hold> = BTreeMap::new();
        for piece in self.work.pieces.iter().filter(|piece| piece.promised && piece.alive) {
            let since: Millis = piece.started;
            let hold = holds
                .entry(piece.job)
                .or_insert_with(|| Hold { job: JobIx::of(piece.job), since, placements: Vec::new() });
            hold.since = hold.since.min(since);
            hold.placements.extend(piece.spots.iter().map(placement));
        }
        holds.into_values().collect()
    }

    fn verdicts(&mut self, holds: &[Hold], kept_for: &[JobIx]) -> Vec<Verdict> {
        let mut told: BTreeSet<usize> = BTreeSet::new();
        let mut all: Vec<(usize, Vec<Reason>, Option<Millis>)> = Vec::new();
        for hold in holds {
            let job = hold.job.at();
            if self.silent(job) || !told.insert(job) {
                continue;
            }
            let mut nodes: Vec<usize> = hold.placements.iter().map(|p| p.node.at()).collect();
            nodes.sort_unstable();
            nodes.dedup();
            let revoked = self.revoked.values().flat_map(|r| &r.replicas);
            let now_going = revoked.filter(|r| nodes.binary_search(&r.node.at()).is_ok()).count();
            let going: u32 = nodes.iter().map(|node| self.work.going_on[*node]).sum();
            let going = going + u32::try_from(now_going).unwrap_or(u32::MAX);
            let mut reasons = vec![Reason::RoomIsComing { going }];
            reasons.extend(self.work.own_past(job));
            all.push((job, reasons, None));
        }
        for (job, blocked) in std::mem::take(&mut self.waiting) {
            if self.silent(job) || !told.insert(job) {
                continue;
            }
            let start = self.kept.iter().find(|kept| kept.job == job).and_then(|kept| kept.start);
            let reasons = self.reasons(job, blocked, start, kept_for);
            all.push((job, reasons, start));
        }
        for job in 0..self.s.jobs.len() {
            if self.silent(job) || !told.insert(job) {
                continue;
            }
            let past = self.work.own_past(job);
            let reason = if self.s.jobs[job].closed { Some(Reason::Closed) } else { past };
            let reason = match reason {
                Some(reason) => reason,
                None => self.room_reason(job, kept_for),
            };
            all.push((job, vec![reason], None));
        }
        let mut after = None;
        let numbered = (1u32..).zip(all);
        let verdicts = numbered.map(|(position, (job, reasons, expected_start))| {
            let job = JobIx::of(job);
            Verdict { job, position, after: after.replace(job), reasons, expected_start }
        });
        verdicts.collect()
    }

    /// Runs, gets something, is only just being revoked, or wants nothing: no verdict.
    fn silent(&self, job: usize) -> bool {
        let has = &self.work.has[job];
        has.runs() || self.revoked.contains_key(&job) || (self.s.jobs[job].closed && has.going() == 0)
    }

    fn room_reason(&mut self, job: usize, kept_for: &[JobIx]) -> Reason {
        let want = self.work.missing(self.s, job, false);
        self.explainer.no_room(&mut self.rooms, job, &want, kept_for)
    }

    fn reasons(&mut self, job: usize, blocked: Blocked, start: Option<Millis>, kept_for: &[JobIx]) -> Vec<Reason> {
        match blocked {
            Blocked::Limit(Bound { holder, resource, used, wanted, limit, .. }) => {
                vec![Reason::Limit { holder, resource, used, wanted, limit }]
            }
            Blocked::MayNotBorrow => {
                let account = self.s.jobs[job].account;
                vec![Reason::MayNotBorrow { account }]
            }
            Blocked::Past(reason) | Blocked::Never(reason) => vec![reason],
            Blocked::Head(reason) => vec![reason, Reason::Reserved { expected_start: start }],
            Blocked::Room => vec![self.room_reason(job, kept_for)],
        }
    }
}

fn placement(spot: &crate::work::Spot) -> Placement {
    Placement { role: spot.role, replica: spot.replica, node: spot.node, gpus: spot.gpus.clone() }
}

/// The replicas of a want, without a place.
fn placeholders(want: &Want) -> Vec<Placement> {
    let parts = want.parts.iter();
    parts
        .flat_map(|part| part.replicas.iter().map(|replica| (part.role, *replica)))
        .map(|(role, replica)| Placement { role, replica, node: crate::model::NodeIx(0), gpus: Vec::new() })
        .collect()
}

fn demands_for(pool: &crate::place::Pool, choice: Choice, want: &Want) -> Vec<Demand> {
    let mut demand = Demand { model: model_of(pool, choice, &want.largest()), ..Demand::default() };
    for part in &want.parts {
        demand.add(&part.each, i64::try_from(part.replicas.len()).unwrap_or(i64::MAX));
    }
    vec![demand]
}

fn all_demands(pool: &crate::place::Pool, want: &Want) -> Vec<Vec<Demand>> {
    pool.choices(&want.largest()).into_iter().map(|choice| demands_for(pool, choice, want)).collect()
}
