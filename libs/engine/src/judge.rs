//! Which turns need not be taken at all: their shape found no place, and they can have no right to anybody's room.
//!
//! What is said here is sound and not exact: a turn that is passed over would have been refused, not every turn that would be
//! refused is passed over. Turns of one kind are judged together where that can be.

mod reach;
mod vain;

use crate::ahead::Ahead;
use crate::model::{Backfill, Class, Millis, ModelIx, Shape, Snapshot, WHOLE_GPU};
use crate::place::Part;
use crate::pool::Choice;
use crate::profile::length;
use crate::queue::{Kind, Modest, Pass, Turn};
use crate::reserve::{Kept, gone_in_time, same_line};
use crate::room::{Rooms, View};
use crate::shapes::{Ask, AskIx, Kin, Shapes, grow_in_several};
use crate::tree::{Demand, Tree, Vertex};
use crate::work::Work;

use reach::Bounds;
pub(crate) use reach::Lasting;
use vain::Vain;

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
    /// By kin: how many kept rooms were looked at, and is its line headed by one of them?
    headed: Vec<(usize, bool)>,
    /// By shape: it could never run.
    never: Vec<bool>,
    /// Claims that were made in vain.
    vain: Vain,
    /// By class of pool: after how many changes of rooms it was looked at, and what was to be free there, in milli-GPU and milli-cores.
    free: Vec<Option<(u64, i64, i64)>>,
    /// By kin: after how many changes of rooms it was looked at, and had no node the GPUs for it?
    full: Vec<(u64, bool)>,
    /// What was lent, and after how many changes of rooms, when it was last asked how much of it is on one node; the answer.
    most_lent: Option<(u64, u64, i64)>,
    bounds: Bounds,
}

/// Who might ask for what, all that a right depends on.
#[derive(Clone, Copy, Debug)]
struct Asking {
    kin: Kin,
    leaf: Vertex,
    line: Vertex,
    priority: i32,
    growth: bool,
    class: Class,
    /// Of all replicas.
    gpu: i64,
    cpu: i64,
    memory: i64,
}

impl Asking {
    fn turn(facts: Facts<'_>, turn: Turn, class: Class) -> Self {
        let Ask { kin, gpu, cpu, memory, .. } = facts.shapes.asks[turn.ask];
        let Turn { leaf, line, priority, growth, .. } = turn;
        Self { kin, leaf, line, priority, growth, class, gpu, cpu, memory }
    }
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
    /// `lasting`: what is known from earlier cycles.
    pub fn new(facts: Facts<'_>, lasting: Lasting) -> Self {
        let Facts { shapes, .. } = facts;
        Self {
            misfits: vec![0; shapes.asks.len()],
            lent: vec![None; shapes.asks.len()],
            until: vec![Millis::MAX; shapes.asks.len()],
            glanced: vec![false; shapes.asks.len()],
            headed: vec![(0, false); shapes.kins()],
            never: vec![false; shapes.len()],
            free: vec![None; shapes.classes()],
            full: vec![(u64::MAX, false); shapes.kins()],
            bounds: Bounds::new(facts, lasting),
            ..Self::default()
        }
    }

    /// What stands as long as nobody's pieces change.
    pub fn into_lasting(self) -> Lasting {
        self.bounds.into_lasting()
    }

    /// Room became free: nothing is known any more of what fits.
    pub fn forget(&mut self) {
        for ask in self.touched.drain(..) {
            (self.misfits[ask], self.lent[ask], self.glanced[ask]) = (0, None, false);
            self.until[ask] = Millis::MAX;
        }
        self.full.fill((u64::MAX, false));
        self.vain.forget();
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

    /// Is a claim known to be in vain, on the nodes of one choice?
    pub fn hopeless(&self, facts: Facts<'_>, turn: Turn, class: Class, choice: Choice) -> bool {
        self.vain.claim(&Asking::turn(facts, turn, class), Some(choice))
    }

    /// A claim was in vain: on the nodes of one choice, or (`None`) wherever it was tried.
    pub fn remember_vain(&mut self, facts: Facts<'_>, turn: Turn, class: Class, choice: Option<Choice>) {
        self.vain.remember_claim(&Asking::turn(facts, turn, class), choice);
    }

    /// May others be migrated for this turn, or was that found to be of no use?
    pub fn may_move(&self, facts: Facts<'_>, turn: Turn, class: Class) -> bool {
        self.vain.may_move(&Asking::turn(facts, turn, class))
    }

    /// Is the budget of searches for somebody to be migrated not spent yet?
    pub fn moves_left(&self) -> bool {
        self.vain.moves_left()
    }

    /// Nobody could usefully be migrated for this turn; `shared`: it is judged like others of its kind.
    pub fn remember_failed_move(&mut self, facts: Facts<'_>, turn: Turn, class: Class, shared: bool) {
        self.vain.remember_failed_move(&Asking::turn(facts, turn, class), shared);
    }

    /// May a turn be passed over?
    pub fn skip(&mut self, facts: Facts<'_>, turn: Turn, class: Class) -> bool {
        let ask = &facts.shapes.asks[turn.ask];
        if !self.glanced[turn.ask] {
            self.glance(facts, turn.ask);
        }
        if !turn.growth && turn.new {
            if facts.ahead.is_some_and(|ahead| ahead.of(turn.job).is_some()) {
                return false;
            }
            if self.never[ask.shape] {
                return true;
            }
        }
        let asking = Asking::turn(facts, turn, class);
        let misfit = ask.everywhere != 0 && self.misfits[turn.ask] & ask.everywhere == ask.everywhere;
        let full = misfit || self.full(facts, &asking);
        let loans = full && !turn.growth && !self.useless_loans(facts, turn);
        self.placeless(facts, &asking, turn.new, full, loans) && !self.may_claim(facts, &asking)
    }

    /// May all turns of a kind be passed over?
    fn skip_all(&mut self, facts: Facts<'_>, line: Vertex, kind: &Kind, least: Modest, class: Class) -> bool {
        if facts.ahead.is_some() {
            // each job may have a start of its own
            return false;
        }
        let Kind { kin, leaf, priority, growth, new } = *kind;
        let first = &facts.shapes.asks[facts.shapes.first_of(kin)];
        let Modest { cpu, memory, runs } = least;
        let asking = Asking { kin, leaf, line, priority, growth, class, gpu: first.gpu, cpu, memory };
        let full = self.full(facts, &asking);
        let loans = full && !growth && self.may_borrow(facts, first, runs);
        self.placeless(facts, &asking, new, full, loans) && !self.may_claim(facts, &asking)
    }

    /// Is there certainly no place? `full`: no node holds it; `loans`: what is kept for others might be of use.
    fn placeless(&mut self, facts: Facts<'_>, asking: &Asking, new: bool, full: bool, loans: bool) -> bool {
        if asking.growth {
            let shape = facts.shapes.asks[facts.shapes.first_of(asking.kin)].shape;
            let several = grow_in_several(facts.shapes.request(shape));
            return full && !several && !facts.shapes.pool_of(shape).bound();
        }
        if !new {
            return false;
        }
        if full && !loans && self.headed(facts, asking.kin) {
            return true;
        }
        let (gpu, jobs) = facts.tree.headroom(asking.line, asking.class == Class::BestEffort);
        !jobs || asking.gpu > gpu
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

    /// Is there no node for some part of all of a kin, as far as GPUs go, or for cpu work cores? What is free soon is never less than what
    /// is free now.
    fn full(&mut self, facts: Facts<'_>, asking: &Asking) -> bool {
        let (when, known) = self.full[asking.kin];
        let changes = facts.rooms.changes();
        if asking.gpu > 0 && when == changes {
            return known;
        }
        let ask = &facts.shapes.asks[facts.shapes.first_of(asking.kin)];
        let (pool, each) = (facts.shapes.pool_of(ask.shape), ask.want.total().max(1));
        let cpu = if asking.gpu > 0 { 0 } else { asking.cpu / i64::from(each) };
        let Some((_, index)) = facts.rooms.ordered(View::Soon) else { return false };
        let largest = ask.want.largest().gpu;
        let fits = |choice: &Choice| {
            ask.want.parts.iter().all(|part| {
                // the mean of all replicas is no more than the largest of them needs
                let cpu = if part.each.gpu == largest { cpu } else { 0 };
                let least = Shape { gpu: part.each.gpu, cpu, memory: 0, extended: part.each.extended };
                let mut groups = pool.list(&part.each, *choice).groups.iter();
                groups.any(|group| index[*group as usize].may_hold(&least))
            })
        };
        let full = ask.everywhere != 0 && !ask.options.iter().any(|(choice, _)| fits(choice));
        if asking.gpu > 0 {
            self.full[asking.kin] = (changes, full);
        }
        full
    }

    fn headed(&mut self, facts: Facts<'_>, kin: Kin) -> bool {
        if let Some(ahead) = facts.ahead {
            return ahead.len() + facts.unknown >= Backfill::DEPTH;
        }
        let (looked, headed) = self.headed[kin];
        if headed || looked == facts.kept.len() {
            return headed;
        }
        let line = &facts.shapes.asks[facts.shapes.first_of(kin)].line;
        let headed = facts.kept[looked..].iter().any(|kept| same_line(&kept.models, line));
        self.headed[kin] = (facts.kept.len(), headed);
        headed
    }

    /// Would what is kept for others be of no use to it, were it lent?
    fn useless_loans(&mut self, facts: Facts<'_>, turn: Turn) -> bool {
        if facts.ahead.is_some() {
            let until = facts.snapshot.now.saturating_add(length(&facts.snapshot.jobs[turn.job]));
            return until == Millis::MAX || self.misfit_until(turn.ask, until);
        }
        let Some(lent) = loans(facts.snapshot, facts.kept, turn.runs) else { return false };
        lent == 0
            || self.useless_loan(turn.ask, lent)
            || !self.may_borrow(facts, &facts.shapes.asks[turn.ask], turn.runs)
    }

    /// Could work that runs this long fit on a node were what is kept lent to it, as far as GPUs go?
    fn may_borrow(&mut self, facts: Facts<'_>, ask: &Ask, runs: Millis) -> bool {
        let Some(lent) = loans(facts.snapshot, facts.kept, runs) else { return true };
        if lent == 0 {
            return false;
        }
        let most = match self.most_lent {
            Some((of, when, most)) if (of, when) == (lent, facts.rooms.changes()) => most,
            _ => {
                let which = facts.kept.iter().enumerate().filter(|(bit, _)| lent & (1 << bit) != 0);
                let most = Kept::most_on_a_node(which.map(|(_, kept)| kept), facts.rooms);
                self.most_lent = Some((lent, facts.rooms.changes(), most));
                most
            }
        };
        ask.want.parts.iter().any(|part| part.each.gpu <= most)
    }

    /// Could the turn have a right to anybody's room?
    fn may_claim(&mut self, facts: Facts<'_>, asking: &Asking) -> bool {
        let may = match asking.class {
            Class::BestEffort => self.bounds.lowest_spare(facts, asking.line) < asking.priority,
            Class::Guaranteed => self.may_take(facts, asking),
        };
        may && !self.vain.claim(asking, None)
    }

    /// The same for guaranteed work, but for claims in vain.
    fn may_take(&mut self, facts: Facts<'_>, asking: &Asking) -> bool {
        let first = &facts.shapes.asks[facts.shapes.first_of(asking.kin)];
        if first.want.parts.iter().any(|part| !part.each.extended.is_empty()) {
            // no bound is kept of devices by name
            return true;
        }
        let free = self.free(facts, asking);
        let moves = || facts.snapshot.settings.consolidate && !asking.growth && self.vain.may_move(asking);
        let gpus = asking.gpu > 0;
        let need = if gpus { asking.gpu } else { asking.cpu };
        let models = &facts.shapes.asks[facts.shapes.first_of(asking.kin)].line;
        let preempts = self.bounds.lowest(facts, asking.line).is_some_and(|lowest| lowest < asking.priority);
        if free >= need {
            // something else may be short
            if facts.work.spares > 0 || preempts || moves() {
                return true;
            }
        } else if facts.work.spares > 0 || preempts {
            let mut there = free.saturating_add(facts.work.spare_amount(models, gpus));
            if preempts {
                let lower = self.bounds.lower(facts, asking.line, asking.priority, models, gpus);
                there = there.saturating_add(lower);
            }
            if there >= need {
                return true;
            }
        }
        // where GPUs are free, cpu may be what is to be taken
        let Asking { cpu, memory, gpu, leaf, .. } = *asking;
        if gpus && free < need {
            let on = |model: &ModelIx| Demand { cpu, memory, gpu, model: Some(*model), ..Demand::default() };
            models.iter().any(|model| self.bounds.reaches(facts, leaf, &on(model)))
        } else {
            // on whatever model, it asks for so much at least
            self.bounds.reaches(facts, leaf, &Demand { cpu, memory, ..Demand::default() })
        }
    }

    /// What will be free in the pool of a kin, in all.
    fn free(&mut self, facts: Facts<'_>, asking: &Asking) -> i64 {
        let shape = facts.shapes.asks[facts.shapes.first_of(asking.kin)].shape;
        let known = &mut self.free[facts.shapes.class(shape)];
        let changes = facts.rooms.changes();
        if known.is_none_or(|(when, _, _)| when != changes) {
            let pool = facts.shapes.pool_of(shape);
            let total =
                |each: &Shape| facts.rooms.total(View::Soon, each, &pool.list(each, Choice::Mixed).groups);
            let gpu = total(&Shape { gpu: WHOLE_GPU, ..Shape::default() });
            *known = Some((changes, gpu, total(&Shape::default())));
        }
        known.map_or(0, |(_, gpu, cpu)| if asking.gpu > 0 { gpu } else { cpu })
    }
}

/// A judge of the turns of one class, at one moment.
pub(crate) struct Bench<'a> {
    pub judge: &'a mut Judge,
    pub facts: Facts<'a>,
    pub class: Class,
}

impl Pass for Bench<'_> {
    fn all(&mut self, line: Vertex, kind: &Kind, least: Modest) -> bool {
        self.judge.skip_all(self.facts, line, kind, least, self.class)
    }

    fn one(&mut self, turn: Turn) -> bool {
        self.judge.skip(self.facts, turn, self.class)
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
