//! Which turns need not be taken at all: their shape found no place, and they can have no right to anybody's room.
//!
//! What is said here is sound and not exact: a turn that is passed over would have been refused, not every turn that would be
//! refused is passed over.

use std::collections::BTreeSet;

use crate::ahead::Ahead;
use crate::model::{Backfill, Class, Millis, Snapshot};
use crate::place::Part;
use crate::pool::Choice;
use crate::profile::length;
use crate::queue::Turn;
use crate::reserve::{Kept, gone_in_time, same_line};
use crate::room::{Rooms, View};
use crate::shapes::{AskIx, Shapes};
use crate::tree::{Reach, Tree, Vertex};
use crate::work::Work;

/// At most so many searches a cycle for somebody to be migrated may fail.
const FAILED_MOVES: u32 = 16;

/// What a judgement is based on.
#[derive(Clone, Copy)]
pub(crate) struct Facts<'a> {
    pub snapshot: &'a Snapshot,
    pub shapes: &'a Shapes,
    pub tree: &'a Tree,
    pub rooms: &'a Rooms,
    pub work: &'a Work,
    pub kept: &'a [Kept],
    /// What is booked, where everybody who waits for room has a start; and for how many of them nobody can tell it.
    pub ahead: Option<&'a Ahead>,
    pub unknown: usize,
}

/// What is known in a cycle.
#[derive(Default)]
pub(crate) struct Judge {
    /// By ask: in which views and choices there is no place, while room only shrinks.
    misfits: Vec<u128>,
    /// By ask: with which kept rooms lent there is none either.
    lent: Vec<Option<u64>>,
    /// By ask: there is no place beside what is booked for who runs until then or longer.
    until: Vec<Millis>,
    /// By ask: was it looked at whether anything could hold it?
    glanced: Vec<bool>,
    /// Asks of which something is known.
    touched: Vec<AskIx>,
    /// By ask: how many kept rooms were looked at, and is its line headed by one of them?
    headed: Vec<(usize, bool)>,
    /// By shape: it could never run.
    never: Vec<bool>,
    /// Claims that were found to have no hope of taking anything back.
    hopeless: BTreeSet<(AskIx, Choice, Vertex, i32, Class)>,
    /// All of a turn was found hopeless.
    barren: BTreeSet<(AskIx, Vertex, i32, Class)>,
    /// Asks for which nobody can usefully be moved.
    immovable: BTreeSet<AskIx>,
    failed_moves: u32,
    /// By class of pool: what will be free there, in milli-GPU and milli-cores.
    free: Vec<Option<(i64, i64)>>,
    /// Grows when shares change.
    version: u64,
    reach: Vec<(u64, Reach)>,
    slack: Vec<(u64, Option<Slack>)>,
    least: Vec<Option<Least>>,
    lowest_spare: Option<Vec<i32>>,
}

/// What could at most be taken of the children of a vertex: of the child with most, and of the others.
#[derive(Clone, Debug)]
struct Slack {
    /// By model, then without: the greatest share left, whose, and the next.
    top: Vec<(i64, Vertex, i64)>,
    /// How many children borrow, and one that does.
    borrowers: (usize, Vertex),
}

/// The least amounts of pieces below a vertex: of those on each model, then of all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Least {
    amounts: Vec<Option<Vec<i64>>>,
    /// The lowest priority among them.
    priority: Option<i32>,
}

/// The bit for a view and a choice; none beyond so many models that no word holds them.
pub(crate) fn bit(view: View, choice: Choice) -> Option<u128> {
    let choice = match choice {
        Choice::Mixed => 0,
        Choice::Only(ix) => u32::try_from(ix).ok()? + 1,
    };
    let view = u32::from(view == View::Soon);
    1u128.checked_shl(choice.checked_mul(2)? + view)
}

impl Judge {
    /// `least`: what is known from earlier cycles.
    pub fn new(shapes: &Shapes, vertices: usize, mut least: Vec<Option<Least>>) -> Self {
        least.resize(vertices, None);
        Self {
            misfits: vec![0; shapes.asks.len()],
            lent: vec![None; shapes.asks.len()],
            until: vec![Millis::MAX; shapes.asks.len()],
            glanced: vec![false; shapes.asks.len()],
            headed: vec![(0, false); shapes.asks.len()],
            never: vec![false; shapes.len()],
            free: vec![None; shapes.classes()],
            version: 1,
            reach: vec![(0, Reach::default()); vertices],
            slack: vec![(0, None); vertices],
            least,
            ..Self::default()
        }
    }

    /// What stands as long as nobody's pieces change.
    pub fn into_least(self) -> Vec<Option<Least>> {
        self.least
    }

    /// Room became free: nothing is known any more of what fits.
    pub fn forget(&mut self) {
        for ask in self.touched.drain(..) {
            (self.misfits[ask], self.lent[ask], self.glanced[ask]) = (0, None, false);
            self.until[ask] = Millis::MAX;
        }
        self.free.fill(None);
        self.hopeless.clear();
        self.barren.clear();
        self.immovable.clear();
        self.changed();
    }

    /// Shares changed.
    pub fn changed(&mut self) {
        self.version += 1;
    }

    pub fn misfit(&self, ask: AskIx, view: View, choice: Choice) -> bool {
        bit(view, choice).is_some_and(|bit| self.misfits[ask] & bit != 0)
    }

    pub fn remember_misfit(&mut self, ask: AskIx, view: View, choice: Choice) {
        self.misfits[ask] |= bit(view, choice).unwrap_or(0);
        self.touched.push(ask);
    }

    /// Was it found that lending these does not help?
    pub fn useless_loan(&self, ask: AskIx, lent: u64) -> bool {
        self.lent[ask] == Some(lent)
    }

    /// Lending these did not help in any choice.
    pub fn remember_lent(&mut self, ask: AskIx, lent: u64) {
        self.lent[ask] = Some(lent);
        self.touched.push(ask);
    }

    /// Was no place found beside what is booked for who runs until then?
    pub fn misfit_until(&self, ask: AskIx, until: Millis) -> bool {
        self.until[ask] <= until && until < Millis::MAX
    }

    pub fn remember_misfit_until(&mut self, ask: AskIx, until: Millis) {
        self.until[ask] = self.until[ask].min(until);
        self.touched.push(ask);
    }

    /// It was found that this could never run.
    pub fn remember_never(&mut self, shape: usize) {
        self.never[shape] = true;
    }

    pub fn hopeless(&self, ask: AskIx, choice: Choice, leaf: Vertex, priority: i32, class: Class) -> bool {
        self.hopeless.contains(&(ask, choice, leaf, priority, class))
    }

    pub fn remember_hopeless(
        &mut self,
        ask: AskIx,
        choice: Choice,
        leaf: Vertex,
        priority: i32,
        class: Class,
    ) {
        self.hopeless.insert((ask, choice, leaf, priority, class));
    }

    pub fn remember_barren(&mut self, ask: AskIx, leaf: Vertex, priority: i32, class: Class) {
        self.barren.insert((ask, leaf, priority, class));
    }

    /// May others be migrated for this ask, or was that found to be of no use?
    pub fn may_move(&self, ask: AskIx) -> bool {
        self.moves_left() && !self.immovable.contains(&ask)
    }

    /// Is the budget of searches for somebody to be migrated not spent yet?
    pub fn moves_left(&self) -> bool {
        self.failed_moves < FAILED_MOVES
    }

    pub fn remember_failed_move(&mut self, ask: Option<AskIx>) {
        self.failed_moves += 1;
        self.immovable.extend(ask);
    }

    /// May a turn be passed over?
    pub fn skip(&mut self, facts: Facts<'_>, turn: Turn, class: Class) -> bool {
        let ask = &facts.shapes.asks[turn.ask];
        if !self.glanced[turn.ask] {
            self.glance(facts, turn.ask);
        }
        let full = ask.everywhere != 0 && self.misfits[turn.ask] & ask.everywhere == ask.everywhere;
        if turn.growth {
            let request = facts.shapes.request(ask.shape);
            // its turn is that of its other roles too
            let several = request.roles.iter().filter(|role| role.min < role.replicas).count() > 1;
            if !full || several || facts.shapes.pool_of(ask.shape).bound() {
                return false;
            }
        } else {
            if !turn.new {
                return false;
            }
            if facts.ahead.is_some_and(|ahead| ahead.of(turn.job).is_some()) {
                return false;
            }
            if self.never[ask.shape] {
                return true;
            }
            let placeless = full && self.headed(facts, turn.ask) && self.useless_loans(facts, turn);
            if !placeless {
                let (gpu, jobs) = facts.tree.headroom(turn.line, class == Class::BestEffort);
                if jobs && ask.gpu <= gpu {
                    return false;
                }
            }
        }
        !self.may_claim(facts, turn, class)
    }

    /// Notes what can be told at a glance not to fit.
    fn glance(&mut self, facts: Facts<'_>, ix: AskIx) {
        self.glanced[ix] = true;
        self.touched.push(ix);
        let ask = &facts.shapes.asks[ix];
        let pool = facts.shapes.pool_of(ask.shape);
        for (choice, view) in
            ask.options.iter().flat_map(|(choice, _)| [(*choice, View::Now), (*choice, View::Soon)])
        {
            let Some((_, index)) = facts.rooms.ordered(view) else { continue };
            let room = |part: &Part| {
                let mut groups = pool.list(&part.each, choice).groups.iter();
                groups.any(|group| index[*group as usize].may_hold(&part.each))
            };
            if !ask.want.parts.iter().all(room) {
                self.misfits[ix] |= bit(view, choice).unwrap_or(0);
            }
        }
    }

    fn headed(&mut self, facts: Facts<'_>, ask: AskIx) -> bool {
        if let Some(ahead) = facts.ahead {
            return ahead.len() + facts.unknown >= Backfill::DEPTH;
        }
        let (looked, headed) = self.headed[ask];
        if headed || looked == facts.kept.len() {
            return headed;
        }
        let line = &facts.shapes.asks[ask].line;
        let headed = facts.kept[looked..].iter().any(|kept| same_line(&kept.models, line));
        self.headed[ask] = (facts.kept.len(), headed);
        headed
    }

    /// Would what is kept for others be of no use to it, were it lent?
    fn useless_loans(&self, facts: Facts<'_>, turn: Turn) -> bool {
        if facts.ahead.is_some() {
            let until = facts.snapshot.now.saturating_add(length(&facts.snapshot.jobs[turn.job]));
            return until == Millis::MAX || self.misfit_until(turn.ask, until);
        }
        let Some(lent) = loans(facts.snapshot, facts.kept, turn.runs) else { return false };
        lent == 0 || self.useless_loan(turn.ask, lent)
    }

    /// Could the turn have a right to anybody's room?
    fn may_claim(&mut self, facts: Facts<'_>, turn: Turn, class: Class) -> bool {
        if class == Class::BestEffort {
            return !turn.growth && self.lowest_spare(facts, turn.line) < turn.priority;
        }
        let ask = &facts.shapes.asks[turn.ask];
        let mut may = facts.work.spares > 0
            || (!turn.growth && self.lowest(facts, turn.line).is_some_and(|lowest| lowest < turn.priority));
        if !may {
            // where GPUs are free, cpu may be what is to be taken
            let gpus = ask.gpu > 0 && self.free(facts, turn.ask) < ask.gpu;
            let reach = self.reach(facts, turn.leaf);
            may = if gpus {
                let mut models = ask.line.iter();
                models.any(|model| ask.gpu <= reach.models[model.at()])
            } else {
                ask.cpu <= reach.cpu
            };
        }
        let may = may
            || (!turn.growth
                && facts.snapshot.settings.consolidate
                && self.may_move(turn.ask)
                && self.free(facts, turn.ask) >= if ask.gpu > 0 { ask.gpu } else { ask.cpu });
        may && !self.barren.contains(&(turn.ask, turn.leaf, turn.priority, class))
    }

    /// What will be free in the pool of an ask, in all.
    fn free(&mut self, facts: Facts<'_>, ask: AskIx) -> i64 {
        let ask = &facts.shapes.asks[ask];
        let pool = facts.shapes.pool_of(ask.shape);
        let (gpu, cpu) = *self.free[facts.shapes.class(ask.shape)].get_or_insert_with(|| {
            let mut free = (0, 0);
            let whole = crate::model::Shape { gpu: crate::model::WHOLE_GPU, ..Default::default() };
            for node in pool.nodes(&whole, Choice::Mixed) {
                free.0 += facts.rooms.amount(View::Soon, *node, &whole);
            }
            let none = crate::model::Shape::default();
            for node in pool.nodes(&none, Choice::Mixed) {
                free.1 += facts.rooms.amount(View::Soon, *node, &none);
            }
            free
        });
        if ask.gpu > 0 { gpu } else { cpu }
    }

    /// The most that a leaf could have a right to.
    fn reach(&mut self, facts: Facts<'_>, leaf: Vertex) -> &Reach {
        if self.reach[leaf].0 != self.version {
            let mut reach = Reach { models: vec![i64::MIN; facts.tree.models()], cpu: i64::MIN };
            let path: Vec<Vertex> = facts.tree.path(leaf).collect();
            for at in path {
                let parent = facts.tree.parent(at);
                let slack = self.slack(facts, parent);
                let most = |of: &(i64, Vertex, i64)| if of.1 == at { of.2 } else { of.0 };
                let (without, models) = slack
                    .top
                    .split_last()
                    .map_or((i64::MIN, [].as_slice()), |(last, models)| (most(last), models));
                let models: Vec<i64> = models.iter().map(most).collect();
                reach.widen(&facts.tree.until(at, &models, without));
                let (borrowers, one) = slack.borrowers;
                // a person may also take what the own queue of the account runs
                let others = borrowers > usize::from(one == at) || !facts.tree.is_account(at);
                if others && facts.tree.promises(at) {
                    reach.widen(&facts.tree.uncovered(at));
                }
            }
            self.reach[leaf] = (self.version, reach);
        }
        &self.reach[leaf].1
    }

    fn slack(&mut self, facts: Facts<'_>, parent: Vertex) -> Slack {
        if let (version, Some(slack)) = &self.slack[parent]
            && *version == self.version
        {
            return slack.clone();
        }
        let mut top = vec![(i64::MIN, 0, i64::MIN); facts.tree.models() + 1];
        let mut borrowers = (0, 0);
        for child in facts.tree.children(parent).to_vec() {
            if !facts.tree.borrows(child) {
                continue;
            }
            borrowers = (borrowers.0 + 1, child);
            let least = self.least(facts, child);
            for ((kind, top), least) in top.iter_mut().enumerate().zip(&least.amounts) {
                let Some(least) = least else { continue };
                let model = Some(kind).filter(|kind| *kind < facts.tree.models());
                let left = facts.tree.share_without(child, least, model);
                if left > top.0 {
                    *top = (left, child, top.0);
                } else {
                    top.2 = top.2.max(left);
                }
            }
        }
        let slack = Slack { top, borrowers };
        self.slack[parent] = (self.version, Some(slack.clone()));
        slack
    }

    fn lowest(&mut self, facts: Facts<'_>, line: Vertex) -> Option<i32> {
        self.least(facts, line).priority
    }

    /// Of the guaranteed pieces below a vertex.
    fn least(&mut self, facts: Facts<'_>, vertex: Vertex) -> &Least {
        if self.least[vertex].is_none() {
            let mut least = Least { amounts: vec![None; facts.tree.models() + 1], priority: None };
            // as it was when the cycle began, so that it holds in the next one too
            for ix in facts.work.of_leaf[vertex].iter().filter(|ix| facts.work.is_old(**ix)) {
                let piece = &facts.work.pieces[*ix];
                let priority = facts.snapshot.jobs[piece.job].priority;
                least.priority = Some(least.priority.map_or(priority, |lowest| lowest.min(priority)));
                let models = piece.demands.iter().filter_map(|demand| demand.model).map(|model| model.at());
                for kind in models.chain([facts.tree.models()]) {
                    let none = || vec![i64::MAX; facts.tree.resources()];
                    facts.tree.lessen(least.amounts[kind].get_or_insert_with(none), &piece.demands);
                }
            }
            for child in facts.tree.children(vertex).to_vec() {
                let below = self.least(facts, child).clone();
                least.priority = [least.priority, below.priority].into_iter().flatten().min();
                for (mine, theirs) in least.amounts.iter_mut().zip(below.amounts) {
                    *mine = match (mine.take(), theirs) {
                        (Some(a), Some(b)) => Some(a.into_iter().zip(b).map(|(a, b)| a.min(b)).collect()),
                        (one, other) => one.or(other),
                    };
                }
            }
            self.least[vertex] = Some(least);
        }
        self.least[vertex].get_or_insert_default()
    }

    /// The lowest priority of what a line runs as best effort.
    fn lowest_spare(&mut self, facts: Facts<'_>, line: Vertex) -> i32 {
        let lowest = self.lowest_spare.get_or_insert_with(|| {
            let mut lowest = vec![i32::MAX; facts.tree.len()];
            for piece in facts.work.spare.iter().flatten().map(|ix| &facts.work.pieces[*ix]) {
                lowest[piece.line] = lowest[piece.line].min(facts.snapshot.jobs[piece.job].priority);
            }
            lowest
        });
        lowest[line]
    }
}

/// Which of what is kept work that runs this long may use because it is gone in time, one bit each; `None`: there are too many to tell.
pub(crate) fn loans(snapshot: &Snapshot, kept: &[Kept], runs: Millis) -> Option<u64> {
    if kept.len() > 64 {
        return None;
    }
    let usable = kept.iter().enumerate().filter(|(_, kept)| gone_in_time(snapshot, runs, kept));
    Some(usable.map(|(bit, _)| 1u64 << bit).sum())
}
