//! Where a gang goes: the fewest and tightest nodes of its pool, or those with the best scores.

mod exact;
mod near;
mod scored;

use std::cmp::Reverse;

use crate::model::{NodeIx, Placement, Shape, ValueIx};
use crate::pool::{Choice, Pool, Within};
use crate::room::{Room, Rooms, View};

/// Replicas to place together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Want {
    pub parts: Vec<Part>,
}

/// Replicas of one role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub role: u16,
    pub each: Shape,
    pub replicas: Vec<u32>,
}

impl Want {
    pub fn total(&self) -> u32 {
        let total: usize = self.parts.iter().map(|part| part.replicas.len()).sum();
        u32::try_from(total).unwrap_or(u32::MAX)
    }

    /// The largest shape, by which the want as a whole is judged.
    pub fn largest(&self) -> Shape {
        self.parts.iter().map(|part| part.each).max_by_key(size).unwrap_or_default()
    }
}

/// Why a want found no place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Misfit {
    /// Replicas for which there is room, in the best domain.
    pub fit: u32,
    pub domain: Option<ValueIx>,
}

/// One try.
#[derive(Clone, Copy)]
pub(crate) struct Try<'a> {
    pub pool: &'a Pool,
    pub view: View,
    pub choice: Choice,
    /// The domain that the job is already bound to.
    pub pin: Option<ValueIx>,
}

/// Places all of `want` or nothing. What is placed is charged to `rooms`.
pub(crate) fn place(rooms: &mut Rooms, want: &Want, how: Try<'_>) -> Result<Vec<Placement>, Misfit> {
    let mut steps = exact::STEPS;
    if want.total() > 1
        && let Some(levels) = how.pool.levels()
    {
        match near::place(rooms, want, how, levels, &mut steps) {
            // of several roles only a search tells how many fit
            Err(_) if want.parts.len() > 1 => {}
            known => return known,
        }
    }
    if how.pin.is_some() || !how.pool.has_domains() {
        let placed = place_within(rooms, want, how, how.pin.into(), &mut steps);
        return placed.map_err(|fit| Misfit { fit, domain: how.pin });
    }
    let domains = how.pool.domains(rooms, how.view, &want.largest(), how.choice);
    let mut best = Misfit::default();
    for domain in domains {
        match place_within(rooms, want, how, domain.into(), &mut steps) {
            Ok(placements) => return Ok(placements),
            Err(fit) if fit > best.fit || best.domain.is_none() => best = Misfit { fit, domain },
            Err(_) => {}
        }
    }
    Err(best)
}

fn place_within(
    rooms: &mut Rooms,
    want: &Want,
    how: Try<'_>,
    within: Within<'_>,
    steps: &mut u32,
) -> Result<Vec<Placement>, u32> {
    if let [part] = want.parts.as_slice()
        && part.replicas.len() > 1
    {
        // refused by counts, before anything is placed
        let fit = room_in(rooms, part, how, within);
        if fit < want.total() {
            return Err(fit);
        }
    }
    let mut placed = Vec::with_capacity(want.total() as usize);
    if let Some(scorer) = rooms.scorer() {
        for part in by_size(want) {
            scored::fill(rooms, &scorer, part, how, within, &mut placed);
        }
        if placed.len() == want.total() as usize {
            return Ok(placed);
        }
        // roles that are in each other's way may yet fit tightly packed
        undo(rooms, want, how.view, &placed);
        placed.clear();
    }
    let mut fit = 0;
    for part in by_size(want) {
        fit += fill(rooms, part, how, within, &mut placed);
    }
    if placed.len() == want.total() as usize {
        return Ok(placed);
    }
    undo(rooms, want, how.view, &placed);
    exact::search(rooms, want, how, within, steps).ok_or(fit.min(want.total().saturating_sub(1)))
}

/// Places as many replicas as find room within one domain, and charges them.
pub(crate) fn place_some(
    rooms: &mut Rooms,
    want: &Want,
    how: Try<'_>,
    domain: Option<ValueIx>,
) -> Vec<Placement> {
    let mut placed = Vec::new();
    for part in by_size(want) {
        fill(rooms, part, how, domain.into(), &mut placed);
    }
    placed
}

/// Takes back what [`place`] charged.
pub(crate) fn undo(rooms: &mut Rooms, want: &Want, view: View, placed: &[Placement]) {
    for placement in placed {
        if let Some(part) = want.parts.iter().find(|part| part.role == placement.role) {
            rooms.give(view, placement.node, &part.each, &placement.gpus);
        }
    }
}

/// Charges placements again that were undone.
pub(crate) fn redo(rooms: &mut Rooms, want: &Want, view: View, placed: &[Placement]) {
    for placement in placed {
        if let Some(part) = want.parts.iter().find(|part| part.role == placement.role) {
            rooms.take(view, placement.node, &part.each, &placement.gpus);
        }
    }
}

/// How hard a replica is to place.
fn size(each: &Shape) -> (i64, bool, i64, i64) {
    (each.gpu, !each.extended.is_empty(), each.cpu, each.memory)
}

/// The parts, those that are hardest to place first.
pub(crate) fn by_size(want: &Want) -> impl Iterator<Item = &Part> {
    // mostly it is one, and nothing is to be sorted
    let (one, several) =
        if let [one] = want.parts.as_slice() { (Some(one), &[][..]) } else { (None, want.parts.as_slice()) };
    let mut parts: Vec<&Part> = several.iter().collect();
    parts.sort_by_key(|part| (Reverse(size(&part.each)), part.role));
    one.into_iter().chain(parts)
}

/// A node, how many replicas it holds, and how tight it is.
pub(crate) type Capable = (Reverse<u32>, (i64, i64), NodeIx);

/// The tightest node that holds `times` replicas.
fn tightest(rooms: &Rooms, each: &Shape, times: u32, how: Try<'_>, within: Within<'_>) -> Option<NodeIx> {
    if let (Within::All, Some((free, index))) = (within, rooms.ordered(how.view)) {
        let groups = how.pool.list(each, how.choice).groups.iter();
        let best = groups.filter_map(|group| index[*group as usize].tightest(free, each, times)).min();
        return best.map(|tight| tight.1);
    }
    let nodes = how.pool.nodes_in(each, how.choice, within).iter();
    let fit = nodes.filter(|node| rooms.capacity(how.view, **node, each, times) >= times);
    fit.map(|node| (rooms.score(how.view, *node, each), *node)).min().map(|tight| tight.1)
}

/// Does any node of the pool hold one replica?
pub(crate) fn holds(rooms: &Rooms, each: &Shape, how: Try<'_>) -> bool {
    if how.view == View::Raw {
        let mut parted = rooms.parted(&how.pool.list(each, how.choice).groups);
        return holds(rooms, each, Try { view: View::Now, ..how })
            || parted.any(|node| rooms.capacity(View::Raw, node, each, 1) > 0);
    }
    tightest(rooms, each, 1, how, Within::All).is_some()
}

/// Every node that holds some replicas, at most `most`.
pub(crate) fn capable<'a>(
    rooms: &Rooms,
    each: &Shape,
    most: u32,
    how: Try<'a>,
    within: impl Into<Within<'a>>,
) -> Vec<Capable> {
    let within = within.into();
    let mut all = Vec::new();
    let mut judge = |node: NodeIx| {
        let capacity = rooms.capacity(how.view, node, each, most);
        if capacity > 0 {
            all.push((Reverse(capacity), rooms.score(how.view, node, each), node));
        }
    };
    match (within, rooms.ordered(how.view)) {
        (Within::All, Some((_, index))) => {
            let groups = how.pool.list(each, how.choice).groups.iter();
            groups.for_each(|group| index[*group as usize].candidates(each, &mut judge));
        }
        _ => how.pool.nodes_in(each, how.choice, within).iter().copied().for_each(judge),
    }
    all
}

/// How many replicas fit on the nodes of a pool, each node by itself, and the node that holds most of them.
pub(crate) fn room_for(rooms: &Rooms, each: &Shape, most: u32, how: Try<'_>) -> (u64, Option<NodeIx>) {
    let all = capable(rooms, each, most, how, Within::All);
    let fit = all.iter().map(|(capacity, _, _)| u64::from(capacity.0)).sum();
    (fit, all.iter().map(|(capacity, _, node)| (*capacity, *node)).min().map(|(_, node)| node))
}

/// How many replicas of a part find room on some nodes, each node by itself; at most all.
fn room_in(rooms: &Rooms, part: &Part, how: Try<'_>, within: Within<'_>) -> u32 {
    let all = u32::try_from(part.replicas.len()).unwrap_or(u32::MAX);
    if tightest(rooms, &part.each, all, how, within).is_some() {
        return all;
    }
    if all == 1 {
        return 0;
    }
    let capable = capable(rooms, &part.each, all, how, within);
    capable.iter().map(|(capacity, _, _)| capacity.0).fold(0, u32::saturating_add).min(all)
}

/// Places as many replicas as find room, as [`imagine`] says, and charges them. Answers how many do, at most all.
fn fill(
    rooms: &mut Rooms,
    part: &Part,
    how: Try<'_>,
    within: Within<'_>,
    placed: &mut Vec<Placement>,
) -> u32 {
    let before = placed.len();
    let fit = imagine(rooms, part, how, within, placed);
    for place in &placed[before..] {
        rooms.take(how.view, place.node, &part.each, &place.gpus);
    }
    fit
}

/// The fewest nodes: one that holds all that remains, the tightest of those; else the one that holds most. Nothing is charged. Answers how
/// many replicas find room, at most all.
pub(crate) fn imagine<'a>(
    rooms: &Rooms,
    part: &Part,
    how: Try<'a>,
    within: impl Into<Within<'a>>,
    placed: &mut Vec<Placement>,
) -> u32 {
    let within = within.into();
    let mut left = part.replicas.as_slice();
    let all = u32::try_from(left.len()).unwrap_or(u32::MAX);
    if let Some(node) = tightest(rooms, &part.each, all, how, within) {
        put((rooms.room(how.view, node), node), part, &mut left, u32::MAX, placed);
        return all;
    }
    if all == 1 {
        return 0;
    }
    let mut capable = capable(rooms, &part.each, all, how, within);
    let fit = capable.iter().map(|(capacity, _, _)| capacity.0).fold(0, u32::saturating_add).min(all);
    // a node takes one at least, so no more of them are needed than there are replicas
    let first = left.len().min(capable.len());
    if first < capable.len() {
        capable.select_nth_unstable(first);
    }
    capable[..first].sort_unstable();
    for from in 0..first {
        let remaining = u32::try_from(left.len()).unwrap_or(u32::MAX);
        let holds_all = capable[from..].iter().filter(|(capacity, _, _)| capacity.0 >= remaining);
        let at = if capable[from].0.0 >= remaining {
            holds_all.map(|(_, score, node)| (*score, *node)).min().map_or(capable[from].2, |(_, node)| node)
        } else {
            capable[from].2
        };
        put((rooms.room(how.view, at), at), part, &mut left, capable[from].0.0, placed);
        if left.is_empty() {
            break;
        }
    }
    fit
}

/// Finds devices for up to `most` of the replicas that are left on a node with so much room.
fn put(
    (room, node): (&Room, NodeIx),
    part: &Part,
    left: &mut &[u32],
    most: u32,
    placed: &mut Vec<Placement>,
) {
    let mut after: Option<Room> = None;
    for _ in 0..most {
        let Some((replica, rest)) = left.split_first() else { return };
        let Some(gpus) = after.as_ref().unwrap_or(room).devices(&part.each) else { return };
        if most > 1 && !rest.is_empty() {
            after.get_or_insert_with(|| room.clone()).take(&part.each, &gpus);
        }
        placed.push(Placement { role: part.role, replica: *replica, node, gpus });
        *left = rest;
    }
}
