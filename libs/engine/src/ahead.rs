//! Conservative backfilling: whoever waits for room has a start and a place, and others pass only where they delay none of them
//! (Mu'alem and Feitelson, "Utilization, Predictability, Workloads, and User Runtime Estimates", IEEE TPDS 2001).
//!
//! What was promised in the last cycle is booked before anybody's turn. In its turn a job may start, or get an earlier start, beside all
//! that is booked; so promises only become better. A job that has none, or that now goes before others that it came after, looks past the
//! bookings of those behind it, which are given back if they still hold.

use std::collections::BTreeMap;

use crate::model::{Millis, NodeIx, Placement, Snapshot};
use crate::place::Want;
use crate::profile::{Booked, Dent, Profile};
use crate::room::{Rooms, View};
use crate::shapes::Shapes;
use crate::work::Work;

/// A start that is promised.
#[derive(Clone, Debug)]
pub(crate) struct Booking {
    pub job: usize,
    pub from: Millis,
    pub until: Millis,
    pub placements: Vec<Placement>,
    /// Its turn has come in this cycle.
    settled: bool,
}

/// All bookings, in the order in which their jobs go.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ahead {
    bookings: Vec<Booking>,
    on_node: BTreeMap<NodeIx, Vec<Booked>>,
    /// What the rooms are charged with: what may not be used by who never ends, or ends later than was asked for.
    charged: BTreeMap<NodeIx, Vec<Dent>>,
}

/// What bookings stand on.
#[derive(Clone, Copy)]
pub(crate) struct Ground<'a> {
    pub s: &'a Snapshot,
    pub shapes: &'a Shapes,
    pub work: &'a Work,
}

impl Ahead {
    pub fn profile<'a>(&'a self, ground: Ground<'a>, rooms: &'a Rooms) -> Profile<'a> {
        let Ground { s, shapes, work } = ground;
        Profile { s, shapes, work, rooms, booked: &self.on_node, charged: &self.charged }
    }

    pub fn len(&self) -> usize {
        self.bookings.len()
    }

    pub fn of(&self, job: usize) -> Option<&Booking> {
        self.bookings.iter().find(|booking| booking.job == job)
    }

    /// Room that is booked is kept from whoever is not gone by then; call it again when anything changed.
    pub fn charge(&mut self, ground: Ground<'_>, rooms: &mut Rooms, until: Millis) {
        let nodes = self.on_node.keys().copied();
        let profile = self.profile(ground, rooms);
        let dents: BTreeMap<NodeIx, _> = nodes.map(|node| (node, profile.dent(node, until))).collect();
        self.discharge(rooms);
        self.charged = dents;
        self.charge_again(rooms);
    }

    /// What is free is there for everybody.
    pub fn discharge(&mut self, rooms: &mut Rooms) {
        self.lend(rooms);
        self.charged.clear();
    }

    /// In thought, nothing is kept for anybody.
    pub fn lend(&self, rooms: &mut Rooms) {
        for (node, (each, gpus)) in each_dent(&self.charged) {
            rooms.give(View::Soon, node, each, gpus);
        }
    }

    /// Undoes [`Ahead::lend`].
    pub fn charge_again(&self, rooms: &mut Rooms) {
        for (node, (each, gpus)) in each_dent(&self.charged) {
            rooms.take(View::Soon, node, each, gpus);
        }
    }

    /// Books a place at the end of the order, or (in its turn) behind those whose turn was before.
    pub fn book(&mut self, booking: Booking, want: &Want, settled: bool) {
        for place in &booking.placements {
            let Some(part) = want.parts.iter().find(|part| part.role == place.role) else { continue };
            self.on_node.entry(place.node).or_default().push(Booked {
                job: booking.job,
                from: booking.from,
                until: booking.until,
                each: part.each,
                gpus: place.gpus.clone(),
            });
        }
        let settled_before = self.bookings.iter().filter(|other| other.settled).count();
        let at = if settled { settled_before } else { self.bookings.len() };
        self.bookings.insert(at, Booking { settled, ..booking });
    }

    /// Takes the booking of a job away, and those that it goes before though they were made before its own: all of whom it is not yet the
    /// turn, if it has none.
    pub fn lift(&mut self, job: usize) -> (Option<Booking>, Vec<Booking>) {
        let own = self.bookings.iter().position(|booking| booking.job == job);
        let end = own.unwrap_or(self.bookings.len());
        let first = self.bookings[..end].iter().position(|booking| !booking.settled).unwrap_or(end);
        let mut lifted: Vec<Booking> = self.bookings.drain(first..end + usize::from(own.is_some())).collect();
        let own = if own.is_some() { lifted.pop() } else { None };
        for booking in own.iter().chain(&lifted) {
            for place in &booking.placements {
                if let Some(here) = self.on_node.get_mut(&place.node) {
                    here.retain(|booked| booked.job != booking.job);
                    if here.is_empty() {
                        self.on_node.remove(&place.node);
                    }
                }
            }
        }
        (own, lifted)
    }
}

fn each_dent(charged: &BTreeMap<NodeIx, Vec<Dent>>) -> impl Iterator<Item = (NodeIx, &Dent)> {
    charged.iter().flat_map(|(node, dents)| dents.iter().map(|dent| (*node, dent)))
}

impl Booking {
    pub fn new(job: usize, from: Millis, runs: Millis, placements: Vec<Placement>) -> Self {
        Self { job, from, until: from.saturating_add(runs), placements, settled: false }
    }
}
