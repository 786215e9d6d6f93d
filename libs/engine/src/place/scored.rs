//! Placement by scores: every node that has room is looked at, and the one that costs least is taken.

use super::{Part, Try, capable};
use crate::model::{NodeIx, Placement};
use crate::pool::Within;
use crate::room::Rooms;
use crate::scorer::{Cost, Scorer};

/// A node with room for some replicas, and what it costs to put so many of them there, as far as that is known.
struct Open {
    node: NodeIx,
    capacity: u32,
    known: Option<(u32, Cost)>,
}

/// The node that is best for as many of `left` replicas as any holds, and how many: nodes that are alike are looked at once. `None`: none
/// holds any.
fn best_class(rooms: &Rooms, scorer: &Scorer, part: &Part, how: Try<'_>, left: u32) -> Option<(NodeIx, u32)> {
    let (free, alike) = rooms.alike(how.view)?;
    let (_, index) = rooms.ordered(how.view)?;
    let groups = how.pool.list(&part.each, how.choice).groups.iter();
    let groups = groups.filter(|group| index[**group as usize].may_offer(&part.each));
    let firsts = groups.flat_map(|group| alike[*group as usize].firsts(free, &part.each));
    if left == 1 {
        let holds = firsts.filter(|node| free[node.at()].holds(&part.each));
        let scored = holds.map(|node| (scorer.cost(node, &free[node.at()], &part.each, 1), node));
        return scored.min().map(|(_, node)| (node, 1));
    }
    let holds = firsts.map(|node| (free[node.at()].capacity(&part.each, left), node));
    let holds: Vec<(u32, NodeIx)> = holds.filter(|(capacity, _)| *capacity > 0).collect();
    let most = holds.iter().map(|(capacity, _)| *capacity).max()?;
    let times = if scorer.spreads() { 1 } else { most };
    let able = holds.into_iter().filter(|(capacity, _)| *capacity >= times);
    let scored = able.map(|(_, node)| (scorer.cost(node, &free[node.at()], &part.each, times), node));
    scored.min().map(|(_, node)| (node, times))
}

/// Places as many replicas as find room. They share as few nodes as they can, and scores decide between nodes that hold equally many;
/// a policy that spreads puts each by itself.
pub(super) fn fill(
    rooms: &mut Rooms,
    scorer: &Scorer,
    part: &Part,
    how: Try<'_>,
    within: Within<'_>,
    placed: &mut Vec<Placement>,
) {
    let mut left = part.replicas.as_slice();
    let count = |left: &[u32]| u32::try_from(left.len()).unwrap_or(u32::MAX);
    let alike = matches!(within, Within::All) && rooms.alike(how.view).is_some();
    if alike && (part.each.gpu > 0 || (left.len() == 1 && scorer.ignores_spent())) {
        while !left.is_empty() {
            let Some((node, times)) = best_class(rooms, scorer, part, how, count(left)) else { return };
            for _ in 0..times {
                let gpus = scorer.devices(node, rooms.room(how.view, node), &part.each);
                let (Some((replica, rest)), Some(gpus)) = (left.split_first(), gpus) else { return };
                rooms.take(how.view, node, &part.each, &gpus);
                placed.push(Placement { role: part.role, replica: *replica, node, gpus });
                left = rest;
            }
        }
        return;
    }
    let all = capable(rooms, &part.each, count(left), how, within).into_iter();
    let mut open: Vec<Open> =
        all.map(|(capacity, _, node)| Open { node, capacity: capacity.0, known: None }).collect();
    while !left.is_empty() {
        let most = open.iter().map(|open| open.capacity).max().unwrap_or(0).min(count(left));
        let times = if scorer.spreads() { most.min(1) } else { most };
        if times == 0 {
            return;
        }
        let mut best: Option<(Cost, NodeIx, usize)> = None;
        for (at, open) in open.iter_mut().enumerate().filter(|(_, open)| open.capacity >= times) {
            let cost = match open.known {
                Some((of, cost)) if of == times => cost,
                _ => scorer.cost(open.node, rooms.room(how.view, open.node), &part.each, times),
            };
            open.known = Some((times, cost));
            if best.is_none_or(|best| (cost, open.node) < (best.0, best.1)) {
                best = Some((cost, open.node, at));
            }
        }
        let Some((_, node, at)) = best else { return };
        for _ in 0..times {
            let gpus = scorer.devices(node, rooms.room(how.view, node), &part.each);
            let (Some((replica, rest)), Some(gpus)) = (left.split_first(), gpus) else { return };
            rooms.take(how.view, node, &part.each, &gpus);
            placed.push(Placement { role: part.role, replica: *replica, node, gpus });
            left = rest;
        }
        open[at].capacity = rooms.capacity(how.view, node, &part.each, count(left));
        open[at].known = None;
    }
}
