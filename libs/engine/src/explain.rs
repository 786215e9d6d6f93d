//! Why there is no room for a job, found once for each shape.

use crate::model::{Extended, ExtendedIx, JobIx, NodeIx, Shape, Snapshot, WHOLE_GPU};
use crate::place::{Misfit, Part, Try, Want, holds, place, room_for, undo};
use crate::pool::{Choice, Pool};
use crate::reason::{Reason, Resource};
use crate::room::{Rooms, View};

/// Is there room for it? In [`View::Raw`]: were nothing promised to anybody?
pub(crate) fn fits(pool: &Pool, rooms: &mut Rooms, want: &Want, view: View) -> bool {
    fits_on(pool, rooms, want, view).is_some()
}

/// Where it would fit in a view: on these nodes, in order.
pub(crate) fn fits_on(pool: &Pool, rooms: &mut Rooms, want: &Want, view: View) -> Option<Vec<NodeIx>> {
    let some = |part: &Part| holds(rooms, &part.each, Try { pool, view, choice: Choice::Mixed, pin: None });
    if !want.parts.iter().all(some) {
        return None;
    }
    pool.choices(&want.largest()).into_iter().find_map(|choice| {
        let placed = place(rooms, want, Try { pool, view, choice, pin: None }).ok()?;
        undo(rooms, want, view, &placed);
        let mut nodes: Vec<NodeIx> = placed.into_iter().map(|place| place.node).collect();
        nodes.sort_unstable();
        nodes.dedup();
        Some(nodes)
    })
}

/// Room that is kept for a job.
pub(crate) struct KeptFor {
    pub job: JobIx,
    /// In order.
    pub nodes: Vec<NodeIx>,
}

/// For whom these nodes are kept: the first, and how many; where it is none of them, all count.
pub(crate) fn kept_on(kept_for: &[KeptFor], nodes: &[NodeIx]) -> Option<Reason> {
    let here = |kept: &&KeptFor| kept.nodes.iter().any(|node| nodes.binary_search(node).is_ok());
    let (first, jobs) = match kept_for.iter().find(here) {
        Some(first) => (first, kept_for.iter().filter(here).count()),
        None => (kept_for.first()?, kept_for.len()),
    };
    Some(Reason::KeptForOthers { first: first.job, jobs: u32::try_from(jobs).unwrap_or(u32::MAX) })
}

/// Room is kept for somebody, or there is none.
pub(crate) fn no_room(
    snapshot: &Snapshot,
    pool: &Pool,
    rooms: &mut Rooms,
    job: usize,
    want: &Want,
    kept_for: &[KeptFor],
) -> Reason {
    let kept = if kept_for.is_empty() { None } else { fits_on(pool, rooms, want, View::Raw) };
    let kept = kept.and_then(|nodes| kept_on(kept_for, &nodes));
    kept.unwrap_or_else(|| short_of(snapshot, pool, rooms, job, want))
}

/// How much of a gang fits now, and what is short.
pub(crate) fn short_of(
    snapshot: &Snapshot,
    pool: &Pool,
    rooms: &mut Rooms,
    job: usize,
    want: &Want,
) -> Reason {
    let each = want.largest();
    let mut best = Misfit::default();
    for choice in pool.choices(&each) {
        match place(rooms, want, Try { pool, view: View::Now, choice, pin: None }) {
            Ok(placed) => undo(rooms, want, View::Now, &placed),
            Err(misfit) if misfit.fit > best.fit || best.domain.is_none() => best = misfit,
            Err(_) => {}
        }
    }
    let most = want.total();
    let nodes = pool.nodes(&each, Choice::Mixed);
    let how = Try { pool, view: View::Now, choice: Choice::Mixed, pin: None };
    let gpu = match snapshot.jobs[job].request.models.as_slice() {
        [only] => Resource::GpuModel(*only),
        _ => Resource::Gpu,
    };
    // each resource: a replica without it, and nothing but it
    let by_name = each.extended.iter().map(|(name, count)| {
        let without = Shape { extended: each.extended.without(name), ..each };
        let alone = [(name, u32::try_from(count).unwrap_or(u32::MAX))];
        let extended = Extended::new(alone).unwrap_or_default();
        (without, Shape { extended, ..Shape::default() }, Resource::Extended(name))
    });
    let none = Shape::default();
    let plain = [
        (Shape { gpu: 0, ..each }, Shape { gpu: each.gpu, ..none }, gpu),
        (Shape { memory: 0, ..each }, Shape { memory: each.memory, ..none }, Resource::Memory),
        (Shape { cpu: 0, ..each }, Shape { cpu: each.cpu, ..none }, Resource::Cpu),
    ];
    let asked: Vec<(Shape, Shape, Resource)> =
        by_name.chain(plain).filter(|(_, alone, _)| *alone != none).collect();
    // the nodes that the job may use, whatever the shape leaves out
    let count = |rooms: &Rooms, shape: &Shape| -> u64 {
        nodes.iter().map(|n| u64::from(rooms.capacity(View::Now, *n, shape, most))).sum()
    };
    let mut short = (0, Resource::Cpu);
    for (without, _, resource) in &asked {
        let seek = without.gpu > 0 || each.gpu == 0;
        let fit = if seek { room_for(rooms, without, most, how).0 } else { count(rooms, without) };
        if fit > short.0 {
            short = (fit, *resource);
        }
    }
    if short.0 == 0 {
        // several are: the one of which there is least
        let least = asked.iter().min_by_key(|(_, alone, _)| count(rooms, alone));
        short.1 = least.map_or(short.1, |(_, _, resource)| *resource);
    }
    let (_, best_node) = room_for(rooms, &each, most, how);
    Reason::NoRoom {
        fit: best.fit,
        need: want.total(),
        short: short.1,
        missing_extended: match short.1 {
            Resource::Extended(name) => {
                want.parts.iter().map(|part| missing_extended(snapshot, rooms, nodes, part, name)).sum()
            }
            _ => 0,
        },
        missing_gpu: want.parts.iter().map(|part| missing_gpu(rooms, nodes, part)).sum(),
        candidates: u32::try_from(offering(snapshot, nodes, &each)).unwrap_or(u32::MAX),
        best: best_node,
        domain: snapshot.jobs[job].request.topology.filter(|t| t.required).map(|t| (t.key, best.domain)),
    }
}

/// Milli-GPU that must come free for a part at least: it takes the nodes (for a share: the devices) that lack least for one replica more.
fn missing_gpu(rooms: &Rooms, nodes: &[NodeIx], part: &Part) -> i64 {
    let each = part.each.gpu;
    let places = nodes.iter().flat_map(|node| {
        let room = rooms.room(View::Now, *node);
        let (shares, whole) = if each < WHOLE_GPU {
            (room.gpus.as_slice(), None)
        } else {
            let size = i64::try_from(room.gpus.len()).unwrap_or(0) * WHOLE_GPU;
            (&[][..], Some((room.whole() * WHOLE_GPU, size)))
        };
        shares.iter().map(|free| (*free, WHOLE_GPU)).chain(whole)
    });
    missing(places, each, part)
}

/// How many of these nodes offer whatever a replica names.
fn offering(s: &Snapshot, nodes: &[NodeIx], each: &Shape) -> usize {
    let offers = |node: &&NodeIx| {
        let offered = &s.nodes[node.at()].extended;
        each.extended
            .iter()
            .all(|(name, _)| offered.iter().any(|(known, count)| *known == name && *count > 0))
    };
    if each.extended.is_empty() { nodes.len() } else { nodes.iter().filter(offers).count() }
}

/// How many devices of a name must come free for a part at least.
fn missing_extended(s: &Snapshot, rooms: &Rooms, nodes: &[NodeIx], part: &Part, name: ExtendedIx) -> i64 {
    let places = nodes.iter().map(|node| {
        let offered = s.nodes[node.at()].extended.iter().filter(|(known, _)| *known == name);
        (rooms.room(View::Now, *node).extended(name), offered.map(|(_, count)| i64::from(*count)).sum())
    });
    missing(places, part.each.extended.of(name), part)
}

/// How much must come free at least where so much is free of so much that there is: it takes the places that lack least for one replica more.
fn missing(places: impl Iterator<Item = (i64, i64)>, each: i64, part: &Part) -> i64 {
    if each == 0 {
        return 0;
    }
    let mut left = i64::try_from(part.replicas.len()).unwrap_or(i64::MAX);
    // how many would be short of so much, in order; most are short of one of a few amounts
    let mut lacking: Vec<(i64, i64)> = Vec::new();
    let mut add = |lack: i64, places: i64| match lacking.binary_search_by_key(&lack, |(lack, _)| *lack) {
        Ok(at) => lacking[at].1 += places,
        Err(at) => lacking.insert(at, (lack, places)),
    };
    for (free, size) in places {
        let free = free.max(0);
        let (fit, most) = (free / each, size / each);
        left -= fit.min(left);
        if most > fit {
            add(each - free % each, 1);
            add(each, most - fit - 1);
        }
    }
    let mut missing = 0;
    for (lack, places) in lacking {
        let take = places.min(left);
        missing += take * lack;
        left -= take;
    }
    missing
}
