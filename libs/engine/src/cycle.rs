//! One cycle: promises that are ready, then each job in its turn: place, else wait for room that is coming, else take it
//! back where there is a right, else keep what is free for the head of the line.

mod taking;
mod telling;

use std::collections::{BTreeMap, BTreeSet};

use crate::explain::Explainer;
use crate::model::{
    Class, Grant, JobIx, NodeIx, Placement, Plan, Preemptible, Revocation, Snapshot, SnapshotError, ValueIx,
};
use crate::place::{Choice, Known, Part, Pool, Shapes, Try, Want, place, undo};
use crate::queue::{Queue, Turn};
use crate::reason::Reason;
use crate::reserve::{Kept, gone_in_time, model_of};
use crate::room::{Rooms, View};
use crate::tree::{Asker, Bound, Demand, Tree, Vertex, demand_of};
use crate::work::{PieceIx, Spot, Work};

/// Decides what to do with a snapshot. Pure: the same snapshot gives the same plan.
///
/// # Errors
/// When the snapshot is not sound, as [`Snapshot::check`] says.
pub fn decide(snapshot: &Snapshot) -> Result<Plan, SnapshotError> {
    snapshot.check()?;
    let shapes = Shapes::new(snapshot);
    Ok(Cycle::new(snapshot, &shapes).run())
}

/// What the same work asks of quota on each model that it may run on.
type ByModel = Vec<Vec<Demand>>;

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
        let mut promised: Vec<PieceIx> =
            (0..self.work.pieces.len()).filter(|ix| self.work.pieces[*ix].promised).collect();
        promised.sort_by_key(|ix| (self.work.pieces[*ix].surplus, *ix));
        for ix in promised {
            let piece = self.work.pieces[ix].clone();
            let job = piece.job;
            let placements: Vec<Placement> = piece.spots.iter().map(placement).collect();
            if !self.work.has[job].clear_of_going(&placements) || (piece.surplus && !self.gang_runs(job)) {
                continue;
            }
            self.tree.remove(piece.leaf, &piece.demands, piece.charge);
            let asker = Asker { leaf: piece.leaf, best_effort: piece.charge.best_effort, enters: false };
            let bound = self.tree.bound(asker, &piece.demands, true);
            self.tree.add(piece.leaf, &piece.demands, piece.charge);
            let full = !self.work.has[job].runs() && self.tree.full(piece.leaf).is_some();
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
            self.work.keep_promise(&mut self.tree, ix);
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
    fn demands_by_shape(&self) -> Vec<(ByModel, ByModel)> {
        let mut by_shape = vec![(Vec::new(), Vec::new()); self.shapes.pools.len()];
        for (job, of) in self.s.jobs.iter().enumerate() {
            let entry = &mut by_shape[self.shapes.of(job)];
            if entry.0.is_empty() {
                let pool = self.shapes.pool(job);
                entry.0 = all_demands(pool, &crate::feasible::gang(&of.request));
                let elastic = of.request.roles.iter().find(|role| role.min < role.replicas);
                if let Some(role) = elastic {
                    let part = Part { role: 0, each: role.each, replicas: vec![0] };
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
        let best_effort = self.best_effort(job);
        let asker = self.work.asker(self.s, &self.tree, job);
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
            if self.s.jobs[job].preemptible == Preemptible::Never
                && !best_effort
                && !self.covered(turn.line, &demands)
            {
                blocked.get_or_insert(Blocked::MayNotBorrow);
                continue;
            }
            let bound = self.tree.bound(asker, &demands, false);
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
                if view == View::Now && self.tree.bound(asker, demands, true).is_some() {
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
        &mut self,
        job: usize,
        want: &Want,
        view: View,
        choice: Choice,
        (pin, part): (Option<ValueIx>, Option<u32>),
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
        &mut self,
        job: usize,
        want: &Want,
        view: View,
        choice: Choice,
        pin: Option<ValueIx>,
    ) -> Option<Vec<Placement>> {
        self.searches += 1;
        let pool = self.shapes.pool(job);
        let placed = place(&mut self.rooms, want, Try { pool, view, choice, pin }).ok()?;
        if choice == Choice::Mixed && want.largest().gpu > 0 {
            // which models it gets is known only now
            let demands = demand_of(self.s, &self.s.jobs[job].request, &placed);
            let (going, asker) = (view == View::Now, self.work.asker(self.s, &self.tree, job));
            if self.tree.bound(asker, &demands, going).is_some() {
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
}

fn placement(spot: &Spot) -> Placement {
    Placement { role: spot.role, replica: spot.replica, node: spot.node, gpus: spot.gpus.clone() }
}

/// The replicas of a want, without a place.
fn placeholders(want: &Want) -> Vec<Placement> {
    let parts = want.parts.iter();
    parts
        .flat_map(|part| part.replicas.iter().map(|replica| (part.role, *replica)))
        .map(|(role, replica)| Placement { role, replica, node: NodeIx(0), gpus: Vec::new() })
        .collect()
}

fn demands_for(pool: &Pool, choice: Choice, want: &Want) -> Vec<Demand> {
    let mut demand = Demand { model: model_of(pool, choice, &want.largest()), ..Demand::default() };
    for part in &want.parts {
        demand.add(&part.each, i64::try_from(part.replicas.len()).unwrap_or(i64::MAX));
    }
    vec![demand]
}

fn all_demands(pool: &Pool, want: &Want) -> Vec<Vec<Demand>> {
    pool.choices(&want.largest()).into_iter().map(|choice| demands_for(pool, choice, want)).collect()
}
