//! The common case: one piece, the one that is taken most gladly of all of its size, makes room for one replica by itself.
//!
//! Where no device is free, whatever makes room for whole devices is at least as much work as the replica; so no set can be better than one
//! piece that is just as large, if no loss is lighter.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::{Ground, Victim};
use crate::model::{NodeIx, Shape, WHOLE_GPU};
use crate::place::{Try, Want, holds};
use crate::pool::Choice;
use crate::rights::{Claim, Key, Loss, Right, Takers, lost};
use crate::room::View;
use crate::tree::Vertex;
use crate::work::PieceIx;

/// The pieces of each leaf in the order in which they are taken, as far as that does not depend on who asks. It is made when it
/// is first needed.
#[derive(Default)]
pub(crate) struct Orders {
    guaranteed: Vec<Option<Order>>,
    best_effort: Vec<Option<Order>>,
    /// How many pieces at the beginning of each list of guaranteed work, then of best effort, are over for this cycle.
    pub over: Vec<usize>,
    /// How many sets were tried in this cycle where each can be.
    pub trials: u32,
}

/// The pieces of a leaf with something on each model.
struct Order(Vec<OnModel>);

/// Pieces by size, each size in order.
#[derive(Clone, Default)]
struct OnModel(BTreeMap<i64, InOrder>);

#[derive(Clone, Default)]
struct InOrder {
    pieces: Vec<PieceIx>,
    /// Those before are gone.
    from: usize,
}

struct Best {
    cost: (Loss, Key),
    piece: PieceIx,
    right: Right,
}

impl Ground<'_> {
    /// The piece that is taken most gladly, and the node on which one replica fits without it. `None`: it is not so simple.
    pub(super) fn gladly(&mut self, claim: &Claim, want: &Want, how: Try<'_>) -> Option<(Victim, NodeIx)> {
        let ([part], None) = (want.parts.as_slice(), how.pin) else { return None };
        let Choice::Only(model) = how.choice else { return None };
        if part.replicas.len() != 1 || how.pool.has_domains() || part.each.gpu < WHOLE_GPU {
            return None;
        }
        let model = how.pool.models[model].0.at();
        let device = Shape { gpu: WHOLE_GPU, ..Shape::default() };
        if holds(self.rooms, &device, how) {
            return None;
        }
        let mut best: Option<Best> = None;
        let mut takers = Takers::new(self.snapshot, claim);
        for leaf in 0..self.work.of_leaf.len() {
            let share =
                Reverse(self.tree.part(claim.leaf, leaf).map_or(0, |(_, theirs)| self.tree.share(theirs)));
            let later = best.as_ref().is_some_and(|best| {
                // who borrows less than the best so far is taken from later
                let running = self.first_runs(leaf, model, part.each.gpu);
                best.cost.0 < Loss::Borrowed
                    || (best.cost.0 == Loss::Borrowed
                        && !self.tree.contains(claim.line, leaf)
                        && best.cost.1.is_before(running, share))
            });
            let open = !later && !self.work.of_leaf[leaf].is_empty();
            // with what is above it, a gang may be as large and yet have less itself
            let least = if self.work.surplus_in[leaf] == 0 { part.each.gpu } else { 1 };
            if open && takers.of(self.tree, leaf).on(model, least) {
                self.gladly_of(claim, &part.each, how, (leaf, model, false), &mut best);
            }
            if !self.work.spare[leaf].is_empty() {
                self.gladly_of(claim, &part.each, how, (leaf, model, true), &mut best);
            }
        }
        let Best { cost, piece, right } = best?;
        // something lighter may be there in other sizes
        let spare = cost.0 > Loss::Spare && self.any_spare();
        if cost.0 > Loss::Borrowed || spare {
            return None;
        }
        let of = &self.work.pieces[piece];
        let along = if of.surplus { Vec::new() } else { self.work.surplus_of(of.job) };
        let victim = Victim { piece, along, right };
        let mut found = None;
        self.go(&victim);
        for spot in victim.pieces().flat_map(|piece| &self.work.pieces[piece].spots) {
            if self.usable(how, &part.each, spot.node)
                && self.rooms.capacity(View::Soon, spot.node, &part.each, 1) > 0
            {
                let here = (self.rooms.score(View::Soon, spot.node, &part.each), spot.node);
                found = Some(found.map_or(here, |best| here.min(best)));
            }
        }
        self.back(&victim);
        found.map(|(_, node)| (victim, node))
    }

    /// Does the first piece of a leaf that has this size run already?
    fn first_runs(&self, leaf: Vertex, model: usize, size: i64) -> bool {
        let order = self.orders.guaranteed.get(leaf).and_then(Option::as_ref);
        let first =
            order.and_then(|order| order.0[model].0.get(&size)).and_then(|all| all.pieces.get(all.from));
        first.is_some_and(|ix| !self.work.pieces[*ix].promised)
    }

    /// The best of one leaf, if it is better than the best so far.
    fn gladly_of(
        &mut self,
        claim: &Claim,
        each: &Shape,
        how: Try<'_>,
        (leaf, model, best_effort): (Vertex, usize, bool),
        best: &mut Option<Best>,
    ) {
        let mut all = self.order(leaf, best_effort);
        if let Some(order) = all.0[model].0.get_mut(&each.gpu) {
            let dead = |ix: &&PieceIx| !self.work.pieces[**ix].alive;
            order.from += order.pieces[order.from..].iter().take_while(dead).count();
            for ix in &order.pieces[order.from..] {
                let helps = |spot: &crate::work::Spot| spot.each.gpu > 0 && self.usable(how, each, spot.node);
                if !self.work.pieces[*ix].spots.iter().any(helps) {
                    continue;
                }
                let Some(right) = self.right(claim, *ix, false) else { continue };
                let cost = (right.loss, self.key(*ix, &right));
                if best.as_ref().is_none_or(|best| cost < best.cost) {
                    *best = Some(Best { cost, piece: *ix, right });
                }
                break;
            }
        }
        let orders = if best_effort { &mut self.orders.best_effort } else { &mut self.orders.guaranteed };
        orders[leaf] = Some(all);
    }

    /// Is any best effort left that may be taken?
    fn any_spare(&self) -> bool {
        self.work.spare.iter().flatten().any(|ix| self.work.pieces[*ix].alive && !self.work.pieces[*ix].fresh)
    }

    fn order(&mut self, leaf: Vertex, best_effort: bool) -> Order {
        let leaves = self.tree.len();
        let orders = if best_effort { &mut self.orders.best_effort } else { &mut self.orders.guaranteed };
        orders.resize_with(leaves, || None);
        if let Some(order) = orders[leaf].take() {
            return order;
        }
        let list = if best_effort { &self.work.spare[leaf] } else { &self.work.of_leaf[leaf] };
        let key = |ix: &PieceIx| {
            let piece = &self.work.pieces[*ix];
            let along = if piece.surplus { Vec::new() } else { self.work.surplus_of(piece.job) };
            let all = along.into_iter().map(|ix| self.amount(ix)).fold(self.amount(*ix), i64::saturating_add);
            let replica = piece.spots.iter().map(|spot| spot.replica).max().unwrap_or(0);
            let of = &self.snapshot.jobs[piece.job];
            let (lost, job) = (lost(self.snapshot, piece), (of.submitted, piece.job));
            (all, !piece.promised, of.priority, !piece.surplus, lost, Reverse(job), Reverse(replica), *ix)
        };
        let mut keys: Vec<_> = list.iter().filter(|ix| !self.work.pieces[**ix].fresh).map(key).collect();
        keys.sort_unstable();
        let mut order = vec![OnModel::default(); self.tree.models()];
        for (amount, ix) in keys.into_iter().map(|key| (key.0, key.7)) {
            for model in self.work.pieces[ix].demands.iter().filter_map(|demand| demand.model) {
                order[model.at()].0.entry(amount).or_default().pieces.push(ix);
            }
        }
        Order(order)
    }
}
