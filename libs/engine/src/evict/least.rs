//! The least loss there is, where so few pieces come into question that every set of them can be tried.
//!
//! A set is as bad as its heaviest loss, then as the work that is lost with it. It must leave its victims without a right to what their equals
//! keep, or they would take that next. The search is by branch and bound (Land and Doig, Econometrica 1960): a set that suffices is not
//! added to, and one that is no better than the best so far is left.

use std::cell::OnceCell;

use super::{Found, Ground, Victim};
use crate::model::{Placement, RevokeCause};
use crate::place::{Try, Want, place, redo, undo};
use crate::pool::Choice;
use crate::rights::{Claim, Loss, Right, lost};
use crate::tree::Demand;
use crate::work::{PieceIx, Work};

/// So many pieces at most may come into question.
const CANDIDATES: usize = 12;
/// So many sets at most are tried in one cycle.
const TRIALS: u32 = 100_000;

/// What is lost with a set: its heaviest loss, gangs after what is above them, and the work in milli-GPU × ms.
type Toll = ((Loss, bool), i64);

const NOTHING: Toll = ((Loss::Spare, false), 0);

/// A piece that may be taken.
struct Candidate {
    /// No more than what is lost with it.
    toll: Toll,
    piece: PieceIx,
    /// Milli-GPU that it leaves where they are of use, with what goes along.
    gives: i64,
}

/// One search.
struct Search<'a> {
    claim: &'a Claim,
    want: &'a Want,
    how: Try<'a>,
    /// The cheapest first.
    candidates: Vec<Candidate>,
    /// The set that is looked at.
    chosen: Vec<Victim>,
    /// What is to be beaten.
    bound: Bound,
    best: Option<Vec<PieceIx>>,
    left: u32,
}

/// A set that is there already.
#[derive(Clone, Copy)]
struct Bound {
    /// What loses less than this is better.
    worth: Toll,
    /// And so is what loses no more than this with fewer replicas than so many.
    toll: Toll,
    replicas: usize,
}

impl Bound {
    const NONE: Self = Self::exact(((Loss::Moved, true), i64::MAX), usize::MAX);

    /// Nothing that loses as much is better, unless it has fewer replicas.
    const fn exact(toll: Toll, replicas: usize) -> Self {
        Self { worth: toll, toll, replicas }
    }

    fn is_beaten_by(&self, toll: Toll, replicas: usize) -> bool {
        toll < self.worth || (toll <= self.toll && replicas < self.replicas)
    }
}

fn sum(a: Toll, b: Toll) -> Toll {
    (a.0.max(b.0), a.1.saturating_add(b.1))
}

/// A set is taken in the place of another only if that loses more than six fifths of its work: within that, shares are evened out and
/// priority is spared.
fn worth(found: Toll) -> Toll {
    let most = (i128::from(found.1) * 5).div_euclid(6) + i128::from(found.1 % 6 != 0);
    (found.0, i64::try_from(most).unwrap_or(i64::MAX))
}

impl Ground<'_> {
    /// What was found, or in its place a set that loses less. `found` is carried out in thought, and so is what is answered.
    pub(super) fn least(
        &mut self,
        claim: &Claim,
        want: &Want,
        how: Try<'_>,
        limited: bool,
        found: Option<Found>,
    ) -> Option<Found> {
        let toll = found.as_ref().map(|found| self.toll(&found.victims));
        let known = toll.zip(found.as_ref().map(|found| self.replicas(&found.victims)));
        let bound = known.map_or(Bound::NONE, |(toll, replicas)| Bound {
            worth: worth(toll),
            ..Bound::exact(toll, replicas)
        });
        // a gang on several models is the last resort, and nothing is less than nothing
        let mixed = how.choice == Choice::Mixed && want.largest().gpu > 0;
        if mixed || bound.worth == NOTHING || self.orders.trials >= TRIALS {
            return found;
        }
        if let Some(found) = &found {
            undo(self.rooms, want, how.view, &found.placements);
            found.victims.iter().rev().for_each(|victim| self.back(victim));
        }
        self.count_over();
        if let Some(candidates) = self.candidates(claim, want, how, limited) {
            let left = TRIALS - self.orders.trials;
            let chosen = Vec::new();
            let mut search = Search { claim, want, how, candidates, chosen, bound, best: None, left };
            let better = self.search(&mut search);
            self.orders.trials = TRIALS - search.left;
            if better.is_some() {
                return better;
            }
        }
        if let Some(found) = &found {
            found.victims.iter().for_each(|victim| self.go(victim));
            redo(self.rooms, want, how.view, &found.placements);
        }
        found
    }

    fn search(&mut self, search: &mut Search<'_>) -> Option<Found> {
        let (claim, want, how) = (search.claim, search.want, search.how);
        // by counts alone
        let each = want.largest();
        let counted = want.parts.len() == 1 && each.gpu > 0;
        let mut short = i64::MIN;
        if counted {
            let free = self.rooms.total(how.view, &each, &how.pool.list(&each, how.choice).groups);
            short = claim.demands.iter().map(Demand::weight).sum::<i64>() - free;
        }
        if short > search.candidates.iter().map(|candidate| candidate.gives).sum() {
            return None;
        }
        self.descend(search, 0, NOTHING, short);
        let mut victims = Vec::new();
        for piece in search.best.take()? {
            if let Some(right) = self.alive_right(claim, piece) {
                self.evict(&mut victims, piece, right);
            }
        }
        if let Some(placed) = self.place_in_limits(claim, want, how) {
            let placements = self.spare(claim, want, how, &mut victims, placed);
            if let Ok(moves) = self.stranded(claim, &victims, &placements) {
                return Some(Found { placements, victims, moves });
            }
            undo(self.rooms, want, how.view, &placements);
        }
        self.back_to(&mut victims, 0);
        None
    }

    /// Tries every set that adds candidates from `from` on to what is chosen; `toll` is what is lost so far, `short` what is missing at least.
    fn descend(&mut self, search: &mut Search<'_>, from: usize, toll: Toll, short: i64) {
        for at in from..search.candidates.len() {
            let Candidate { toll: least, piece, gives } = search.candidates[at];
            let before = self.replicas(&search.chosen);
            if search.left == 0 || !search.bound.is_beaten_by(sum(toll, least), before + 1) {
                return;
            }
            let rest = search.candidates[at..].iter().map(|candidate| candidate.gives);
            if short > rest.fold(0, i64::saturating_add) {
                return;
            }
            let Some(right) = self.alive_right(search.claim, piece) else { continue };
            let toll = sum(toll, ((right.loss, !self.work.pieces[piece].surplus), self.work_lost(piece)));
            let replicas = before + self.spots(piece);
            if !search.bound.is_beaten_by(toll, replicas) {
                continue;
            }
            self.evict(&mut search.chosen, piece, right);
            let still = short.saturating_sub(gives);
            search.left -= 1;
            if still <= 0 && self.suffices(search) {
                search.bound = Bound::exact(toll, replicas);
                search.best = Some(search.chosen.iter().map(|victim| victim.piece).collect());
            } else {
                self.descend(search, at + 1, toll, still);
            }
            let chosen = search.chosen.len() - 1;
            self.back_to(&mut search.chosen, chosen);
        }
    }

    /// Is the job placed once the chosen are gone, and do those go elsewhere that must?
    fn suffices(&mut self, search: &Search<'_>) -> bool {
        let Some(placed) = self.place_in_limits(search.claim, search.want, search.how) else { return false };
        let settled = self.stranded(search.claim, &search.chosen, &placed).is_ok() && !self.returns(search);
        undo(self.rooms, search.want, search.how.view, &placed);
        settled
    }

    fn place_in_limits(&mut self, claim: &Claim, want: &Want, how: Try<'_>) -> Option<Vec<Placement>> {
        if self.tree.bound(self.asker(claim), &claim.demands, false).is_some() {
            return None;
        }
        place(self.rooms, want, how).ok()
    }

    /// What may be taken and would help; `None`: too many.
    fn candidates(&self, claim: &Claim, want: &Want, how: Try<'_>, limited: bool) -> Option<Vec<Candidate>> {
        let mut all: Vec<Candidate> = Vec::new();
        let mut taken: Vec<PieceIx> = Vec::new();
        let mut others = None;
        let useful = |node| want.parts.iter().any(|part| self.usable(how, &part.each, node));
        let useful_with = |ix: PieceIx| {
            let with = self.with_it(ix);
            let mut spots = with.iter().flat_map(|ix| &self.work.pieces[*ix].spots);
            limited || spots.any(|spot| useful(spot.node))
        };
        if claim.moves {
            others = Some(self.open());
        } else {
            self.each_right(claim, useful_with, |ix| {
                taken.push(ix);
                taken.len() <= CANDIDATES
            });
        }
        for ix in taken.into_iter().chain(others.into_iter().flatten()) {
            let piece = &self.work.pieces[ix];
            if !piece.alive || piece.fresh {
                continue;
            }
            if !useful_with(ix) {
                continue;
            }
            let Some(right) = self.right(claim, ix, true) else { continue };
            if all.len() == CANDIDATES {
                return None;
            }
            let with = self.with_it(ix);
            let spots = with.iter().flat_map(|ix| &self.work.pieces[*ix].spots);
            let gives = spots.filter(|spot| useful(spot.node)).map(|spot| spot.each.gpu).sum();
            all.push(Candidate {
                toll: ((right.loss, !piece.surplus), lost(self.snapshot, piece)),
                piece: ix,
                gives,
            });
        }
        all.sort_unstable_by_key(|candidate| (candidate.toll, candidate.piece));
        Some(all)
    }

    /// Finds how many pieces at the beginning of each list are over for this cycle. Nothing may be taken in thought.
    fn count_over(&mut self) {
        let Self { work, orders, .. } = self;
        let work: &Work = work;
        orders.over.resize(2 * work.of_leaf.len(), 0);
        for (over, list) in orders.over.iter_mut().zip(work.of_leaf.iter().chain(&work.spare)) {
            let is_over = |ix: &&PieceIx| !work.pieces[**ix].alive || work.pieces[**ix].fresh;
            *over += list[*over..].iter().take_while(is_over).count();
        }
    }

    /// All other pieces.
    fn open(&self) -> impl Iterator<Item = PieceIx> + '_ {
        let lists = self.work.of_leaf.iter().chain(&self.work.spare).zip(&self.orders.over);
        lists.flat_map(|(list, over)| &list[*over..]).copied()
    }

    /// A piece, and what cannot stay without it.
    pub(super) fn with_it(&self, ix: PieceIx) -> Vec<PieceIx> {
        let piece = &self.work.pieces[ix];
        let mut all = if piece.surplus { Vec::new() } else { self.work.surplus_of(piece.job) };
        all.push(ix);
        all
    }

    /// How many replicas are lost with a piece.
    fn spots(&self, ix: PieceIx) -> usize {
        self.with_it(ix).into_iter().map(|ix| self.work.pieces[ix].spots.len()).sum()
    }

    fn replicas(&self, victims: &[Victim]) -> usize {
        victims.iter().flat_map(Victim::pieces).map(|piece| self.work.pieces[piece].spots.len()).sum()
    }

    fn work_lost(&self, ix: PieceIx) -> i64 {
        let pieces = self.with_it(ix).into_iter();
        pieces.map(|ix| lost(self.snapshot, &self.work.pieces[ix])).fold(0, i64::saturating_add)
    }

    fn toll(&self, victims: &[Victim]) -> Toll {
        let toll = |victim: &Victim| {
            let pieces = victim.pieces().map(|piece| lost(self.snapshot, &self.work.pieces[piece]));
            let gang = !self.work.pieces[victim.piece].surplus;
            ((victim.right.loss, gang), pieces.fold(0, i64::saturating_add))
        };
        victims.iter().map(toll).fold(NOTHING, sum)
    }

    /// Would a victim have a right to what its equals keep, by share or by priority?
    fn returns(&self, search: &Search<'_>) -> bool {
        let mut victims = search.chosen.iter().map(|victim| &self.work.pieces[victim.piece]);
        victims.any(|victim| {
            let claim = Claim {
                job: victim.job,
                leaf: victim.leaf,
                line: victim.line,
                demands: victim.demands.clone(),
                growth: victim.surplus,
                may_be_owed: if victim.surplus { self.work.inside(victim.job) } else { u64::MAX },
                moves: false,
                displaces: OnceCell::new(),
            };
            let by = |right: Right| matches!(right.cause, RevokeCause::FairShare | RevokeCause::Priority);
            search.candidates.iter().any(|other| self.right(&claim, other.piece, false).is_some_and(by))
        })
    }
}
