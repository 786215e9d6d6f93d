//! The head of a line keeps what is free and of use to it, so that small jobs behind it cannot starve it.

use crate::model::{Millis, ModelIx, NodeIx, Request, Shape, Snapshot, WHOLE_GPU};
use crate::place::{Choice, Pool, Shapes, Try, Want, place_some};
use crate::room::{Room, Rooms, View};

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
    taken: Vec<Portion>,
}

impl Kept {
    /// Charges what is kept again.
    pub fn charge(&self, rooms: &mut Rooms) {
        for (node, each, gpus) in &self.taken {
            rooms.take(View::Soon, *node, each, gpus);
        }
    }

    /// Lets somebody use it who is gone in time.
    pub fn lend(&self, rooms: &mut Rooms) {
        for (node, each, gpus) in &self.taken {
            rooms.give(View::Soon, *node, each, gpus);
        }
    }
}

/// The line a request waits in.
pub(crate) fn line_of(pool: &Pool, want: &Want) -> Vec<ModelIx> {
    if want.largest().gpu == 0 {
        return Vec::new();
    }
    pool.models.iter().map(|(model, _)| *model).collect()
}

/// Do two requests wait in the same line?
pub(crate) fn same_line(a: &[ModelIx], b: &[ModelIx]) -> bool {
    (a.is_empty() && b.is_empty()) || a.iter().any(|model| b.contains(model))
}

/// Where a job that cannot start now will wait: what has room now first, then the nodes that are free soonest. What is
/// free there is charged.
pub(crate) fn reserve(
    snapshot: &Snapshot,
    shapes: &Shapes,
    rooms: &mut Rooms,
    job: usize,
    want: &Want,
) -> Option<Kept> {
    let pool = shapes.pool(job);
    let request: &Request = &snapshot.jobs[job].request;
    let empty: Vec<Room> = snapshot.nodes.iter().map(|node| Room::empty(node, false)).collect();
    let empty = Rooms::of(empty);
    let mut best = None;
    for choice in pool.choices(&want.largest()) {
        for domain in pool.domains(rooms, View::Soon, &want.largest(), choice) {
            let how = Try { pool, view: View::Soon, choice, pin: domain };
            let mut trial = empty.clone();
            if place_some(&mut trial, want, how, domain).len() < want.total() as usize {
                continue;
            }
            let mut trial = rooms.clone();
            let fit = place_some(&mut trial, want, how, domain).len();
            if best.is_none_or(|(most, _, _)| fit > most) {
                best = Some((fit, choice, domain));
            }
        }
    }
    let (_, choice, domain) = best?;
    let how = Try { pool, view: View::Soon, choice, pin: domain };
    let placed = place_some(rooms, want, how, domain);
    let mut start = Some(snapshot.now);
    let mut taken: Vec<Portion> = Vec::new();
    let mut used = vec![0u32; snapshot.nodes.len()];
    for place in &placed {
        used[place.node.at()] += 1;
        taken.push((place.node, request.roles[usize::from(place.role)].each, place.gpus.clone()));
    }
    for part in &want.parts {
        let done = placed.iter().filter(|p| p.role == part.role).count();
        let mut left = part.replicas.len() - done;
        let mut order: Vec<(Millis, i64, NodeIx)> = Vec::new();
        for node in pool.nodes(&part.each, choice) {
            if (domain.is_none() || pool.value(*node) == domain)
                && empty.capacity(View::Raw, *node, &part.each, u32::MAX) > used[node.at()]
            {
                let when = free_at(snapshot, rooms, *node, &part.each).unwrap_or(Millis::MAX);
                order.push((when, -rooms.amount(View::Soon, *node, &part.each), *node));
            }
        }
        order.sort_unstable();
        for (when, _, node) in order {
            let most = empty.capacity(View::Raw, node, &part.each, u32::MAX) - used[node.at()];
            for _ in 0..most {
                if left == 0 {
                    break;
                }
                left -= 1;
                used[node.at()] += 1;
                start = start.filter(|_| when != Millis::MAX).map(|start| start.max(when));
                let (each, gpus) = available(rooms.room(View::Soon, node), &part.each);
                rooms.take(View::Soon, node, &each, &gpus);
                taken.push((node, each, gpus));
            }
        }
    }
    let mut nodes: Vec<NodeIx> = taken.iter().map(|(node, _, _)| *node).collect();
    nodes.sort_unstable();
    nodes.dedup();
    Some(Kept { job, models: line_of(pool, want), start, nodes, taken })
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

/// When one replica fits on a node, if those on it end as they said; `None` if one that matters said nothing.
fn free_at(snapshot: &Snapshot, rooms: &Rooms, node: NodeIx, each: &Shape) -> Option<Millis> {
    let mut room = rooms.room(View::Soon, node).clone();
    let mut ends: Vec<(Millis, usize)> = Vec::new();
    for (index, held) in snapshot.holdings.iter().enumerate() {
        if held.node != node || held.going {
            continue;
        }
        let Some(runs) = snapshot.jobs[held.job.at()].expected_ms else { continue };
        ends.push(((held.started + runs).max(snapshot.now), index));
    }
    ends.sort_unstable();
    let mut at = snapshot.now;
    let mut ends = ends.into_iter();
    while room.capacity(each, 1) == 0 {
        let (end, index) = ends.next()?;
        let held = &snapshot.holdings[index];
        room.add(&held.each, &held.gpus);
        at = end;
    }
    Some(at)
}

/// May work of this length use what is kept, because it is gone in time?
pub(crate) fn gone_in_time(snapshot: &Snapshot, job: usize, kept: &Kept) -> bool {
    let (Some(runs), Some(start)) = (snapshot.jobs[job].expected_ms, kept.start) else { return false };
    snapshot.now.saturating_add(runs) <= start
}

/// A choice of model says which models a placement may be charged to.
pub(crate) fn model_of(pool: &Pool, choice: Choice, each: &Shape) -> Option<ModelIx> {
    match choice {
        Choice::Only(i) if each.gpu > 0 => Some(pool.models[i].0),
        _ => None,
    }
}
