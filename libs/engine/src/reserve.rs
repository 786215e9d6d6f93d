//! The head of a line keeps what is free and of use to it, so that small jobs behind it cannot starve it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use crate::model::{Millis, ModelIx, NodeIx, Placement, Shape, Snapshot, ValueIx, WHOLE_GPU};
use crate::place::{Try, Want, by_size, capable, imagine, place_some, redo, undo};
use crate::pool::{Choice, Pool};
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

/// What a reservation is made from.
pub(crate) struct Site<'a> {
    pub snapshot: &'a Snapshot,
    pub work: &'a Work,
    pub rooms: &'a mut Rooms,
    /// The rooms of the nodes were nothing of ours there.
    pub vacant: &'a mut Rooms,
}

/// When room comes free. First what ends as its owner said, at that instant; what nobody knows comes after all that: what was there before
/// somebody began to wait, then the rest, as it started.
///
/// Who waits looks for the least of these in every cycle, and others take only what that leaves. So what was found once is
/// still there in the next cycle, and as long as jobs end as they said they would, the start that was found comes no later.
type When = (Millis, Millis);

const NEVER: When = (Millis::MAX, Millis::MAX);

/// Where all of a want will be.
struct Prospect {
    when: When,
    /// What has room now.
    placed: Vec<Placement>,
    /// What will have, in the order in which it was found.
    later: Vec<(NodeIx, Shape)>,
}

/// When there is room for a replica, how much the node has free, and which it is.
type Soonest = (When, Reverse<i64>, NodeIx);

/// When replicas fit on a node, and what that was found with.
#[derive(Default)]
struct Found {
    room: Room,
    /// When each piece on the node ends, with its job.
    ends: Vec<(When, usize, PieceIx)>,
    /// When there is room for one replica, for two, and so on.
    times: Vec<When>,
}

impl Prospect {
    /// So many replicas are wanted, for so many there is room at some time.
    fn add(&mut self, wanted: usize, each: Shape, found: Vec<Soonest>) {
        if found.len() < wanted {
            self.when = NEVER;
        }
        for (when, _, node) in found {
            self.when = self.when.max(when);
            self.later.push((node, each));
        }
    }
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
    let alone = want.parts.len() == 1;
    let (total, gpus) = (want.total(), want.largest().gpu > 0);
    let mut best: Option<((When, usize), Prospect)> = None;
    // one replica is on one model, whichever is sooner
    let choices = pool.choices(&want.largest()).into_iter();
    for choice in choices.filter(|choice| total > 1 || !gpus || *choice != Choice::Mixed) {
        for domain in pool.domains(site.rooms, View::Soon, &want.largest(), choice) {
            let how = Try { pool, view: View::Now, choice, pin: domain };
            let Some(empty) = could_hold(site.vacant, want, how, domain) else { continue };
            let (how, asked) = (Try { view: View::Soon, ..how }, site.snapshot.jobs[job].queued_since);
            let prospects = if alone {
                vec![site.alone(want, how, domain, asked)]
            } else {
                // the first is the same in every cycle: it is left only for what is sooner
                vec![site.as_if_empty(want, &empty, asked), site.by_size(want, how, domain, asked)]
            };
            for prospect in prospects {
                let rank = (prospect.when, if alone { prospect.later.len() } else { 0 });
                if best.as_ref().is_none_or(|best| rank < best.0) {
                    best = Some((rank, prospect));
                }
            }
        }
    }
    let Prospect { when, placed, later } = best?.1;
    redo(site.rooms, want, View::Soon, &placed);
    let each =
        |place: &Placement| want.parts.iter().find(|part| part.role == place.role).map(|part| part.each);
    let placed = placed.into_iter().filter_map(|place| Some((place.node, each(&place)?, place.gpus)));
    let mut taken: Vec<Portion> = placed.collect();
    let mut nodes: Vec<NodeIx> = taken.iter().map(|(node, _, _)| *node).collect();
    nodes.extend(later.iter().map(|(node, _)| *node));
    nodes.sort_unstable();
    nodes.dedup();
    let asked = site.snapshot.jobs[job].queued_since;
    for (node, each, gpus) in site.lacking(later, when, asked) {
        site.rooms.take(View::Soon, node, &each, &gpus);
        taken.push((node, each, gpus));
    }
    let start = Some(when.0).filter(|start| *start != Millis::MAX);
    Some(Kept { job, models: line.to_vec(), start, nodes, placements: Vec::new(), taken })
}

/// Where all of it would be were nothing of ours there, if it fits then. (One role alone fits if there are nodes enough: where is not told.)
fn could_hold(
    vacant: &mut Rooms,
    want: &Want,
    how: Try<'_>,
    domain: Option<ValueIx>,
) -> Option<Vec<Placement>> {
    if let [part] = want.parts.as_slice() {
        let mut left = part.replicas.len();
        let mut nodes = how.pool.nodes_in(&part.each, how.choice, domain).iter();
        let enough = nodes.any(|node| {
            left = left.saturating_sub(vacant.capacity(how.view, *node, &part.each, u32::MAX) as usize);
            left == 0
        });
        return enough.then(Vec::new);
    }
    let placed = place_some(vacant, want, how, domain);
    undo(vacant, want, how.view, &placed);
    (placed.len() == want.total() as usize).then_some(placed)
}

impl Site<'_> {
    /// Where the replicas of one role are soonest: those that have room now first.
    fn alone(&self, want: &Want, how: Try<'_>, domain: Option<ValueIx>, asked: Millis) -> Prospect {
        let mut prospect = Prospect { when: (self.snapshot.now, 0), placed: Vec::new(), later: Vec::new() };
        for part in &want.parts {
            imagine(self.rooms, part, how, domain, &mut prospect.placed);
            let mut given: BTreeMap<NodeIx, Vec<Shape>> = BTreeMap::new();
            for place in &prospect.placed {
                given.entry(place.node).or_default().push(part.each);
            }
            let left = part.replicas.len() - prospect.placed.len();
            prospect.add(left, part.each, self.soonest((how, domain), &part.each, left, &given, asked));
        }
        prospect
    }

    /// Where each role is soonest, the larger ones first: what is free for a smaller one is in their way.
    fn by_size(&self, want: &Want, how: Try<'_>, domain: Option<ValueIx>, asked: Millis) -> Prospect {
        let mut prospect = Prospect { when: (self.snapshot.now, 0), placed: Vec::new(), later: Vec::new() };
        for part in by_size(want) {
            let mut given: BTreeMap<NodeIx, Vec<Shape>> = BTreeMap::new();
            for (node, each) in &prospect.later {
                given.entry(*node).or_default().push(*each);
            }
            let left = part.replicas.len();
            prospect.add(left, part.each, self.soonest((how, domain), &part.each, left, &given, asked));
        }
        prospect
    }

    /// Where all of it would be if nothing of ours ran.
    fn as_if_empty(&self, want: &Want, empty: &[Placement], asked: Millis) -> Prospect {
        let mut prospect = Prospect { when: (self.snapshot.now, 0), placed: Vec::new(), later: Vec::new() };
        let mut given: BTreeMap<NodeIx, Vec<Shape>> = BTreeMap::new();
        let mut found = Found::default();
        for part in by_size(want) {
            for place in empty.iter().filter(|place| place.role == part.role) {
                let before = given.entry(place.node).or_default();
                self.ready(place.node, &part.each, 1, before, (asked, NEVER), &mut found);
                let when = found.times.first().copied();
                before.push(part.each);
                let soonest = when.map(|when| (when, Reverse(0), place.node));
                prospect.add(1, part.each, soonest.into_iter().collect());
            }
        }
        prospect
    }

    /// Where there is room soonest for so many replicas beside those that are given their place already, in order: when, what the node has
    /// free, which. A node is there once for each replica that it gets.
    fn soonest(
        &self,
        (how, domain): (Try<'_>, Option<ValueIx>),
        each: &Shape,
        replicas: usize,
        given: &BTreeMap<NodeIx, Vec<Shape>>,
        asked: Millis,
    ) -> Vec<Soonest> {
        let mut best: BinaryHeap<Soonest> = BinaryHeap::new();
        if replicas == 0 {
            return Vec::new();
        }
        let soon = Try { view: View::Soon, ..how };
        let roomy = capable(self.rooms, each, 1, soon, domain).into_iter();
        let mut roomy: Vec<NodeIx> = roomy.map(|(_, _, node)| node).collect();
        roomy.sort_unstable();
        let others = how.pool.nodes_in(each, how.choice, domain).iter();
        let others = others.filter(|node| roomy.binary_search(node).is_err());
        let now = (self.snapshot.now, 0);
        let mut found = Found::default();
        let end = |node: NodeIx| {
            let end = Some(self.work.first_end[node.at()]).filter(|end| *end < Millis::MAX);
            self.when(end, asked, asked)
        };
        let earliest = roomy.iter().map(|node| (now, node)).chain(others.map(|node| (end(*node), node)));
        for (earliest, node) in earliest {
            let given = given.get(node).map_or([].as_slice(), Vec::as_slice);
            let full = |best: &BinaryHeap<Soonest>, when| {
                best.len() >= replicas && best.peek().is_some_and(|worst| when > worst.0)
            };
            if full(&best, earliest) {
                // most nodes are told apart by this alone
                continue;
            }
            let amount = Reverse(self.rooms.amount(View::Soon, *node, each));
            // it would have to be better than the worst of those that are enough
            let worse =
                best.len() >= replicas && best.peek().is_some_and(|worst| (earliest, amount, *node) > *worst);
            if worse || beside(self.vacant.room(View::Now, *node), given, each, 1) == 0 {
                continue;
            }
            let latest = best.peek().filter(|_| best.len() >= replicas).map_or(NEVER, |worst| worst.0);
            self.ready(*node, each, replicas, given, (asked, latest), &mut found);
            for when in &found.times {
                if full(&best, *when) {
                    break;
                }
                best.push((*when, amount, *node));
                if best.len() > replicas {
                    best.pop();
                }
            }
        }
        best.into_sorted_vec()
    }

    /// Finds when one replica fits on a node beside those that are given, when two do, and so on; as far as that is by `latest`.
    fn ready(
        &self,
        node: NodeIx,
        each: &Shape,
        most: usize,
        given: &[Shape],
        (asked, latest): (Millis, When),
        found: &mut Found,
    ) {
        let Found { room, ends, times } = found;
        room.become_like(self.rooms.room(View::Soon, node));
        ends.clear();
        for ix in &self.work.on_node[node.at()] {
            let piece = &self.work.pieces[*ix];
            if piece.alive && !piece.promised {
                let when = self.when(piece.end, piece.started, asked);
                ends.push((when, piece.job, *ix));
            }
        }
        ends.sort_unstable();
        times.clear();
        times.resize(beside(room, given, each, most), (self.snapshot.now, 0));
        for (when, _, ix) in ends {
            if times.len() >= most || *when > latest {
                break;
            }
            for spot in self.work.pieces[*ix].spots.iter().filter(|spot| spot.node == node) {
                room.add(&spot.each, &spot.gpus);
            }
            times.resize(beside(room, given, each, most).max(times.len()), *when);
        }
    }

    /// What must be kept on these nodes for these replicas to start by then: what they need, but for what comes free until then.
    fn lacking(&self, later: Vec<(NodeIx, Shape)>, by: When, asked: Millis) -> Vec<Portion> {
        let mut taken: Vec<Portion> = Vec::new();
        let mut on: BTreeMap<NodeIx, (Room, Room)> = BTreeMap::new();
        for (node, each) in later {
            let now = self.rooms.room(View::Soon, node);
            let (left, then) = on.entry(node).or_insert_with(|| (now.clone(), self.room_by(node, by, asked)));
            let gpus = if by == NEVER { None } else { devices_by(left, then, &each) };
            if let Some(gpus) = gpus {
                then.take(&each, &gpus);
            } else {
                let (each, gpus) = available(left, &each);
                left.take(&each, &gpus);
                then.take(&each, &gpus);
                taken.push((node, each, gpus));
            }
        }
        for (node, (now, then)) in on {
            let gpus = now.gpus.iter().zip(&then.gpus).zip(0u16..);
            let gpus: Vec<(u16, i64)> = gpus
                .map(|((now, then), device)| (device, now - then.max(&0)))
                .filter(|(_, milli)| *milli > 0)
                .collect();
            let each = Shape {
                cpu: (now.cpu - then.cpu.max(0)).max(0),
                memory: (now.memory - then.memory.max(0)).max(0),
                gpu: gpus.iter().map(|(_, milli)| milli).sum(),
                extended: now.beyond(&then),
            };
            if each != Shape::default() {
                taken.push((node, each, gpus));
            }
        }
        taken
    }

    /// What a node will have free by then.
    fn room_by(&self, node: NodeIx, by: When, asked: Millis) -> Room {
        let mut room = self.rooms.room(View::Soon, node).clone();
        let here = self.work.on_node[node.at()].iter().map(|ix| &self.work.pieces[*ix]);
        let gone = here.filter(|piece| {
            piece.alive && !piece.promised && self.when(piece.end, piece.started, asked) <= by
        });
        for spot in gone.flat_map(|piece| &piece.spots).filter(|spot| spot.node == node) {
            room.add(&spot.each, &spot.gpus);
        }
        room
    }

    /// When something ends that started then; for somebody who has waited since `asked`.
    fn when(&self, end: Option<Millis>, started: Millis, asked: Millis) -> When {
        end.map_or((Millis::MAX, started.max(asked)), |end| (end.max(self.snapshot.now), 0))
    }
}

/// How many replicas fit beside those that are given, at most `most`.
fn beside(room: &Room, given: &[Shape], each: &Shape, most: usize) -> usize {
    let most = u32::try_from(most).unwrap_or(u32::MAX);
    if given.is_empty() {
        return room.capacity(each, most) as usize;
    }
    let mut room = room.clone();
    for shape in given {
        let Some(gpus) = room.devices(shape) else { return 0 };
        room.take(shape, &gpus);
    }
    room.capacity(each, most) as usize
}

/// Devices for a replica that starts when so much is free, those of which least is free now first.
fn devices_by(now: &Room, then: &Room, each: &Shape) -> Option<Vec<(u16, i64)>> {
    then.devices(each)?;
    let devices = then.gpus.iter().zip(&now.gpus).zip(0u16..);
    let able = devices.filter(|((then, _), _)| **then >= each.gpu.min(WHOLE_GPU));
    if each.gpu == 0 {
        return Some(Vec::new());
    }
    if each.gpu < WHOLE_GPU {
        // what would have to be kept, then the tightest
        let least =
            able.min_by_key(|((then, now), device)| ((*now - (*then - each.gpu)).max(0), **then, *device));
        return least.map(|(_, device)| vec![(device, each.gpu)]);
    }
    let mut able: Vec<(i64, u16)> = able.map(|((_, now), device)| (*now, device)).collect();
    able.sort_unstable();
    able.truncate(usize::try_from(each.gpu / WHOLE_GPU).ok()?);
    Some(able.into_iter().map(|(_, device)| (device, WHOLE_GPU)).collect())
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
        extended: room.available(&each.extended),
    };
    (shape, gpus)
}

/// May work that runs this long use what is kept, because it is gone in time?
pub(crate) fn gone_in_time(snapshot: &Snapshot, runs: Millis, kept: &Kept) -> bool {
    runs != Millis::MAX && kept.start.is_some_and(|start| snapshot.now.saturating_add(runs) <= start)
}
