//! Where room may be made: nodes on which something may be taken, and those on which least is in the way of who may have others moved.

use super::{Cost, Ground};
use crate::model::{NodeIx, ValueIx};
use crate::place::{Part, Try, Want};
use crate::rights::{Allowed, Claim, Key, Loss, Right, Takers, right};
use crate::room::View;
use crate::tree::Demand;
use crate::work::{PieceIx, Spot};

/// Others are migrated only from so many nodes of a pool, those with most free (or where the claim may take something anyway).
const EMPTIEST: usize = 32;

impl Ground<'_> {
    /// Visits what the claim may take of what is worth taking, migrations apart, until told to stop.
    pub(super) fn each_right(
        &self,
        claim: &Claim,
        worth: impl Fn(PieceIx) -> bool,
        mut visit: impl FnMut(PieceIx) -> bool,
    ) {
        let mut is_over = |ix: PieceIx| {
            let piece = &self.work.pieces[ix];
            let open = piece.alive && !piece.fresh && worth(ix);
            open && right(self.snapshot, self.tree, self.work, claim, ix).is_some() && !visit(ix)
        };
        let mut takers = Takers::new(self.snapshot, claim);
        for (leaf, pieces) in self.work.of_leaf.iter().enumerate().filter(|(_, all)| !all.is_empty()) {
            let allowed = takers.of(self.tree, leaf);
            if matches!(allowed, Allowed::Nothing) {
                continue;
            }
            let mut open = pieces.iter().filter(|ix| allowed.piece(&self.work.pieces[**ix].demands));
            if open.any(|ix| is_over(*ix)) {
                return;
            }
        }
        self.work.spare.iter().flatten().any(|ix| is_over(*ix));
    }

    /// Is there enough that is free or may be taken?
    pub(super) fn enough(&self, claim: &Claim, want: &Want, how: Try<'_>) -> bool {
        let each = want.largest();
        let wanted: i64 = claim.demands.iter().map(Demand::weight).sum();
        let mut there = self.rooms.total(View::Soon, &each, &how.pool.list(&each, how.choice).groups);
        if there >= wanted {
            return true;
        }
        let usable = |spot: &&Spot| want.parts.iter().any(|part| self.usable(how, &part.each, spot.node));
        let worth = |ix: PieceIx| self.work.pieces[ix].spots.iter().any(|spot| usable(&spot));
        self.each_right(claim, worth, |ix| {
            let here = self.work.pieces[ix].spots.iter().filter(usable);
            there += here.map(|spot| if each.gpu > 0 { spot.each.gpu } else { spot.each.cpu }).sum::<i64>();
            there < wanted
        });
        there >= wanted
    }

    /// Nodes on which room may be made for a part, in order.
    pub(super) fn sites(
        &self,
        claim: &Claim,
        part: &Part,
        how: Try<'_>,
        domain: Option<ValueIx>,
    ) -> Vec<NodeIx> {
        let here = how.pool.nodes_in(&part.each, how.choice, domain);
        if here.len() <= EMPTIEST {
            return here.to_vec();
        }
        let belongs = |node: NodeIx| {
            self.usable(how, &part.each, node) && (domain.is_none() || how.pool.value(node) == domain)
        };
        let mut sites: Vec<NodeIx> = Vec::new();
        let worth = |ix: PieceIx| {
            let piece = &self.work.pieces[ix];
            // what is above a gang and goes along may be elsewhere
            let along = !piece.surplus && self.work.surplus_in[piece.leaf] > 0;
            along || piece.spots.iter().any(|spot| belongs(spot.node))
        };
        self.each_right(claim, worth, |ix| {
            for ix in self.with_it(ix) {
                let nodes = self.work.pieces[ix].spots.iter().map(|spot| spot.node);
                sites.extend(nodes.filter(|node| belongs(*node)));
            }
            true
        });
        if claim.moves {
            sites.extend(self.emptiest(part, how, domain, here));
        }
        sites.sort_unstable();
        sites.dedup();
        sites
    }

    /// The nodes of a list that have most free.
    fn emptiest(&self, part: &Part, how: Try<'_>, domain: Option<ValueIx>, nodes: &[NodeIx]) -> Vec<NodeIx> {
        if let (None, Some((_, index))) = (domain, self.rooms.ordered(View::Soon)) {
            let groups = how.pool.list(&part.each, how.choice).groups.iter();
            let mut all: Vec<_> =
                groups.flat_map(|group| index[*group as usize].emptiest(&part.each, EMPTIEST)).collect();
            all.sort_unstable_by(|a, b| b.cmp(a));
            all.truncate(EMPTIEST);
            return all.into_iter().map(|tight| tight.1).collect();
        }
        let free = |node: &NodeIx| (self.rooms.amount(View::Soon, *node, &part.each), *node);
        let mut all: Vec<_> = nodes.iter().map(free).filter(|(free, _)| *free > 0).collect();
        if all.len() > EMPTIEST {
            all.select_nth_unstable_by(EMPTIEST, |a, b| b.cmp(a));
            all.truncate(EMPTIEST);
        }
        all.into_iter().map(|(_, node)| node).collect()
    }

    /// May the claim take a piece, or have it moved to where there may be room for it?
    pub(super) fn right_here(&self, claim: &Claim, ix: PieceIx) -> Option<Right> {
        self.right(claim, ix, true).filter(|right| right.loss != Loss::Moved || self.could_go(ix))
    }

    /// Could there be room elsewhere for each replica of a piece, as far as one glance tells?
    fn could_go(&self, ix: PieceIx) -> bool {
        let piece = &self.work.pieces[ix];
        let pool = self.shapes.pool(piece.job);
        let Some((_, index)) = self.rooms.ordered(View::Soon) else { return true };
        piece.spots.iter().all(|spot| {
            let mut choices = pool.choices(&spot.each).into_iter();
            choices.any(|choice| {
                let mut groups = pool.list(&spot.each, choice).groups.iter();
                groups.any(|group| index[*group as usize].may_hold(&spot.each))
            })
        })
    }

    /// Of these nodes those on which something may be taken, with the least that room for one replica can cost there, the cheapest last.
    pub(super) fn prospects(&mut self, claim: &Claim, part: &Part, nodes: &[NodeIx]) -> Vec<Cost> {
        let mut all = Vec::new();
        let mut keys: Vec<Key> = Vec::new();
        for node in nodes {
            keys.clear();
            let (mut light, mut least, mut most, mut sum) = (None, i64::MAX, 0, 0i64);
            for ix in &self.work.on_node[node.at()] {
                let Some(right) = self.right_here(claim, *ix) else { continue };
                self.tried_moves |= right.loss == Loss::Moved;
                let along = if self.work.pieces[*ix].surplus { 0 } else { self.amount_along(*ix) };
                let here = self.gpu_on(*ix, *node);
                let (own, all) = (self.amount(*ix), self.amount(*ix).saturating_add(along));
                keys.push(self.key(*ix, &right));
                light = Some(light.map_or(right.loss, |light: Loss| light.min(right.loss)));
                (least, most, sum) =
                    (least.min(own), most.max(all), sum.saturating_add(here.saturating_add(along)));
            }
            let Some(loss) = light else { continue };
            let mut count = 1;
            if part.each.gpu > 0 {
                let short = part.each.gpu - self.rooms.amount(View::Soon, *node, &part.each);
                if short > sum {
                    continue;
                }
                if short > 0 {
                    least = least.max(short);
                    count = usize::try_from((short - 1) / most.max(1) + 1).unwrap_or(1).clamp(1, keys.len());
                }
            }
            // so many are taken at least, and the one that is taken least gladly counts
            keys.sort_unstable();
            all.push((loss, least, count, keys[count - 1], (i64::MIN, i64::MIN), *node));
        }
        all.sort_unstable_by(|a, b| b.cmp(a));
        all
    }
}
