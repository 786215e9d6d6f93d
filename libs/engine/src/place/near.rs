//! Where a gang goes whose replicas want to be near each other: into the smallest domain that holds all of it, and there into the fewest parts,
//! level by level.

use std::cmp::Reverse;
use std::ops::Range;

use super::{Misfit, Part, Try, Want, by_size, capable, fill, place_within, scored, undo};
use crate::model::{NodeIx, Placement, Shape, ValueIx};
use crate::pool::Within;
use crate::room::Rooms;
use crate::scorer::Scorer;
use crate::topology::{Domain, Levels, Tree};

/// What nodes hold of one part and have free: of all before each node of a tree, from some node on, so that what side by side nodes have is a
/// difference.
struct Sums<'a> {
    tree: &'a Tree,
    from: usize,
    /// Replicas, each node by itself.
    fit: Vec<u64>,
    /// Milli-GPU, or milli-cores for work without GPUs.
    free: Vec<i64>,
    /// Nodes on which replicas of the gang are already.
    used: Vec<u64>,
}

/// A piece of a domain: whether replicas of the gang are there already, how many more find room, what is free, and its nodes.
struct Piece {
    used: bool,
    fit: u64,
    free: i64,
    nodes: Range<usize>,
}

/// Which of the domains of a level that hold a gang is best: the pieces that it takes, what is free there and at each coarser level, its value.
type Rank = (usize, Vec<i64>, ValueIx);

/// Places all of `want` or nothing. A pool that is bound, or a pin, keeps it in one domain of the label that is asked for; else it goes up level
/// by level, and at last anywhere. How much of it fits is told of a want of one part alone. `steps`: so many of a search may still be taken.
pub(super) fn place(
    rooms: &mut Rooms,
    want: &Want,
    how: Try<'_>,
    levels: &Levels,
    steps: &mut u32,
) -> Result<Vec<Placement>, Misfit> {
    let mut parts = by_size(want).map(|part| (part, Sums::fitting(rooms, part, how, levels)));
    let Some((part, mut sums)) = parts.next() else { return Err(Misfit::default()) };
    let others: Vec<(&Part, Sums<'_>)> = parts.collect();
    let (tree, all) = (sums.tree, 0..sums.tree.nodes.len());
    let bound = how.pin.is_some() || how.pool.bound();
    let inside = match how.pin {
        Some(value) => tree.domain(levels.named, value).map_or(0..0, |domain| domain.nodes.clone()),
        None => all.clone(),
    };
    let coarsest = if bound { levels.named } else { 0 };
    // a finer domain may be in none of the label that is asked for
    let allowed = |domain: &&Domain| !bound || tree.around(levels.named, domain.nodes.start).is_some();
    for level in (coarsest..tree.levels.len()).rev() {
        let fits = |domain: &&Domain| {
            let other = |(part, sums): &(&Part, Sums<'_>)| {
                let here = sums.tree.domain(level, domain.value);
                here.is_some_and(|here| sums.fit(&here.nodes) >= count(part))
            };
            sums.fit(&domain.nodes) >= count(part) && others.iter().all(other)
        };
        let holding: Vec<&Domain> = tree.within(level, &inside).iter().filter(allowed).filter(fits).collect();
        if holding.is_empty() {
            continue;
        }
        let there = holding.iter().flat_map(|domain| domain.nodes.clone());
        if let Some(placed) = on_one(rooms, want, how, (&sums, count(part)), there, steps) {
            return Ok(placed);
        }
        sums.weigh(rooms, part, how);
        let enough = |domain: &&Domain| part.each.gpu == 0 || sums.free(&domain.nodes) >= gpu(want);
        let mut ranked: Vec<Rank> =
            holding.into_iter().filter(enough).map(|domain| sums.rank(level, domain, count(part))).collect();
        ranked.sort_unstable();
        for (_, _, value) in ranked {
            if let Some(placed) = put(rooms, want, how, (Within::Domain(level, value), level + 1), steps) {
                return Ok(placed);
            }
        }
    }
    let anywhere = !bound && sums.fit(&all) >= count(part);
    if anywhere && others.iter().all(|(part, sums)| sums.fit(&(0..sums.tree.nodes.len())) >= count(part)) {
        let placed = on_one(rooms, want, how, (&sums, count(part)), all, steps);
        let placed = placed.or_else(|| put(rooms, want, how, (Within::All, 0), steps));
        return placed.ok_or_else(Misfit::default);
    }
    if others.is_empty() {
        return Err(sums.misfit(rooms, part, how, levels, &inside));
    }
    Err(Misfit::default())
}

/// Places several roles on one of these nodes, the tightest that holds them all. One role alone finds it by counting, and a policy that spreads does
/// not want it. `sums`: how many replicas of the largest role fit, of so many.
fn on_one(
    rooms: &mut Rooms,
    want: &Want,
    how: Try<'_>,
    (sums, largest): (&Sums<'_>, u64),
    nodes: impl Iterator<Item = usize>,
    steps: &mut u32,
) -> Option<Vec<Placement>> {
    if want.parts.len() < 2 || rooms.scorer().is_some_and(|scorer| scorer.spreads()) {
        return None;
    }
    let each = want.largest();
    let [gpu, cpu, memory] = [gpu(want), total(want, |each| each.cpu), total(want, |each| each.memory)];
    let holds = |at: &usize| {
        let room = rooms.room(how.view, sums.tree.nodes[*at]);
        sums.fit(&(*at..at + 1)) >= largest && room.milli() >= gpu && room.cpu >= cpu && room.memory >= memory
    };
    let mut nodes: Vec<NodeIx> = nodes.filter(holds).map(|at| sums.tree.nodes[at]).collect();
    nodes.sort_by_cached_key(|node| (rooms.score(how.view, *node, &each), *node));
    nodes.into_iter().find_map(|node| place_within(rooms, want, how, Within::These(&[node]), steps).ok())
}

/// Places all of `want` on these nodes or nothing, in as few domains of this level as it can, and of each finer one.
fn put(
    rooms: &mut Rooms,
    want: &Want,
    how: Try<'_>,
    (within, level): (Within<'_>, usize),
    steps: &mut u32,
) -> Option<Vec<Placement>> {
    let scorer = rooms.scorer();
    let ways = scorer.as_deref().map(Some).into_iter().chain([None]);
    for scorer in ways {
        let mut placed = Vec::with_capacity(want.total() as usize);
        for part in by_size(want) {
            divide(rooms, part, how, (within, level), scorer, &mut placed);
        }
        if placed.len() == want.total() as usize {
            return Some(placed);
        }
        undo(rooms, want, how.view, &placed);
    }
    // roles that are in each other's way may yet fit if they need not keep to few domains
    if want.parts.len() > 1 { place_within(rooms, want, how, within, steps).ok() } else { None }
}

/// Places as many replicas as find room on these nodes.
fn divide(
    rooms: &mut Rooms,
    part: &Part,
    how: Try<'_>,
    (within, level): (Within<'_>, usize),
    scorer: Option<&Scorer>,
    placed: &mut Vec<Placement>,
) {
    let tree = &how.pool.list(&part.each, how.choice).tree;
    let nodes = match within {
        Within::Domain(level, value) => tree.domain(level, value).map_or(0..0, |here| here.nodes.clone()),
        _ => 0..tree.nodes.len(),
    };
    let mut shares = Vec::new();
    if tree.within(level, &nodes).is_empty() {
        shares.push((nodes, count(part)));
    } else {
        let sums = Sums::new(rooms, part, how, tree, &nodes, placed);
        sums.share(level, nodes, count(part), &mut shares);
    }
    let mut left = part.replicas.as_slice();
    for (nodes, replicas) in shares {
        let here;
        (here, left) = left.split_at(usize::try_from(replicas).unwrap_or(usize::MAX).min(left.len()));
        let part = Part { replicas: here.to_vec(), ..*part };
        let within = Within::These(&tree.nodes[nodes]);
        match scorer {
            Some(scorer) => scored::fill(rooms, scorer, &part, how, within, placed),
            None => {
                fill(rooms, &part, how, within, placed);
            }
        }
    }
}

fn count(part: &Part) -> u64 {
    part.replicas.len() as u64
}

/// What all replicas need of something.
fn total(want: &Want, of: impl Fn(&Shape) -> i64) -> i64 {
    let parts = want.parts.iter();
    let need =
        |part: &Part| of(&part.each).saturating_mul(i64::try_from(part.replicas.len()).unwrap_or(i64::MAX));
    parts.map(need).fold(0, i64::saturating_add)
}

/// Milli-GPU of all replicas.
fn gpu(want: &Want) -> i64 {
    total(want, |each| each.gpu)
}

/// The sums of what comes before each, and of all.
fn sums<T: Copy + Default + std::ops::Add<Output = T>>(each: impl Iterator<Item = T>) -> Vec<T> {
    let mut sum = T::default();
    let after = each.map(|more| {
        sum = sum + more;
        sum
    });
    std::iter::once(T::default()).chain(after).collect()
}

impl<'a> Sums<'a> {
    /// How many replicas fit on all nodes of the pool.
    fn fitting(rooms: &Rooms, part: &Part, how: Try<'a>, levels: &Levels) -> Self {
        let tree = &how.pool.list(&part.each, how.choice).tree;
        let mut fit = vec![0; levels.nodes()];
        let most = u32::try_from(part.replicas.len()).unwrap_or(u32::MAX);
        for (capacity, _, node) in capable(rooms, &part.each, most, how, how.pin) {
            fit[node.at()] = u64::from(capacity.0);
        }
        let fit = sums(tree.nodes.iter().map(|node| fit[node.at()]));
        Self { tree, from: 0, fit, free: Vec::new(), used: Vec::new() }
    }

    /// Of some nodes of a tree, beside what is `placed`.
    fn new(
        rooms: &Rooms,
        part: &Part,
        how: Try<'_>,
        tree: &'a Tree,
        nodes: &Range<usize>,
        placed: &[Placement],
    ) -> Self {
        let most = u32::try_from(part.replicas.len()).unwrap_or(u32::MAX);
        let here = &tree.nodes[nodes.clone()];
        let mut on: Vec<NodeIx> = placed.iter().map(|place| place.node).collect();
        on.sort_unstable();
        let fit = here.iter().map(|node| u64::from(rooms.capacity(how.view, *node, &part.each, most)));
        let used = here.iter().map(|node| u64::from(on.binary_search(node).is_ok()));
        let free = here.iter().map(|node| rooms.amount(how.view, *node, &part.each));
        Self { tree, from: nodes.start, fit: sums(fit), free: sums(free), used: sums(used) }
    }

    /// Finds what is free.
    fn weigh(&mut self, rooms: &Rooms, part: &Part, how: Try<'_>) {
        if self.free.is_empty() {
            self.free = sums(self.tree.nodes.iter().map(|node| rooms.amount(how.view, *node, &part.each)));
        }
    }

    fn fit(&self, nodes: &Range<usize>) -> u64 {
        self.fit[nodes.end - self.from] - self.fit[nodes.start - self.from]
    }

    fn free(&self, nodes: &Range<usize>) -> i64 {
        self.free[nodes.end - self.from] - self.free[nodes.start - self.from]
    }

    fn used(&self, nodes: &Range<usize>) -> bool {
        self.used.get(nodes.end - self.from) > self.used.get(nodes.start - self.from)
    }

    /// How many pieces at a level (nodes, where there is none) it takes at least to hold so many.
    fn pieces(&self, level: usize, nodes: &Range<usize>, wanted: u64) -> usize {
        let mut fit: Vec<u64> = self
            .tree
            .parts(level, nodes)
            .iter()
            .map(|nodes| self.fit(nodes))
            .filter(|fit| *fit > 0)
            .collect();
        fit.sort_unstable_by(|a, b| b.cmp(a));
        let held = sums(fit.into_iter());
        held.partition_point(|held| *held < wanted)
    }

    fn rank(&self, level: usize, domain: &Domain, wanted: u64) -> Rank {
        let around = (0..=level).rev().filter_map(|level| self.tree.around(level, domain.nodes.start));
        let free = around.map(|domain| self.free(&domain.nodes)).collect();
        (self.pieces(level + 1, &domain.nodes, wanted), free, domain.value)
    }

    /// Divides replicas among the domains of a level, and these among finer ones: those where others of the gang are come first, then those that
    /// hold most, and what is left goes to the tightest that holds it. Says which nodes get how many.
    fn share(&self, level: usize, nodes: Range<usize>, wanted: u64, shares: &mut Vec<(Range<usize>, u64)>) {
        if self.tree.within(level, &nodes).is_empty() {
            shares.push((nodes, wanted));
            return;
        }
        let piece = |nodes: Range<usize>| Piece {
            used: self.used(&nodes),
            fit: self.fit(&nodes),
            free: self.free(&nodes),
            nodes,
        };
        let mut pieces: Vec<Piece> = self.tree.parts(level, &nodes).into_iter().map(piece).collect();
        pieces.sort_unstable_by_key(|piece| (!piece.used, Reverse(piece.fit), piece.free, piece.nodes.start));
        let mut left = wanted;
        for (at, piece) in pieces.iter().enumerate() {
            let holds = pieces[at..].iter().take_while(|other| other.used == piece.used && other.fit >= left);
            let tightest =
                |other: &&Piece| (self.pieces(level + 1, &other.nodes, left), other.free, other.nodes.start);
            if let Some(tightest) = holds.min_by_key(tightest) {
                self.share(level + 1, tightest.nodes.clone(), left, shares);
                return;
            }
            if piece.fit > 0 {
                self.share(level + 1, piece.nodes.clone(), piece.fit, shares);
                left -= piece.fit;
            }
        }
    }

    /// How many fit at best, and in which domain of the label that is asked for, where they must share one.
    fn misfit(
        mut self,
        rooms: &Rooms,
        part: &Part,
        how: Try<'_>,
        levels: &Levels,
        inside: &Range<usize>,
    ) -> Misfit {
        let most = |fit: u64| u32::try_from(fit.min(count(part))).unwrap_or(u32::MAX);
        if how.pin.is_some() || !how.pool.bound() {
            return Misfit { fit: most(self.fit(inside)), domain: how.pin };
        }
        let domains = &self.tree.levels[levels.named];
        let fit = domains.iter().map(|domain| most(self.fit(&domain.nodes))).max().unwrap_or(0);
        self.weigh(rooms, part, how);
        let best = domains.iter().filter(|domain| most(self.fit(&domain.nodes)) == fit);
        let best = best.map(|domain| (self.free(&domain.nodes), domain.value)).min();
        Misfit { fit, domain: best.map(|(_, value)| value) }
    }
}
