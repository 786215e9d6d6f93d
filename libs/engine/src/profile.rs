//! Room over time: what a node has free from one instant to another, by when those on it end, beside what is booked there.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use crate::model::{Extended, Job, Millis, NodeIx, Placement, Shape, Snapshot, ValueIx};
use crate::place::{Part, Try, Want, place};
use crate::pool::{Choice, Pool};
use crate::room::{Room, Rooms, View};
use crate::shapes::Shapes;
use crate::work::{PieceIx, Work};

/// So often a gang of several roles is placed in vain at instants at which there is enough for each of them; then only at some of these, and
/// at the last.
const VAIN: usize = 32;

/// What is booked on a node.
#[derive(Clone, Debug)]
pub(crate) struct Booked {
    pub job: usize,
    pub from: Millis,
    pub until: Millis,
    pub each: Shape,
    pub gpus: Vec<(u16, i64)>,
}

/// What is free, and what comes when.
#[derive(Clone, Copy)]
pub(crate) struct Profile<'a> {
    pub s: &'a Snapshot,
    pub shapes: &'a Shapes,
    pub work: &'a Work,
    pub rooms: &'a Rooms,
    pub booked: &'a BTreeMap<NodeIx, Vec<Booked>>,
    /// What the rooms are charged with on behalf of what is booked.
    pub charged: &'a BTreeMap<NodeIx, Vec<Dent>>,
}

/// What is kept on a node: several where it is of more devices by name than one shape can tell.
pub(crate) type Dent = (Shape, Vec<(u16, i64)>);

/// (when, how many, which part, which of its nodes): so many replicas fit from then on; `None`: the node is still to be looked at.
type Change = (Millis, Option<u32>, usize, usize);

/// Nodes, and how many replicas each holds, the most first.
type Capable = Vec<(Reverse<u32>, NodeIx)>;

/// From `at` on there is so much more, or less.
struct Step<'a> {
    at: Millis,
    more: bool,
    each: &'a Shape,
    gpus: &'a [(u16, i64)],
}

impl Step<'_> {
    fn apply(&self, room: &mut Room) {
        if self.more {
            room.add(self.each, self.gpus);
        } else {
            room.take(self.each, self.gpus);
        }
    }
}

/// How long a job runs once it starts, by its owner, else by what is predicted; `Millis::MAX`: nobody said.
pub(crate) fn length(job: &Job) -> Millis {
    job.expected_ms.or(job.predicted_ms).unwrap_or(Millis::MAX).max(1)
}

impl Profile<'_> {
    /// When a piece ends; `Millis::MAX`: nobody said.
    fn end(&self, ix: PieceIx) -> Millis {
        let (piece, now) = (&self.work.pieces[ix], self.s.now);
        let job = &self.s.jobs[piece.job];
        let started = if piece.promised { now } else { piece.started };
        let told = job.expected_ms.map(|runs| started.saturating_add(runs));
        match (told.filter(|end| *end > now), job.predicted_ms) {
            (Some(end), _) => end,
            (None, Some(more)) => now.saturating_add(more.max(1)),
            // it is over its time: any moment now
            (None, None) => told.map_or(Millis::MAX, |_| now.saturating_add(1)),
        }
    }

    /// When the last replica of a job ends that runs.
    pub fn end_of(&self, job: usize) -> Millis {
        self.work.has(job).pieces.iter().map(|ix| self.end(*ix)).max().unwrap_or(Millis::MAX)
    }

    /// What a node has free now, were nothing booked.
    fn base(&self, node: NodeIx) -> Room {
        let mut room = self.rooms.room(View::Soon, node).clone();
        for (each, gpus) in self.charged.get(&node).into_iter().flatten() {
            room.add(each, gpus);
        }
        room
    }

    fn steps(&self, node: NodeIx) -> Vec<Step<'_>> {
        let mut steps = Vec::new();
        for ix in self.work.on_node[node.at()].iter().copied() {
            let at = self.end(ix);
            let piece = &self.work.pieces[ix];
            if piece.alive && at < Millis::MAX {
                let here = piece.spots.iter().filter(|spot| spot.node == node);
                steps.extend(here.map(|spot| Step { at, more: true, each: &spot.each, gpus: &spot.gpus }));
            }
        }
        for booked in self.booked.get(&node).into_iter().flatten() {
            let step = |at, more| Step { at, more, each: &booked.each, gpus: &booked.gpus };
            steps.push(step(booked.from, false));
            if booked.until < Millis::MAX {
                steps.push(step(booked.until, true));
            }
        }
        steps.sort_by_key(|step| step.at);
        steps
    }

    /// What a node has free all the time from one instant until another, booked room apart.
    pub fn through(&self, node: NodeIx, from: Millis, until: Millis) -> Room {
        through(self.base(node), &self.steps(node), from, until)
    }

    /// By how much that is less than what is free there now.
    pub fn dent(&self, node: NodeIx, until: Millis) -> Vec<Dent> {
        let base = self.base(node);
        let least = through(base.clone(), &self.steps(node), self.s.now, until);
        let gpus = (0u16..).zip(base.gpus.iter().zip(&least.gpus)).map(|(at, (a, b))| (at, a - b));
        let gpus: Vec<(u16, i64)> = gpus.filter(|(_, milli)| *milli > 0).collect();
        let gpu = gpus.iter().map(|(_, milli)| milli).sum();
        let lacks = least.lacks(&base);
        let mut named = lacks.chunks(Extended::MOST).filter_map(|some| Extended::new(some.iter().copied()));
        let extended = named.next().unwrap_or_default();
        let (cpu, memory) = (base.cpu - least.cpu, base.memory - least.memory);
        let first = (Shape { cpu, memory, gpu, extended }, gpus);
        let more = named.map(|extended| (Shape { extended, ..Shape::default() }, Vec::new()));
        std::iter::once(first).chain(more).collect()
    }

    /// Are these places all free from one instant until another?
    pub fn fits(&self, want: &Want, placements: &[Placement], from: Millis, until: Millis) -> bool {
        let mut rooms: BTreeMap<NodeIx, Room> = BTreeMap::new();
        placements.iter().all(|place| {
            let Some(part) = want.parts.iter().find(|part| part.role == place.role) else { return false };
            let room = rooms.entry(place.node).or_insert_with(|| self.through(place.node, from, until));
            let fits = room.has(&part.each, &place.gpus);
            room.take(&part.each, &place.gpus);
            fits
        })
    }

    /// The first instant from which all of `want` has room for as long as it runs, and where; `None`: nobody can tell.
    ///
    /// Instants are swept in order. A node is looked at when the first of those that it has comes, so those that are free late cost little.
    pub fn earliest(
        &self,
        pool: &Pool,
        want: &Want,
        choice: Choice,
        runs: Millis,
    ) -> Option<(Millis, Vec<Placement>)> {
        let parts = || want.parts.iter();
        let need: Vec<u32> =
            parts().map(|part| u32::try_from(part.replicas.len()).unwrap_or(u32::MAX)).collect();
        let nodes: Vec<&[NodeIx]> = parts().map(|part| pool.nodes(&part.each, choice)).collect();
        let mut changes: BinaryHeap<Reverse<Change>> = BinaryHeap::new();
        for (which, part) in want.parts.iter().enumerate() {
            let first = |(at, node): (usize, &NodeIx)| {
                let first = self.first(*node, &part.each);
                (first < Millis::MAX).then_some(Reverse((first, None, which, at)))
            };
            changes.extend(nodes[which].iter().enumerate().filter_map(first));
        }
        let domain_of = |node: NodeIx| if pool.bound() { pool.value(node) } else { None };
        let mut fit: Vec<Vec<u32>> = nodes.iter().map(|nodes| vec![0; nodes.len()]).collect();
        let mut totals: BTreeMap<Option<ValueIx>, Vec<u64>> = BTreeMap::new();
        let mut vain = 0;
        while let Some(Reverse((when, capacity, which, at))) = changes.pop() {
            let node = nodes[which][at];
            let Some(capacity) = capacity else {
                self.capacities(node, &want.parts[which].each, need[which], runs, |then, fit| {
                    // before there was none
                    if then >= when {
                        changes.push(Reverse((then, Some(fit), which, at)));
                    }
                });
                continue;
            };
            let total = totals.entry(domain_of(node)).or_insert_with(|| vec![0; need.len()]);
            total[which] += u64::from(capacity);
            total[which] -= u64::from(std::mem::replace(&mut fit[which][at], capacity));
            if changes.peek().is_some_and(|next| next.0.0 == when) {
                continue;
            }
            let enough =
                |total: &Vec<u64>| total.iter().zip(&need).all(|(has, need)| *has >= u64::from(*need));
            if !totals.values().any(enough) {
                continue;
            }
            vain += 1;
            if vain > VAIN && !vain.is_power_of_two() && !changes.is_empty() {
                continue;
            }
            let until = when.saturating_add(runs);
            let placed = match want.parts.as_slice() {
                [part] => self.place_alone(pool, part, (nodes[0], &fit[0]), when, until),
                _ => self.place_together(pool, want, choice, when, until),
            };
            if let Some(placements) = placed {
                return Some((when, placements));
            }
        }
        None
    }

    /// When a node has its first room for a shape, at the earliest.
    fn first(&self, node: NodeIx, each: &Shape) -> Millis {
        let free = self.booked.contains_key(&node) || self.rooms.capacity(View::Soon, node, each, 1) > 0;
        if free {
            return self.s.now;
        }
        let alive = self.work.on_node[node.at()].iter().filter(|ix| self.work.pieces[**ix].alive);
        alive.map(|ix| self.end(*ix)).min().unwrap_or(Millis::MAX)
    }

    /// Tells how many replicas of a shape fit on a node when they start at an instant and run so long: from now on, and whenever that may change.
    fn capacities(
        &self,
        node: NodeIx,
        each: &Shape,
        most: u32,
        runs: Millis,
        mut tell: impl FnMut(Millis, u32),
    ) {
        let now = self.s.now;
        let (mut room, steps) = (self.base(node), self.steps(node));
        if self.booked.contains_key(&node) {
            let instants = steps.iter().map(|step| {
                // with the last instant at which it is over in time, room goes that is booked
                if step.more { step.at } else { step.at.saturating_sub(runs).saturating_add(1) }
            });
            let mut instants: Vec<Millis> = instants.filter(|at| *at > now).chain([now]).collect();
            instants.sort_unstable();
            instants.dedup();
            for at in instants {
                let room = through(room.clone(), &steps, at, at.saturating_add(runs));
                tell(at, room.capacity(each, most));
            }
            return;
        }
        tell(now, room.capacity(each, most));
        for then in steps.chunk_by(|a, b| a.at == b.at) {
            then.iter().for_each(|step| step.apply(&mut room));
            tell(then.first().map_or(now, |step| step.at).max(now), room.capacity(each, most));
        }
    }

    /// Places replicas of one kind, of which so many fit on each node: in one domain if they want to be together, on the tightest node that
    /// holds all, else on those that hold most.
    fn place_alone(
        &self,
        pool: &Pool,
        part: &Part,
        (nodes, fit): (&[NodeIx], &[u32]),
        when: Millis,
        until: Millis,
    ) -> Option<Vec<Placement>> {
        let need = part.replicas.len();
        let mut domains: BTreeMap<Option<ValueIx>, (u64, Capable)> = BTreeMap::new();
        for (node, fit) in nodes.iter().zip(fit).filter(|(_, fit)| **fit > 0) {
            let value = if pool.has_domains() { pool.value(*node) } else { None };
            let everywhere = (value.is_some() && !pool.bound()).then_some(None);
            for domain in [Some(value).filter(|value| value.is_some() || !pool.bound()), everywhere] {
                let Some(domain) = domain else { continue };
                let there = domains.entry(domain).or_default();
                there.0 += u64::from(*fit);
                there.1.push((Reverse(*fit), *node));
            }
        }
        let enough = domains.into_iter().filter(|(_, (total, _))| *total >= need as u64);
        let (_, (_, mut capable)) = enough.min_by_key(|(domain, (total, _))| (domain.is_none(), *total))?;
        let room = |node: NodeIx| self.through(node, when, until);
        let alone = capable.iter().filter(|(fit, _)| fit.0 as usize >= need);
        let tightest = alone.map(|(fit, node)| (room(*node).score(&part.each), *fit, *node)).min();
        match tightest {
            Some((_, fit, node)) => capable = vec![(fit, node)],
            None => capable.sort_unstable(),
        }
        let mut left = part.replicas.iter();
        let mut placed = Vec::with_capacity(need);
        for (fit, node) in capable {
            let mut room = room(node);
            for replica in left.by_ref().take(fit.0 as usize) {
                let gpus = room.devices(&part.each)?;
                room.take(&part.each, &gpus);
                placed.push(Placement { role: part.role, replica: *replica, node, gpus });
            }
        }
        (placed.len() == need).then_some(placed)
    }

    fn place_together(
        &self,
        pool: &Pool,
        want: &Want,
        choice: Choice,
        when: Millis,
        until: Millis,
    ) -> Option<Vec<Placement>> {
        let mut rooms: Vec<Room> = vec![Room::default(); self.s.nodes.len()];
        for part in &want.parts {
            for node in pool.nodes(&part.each, choice) {
                rooms[node.at()] = self.through(*node, when, until);
            }
        }
        let groups = &self.shapes.groups;
        let mut rooms = Rooms::of(rooms, &groups.of, groups.len());
        rooms.score_like(self.rooms);
        place(&mut rooms, want, Try { pool, view: View::Now, choice, pin: None }).ok()
    }
}

/// The least of a room from one instant until another.
fn through(mut room: Room, steps: &[Step<'_>], from: Millis, until: Millis) -> Room {
    let (before, after) = steps.split_at(steps.partition_point(|step| step.at <= from));
    before.iter().for_each(|step| step.apply(&mut room));
    let mut least = room.clone();
    for then in after.chunk_by(|a, b| a.at == b.at).take_while(|then| then.iter().all(|step| step.at < until))
    {
        then.iter().for_each(|step| step.apply(&mut room));
        least.lower(&room);
    }
    least
}
