//! Turns where everybody who waits for room has a reservation: see [`crate::ahead`].

use super::Cycle;
use crate::ahead::{Booking, Ground};
use crate::model::{Backfill, Class, Millis, Placement, Preemptible};
use crate::place::{Want, undo};
use crate::pool::Choice;
use crate::profile::length;
use crate::queue::Turn;
use crate::reserve::{Kept, Site, reserve, same_line};
use crate::room::View;
use crate::tree::{Demand, demand_of};

/// What was booked and is not while a job has its turn.
pub(super) struct Lifted {
    own: Option<Booking>,
    others: Vec<Booking>,
}

impl Lifted {
    pub fn is_nothing(&self) -> bool {
        self.own.is_none() && self.others.is_empty()
    }

    /// Is it promised to start by now?
    pub fn is_due(&self, now: Millis) -> bool {
        self.own.as_ref().is_some_and(|own| own.from <= now)
    }
}

impl Cycle<'_> {
    fn grounds(&self) -> Ground<'_> {
        Ground { s: self.s, shapes: self.shapes, work: self.work }
    }

    /// Charges the rooms with what is kept from who runs until then.
    pub(super) fn charge_ahead(&mut self, until: Millis) {
        if let Some(mut ahead) = self.ahead.take() {
            let ground = Ground { s: self.s, shapes: self.shapes, work: self.work };
            ahead.charge(ground, self.rooms, until);
            self.ahead = Some(ahead);
        }
    }

    /// Books what was promised in the last cycle, as far as it still can be.
    pub(super) fn book_again(&mut self) {
        if self.ahead.is_none() {
            return;
        }
        for kept in &self.s.reservations {
            let job = kept.job.at();
            let Some(from) = kept.expected_start.filter(|_| !kept.placements.is_empty()) else { continue };
            let of = &self.s.jobs[job];
            let want = self.work.missing(self.s, job, None);
            let same = want.total() as usize == kept.placements.len() && self.work.is_new(job) && !of.closed;
            let pool = self.shapes.pool(job);
            let usable = kept.placements.iter().all(|place| {
                let each = of.request.roles[usize::from(place.role)].each;
                let group = self.shapes.groups.of[place.node.at()];
                pool.list(&each, Choice::Mixed).groups.binary_search(&group).is_ok()
            });
            let mut domains = kept.placements.iter().map(|place| pool.value(place.node));
            let first = domains.next().flatten();
            let together = !pool.bound() || (first.is_some() && domains.all(|domain| domain == first));
            if same && usable && together {
                let from = from.max(self.s.now);
                self.book_if_free(Booking::new(job, from, length(of), kept.placements.clone()), &want, false);
            }
        }
        self.charge_ahead(Millis::MAX);
    }

    fn book_if_free(&mut self, booking: Booking, want: &Want, settled: bool) {
        let Some(mut ahead) = self.ahead.take() else { return };
        let profile = ahead.profile(self.grounds(), self.rooms);
        let known = ahead.of(booking.job).is_some();
        if !known && profile.fits(want, &booking.placements, booking.from, booking.until) {
            ahead.book(booking, want, settled);
        }
        self.ahead = Some(ahead);
    }

    /// A job's turn comes: what is booked for it, and for those that it goes before, is not in its way.
    pub(super) fn lift_ahead(&mut self, turn: Turn) -> Lifted {
        let Some(ahead) = self.ahead.as_mut().filter(|_| !turn.growth) else {
            return Lifted { own: None, others: Vec::new() };
        };
        let (own, others) = ahead.lift(turn.job);
        let lifted = Lifted { own, others };
        if !lifted.is_nothing() {
            self.charge_ahead(Millis::MAX);
        }
        lifted
    }

    /// Its turn is over, and it does not wait for room: its booking is void, those of others stand where they can.
    pub(super) fn lower_ahead(&mut self, lifted: Lifted, changed: bool) {
        if lifted.own.is_some() || !lifted.others.is_empty() {
            // what was not free may be
            self.judge.forget();
        }
        if changed || !lifted.is_nothing() {
            self.book_others(lifted.others);
            self.charge_ahead(Millis::MAX);
        }
    }

    fn book_others(&mut self, others: Vec<Booking>) {
        for booking in others {
            let want = self.work.missing(self.s, booking.job, None);
            self.book_if_free(booking, &want, false);
        }
    }

    /// A job that waits for room gets a start: as soon as can be beside what is booked, and no later than was promised. Where nobody can tell
    /// when, what is free and of use to it is kept.
    pub(super) fn reserve_ahead(&mut self, turn: Turn, lifted: Lifted) {
        let Some(ahead) = &self.ahead else { return };
        let job = turn.job;
        let want = self.work.missing(self.s, job, None);
        let pool = self.shapes.pool(job);
        let runs = length(&self.s.jobs[job]);
        let models = self.shapes.asks[turn.ask].line.clone();
        let full = ahead.len() + self.unknown >= Backfill::DEPTH;
        let mut found: Option<(Millis, Vec<Placement>)> = None;
        if !full {
            let profile = ahead.profile(self.grounds(), self.rooms);
            for (choice, demands) in &self.shapes.asks[turn.ask].options {
                let asker = self.work.asker(self.s, self.tree, job);
                if self.tree.bound(asker, demands, false).is_some() {
                    continue;
                }
                let next = profile.earliest(pool, &want, *choice, runs);
                if let Some(next) = next.filter(|next| found.as_ref().is_none_or(|known| next.0 < known.0)) {
                    found = Some(next);
                }
            }
        }
        let own = lifted.own.as_ref();
        let moved = found.as_ref().is_some_and(|found| own.is_none_or(|own| found.0 < own.from));
        let booking = match (found, own) {
            (Some((from, placements)), _) if moved => Some(Booking::new(job, from, runs, placements)),
            (_, own) => own.cloned(),
        };
        let lifts = lifted.others.len();
        match booking {
            Some(booking) => {
                let mut nodes: Vec<_> = booking.placements.iter().map(|place| place.node).collect();
                nodes.sort_unstable();
                nodes.dedup();
                let start = Some(booking.from);
                self.kept.push(Kept::booked(job, models, start, nodes, booking.placements.clone()));
                if let Some(ahead) = &mut self.ahead {
                    ahead.book(booking, &want, true);
                }
            }
            None if !full => {
                let vacant = self.vacant.rooms(self.s, self.shapes);
                let mut site = Site { snapshot: self.s, work: self.work, rooms: self.rooms, vacant };
                if let Some(mut kept) = reserve(&mut site, pool, &models, job, &want) {
                    kept.start = None;
                    self.unknown += 1;
                    self.kept.push(kept);
                }
            }
            None => {}
        }
        if moved && own.is_some() || lifts > 0 {
            self.judge.forget();
        }
        self.book_others(lifted.others);
        self.charge_ahead(Millis::MAX);
    }

    /// Until when a job would run that starts now, or the replica by which it grows.
    pub(super) fn until(&self, turn: Turn) -> Millis {
        match &self.ahead {
            Some(ahead) if turn.growth => ahead.profile(self.grounds(), self.rooms).end_of(turn.job),
            _ => self.s.now.saturating_add(length(&self.s.jobs[turn.job])),
        }
    }

    /// The very places that were promised, if it is time, they are free now and not kept from who runs that long.
    pub(super) fn as_promised(&mut self, lifted: &Lifted, turn: Turn, want: &Want) -> Option<Vec<Placement>> {
        let due = lifted.own.as_ref().filter(|own| own.from <= self.s.now)?;
        let of = &self.s.jobs[turn.job];
        let demands = demand_of(self.s, &of.request, &due.placements);
        let asker = self.work.asker(self.s, self.tree, turn.job);
        let never = of.preemptible == Preemptible::Never && of.class == Class::Guaranteed;
        if (never && !self.tree.covers_for_good(asker.leaf, &demands))
            || self.tree.bound(asker, &demands, true).is_some()
        {
            return None;
        }
        let mut charged = 0;
        for place in &due.placements {
            let Some(part) = want.parts.iter().find(|part| part.role == place.role) else { break };
            if !self.rooms.has(View::Now, place.node, &part.each, &place.gpus) {
                break;
            }
            self.rooms.take(View::Now, place.node, &part.each, &place.gpus);
            charged += 1;
        }
        if charged == due.placements.len() {
            return Some(due.placements.clone());
        }
        undo(self.rooms, want, View::Now, &due.placements[..charged]);
        None
    }

    /// Does somebody wait in its line whom nobody passes?
    pub(super) fn strictly_behind(&self, turn: Turn) -> bool {
        if self.s.settings.backfill != Backfill::None {
            return false;
        }
        let ask = &self.shapes.asks[turn.ask];
        let owed = |demands: &[Demand]| self.tree.owed(turn.leaf, demands) != 0;
        self.kept.iter().any(|kept| same_line(&kept.models, &ask.line))
            && !ask.options.iter().any(|(_, demands)| owed(demands))
    }
}
