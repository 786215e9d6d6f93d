//! The part of a turn in which nobody loses: a place in what is free, or in what is kept for others and may be lent.

use std::cmp::Reverse;

use super::ahead::Lifted;
use super::{Cycle, Loan, Trial};
use crate::judge::loans;
use crate::model::{Millis, Placement, ValueIx};
use crate::place::{Try, Want, place, undo};
use crate::pool::Choice;
use crate::queue::Turn;
use crate::reserve::Kept;
use crate::room::View;
use crate::shapes::AskIx;
use crate::tree::{Asker, Demand, demand_of};

impl Cycle<'_> {
    pub(super) fn try_place(
        &mut self,
        job: usize,
        trial: Trial<'_>,
        view: View,
        choice: Choice,
    ) -> Option<Vec<Placement>> {
        if trial.ask.is_some_and(|ask| self.judge.misfit(ask, view, choice)) {
            return None;
        }
        let pool = self.shapes.pool(job);
        self.searches += 1;
        let how = Try { pool, view, choice, pin: trial.pin };
        let first = if trial.pin.is_none() { self.roomiest(job, how) } else { None };
        let first = first.or_else(|| self.home(job, how));
        let placed = match first.map(|pin| place(self.rooms, trial.want, Try { pin: Some(pin), ..how })) {
            Some(Ok(placed)) => Ok(placed),
            _ => place(self.rooms, trial.want, how),
        };
        match placed {
            Ok(placed) => self.within_limits(job, trial.want, view, choice, placed),
            Err(_) => {
                if let Some(ask) = trial.ask {
                    self.judge.remember_misfit(ask, view, choice);
                }
                None
            }
        }
    }

    /// The topology domain in which most of a job finds room that may grow, but only there: the least free of those. `None`: it does not matter.
    fn roomiest(&self, job: usize, how: Try<'_>) -> Option<ValueIx> {
        if !how.pool.bound() {
            return None;
        }
        let role = self.s.jobs[job].request.roles.iter().find(|role| role.min < role.replicas)?;
        let fit = |domain: &ValueIx| {
            let nodes = how.pool.nodes_in(&role.each, how.choice, Some(*domain)).iter();
            let room = nodes.map(|node| self.rooms.capacity(how.view, *node, &role.each, role.replicas));
            room.fold(0, u32::saturating_add).min(role.replicas)
        };
        let domains = how.pool.domains(self.rooms, how.view, &role.each, how.choice).into_iter().flatten();
        domains.enumerate().max_by_key(|(at, domain)| (fit(domain), Reverse(*at))).map(|(_, domain)| domain)
    }

    /// The topology domain in which a job is that only prefers one: it grows there first.
    fn home(&self, job: usize, how: Try<'_>) -> Option<ValueIx> {
        if how.pool.bound() {
            return None;
        }
        self.work.has(job).anchor().and_then(|node| how.pool.value(node))
    }

    /// Where a gang is mixed, which models it gets is known only now.
    fn within_limits(
        &mut self,
        job: usize,
        want: &Want,
        view: View,
        choice: Choice,
        placed: Vec<Placement>,
    ) -> Option<Vec<Placement>> {
        if choice == Choice::Mixed && want.largest().gpu > 0 {
            let demands = demand_of(self.s, &self.s.jobs[job].request, &placed);
            let (going, asker) = (view == View::Now, self.work.asker(self.s, self.tree, job));
            if self.tree.bound(asker, &demands, going).is_some() {
                undo(self.rooms, want, view, &placed);
                return None;
            }
        }
        Some(placed)
    }

    /// A place in what is kept for others, for who is gone before they can start, and in what is kept for it from now on.
    pub(super) fn try_loan(
        &mut self,
        turn: Turn,
        trial: Trial<'_>,
        options: &[(Choice, &[Demand], bool)],
        (asker, choices): (Asker, usize),
        lifted: &Lifted,
    ) -> Option<Vec<Placement>> {
        let loan = self.loan(turn, trial.ask, lifted)?;
        let free: Vec<_> = options
            .iter()
            .filter(|(_, demands, limited)| !limited && self.tree.bound(asker, demands, true).is_none())
            .collect();
        self.lend(loan);
        let (mut placed, mut fits) = (None, false);
        for (choice, _, _) in &free {
            self.searches += 1;
            let how =
                Try { pool: self.shapes.pool(turn.job), view: View::Now, choice: *choice, pin: trial.pin };
            if let Ok(found) = place(self.rooms, trial.want, how) {
                fits = true;
                placed = self.within_limits(turn.job, trial.want, View::Now, *choice, found);
            }
            if placed.is_some() {
                break;
            }
        }
        let placed = placed.or_else(|| self.as_promised(lifted, turn, trial.want));
        self.take_back(loan);
        if let (Some(ask), false, true) = (trial.ask, fits, free.len() == choices) {
            match loan {
                Loan::Kept(lent) => self.judge.remember_lent(ask, lent),
                Loan::Until(until) => self.judge.remember_misfit_until(ask, until),
            }
        }
        placed
    }

    /// What may be lent to a turn; `None`: nothing, or it is known to be of no use.
    fn loan(&self, turn: Turn, ask: Option<AskIx>, lifted: &Lifted) -> Option<Loan> {
        if self.ahead.is_some() {
            let until = self.until(turn);
            let of_use = until < Millis::MAX || lifted.is_due(self.s.now);
            let known = ask.is_some_and(|ask| self.judge.misfit_until(ask, until));
            return (of_use && !known).then_some(Loan::Until(until));
        }
        let lent = loans(self.s, &self.kept, self.s.jobs[turn.job].expected_ms.unwrap_or(Millis::MAX))?;
        let known = ask.is_some_and(|ask| self.judge.useless_loan(ask, lent));
        (lent != 0 && !known).then_some(Loan::Kept(lent))
    }

    fn lend(&mut self, loan: Loan) {
        match loan {
            Loan::Kept(lent) => which(&self.kept, lent).for_each(|kept| kept.lend(self.rooms)),
            Loan::Until(until) => self.charge_ahead(until),
        }
    }

    fn take_back(&mut self, loan: Loan) {
        match loan {
            Loan::Kept(lent) => which(&self.kept, lent).for_each(|kept| kept.charge(self.rooms)),
            Loan::Until(_) => self.charge_ahead(Millis::MAX),
        }
    }
}

fn which(kept: &[Kept], lent: u64) -> impl Iterator<Item = &Kept> {
    kept.iter().enumerate().filter(move |(bit, _)| lent & (1 << bit) != 0).map(|(_, kept)| kept)
}
