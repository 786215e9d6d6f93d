//! Whom to take back so that one job starts: an irreducible set, proven by placing the job without them first.
//!
//! The search is in thought only: pieces are evicted and restored in [`Work`], [`Tree`] and [`Rooms`], and either
//! everything is undone or what remains is the decision.

mod glad;
mod least;
mod limits;
mod proof;
mod sites;

use std::collections::BTreeSet;

use crate::model::{NodeIx, Placement, RevokeCause, Shape, Snapshot, ValueIx};
use crate::place::{Part, Try, Want, place_some, undo};
use crate::pool::Choice;
use crate::rights::{Claim, Key, Loss, Right, key, movable, right};
use crate::room::{Rooms, View};
use crate::shapes::Shapes;
use crate::tree::{Asker, Demand, Tree};
use crate::work::{PieceIx, Work};

pub(crate) use glad::Orders;

/// How often a set is searched anew after a piece that had to move found no place.
const TRIES: usize = 12;
/// Up to this many victims are each tried to be spared by placing the beneficiary anew.
const SPARED_BY_SEARCH: usize = 64;
/// At most so many replicas are migrated for one beneficiary.
const MOVES: usize = 16;

/// A set of victims, and where everybody goes.
pub(crate) struct Taken {
    pub placements: Vec<Placement>,
    /// Pieces that lose their place, and why.
    pub victims: Vec<(PieceIx, RevokeCause)>,
    /// Where those go that had to find another place; not charged.
    pub moves: Vec<Move>,
}

/// Another place for a piece.
pub(crate) struct Move {
    pub piece: PieceIx,
    pub want: Want,
    pub placements: Vec<Placement>,
}

/// What a search works on.
pub(crate) struct Ground<'a> {
    pub snapshot: &'a Snapshot,
    pub shapes: &'a Shapes,
    pub tree: &'a mut Tree,
    pub rooms: &'a mut Rooms,
    pub work: &'a mut Work,
    pub orders: &'a mut Orders,
    /// Were there candidates that could only be migrated?
    pub tried_moves: bool,
}

struct Victim {
    piece: PieceIx,
    /// What is above the minimum and cannot stay without its gang.
    along: Vec<PieceIx>,
    right: Right,
}

impl Victim {
    fn pieces(&self) -> impl Iterator<Item = PieceIx> + '_ {
        self.along.iter().copied().chain([self.piece])
    }
}

/// A set of victims that suffices.
struct Found {
    placements: Vec<Placement>,
    victims: Vec<Victim>,
    moves: Vec<Move>,
}

impl Found {
    fn taken(self) -> Taken {
        let flat = self.victims.iter().flat_map(|v| v.pieces().map(|piece| (piece, v.right.cause)));
        Taken { placements: self.placements, victims: flat.collect(), moves: self.moves }
    }
}

/// Smaller is the better node to make room on: light losses, little work, few victims, those that are taken gladly.
type Cost = (Loss, i64, usize, Key, (i64, i64), NodeIx);

impl Ground<'_> {
    fn asker(&self, claim: &Claim) -> Asker {
        self.work.asker(self.snapshot, self.tree, claim.job)
    }

    fn right(&self, claim: &Claim, ix: PieceIx, moves: bool) -> Option<Right> {
        let piece = &self.work.pieces[ix];
        right(self.snapshot, self.tree, self.work, claim, ix).or_else(|| {
            if moves && claim.moves { movable(self.snapshot, self.tree, claim, piece) } else { None }
        })
    }

    fn key(&self, ix: PieceIx, right: &Right) -> Key {
        key(self.snapshot, self.tree, right, &self.work.pieces[ix])
    }

    fn evict(&mut self, victims: &mut Vec<Victim>, piece: PieceIx, right: Right) {
        let of = &self.work.pieces[piece];
        let along = if of.surplus { Vec::new() } else { self.work.surplus_of(of.job) };
        let victim = Victim { piece, along, right };
        self.go(&victim);
        victims.push(victim);
    }

    fn go(&mut self, victim: &Victim) {
        for piece in victim.pieces() {
            self.work.evict(self.tree, self.rooms, piece);
        }
    }

    fn back(&mut self, victim: &Victim) {
        for piece in victim.pieces() {
            self.work.restore(self.tree, self.rooms, piece);
        }
    }

    fn back_to(&mut self, victims: &mut Vec<Victim>, len: usize) {
        for victim in victims.drain(len..).rev() {
            self.back(&victim);
        }
    }

    /// Is it above the minimum of a gang that is itself a victim?
    fn follows(&self, victims: &[Victim], at: usize) -> bool {
        let piece = &self.work.pieces[victims[at].piece];
        let gang =
            |v: &Victim| self.work.pieces[v.piece].job == piece.job && !self.work.pieces[v.piece].surplus;
        piece.surplus && victims.iter().any(gang)
    }

    /// How much work a piece is, in the unit by which work is compared.
    fn amount(&self, ix: PieceIx) -> i64 {
        self.work.pieces[ix].demands.iter().map(Demand::weight).fold(0, i64::saturating_add)
    }

    /// The same for what cannot stay without it.
    fn amount_along(&self, gang: PieceIx) -> i64 {
        let along = self.work.surplus_of(self.work.pieces[gang].job).into_iter();
        along.map(|ix| self.amount(ix)).fold(0, i64::saturating_add)
    }

    /// The milli-GPU that a piece has on a node.
    fn gpu_on(&self, ix: PieceIx, node: NodeIx) -> i64 {
        self.work.pieces[ix].spots.iter().filter(|spot| spot.node == node).map(|spot| spot.each.gpu).sum()
    }

    fn usable(&self, how: Try<'_>, each: &Shape, node: NodeIx) -> bool {
        let group = self.shapes.groups.of[node.at()];
        let offers = self.rooms.room(View::Soon, node).offers();
        how.pool.list(each, how.choice).groups.binary_search(&group).is_ok() && each.may_be_offered(offers)
    }

    /// Finds victims so that all of `want` is placed on what will be free; `None` leaves everything as it was.
    pub fn reclaim(
        &mut self,
        claim: &Claim,
        want: &Want,
        choice: Choice,
        pin: Option<ValueIx>,
    ) -> Option<Taken> {
        let pool = self.shapes.pool(claim.job);
        let how = Try { pool, view: View::Soon, choice, pin };
        let limited = self.tree.bound(self.asker(claim), &claim.demands, false).is_some();
        let mut found = if limited { None } else { self.one(claim, want, how) };
        if found.is_none() {
            if !self.enough(claim, want, how) {
                return None;
            }
            found = self.several(claim, want, how, limited);
        }
        self.least(claim, want, how, limited, found).map(Found::taken)
    }

    /// One piece that is taken gladly and suffices.
    fn one(&mut self, claim: &Claim, want: &Want, how: Try<'_>) -> Option<Found> {
        let (victim, node) = self.gladly(claim, want, how)?;
        self.go(&victim);
        let mut victims = vec![victim];
        if let Some(placements) = self.put(want, node) {
            let placements = self.spare(claim, want, how, &mut victims, placements);
            if let Ok(moves) = self.stranded(claim, &victims, &placements) {
                return Some(Found { placements, victims, moves });
            }
            undo(self.rooms, want, View::Soon, &placements);
        }
        self.back_to(&mut victims, 0);
        None
    }

    /// What is taken gladly, node by node.
    fn several(&mut self, claim: &Claim, want: &Want, how: Try<'_>, limited: bool) -> Option<Found> {
        let mut banned: BTreeSet<PieceIx> = BTreeSet::new();
        for _ in 0..TRIES {
            let mut victims = Vec::new();
            if limited && !self.relieve_limits(claim, &banned, &mut victims) {
                self.back_to(&mut victims, 0);
                return None;
            }
            let Some(placements) = self.make_room(claim, want, how, &banned, &mut victims) else {
                self.back_to(&mut victims, 0);
                return None;
            };
            let placements = self.spare(claim, want, how, &mut victims, placements);
            match self.stranded(claim, &victims, &placements) {
                Ok(moves) => return Some(Found { placements, victims, moves }),
                Err(stuck) => {
                    undo(self.rooms, want, View::Soon, &placements);
                    self.back_to(&mut victims, 0);
                    banned.insert(stuck);
                }
            }
        }
        None
    }

    /// Places a single replica on a node.
    fn put(&mut self, want: &Want, node: NodeIx) -> Option<Vec<Placement>> {
        let part = want.parts.first()?;
        let replica = *part.replicas.first()?;
        let gpus = self.rooms.devices(View::Soon, node, &part.each)?;
        self.rooms.take(View::Soon, node, &part.each, &gpus);
        Some(vec![Placement { role: part.role, replica, node, gpus }])
    }

    fn make_room(
        &mut self,
        claim: &Claim,
        want: &Want,
        how: Try<'_>,
        banned: &BTreeSet<PieceIx>,
        victims: &mut Vec<Victim>,
    ) -> Option<Vec<Placement>> {
        let domains = match how.pin {
            Some(value) => vec![Some(value)],
            None => {
                let mut domains = how.pool.domains(self.rooms, View::Soon, &want.largest(), how.choice);
                domains.reverse();
                domains
            }
        };
        let before = victims.len();
        for domain in domains {
            if let Some(placed) = self.make_room_in(claim, want, how, domain, banned, victims) {
                return Some(placed);
            }
            self.back_to(victims, before);
        }
        None
    }

    fn make_room_in(
        &mut self,
        claim: &Claim,
        want: &Want,
        how: Try<'_>,
        domain: Option<ValueIx>,
        banned: &BTreeSet<PieceIx>,
        victims: &mut Vec<Victim>,
    ) -> Option<Vec<Placement>> {
        let mut placed = place_some(self.rooms, want, how, domain);
        for part in &want.parts {
            let done: BTreeSet<u32> =
                placed.iter().filter(|p| p.role == part.role).map(|p| p.replica).collect();
            let left: Vec<u32> = part.replicas.iter().copied().filter(|r| !done.contains(r)).collect();
            if left.is_empty() {
                continue;
            }
            // nodes are judged when no other can be cheaper
            let sites = self.sites(claim, part, how, domain);
            let mut prospects = self.prospects(claim, part, &sites);
            let mut options: BTreeSet<(Cost, usize)> = BTreeSet::new();
            let mut sets: Vec<Vec<PieceIx>> = Vec::new();
            let mut open: Vec<NodeIx> = Vec::new();
            for replica in left {
                let mut spot =
                    open.iter().copied().find(|n| self.rooms.capacity(View::Soon, *n, &part.each, 1) > 0);
                while spot.is_none() {
                    while let Some(next) =
                        prospects.pop_if(|next| options.first().is_none_or(|(cost, _)| *next < *cost))
                    {
                        self.option(claim, part, next.5, banned, &mut options, &mut sets);
                    }
                    let Some((cost, set)) = options.pop_first() else {
                        undo(self.rooms, want, View::Soon, &placed);
                        return None;
                    };
                    let node = cost.5;
                    if sets[set].iter().any(|ix| !self.work.pieces[*ix].alive) {
                        // somebody of the set went meanwhile: judge this node anew
                        if self.rooms.capacity(View::Soon, node, &part.each, 1) > 0 {
                            spot = Some(node);
                        } else {
                            self.option(claim, part, node, banned, &mut options, &mut sets);
                        }
                        continue;
                    }
                    let fresh = self.judge(claim, part, node, banned);
                    match fresh {
                        Some((now, _)) if now != cost && options.first().is_some_and(|next| next.0 < now) => {
                            self.option(claim, part, node, banned, &mut options, &mut sets);
                        }
                        Some((_, set)) => {
                            for ix in set {
                                if let Some(right) = self.alive_right(claim, ix) {
                                    self.evict(victims, ix, right);
                                }
                            }
                            spot = Some(node);
                            open = self.opened(victims, how, part, domain);
                        }
                        None => {}
                    }
                }
                let gpus = spot.and_then(|n| Some((n, self.rooms.devices(View::Soon, n, &part.each)?)));
                let Some((node, gpus)) = gpus else {
                    undo(self.rooms, want, View::Soon, &placed);
                    return None;
                };
                self.rooms.take(View::Soon, node, &part.each, &gpus);
                placed.push(Placement { role: part.role, replica, node, gpus });
                // more may be taken on the same node for the next replica
                self.option(claim, part, node, banned, &mut options, &mut sets);
            }
        }
        Some(placed)
    }

    fn alive_right(&self, claim: &Claim, ix: PieceIx) -> Option<Right> {
        if self.work.pieces[ix].alive { self.right(claim, ix, true) } else { None }
    }

    /// Nodes on which victims so far gave room, and which the part may use.
    fn opened(&self, victims: &[Victim], how: Try<'_>, part: &Part, domain: Option<ValueIx>) -> Vec<NodeIx> {
        let pieces = victims.iter().flat_map(Victim::pieces);
        let spots = pieces.flat_map(|piece| &self.work.pieces[piece].spots).map(|spot| spot.node);
        let mut nodes: Vec<NodeIx> = spots.collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes.retain(|n| {
            self.usable(how, &part.each, *n) && (domain.is_none() || how.pool.value(*n) == domain)
        });
        nodes
    }

    fn option(
        &mut self,
        claim: &Claim,
        part: &Part,
        node: NodeIx,
        banned: &BTreeSet<PieceIx>,
        options: &mut BTreeSet<(Cost, usize)>,
        sets: &mut Vec<Vec<PieceIx>>,
    ) {
        if let Some((cost, set)) = self.judge(claim, part, node, banned) {
            options.insert((cost, sets.len()));
            sets.push(set);
        }
    }

    /// The pieces to take so that one replica fits on one node, and what that costs. Leaves everything as it was.
    fn judge(
        &mut self,
        claim: &Claim,
        part: &Part,
        node: NodeIx,
        banned: &BTreeSet<PieceIx>,
    ) -> Option<(Cost, Vec<PieceIx>)> {
        let here = self.work.on_node[node.at()].clone();
        let mut chosen: Vec<Victim> = Vec::new();
        let mut keys: Vec<Key> = Vec::new();
        let fits = |ground: &Self| ground.rooms.capacity(View::Soon, node, &part.each, 1) > 0;
        while !fits(self) {
            let open = here.iter().copied().filter(|ix| self.work.pieces[*ix].alive && !banned.contains(ix));
            let next = open
                .filter_map(|ix| self.right_here(claim, ix).map(|right| (self.key(ix, &right), ix, right)))
                .min_by_key(|(key, ix, _)| (*key, *ix));
            let Some((key, ix, right)) = next else { break };
            keys.push(key);
            self.evict(&mut chosen, ix, right);
        }
        let mut found = None;
        if fits(self) {
            // spare what is not needed after all, the dearest first
            for at in (0..chosen.len()).rev() {
                if self.follows(&chosen, at) {
                    continue;
                }
                let victim = chosen.remove(at);
                self.back(&victim);
                if fits(self) {
                    keys.remove(at);
                } else {
                    self.go(&victim);
                    chosen.insert(at, victim);
                }
            }
            found = keys.iter().max().map(|worst| {
                let pieces = chosen.iter().flat_map(Victim::pieces);
                let amount = pieces.map(|piece| self.amount(piece)).fold(0, i64::saturating_add);
                let score = self.rooms.score(View::Soon, node, &part.each);
                let cost = (worst.loss(), amount, chosen.len(), *worst, score, node);
                (cost, chosen.iter().map(|v| v.piece).collect())
            });
        }
        self.back_to(&mut chosen, 0);
        found
    }
}
