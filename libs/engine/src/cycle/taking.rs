//! The part of a turn in which somebody loses: victims, their new places, gangs that are torn down, heads of lines.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::{Blocked, Cycle};
use crate::evict::{Ground, Taken};
use crate::explain::{fits, short_of};
use crate::model::{JobIx, NodeIx, Placement, Revocation, RevokeCause, RevokedReplica, ValueIx};
use crate::place::{Choice, Want, redo};
use crate::queue::Turn;
use crate::reserve::{line_of, reserve, same_line};
use crate::rights::Claim;
use crate::room::View;
use crate::tree::{Demand, Vertex};
use crate::work::PieceIx;

/// Where each replica of a piece goes.
type NewPlaces = BTreeMap<(u16, u32), NodeIx>;

impl Cycle<'_> {
    pub(super) fn try_reclaim(
        &mut self,
        turn: Turn,
        want: &Want,
        choice: Choice,
        demands: &[Demand],
        (pin, part): (Option<ValueIx>, Option<u32>),
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
        let mut moved: BTreeMap<PieceIx, NewPlaces> = BTreeMap::new();
        for found in taken.moves {
            redo(&mut self.rooms, &found.want, View::Soon, &found.placements);
            moved.insert(found.piece, self.settle_again(found.piece, found.placements));
        }
        let mut lines = Vec::new();
        let mut victims = taken.victims;
        victims.sort_by_key(|(ix, _)| {
            let piece = &self.work.pieces[*ix];
            let job = &self.s.jobs[piece.job];
            (job.class, piece.surplus, Reverse(job.priority), piece.job, *ix)
        });
        for (ix, cause) in victims {
            let piece = &self.work.pieces[ix];
            let (job, surplus, promised) = (piece.job, piece.surplus, piece.promised);
            lines.push(piece.line);
            if promised {
                self.waiting.push((job, Blocked::Room));
                continue;
            }
            // whoever lost its place may have another, if its gang is there
            let gang_is_there = !surplus || self.work.missing(self.s, job, false).parts.is_empty();
            if !moved.contains_key(&ix) && gang_is_there {
                let mut ground = Ground {
                    snapshot: self.s,
                    shapes: self.shapes,
                    tree: &mut self.tree,
                    rooms: &mut self.rooms,
                    work: &mut self.work,
                };
                if let Some(found) = ground.rehouse(ix, None) {
                    moved.insert(ix, self.settle_again(ix, found.placements));
                }
            }
            let moved = moved.remove(&ix).unwrap_or_default();
            self.revoke(ix, cause, Some(turn.job), &moved);
        }
        lines
    }

    /// Promises a victim its new place (which is charged already).
    fn settle_again(&mut self, ix: PieceIx, to: Vec<Placement>) -> NewPlaces {
        let (job, surplus) = (self.work.pieces[ix].job, self.work.pieces[ix].surplus);
        self.work.decided(self.s, &mut self.tree, job, &to, (surplus, true));
        to.into_iter().map(|p| ((p.role, p.replica), p.node)).collect()
    }

    fn revoke(&mut self, ix: PieceIx, cause: RevokeCause, beneficiary: Option<usize>, moved: &NewPlaces) {
        let piece = &self.work.pieces[ix];
        // it counts against limits until it is gone
        for demand in &piece.demands {
            self.tree.add_going(piece.leaf, *demand, piece.charge.best_effort);
        }
        let (leaf, of) = (piece.leaf, piece.job);
        self.work.revoked(&mut self.tree, leaf, of);
        let piece = &self.work.pieces[ix];
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
    pub(super) fn refuse(&mut self, job: usize, blocked: Blocked, changed: &mut Vec<Vertex>) {
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
        let head =
            matches!(blocked, Blocked::Room) && !self.kept.iter().any(|kept| same_line(&kept.models, &line));
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
}
