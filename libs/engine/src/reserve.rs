//! The head of a line keeps what is free and of use to it, so that small jobs behind it cannot starve it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use crate::model::{Millis, ModelIx, NodeIx, Placement, Shape, Snapshot, ValueIx, WHOLE_GPU};
use crate::place::{Part, Try, Want, place_some, room_in, undo};
use crate::pool::{Choice, Groups, Pool};
use crate::room::{Room, Rooms, View};
use crate::work::{PieceIx, Work};

/// Room on one node, of as much of a replica's needs as there is.
type Portion = (NodeIx, Shape, Vec<(u16, i64)>);

/// Room kept for one job.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub job: usize,
    /// The line it heads: these models, or cpu work when empty.
    pub models: Vec<ModelIx>,
    pub start: Option<Millis>,
    pub nodes: Vec<NodeIx>,
    /// Which room it gets then, if that is promised.
    pub placements: Vec<Placement>,
    taken: Vec<Portion>,
}

impl Kept {
    /// Room that is booked: [`crate::ahead`] charges it.
    pub fn booked(
        job: usize,
        models: Vec<ModelIx>,
        start: Option<Millis>,
        nodes: Vec<NodeIx>,
        placements: Vec<Placement>,
    ) -> Self {
        Self { job, models, start, nodes, placements, taken: Vec::new() }
    }

    /// Charges what is kept again.
    pub fn charge(&self, rooms: &mut Rooms) {
        for (node, each, gpus) in &self.taken {
            rooms.take(View::Soon, *node, each, gpus);
        }
    }

    /// The most milli-GPU that any node could have free, of those on which something is kept, were all of this lent.
    pub fn most_on_a_node<'k>(kept: impl Iterator<Item = &'k Kept>, rooms: &Rooms) -> i64 {
        let mut on: BTreeMap<NodeIx, i64> = BTreeMap::new();
        for (node, each, _) in kept.flat_map(|kept| &kept.taken) {
            *on.entry(*node).or_insert_with(|| rooms.room(View::Soon, *node).milli()) += each.gpu;
        }
        on.into_values().max().unwrap_or(0)
    }

    /// Lets somebody use it who is gone in time.
    pub fn lend(&self, rooms: &mut Rooms) {
        for (node, each, gpus) in &self.taken {
            rooms.give(View::Soon, *node, each, gpus);
        }
    }
}

/// Do two requests wait in the same line?
pub(crate) fn same_line(a: &[ModelIx], b: &[ModelIx]) -> bool {
    (a.is_empty() && b.is_empty()) || a.iter().any(|model| b.contains(model))
}

/// So many nodes more than there are replicas are looked at, those on which the first ends soonest.
const SOONEST: usize = 128;

/// What a reservation is made from.
pub(crate) struct Site<'a> {
    pub snapshot: &'a Snapshot,
    pub groups: &'a Groups,
    pub work: &'a Work,
    pub rooms: &'a mut Rooms,
    /// The rooms of the nodes were nothing of ours there.
    pub vacant: &'a mut Rooms,
}

/// Where a job that cannot start now will wait: what has room now first, then the nodes that are free soonest. What is
/// free there is charged. `line`: the models in whose line it waits.
pub(crate) fn reserve(
    site: &mut Site<'_>,
    pool: &Pool,
    line: &[ModelIx],
    job: usize,
    want: &Want,
) -> Option<Kept> {
    let mut best = None;
    for choice in pool.choices(&want.largest()) {
        for domain in pool.domains(site.rooms, View::Soon, &want.largest(), choice) {
            let how = Try { pool, view: View::Now, choice, pin: domain };
            if !could_hold(site.vacant, want, how, domain) {
                continue;
            }
            let how = Try { view: View::Soon, ..how };
            let fit = match want.parts.as_slice() {
                [part] => room_in(site.rooms, part, how, domain) as usize,
                _ => {
                    let fit = place_some(site.rooms, want, how, domain);
                    undo(site.rooms, want, View::Soon, &fit);
                    fit.len()
                }
            };
            if best.is_none_or(|(most, _, _)| fit > most) {
                best = Some((fit, choice, domain));
            }
        }
    }
    let (_, choice, domain) = best?;
    let how = Try { pool, view: View::Soon, choice, pin: domain };
    let placed = place_some(site.rooms, want, how, domain);
    let mut start = Some(site.snapshot.now);
    let mut taken: Vec<Portion> = Vec::new();
    let mut used: BTreeMap<NodeIx, u32> = BTreeMap::new();
    let done = |part: &Part| placed.iter().filter(|place| place.role == part.role).count();
    let done: Vec<usize> = want.parts.iter().map(done).collect();
    for place in placed {
        *used.entry(place.node).or_default() += 1;
        if let Some(part) = want.parts.iter().find(|part| part.role == place.role) {
            taken.push((place.node, part.each, place.gpus));
        }
    }
    for (part, done) in want.parts.iter().zip(done) {
        let mut left = part.replicas.len().saturating_sub(done);
        for (when, _, node) in site.soonest(pool, (choice, domain), &part.each, left, &used) {
            let there = site.vacant.capacity(View::Now, node, &part.each, u32::MAX);
            let here = used.entry(node).or_default();
            for _ in 0..there.saturating_sub(*here) {
                if left == 0 {
                    break;
                }
                left -= 1;
                *here += 1;
                start = start.filter(|_| when != Millis::MAX).map(|start| start.max(when));
                let (each, gpus) = available(site.rooms.room(View::Soon, node), &part.each);
                site.rooms.take(View::Soon, node, &each, &gpus);
                taken.push((node, each, gpus));
            }
        }
    }
    let mut nodes: Vec<NodeIx> = taken.iter().map(|(node, _, _)| *node).collect();
    nodes.sort_unstable();
    nodes.dedup();
    Some(Kept { job, models: line.to_vec(), start, nodes, placements: Vec::new(), taken })
}

/// Would all of it fit were nothing of ours there?
fn could_hold(vacant: &mut Rooms, want: &Want, how: Try<'_>, domain: Option<ValueIx>) -> bool {
    if let [part] = want.parts.as_slice() {
        let mut left = part.replicas.len();
        return how.pool.nodes_in(&part.each, how.choice, domain).iter().any(|node| {
            left = left.saturating_sub(vacant.capacity(how.view, *node, &part.each, u32::MAX) as usize);
            left == 0
        });
    }
    let placed = place_some(vacant, want, how, domain);
    undo(vacant, want, how.view, &placed);
    placed.len() == want.total() as usize
}

impl Site<'_> {
    /// The nodes that have room for a replica soonest, in order: when, what they have free, which. At most as many as there are replicas.
    fn soonest(
        &self,
        pool: &Pool,
        (choice, domain): (Choice, Option<ValueIx>),
        each: &Shape,
        replicas: usize,
        used: &BTreeMap<NodeIx, u32>,
    ) -> Vec<(Millis, Reverse<i64>, NodeIx)> {
        let mut best = BinaryHeap::new();
        if replicas == 0 {
            return Vec::new();
        }
        let groups = &pool.list(each, choice).groups;
        let belongs = |node: &NodeIx| {
            groups.binary_search(&self.groups.of[node.at()]).is_ok()
                && (domain.is_none() || pool.value(*node) == domain)
        };
        // whatever is free has been given away: nothing comes before the first end on a node
        let nodes = self.work.in_order_of_ends().filter(belongs);
        let mut left = replicas.saturating_add(SOONEST);
        for node in nodes {
            let earliest = self.work.first_end[node.at()].max(self.snapshot.now);
            let worst: Option<Millis> = best.peek().map(|(when, _, _)| *when);
            if left == 0 || (best.len() >= replicas && worst.is_some_and(|worst| earliest > worst)) {
                break;
            }
            let here = used.get(&node).copied().unwrap_or(0);
            if self.vacant.capacity(View::Now, node, each, here.saturating_add(1)) <= here {
                continue;
            }
            left -= 1;
            let when = self.free_at(node, each).unwrap_or(Millis::MAX);
            let amount = Reverse(self.rooms.amount(View::Soon, node, each));
            best.push((when, amount, node));
            if best.len() > replicas {
                best.pop();
            }
        }
        best.into_sorted_vec()
    }

    /// When one replica fits on a node, if those on it end as they said; `None` if one that matters said nothing.
    fn free_at(&self, node: NodeIx, each: &Shape) -> Option<Millis> {
        let now = self.snapshot.now;
        let mut room = self.rooms.room(View::Soon, node).clone();
        let on = self.work.on_node[node.at()].iter().copied();
        let on = on.filter(|ix| self.work.pieces[*ix].alive && !self.work.pieces[*ix].promised);
        let ends = on.filter_map(|ix| {
            Some((self.work.end(self.snapshot, ix)?.max(now), self.work.pieces[ix].job, ix))
        });
        let mut ends: Vec<(Millis, usize, PieceIx)> = ends.collect();
        ends.sort_unstable();
        for (end, _, ix) in ends {
            for spot in self.work.pieces[ix].spots.iter().filter(|spot| spot.node == node) {
                room.add(&spot.each, &spot.gpus);
            }
            if room.capacity(each, 1) > 0 {
                return Some(end);
            }
        }
        None
    }
}

/// As much of one replica's needs as a node has free.
fn available(room: &Room, each: &Shape) -> (Shape, Vec<(u16, i64)>) {
    let mut need = each.gpu;
    let mut free: Vec<(i64, u16)> =
        room.gpus.iter().copied().zip(0u16..).filter(|(free, _)| *free > 0).collect();
    free.sort_by_key(|(free, device)| (-free, *device));
    if each.gpu < WHOLE_GPU {
        free.truncate(1);
    } else {
        free.retain(|(free, _)| *free >= WHOLE_GPU);
    }
    let mut gpus = Vec::new();
    for (milli, device) in free {
        let take = milli.min(need);
        if take > 0 {
            gpus.push((device, take));
            need -= take;
        }
    }
    let shape = Shape {
        cpu: room.cpu.clamp(0, each.cpu),
        memory: room.memory.clamp(0, each.memory),
        gpu: each.gpu - need,
    };
    (shape, gpus)
}

/// May work that runs this long use what is kept, because it is gone in time?
pub(crate) fn gone_in_time(snapshot: &Snapshot, runs: Millis, kept: &Kept) -> bool {
    runs != Millis::MAX && kept.start.is_some_and(|start| snapshot.now.saturating_add(runs) <= start)
}
