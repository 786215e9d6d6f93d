//! The part of a turn in which somebody loses: victims, their new places, gangs that are torn down, heads of lines.

use std::cell::OnceCell;
use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::ahead::Lifted;
use super::{Blocked, Cycle, Trial};
use crate::evict::{Ground, Taken};
use crate::explain::fits;
use crate::model::{JobIx, NodeIx, Placement, Revocation, RevokeCause, RevokedReplica};
use crate::place::redo;
use crate::pool::Choice;
use crate::queue::Turn;
use crate::reserve::{Site, reserve, same_line};
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
        trial: Trial<'_>,
        choice: Choice,
        demands: &[Demand],
    ) -> Option<Vec<Vertex>> {
        let of = &self.s.jobs[turn.job];
        let leaf = self.leaf(turn.job);
        if trial.ask.is_some() && self.judge.hopeless(self.facts(), turn, of.class, choice) {
            return None;
        }
        let moves = trial.ask.is_none() || self.judge.may_move(self.facts(), turn, of.class);
        let claim = Claim {
            job: turn.job,
            leaf,
            line: turn.line,
            demands: demands.to_vec(),
            growth: turn.growth,
            may_be_owed: if turn.growth { self.work.inside(turn.job) } else { u64::MAX },
            moves: moves && self.judge.moves_left(),
            displaces: OnceCell::new(),
        };
        self.searches += 1;
        let mut ground = self.claims();
        let found = ground.reclaim(&claim, trial.want, choice, trial.pin);
        let tried_moves = ground.tried_moves;
        match found {
            Some(taken) => Some(self.carry_out(turn, taken)),
            None => {
                if tried_moves {
                    let mut judge = std::mem::take(&mut self.judge);
                    judge.remember_failed_move(self.facts(), turn, of.class, trial.ask.is_some());
                    self.judge = judge;
                }
                if trial.ask.is_some() {
                    self.remember_vain(turn, Some(choice));
                }
                None
            }
        }
    }

    fn claims(&mut self) -> Ground<'_> {
        Ground {
            snapshot: self.s,
            shapes: self.shapes,
            tree: self.tree,
            rooms: self.rooms,
            work: self.work,
            orders: &mut self.orders,
            tried_moves: false,
        }
    }

    /// Writes down a set of victims, and finds other places for those that have one.
    fn carry_out(&mut self, turn: Turn, taken: Taken) -> Vec<Vertex> {
        self.judge.forget();
        self.work.decided(self.s, self.tree, turn.job, &taken.placements, (turn.growth, true));
        let mut moved: BTreeMap<PieceIx, NewPlaces> = BTreeMap::new();
        for found in taken.moves {
            redo(self.rooms, &found.want, View::Soon, &found.placements);
            moved.insert(found.piece, self.settle_again(found.piece, found.placements));
        }
        let mut lines = Vec::new();
        let mut victims = taken.victims;
        victims.sort_by_key(|(ix, _)| {
            let piece = &self.work.pieces[*ix];
            let job = &self.s.jobs[piece.job];
            (job.class, piece.surplus, Reverse(job.priority), job.submitted, piece.job, *ix)
        });
        for (ix, cause) in victims {
            let piece = &self.work.pieces[ix];
            let (job, surplus, promised) = (piece.job, piece.surplus, piece.promised);
            lines.push(piece.line);
            if promised {
                continue;
            }
            // whoever lost its place may have another, if its gang is there
            let gang_is_there = !surplus || !self.work.lacks(self.s, job);
            if !moved.contains_key(&ix)
                && gang_is_there
                && let Some(found) = self.claims().rehouse(ix, None)
            {
                moved.insert(ix, self.settle_again(ix, found.placements));
            }
            let moved = moved.remove(&ix).unwrap_or_default();
            self.revoke(ix, cause, Some(turn.job), &moved);
        }
        lines
    }

    /// Promises a victim its new place (which is charged already).
    fn settle_again(&mut self, ix: PieceIx, to: Vec<Placement>) -> NewPlaces {
        let (job, surplus) = (self.work.pieces[ix].job, self.work.pieces[ix].surplus);
        self.work.decided(self.s, self.tree, job, &to, (surplus, true));
        to.into_iter().map(|p| ((p.role, p.replica), p.node)).collect()
    }

    fn revoke(&mut self, ix: PieceIx, cause: RevokeCause, beneficiary: Option<usize>, moved: &NewPlaces) {
        let piece = &self.work.pieces[ix];
        // it counts against limits until it is gone
        for demand in &piece.demands {
            self.tree.add_going(piece.leaf, *demand, piece.charge.best_effort, 1);
        }
        let (leaf, of) = (piece.leaf, piece.job);
        self.work.revoked(self.tree, leaf, of);
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
    pub(super) fn refuse(
        &mut self,
        turn: Turn,
        blocked: &Blocked,
        lifted: Lifted,
        changed: &mut Vec<Vertex>,
    ) {
        let job = turn.job;
        if self.work.has(job).runs() {
            self.lower_ahead(lifted, false);
            if self.work.has(job).going() == 0 {
                for ix in self.work.has(job).pieces.clone() {
                    if !self.work.pieces[ix].alive {
                        continue;
                    }
                    self.work.evict(self.tree, self.rooms, ix);
                    if !self.work.pieces[ix].promised {
                        self.revoke(ix, RevokeCause::BrokenGang, None, &BTreeMap::new());
                    }
                }
                self.judge.forget();
                changed.push(self.tree.line(self.s.jobs[job].account));
            }
            return;
        }
        if self.ahead.is_some() {
            match blocked {
                Blocked::Room => self.reserve_ahead(turn, lifted),
                _ => self.lower_ahead(lifted, false),
            }
            return;
        }
        let ask = &self.shapes.asks[turn.ask];
        let line = &ask.line;
        let head =
            matches!(blocked, Blocked::Room) && !self.kept.iter().any(|kept| same_line(&kept.models, line));
        if !head {
            return;
        }
        let want = self.work.missing(self.s, job, None);
        let pool = self.shapes.pool(job);
        // who waits only for what is kept for others needs nothing kept
        if fits(pool, self.rooms, &want, View::Raw) {
            return;
        }
        let vacant = self.vacant.rooms(self.s, self.shapes);
        let mut site = Site { snapshot: self.s, work: self.work, rooms: self.rooms, vacant };
        self.kept.extend(reserve(&mut site, pool, line, job, &want));
    }
}
