//! Before a set of victims is taken: who can be spared, and where those go that must find another place.

use std::collections::BTreeMap;

use super::{Ground, MOVES, Move, SPARED_BY_SEARCH, Victim};
use crate::model::{NodeIx, Placement};
use crate::place::{Part, Try, Want, place, redo, undo};
use crate::rights::{Claim, Loss};
use crate::room::View;
use crate::tree::{Charge, Counted, Demand, Vertex, demand_of};
use crate::work::PieceIx;

/// What counts against limits for the time being.
struct Guest {
    leaf: Vertex,
    demands: Vec<Demand>,
    charge: Charge,
    /// It is a job more.
    enters: bool,
}

impl Ground<'_> {
    /// Restores every victim without whom the job can be placed too, so that none is left to spare.
    pub(super) fn spare(
        &mut self,
        claim: &Claim,
        want: &Want,
        how: Try<'_>,
        victims: &mut Vec<Victim>,
        placed: Vec<Placement>,
    ) -> Vec<Placement> {
        let mut placed = placed;
        self.apart(claim, victims);
        let search = victims.len() <= SPARED_BY_SEARCH;
        for at in (0..victims.len()).rev() {
            if self.follows(victims, at) {
                continue;
            }
            undo(self.rooms, want, View::Soon, &placed);
            let victim = victims.remove(at);
            self.back(&victim);
            let limited = self.tree.bound(self.asker(claim), &claim.demands, false).is_some();
            let again = if limited || !search { None } else { self.place_any(claim, want, how) };
            if let Some(elsewhere) = again {
                placed = elsewhere;
                continue;
            }
            if limited || search || !self.untouched(want, &placed) {
                self.go(&victim);
                victims.insert(at, victim);
            }
            redo(self.rooms, want, View::Soon, &placed);
        }
        if search && want.total() > 1 && how.pool.has_domains() {
            // node by node it was found; what goes stays the same, and it may be nearer
            undo(self.rooms, want, View::Soon, &placed);
            match self.place_any(claim, want, how) {
                Some(nearer) => return nearer,
                None => redo(self.rooms, want, View::Soon, &placed),
            }
        }
        placed
    }

    /// Counts what is above a gang apart from it where there is a right to it alone: it may go alone. Who moves stays together.
    fn apart(&mut self, claim: &Claim, victims: &mut Vec<Victim>) {
        for victim in std::mem::take(victims) {
            if victim.along.is_empty() || victim.right.loss == Loss::Moved {
                victims.push(victim);
                continue;
            }
            self.back(&victim);
            let first = victims.len();
            let Victim { piece, along, right } = victim;
            let mut gang = Victim { piece, along: Vec::new(), right };
            for piece in along {
                match self.right(claim, piece, false) {
                    Some(right) => victims.push(Victim { piece, along: Vec::new(), right }),
                    None => gang.along.push(piece),
                }
            }
            victims[first..].iter().chain([&gang]).for_each(|victim| self.go(victim));
            victims.push(gang);
        }
    }

    /// A place on any of the models that the request allows, those of this try first.
    fn place_any(&mut self, claim: &Claim, want: &Want, how: Try<'_>) -> Option<Vec<Placement>> {
        let others = how.pool.choices(&want.largest()).into_iter().filter(|choice| *choice != how.choice);
        for choice in [how.choice].into_iter().chain(others) {
            let Ok(placed) = place(self.rooms, want, Try { choice, ..how }) else { continue };
            let demands = demand_of(self.snapshot, &self.snapshot.jobs[claim.job].request, &placed);
            if self.tree.bound(self.asker(claim), &demands, false).is_none() {
                return Some(placed);
            }
            undo(self.rooms, want, View::Soon, &placed);
        }
        None
    }

    /// Do these placements (now undone) still fit as they are?
    fn untouched(&mut self, want: &Want, placed: &[Placement]) -> bool {
        let mut charged = 0;
        for placement in placed {
            let part = want.parts.iter().find(|part| part.role == placement.role);
            let fits = part
                .is_some_and(|part| self.rooms.has(View::Soon, placement.node, &part.each, &placement.gpus));
            if !fits {
                break;
            }
            redo(self.rooms, want, View::Soon, std::slice::from_ref(placement));
            charged += 1;
        }
        undo(self.rooms, want, View::Soon, &placed[..charged]);
        charged == placed.len()
    }

    /// Where those go that must find another place once the beneficiary has its own, or the first that finds none.
    /// Everything is as it was afterwards.
    pub(super) fn stranded(
        &mut self,
        claim: &Claim,
        victims: &[Victim],
        placed: &[Placement],
    ) -> Result<Vec<Move>, PieceIx> {
        let must = || victims.iter().filter(|v| v.right.loss == Loss::Moved);
        let replicas: usize =
            must().flat_map(Victim::pieces).map(|piece| self.work.pieces[piece].spots.len()).sum();
        if let (true, Some(first)) = (replicas > MOVES, must().next()) {
            return Err(first.piece);
        }
        let mut guests = vec![self.let_in(claim.job, placed, self.asker(claim).enters)];
        let mut moves: Vec<Move> = Vec::new();
        let mut stuck = None;
        // gangs first: what is above one goes where it went
        let pieces = must().flat_map(|victim| victim.pieces().map(|piece| (piece, victim.piece)));
        let mut pieces: Vec<(PieceIx, PieceIx)> = pieces.collect();
        pieces.sort_by_key(|(piece, _)| self.work.pieces[*piece].surplus);
        let mut anchors: BTreeMap<usize, NodeIx> = BTreeMap::new();
        for (piece, victim) in pieces {
            let job = self.work.pieces[piece].job;
            let Some(found) = self.rehouse(piece, anchors.get(&job).copied()) else {
                stuck = Some(victim);
                break;
            };
            // the next one of its job counts beside it
            let enters = !anchors.contains_key(&job) && self.work.asker(self.snapshot, self.tree, job).enters;
            guests.push(self.let_in(job, &found.placements, enters));
            if let Some(first) = found.placements.first() {
                anchors.entry(job).or_insert(first.node);
            }
            moves.push(found);
        }
        for found in &moves {
            undo(self.rooms, &found.want, View::Soon, &found.placements);
        }
        guests.into_iter().rev().for_each(|guest| self.let_out(guest));
        stuck.map_or(Ok(moves), Err)
    }

    /// Counts placements of a job against limits, for the time being.
    fn let_in(&mut self, job: usize, placed: &[Placement], enters: bool) -> Guest {
        let of = &self.snapshot.jobs[job];
        let leaf = self.tree.leaf(of.account, of.user);
        let demands = demand_of(self.snapshot, &of.request, placed);
        let charge = Charge::of(of);
        self.tree.add(leaf, &demands, charge);
        if enters {
            self.tree.recount(leaf, Counted::Not, Counted::Promised);
        }
        Guest { leaf, demands, charge, enters }
    }

    /// Undoes [`Ground::let_in`].
    fn let_out(&mut self, guest: Guest) {
        self.tree.remove(guest.leaf, &guest.demands, guest.charge);
        if guest.enters {
            self.tree.recount(guest.leaf, Counted::Promised, Counted::Not);
        }
    }

    /// Another place for an evicted piece, charged to the rooms; `settled`: where the rest of its job is, if that has moved.
    pub fn rehouse(&mut self, ix: PieceIx, settled: Option<NodeIx>) -> Option<Move> {
        let piece = &self.work.pieces[ix];
        let job = piece.job;
        let mut parts: Vec<Part> = Vec::new();
        for spot in &piece.spots {
            match parts.iter_mut().find(|part| part.role == spot.role) {
                Some(part) => part.replicas.push(spot.replica),
                None => parts.push(Part {
                    role: spot.role,
                    each: self.snapshot.jobs[job].request.roles[usize::from(spot.role)].each,
                    replicas: vec![spot.replica],
                }),
            }
        }
        let want = Want { parts };
        let pool = self.shapes.pool(job);
        let anchor = settled.or(self.work.has(job).anchor());
        let pin = if pool.bound() { anchor.and_then(|node| pool.value(node)) } else { None };
        let mut asker = self.work.asker(self.snapshot, self.tree, job);
        asker.enters &= settled.is_none();
        for choice in pool.choices(&want.largest()) {
            let Ok(placements) = place(self.rooms, &want, Try { pool, view: View::Soon, choice, pin }) else {
                continue;
            };
            let demands = demand_of(self.snapshot, &self.snapshot.jobs[job].request, &placements);
            if self.tree.bound(asker, &demands, false).is_none() {
                return Some(Move { piece: ix, want, placements });
            }
            undo(self.rooms, &want, View::Soon, &placements);
        }
        None
    }
}
