//! Why a job waits, found at the end of the cycle, once for each shape.

use crate::feasible::check_feasible;
use crate::model::{JobIx, Request, Shape, Snapshot};
use crate::place::{Choice, Misfit, Pool, Shapes, Try, Want, place, undo};
use crate::reason::{Reason, Resource};
use crate::room::{Rooms, View};

/// Judged for the gang of one shape.
pub(crate) struct Explainer<'a> {
    pub snapshot: &'a Snapshot,
    pub shapes: &'a Shapes,
    /// Could it ever run? By shape, once asked.
    feasible: Vec<Option<Option<Reason>>>,
    room: Vec<Option<Reason>>,
}

impl<'a> Explainer<'a> {
    pub fn new(snapshot: &'a Snapshot, shapes: &'a Shapes) -> Self {
        let n = shapes.pools.len();
        Self { snapshot, shapes, feasible: vec![None; n], room: vec![None; n] }
    }

    /// The reason for which a job can never run, if there is one.
    pub fn never(&mut self, job: usize) -> Option<Reason> {
        let shape = self.shapes.of(job);
        let request: &Request = &self.snapshot.jobs[job].request;
        let nodes = &self.snapshot.nodes;
        self.feasible[shape]
            .get_or_insert_with(|| check_feasible(request, nodes).err().map(Reason::Infeasible))
            .clone()
    }

    /// Room is kept for somebody, or there is none.
    pub fn no_room(&mut self, rooms: &mut Rooms, job: usize, want: &Want, kept_for: &[JobIx]) -> Reason {
        let shape = self.shapes.of(job);
        if let Some(reason) = &self.room[shape] {
            return reason.clone();
        }
        let reason = if let (Some(first), true) = (kept_for.first(), fits(self.shapes.pool(job), rooms, want))
        {
            let jobs = u32::try_from(kept_for.len()).unwrap_or(u32::MAX);
            Reason::KeptForOthers { first: *first, jobs }
        } else {
            short_of(self.snapshot, self.shapes.pool(job), rooms, job, want)
        };
        self.room[shape] = Some(reason.clone());
        reason
    }
}

/// Would it fit if nothing were promised to anybody?
pub(crate) fn fits(pool: &Pool, rooms: &mut Rooms, want: &Want) -> bool {
    pool.choices(&want.largest()).into_iter().any(|choice| {
        let placed = place(rooms, want, Try { pool, view: View::Raw, choice, pin: None });
        placed.map(|placed| undo(rooms, want, View::Raw, &placed)).is_ok()
    })
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
    let nodes = pool.nodes(&each, Choice::Mixed);
    let most = want.total();
    let fit_of = |shape: Shape| -> u64 {
        nodes.iter().map(|node| u64::from(rooms.capacity(View::Now, *node, &shape, most))).sum()
    };
    let gpu = match snapshot.jobs[job].request.models.as_slice() {
        [only] => Resource::GpuModel(*only),
        _ => Resource::Gpu,
    };
    let without = [
        (each.gpu, Shape { gpu: 0, ..each }, gpu),
        (each.memory, Shape { memory: 0, ..each }, Resource::Memory),
        (each.cpu, Shape { cpu: 0, ..each }, Resource::Cpu),
    ];
    let mut short = (0, if each.gpu > 0 { gpu } else { Resource::Cpu });
    for (wanted, shape, resource) in without {
        if wanted > 0 {
            let fit = fit_of(shape);
            if fit > short.0 {
                short = (fit, resource);
            }
        }
    }
    let best_node = nodes
        .iter()
        .map(|node| (rooms.capacity(View::Now, *node, &each, most), *node))
        .filter(|(capacity, _)| *capacity > 0)
        .max_by_key(|(capacity, node)| (*capacity, std::cmp::Reverse(*node)));
    Reason::NoRoom {
        fit: best.fit,
        need: want.total(),
        short: short.1,
        candidates: u32::try_from(nodes.len()).unwrap_or(u32::MAX),
        best: best_node.map(|(_, node)| node),
        domain: snapshot.jobs[job].request.topology.filter(|t| t.required).map(|t| (t.key, best.domain)),
    }
}
