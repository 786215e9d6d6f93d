//! What runs and what is promised, in the pieces in which it can be taken back: a gang whole, or one replica above it.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use crate::model::{Class, Hold, Millis, NodeIx, Placement, Preemptible, Shape, Snapshot};
use crate::place::{Choice, Part, Shapes, Want};
use crate::reason::Reason;
use crate::room::{Rooms, View};
use crate::tree::{Asker, Charge, Counted, Demand, Tree, Vertex, demand_more, model_at};

/// Index into [`Work::pieces`].
pub(crate) type PieceIx = usize;

/// One replica of a piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    pub role: u16,
    pub replica: u32,
    pub node: NodeIx,
    pub each: Shape,
    pub gpus: Vec<(u16, i64)>,
}

/// What can be taken back only together.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub job: usize,
    pub leaf: Vertex,
    pub line: Vertex,
    pub spots: Vec<Spot>,
    pub demands: Vec<Demand>,
    pub charge: Charge,
    /// Above the gang's minimum.
    pub surplus: bool,
    /// Not running yet: room is kept for it.
    pub promised: bool,
    /// Decided in this very cycle: not to be taken back in it.
    pub fresh: bool,
    pub alive: bool,
    pub started: Millis,
}

/// What a job has.
#[derive(Clone, Debug, Default)]
pub(crate) struct Has {
    /// Replicas that stay, by role.
    pub live: Vec<BTreeSet<u32>>,
    /// Replicas that are promised, by role.
    pub promised: Vec<BTreeSet<u32>>,
    /// Replicas that are going, by role.
    pub going: Vec<BTreeSet<u32>>,
    /// A node that does not answer, on which a replica is going.
    pub unconfirmed: Option<NodeIx>,
    pub pieces: Vec<PieceIx>,
    /// A node on which it runs, by which a topology domain is known.
    pub node: Option<NodeIx>,
    /// Something of it is taken back in this cycle.
    revoked: bool,
    /// How it is counted against limits of jobs now.
    counted: Counted,
}

impl Has {
    pub fn runs(&self) -> bool {
        self.live.iter().any(|replicas| !replicas.is_empty())
    }

    /// A node by which its topology domain is known, if anything runs or is promised.
    pub fn anchor(&self) -> Option<NodeIx> {
        self.node.filter(|_| self.runs() || self.is_promised())
    }

    pub fn is_promised(&self) -> bool {
        self.promised.iter().any(|replicas| !replicas.is_empty())
    }

    pub fn going(&self) -> u32 {
        u32::try_from(self.going.iter().map(BTreeSet::len).sum::<usize>()).unwrap_or(u32::MAX)
    }

    fn counts(&self) -> Counted {
        if self.runs() {
            Counted::Stays
        } else if self.is_promised() {
            Counted::Promised
        } else if self.revoked || self.going.iter().any(|replicas| !replicas.is_empty()) {
            Counted::Going
        } else {
            Counted::Not
        }
    }

    /// May these replicas start, as far as the job's own former replicas are concerned?
    pub fn clear_of_going(&self, placements: &[Placement]) -> bool {
        if !self.runs() {
            return self.going() == 0;
        }
        placements.iter().all(|p| !self.going[usize::from(p.role)].contains(&p.replica))
    }
}

/// All pieces, and who has which.
pub(crate) struct Work {
    pub pieces: Vec<Piece>,
    pub has: Vec<Has>,
    /// Pieces by the leaf they are charged to, best effort apart.
    pub of_leaf: Vec<Vec<PieceIx>>,
    pub spare: Vec<PieceIx>,
    /// Replicas of others that are going, by node.
    pub going_on: Vec<u32>,
}

impl Work {
    /// Reads holdings and those promises that still stand; charges them to `tree` (and promises to `rooms`).
    pub fn new(snapshot: &Snapshot, tree: &mut Tree, rooms: &mut Rooms, shapes: &Shapes) -> Self {
        let mut work = Self {
            pieces: Vec::new(),
            has: snapshot.jobs.iter().map(|job| blank(job.request.roles.len())).collect(),
            of_leaf: vec![Vec::new(); tree.len()],
            spare: Vec::new(),
            going_on: vec![0; snapshot.nodes.len()],
        };
        let mut live: Vec<Vec<(Millis, Spot)>> = vec![Vec::new(); snapshot.jobs.len()];
        for held in &snapshot.holdings {
            let job = &snapshot.jobs[held.job.at()];
            let has = &mut work.has[held.job.at()];
            if held.going {
                has.going[usize::from(held.role)].insert(held.replica);
                if snapshot.nodes[held.node.at()].lost {
                    has.unconfirmed = Some(held.node);
                }
                work.going_on[held.node.at()] += 1;
                let mut demand = Demand { model: model_at(snapshot, held.node), ..Demand::default() };
                demand.add(&held.each, 1);
                tree.add_going(tree.leaf(job.account, job.user), demand, job.class == Class::BestEffort);
                continue;
            }
            has.live[usize::from(held.role)].insert(held.replica);
            has.node = Some(has.node.map_or(held.node, |node| node.min(held.node)));
            let spot = Spot {
                role: held.role,
                replica: held.replica,
                node: held.node,
                each: held.each,
                gpus: held.gpus.clone(),
            };
            live[held.job.at()].push((held.started, spot));
        }
        for (job, mut spots) in live.into_iter().enumerate() {
            spots.sort_by_key(|(_, spot)| (spot.role, spot.replica));
            let mut left: Vec<u32> = snapshot.jobs[job].request.roles.iter().map(|role| role.min).collect();
            work.split(snapshot, tree, job, spots, &mut left, false);
        }
        for (job, of) in snapshot.jobs.iter().enumerate() {
            let leaf = tree.leaf(of.account, of.user);
            work.recount(tree, leaf, job);
        }
        work.classify(snapshot, tree);
        let mut holds: Vec<&Hold> = snapshot.holds.iter().collect();
        holds.sort_by_key(|hold| (hold.since, hold.job));
        for hold in holds {
            work.promise_again(snapshot, tree, rooms, hold, shapes);
        }
        work
    }

    /// Makes pieces of a job's replicas: the gang as one, each above it by itself.
    fn split(
        &mut self,
        snapshot: &Snapshot,
        tree: &Tree,
        job: usize,
        spots: Vec<(Millis, Spot)>,
        left: &mut [u32],
        promised: bool,
    ) {
        let mut gang: Vec<Spot> = Vec::new();
        let mut gang_started = Millis::MAX;
        for (started, spot) in spots {
            let left = &mut left[usize::from(spot.role)];
            if *left > 0 {
                *left -= 1;
                gang_started = gang_started.min(started);
                gang.push(spot);
            } else {
                self.push(snapshot, tree, job, vec![spot], started, (true, promised));
            }
        }
        if !gang.is_empty() {
            self.push(snapshot, tree, job, gang, gang_started, (false, promised));
        }
    }

    fn push(
        &mut self,
        snapshot: &Snapshot,
        tree: &Tree,
        job: usize,
        spots: Vec<Spot>,
        started: Millis,
        (surplus, promised): (bool, bool),
    ) -> PieceIx {
        let of = &snapshot.jobs[job];
        let mut demands = Vec::new();
        for spot in &spots {
            demand_more(&mut demands, &spot.each, model_at(snapshot, spot.node));
        }
        let ix = self.pieces.len();
        let leaf = tree.leaf(of.account, of.user);
        let list = if of.class == Class::BestEffort { &mut self.spare } else { &mut self.of_leaf[leaf] };
        list.push(ix);
        self.has[job].pieces.push(ix);
        self.pieces.push(Piece {
            job,
            leaf,
            line: tree.line(of.account),
            spots,
            demands,
            charge: Charge { inside: 0, best_effort: of.class == Class::BestEffort },
            surplus,
            promised,
            fresh: false,
            alive: true,
            started,
        });
        ix
    }

    /// Which pieces are inside the guarantee, at every level: what may not be preempted first, then gangs, by priority.
    fn classify(&mut self, snapshot: &Snapshot, tree: &mut Tree) {
        let mut order: Vec<PieceIx> = (0..self.pieces.len()).collect();
        order.sort_by_cached_key(|ix| {
            let piece = &self.pieces[*ix];
            let job = &snapshot.jobs[piece.job];
            let never = job.preemptible == Preemptible::Never;
            (!never, piece.surplus, Reverse(job.priority), job.submitted, piece.job, *ix)
        });
        // at an inner level, what a child was promised goes before what its sibling borrows
        let deepest = order.iter().map(|ix| tree.depth(self.pieces[*ix].leaf)).max().unwrap_or(0);
        for depth in (1..=deepest).rev() {
            if depth < deepest {
                let below = 1u64 << (depth + 1);
                order.sort_by_key(|ix| {
                    let piece = &self.pieces[*ix];
                    let never = snapshot.jobs[piece.job].preemptible == Preemptible::Never;
                    (!never, piece.charge.inside & below == 0)
                });
            }
            for ix in &order {
                let piece = &mut self.pieces[*ix];
                let Some(vertex) = tree.path(piece.leaf).find(|v| tree.depth(*v) == depth) else { continue };
                if !piece.charge.best_effort && tree.covers(vertex, &piece.demands) {
                    piece.charge.inside |= 1 << depth;
                }
                tree.add_at(vertex, &piece.demands, piece.charge);
            }
        }
    }

    /// A promise of the last cycle stands while its room is there or coming, and limits allow it.
    fn promise_again(
        &mut self,
        snapshot: &Snapshot,
        tree: &mut Tree,
        rooms: &mut Rooms,
        hold: &Hold,
        shapes: &Shapes,
    ) {
        let job = hold.job.at();
        let of = &snapshot.jobs[job];
        if of.closed || self.has[job].unconfirmed.is_some() || self.has[job].is_promised() {
            return;
        }
        let mut spots = Vec::new();
        let mut left = Vec::new();
        for (index, role) in of.request.roles.iter().enumerate() {
            let live = u32::try_from(self.has[job].live[index].len()).unwrap_or(u32::MAX);
            left.push(role.min.saturating_sub(live));
        }
        let mut sorted = hold.placements.clone();
        sorted.sort();
        sorted.dedup_by_key(|p| (p.role, p.replica));
        sorted.retain(|p| !self.has[job].live[usize::from(p.role)].contains(&p.replica));
        let mut taken: Vec<Spot> = Vec::new();
        let pool = shapes.pool(job);
        for place in sorted {
            let each = of.request.roles[usize::from(place.role)].each;
            let gpus: i64 = place.gpus.iter().map(|(_, milli)| milli).sum();
            let allowed = pool.nodes(&each, Choice::Mixed).binary_search(&place.node).is_ok();
            let fits = allowed && gpus == each.gpu && rooms.has(View::Soon, place.node, &each, &place.gpus);
            if !fits {
                continue;
            }
            rooms.take(View::Soon, place.node, &each, &place.gpus);
            let spot =
                Spot { role: place.role, replica: place.replica, node: place.node, each, gpus: place.gpus };
            taken.push(spot.clone());
            spots.push((hold.since, spot));
        }
        let mut counts = vec![0u32; left.len()];
        for spot in &taken {
            counts[usize::from(spot.role)] += 1;
        }
        let whole = counts.iter().zip(&left).all(|(have, need)| have >= need);
        let mut demands = Vec::new();
        for spot in &taken {
            demand_more(&mut demands, &spot.each, model_at(snapshot, spot.node));
        }
        let leaf = tree.leaf(of.account, of.user);
        let asker = Asker { leaf, best_effort: of.class == Class::BestEffort, enters: !self.has[job].runs() };
        if !whole || tree.bound(asker, &demands, false).is_some() {
            for spot in &taken {
                rooms.give(View::Soon, spot.node, &spot.each, &spot.gpus);
            }
            return;
        }
        let first = self.pieces.len();
        self.split(snapshot, tree, job, spots, &mut left, true);
        for ix in first..self.pieces.len() {
            self.charge_new(tree, ix);
        }
    }

    /// Charges a piece that is new to the tree, inside the guarantee where it fits.
    fn charge_new(&mut self, tree: &mut Tree, ix: PieceIx) {
        let piece = &mut self.pieces[ix];
        if !piece.charge.best_effort {
            piece.charge.inside = tree.covered(piece.leaf, &piece.demands);
        }
        tree.add(piece.leaf, &piece.demands, piece.charge);
        let replicas = piece.spots.iter().map(|spot| (usize::from(spot.role), spot.replica));
        let has = &mut self.has[piece.job];
        let set = if piece.promised { &mut has.promised } else { &mut has.live };
        for (role, replica) in replicas {
            set[role].insert(replica);
        }
        has.node = piece.spots.first().map(|spot| spot.node);
        let (leaf, job) = (piece.leaf, piece.job);
        self.recount(tree, leaf, job);
    }

    /// Counts a job anew, after what it has changed.
    fn recount(&mut self, tree: &mut Tree, leaf: Vertex, job: usize) {
        let has = &mut self.has[job];
        let now = has.counts();
        if now != has.counted {
            tree.recount(leaf, has.counted, now);
            has.counted = now;
        }
    }

    /// Something of a job is taken back for good: the job counts until that is gone.
    pub fn revoked(&mut self, tree: &mut Tree, leaf: Vertex, job: usize) {
        self.has[job].revoked = true;
        self.recount(tree, leaf, job);
    }

    /// A job as it is measured against limits.
    pub fn asker(&self, snapshot: &Snapshot, tree: &Tree, job: usize) -> Asker {
        let (of, has) = (&snapshot.jobs[job], &self.has[job]);
        let enters = !has.runs() && !has.is_promised();
        Asker { leaf: tree.leaf(of.account, of.user), best_effort: of.class == Class::BestEffort, enters }
    }

    /// Adds what was decided in this cycle (its room is charged already).
    pub fn decided(
        &mut self,
        snapshot: &Snapshot,
        tree: &mut Tree,
        job: usize,
        placements: &[Placement],
        (surplus, promised): (bool, bool),
    ) -> PieceIx {
        let roles = &snapshot.jobs[job].request.roles;
        let spots = placements.iter().map(|p| Spot {
            role: p.role,
            replica: p.replica,
            node: p.node,
            each: roles[usize::from(p.role)].each,
            gpus: p.gpus.clone(),
        });
        let ix = self.push(snapshot, tree, job, spots.collect(), snapshot.now, (surplus, promised));
        self.freshen(job);
        self.charge_new(tree, ix);
        ix
    }

    /// A job that got something in this cycle loses nothing in it.
    fn freshen(&mut self, job: usize) {
        for ix in &self.has[job].pieces {
            self.pieces[*ix].fresh = true;
        }
    }

    /// A promise whose room is free now: it is granted.
    pub fn keep_promise(&mut self, tree: &mut Tree, ix: PieceIx) {
        self.freshen(self.pieces[ix].job);
        let piece = &mut self.pieces[ix];
        piece.promised = false;
        let has = &mut self.has[piece.job];
        has.node = piece.spots.first().map(|spot| spot.node);
        for spot in &piece.spots {
            has.promised[usize::from(spot.role)].remove(&spot.replica);
            has.live[usize::from(spot.role)].insert(spot.replica);
        }
        let (leaf, job) = (piece.leaf, piece.job);
        self.recount(tree, leaf, job);
    }

    /// Takes a piece away, in thought: its room comes free soon.
    pub fn evict(&mut self, tree: &mut Tree, rooms: &mut Rooms, ix: PieceIx) {
        let piece = &mut self.pieces[ix];
        piece.alive = false;
        tree.remove(piece.leaf, &piece.demands, piece.charge);
        let has = &mut self.has[piece.job];
        let set = if piece.promised { &mut has.promised } else { &mut has.live };
        for spot in &piece.spots {
            rooms.give(View::Soon, spot.node, &spot.each, &spot.gpus);
            set[usize::from(spot.role)].remove(&spot.replica);
        }
        let (leaf, job) = (piece.leaf, piece.job);
        self.recount(tree, leaf, job);
    }

    /// Undoes [`Work::evict`].
    pub fn restore(&mut self, tree: &mut Tree, rooms: &mut Rooms, ix: PieceIx) {
        let piece = &mut self.pieces[ix];
        piece.alive = true;
        tree.add(piece.leaf, &piece.demands, piece.charge);
        let has = &mut self.has[piece.job];
        let set = if piece.promised { &mut has.promised } else { &mut has.live };
        for spot in &piece.spots {
            rooms.take(View::Soon, spot.node, &spot.each, &spot.gpus);
            set[usize::from(spot.role)].insert(spot.replica);
        }
        let (leaf, job) = (piece.leaf, piece.job);
        self.recount(tree, leaf, job);
    }

    /// Everything else of a job that cannot stay once its gang is gone.
    pub fn surplus_of(&self, job: usize) -> Vec<PieceIx> {
        let pieces = self.has[job].pieces.iter().copied();
        pieces.filter(|ix| self.pieces[*ix].surplus && self.pieces[*ix].alive).collect()
    }

    /// What a job lacks of its gang (which may be nothing), or one replica above it.
    pub fn missing(&self, snapshot: &Snapshot, job: usize, growth: bool) -> Want {
        let has = &self.has[job];
        let mut parts = Vec::new();
        for (index, role) in snapshot.jobs[job].request.roles.iter().enumerate() {
            let taken = has.live[index].len() + has.promised[index].len();
            let goal = if growth { role.replicas } else { role.min } as usize;
            let count = goal.saturating_sub(taken).min(if growth { 1 } else { usize::MAX });
            if count == 0 {
                continue;
            }
            let free = |r: &u32| !has.live[index].contains(r) && !has.promised[index].contains(r);
            // replicas that are not going first: they can start at once
            let (mut ready, going): (Vec<u32>, Vec<u32>) =
                (0..role.replicas).filter(free).partition(|r| !has.going[index].contains(r));
            ready.extend(going);
            ready.truncate(count);
            parts.push(Part {
                role: u16::try_from(index).unwrap_or(u16::MAX),
                each: role.each,
                replicas: ready,
            });
            if growth {
                break;
            }
        }
        Want { parts }
    }

    /// Why a job's own past keeps it, if it does.
    pub fn own_past(&self, job: usize) -> Option<Reason> {
        let has = &self.has[job];
        match (has.unconfirmed, has.going()) {
            (Some(node), _) => Some(Reason::NodeUnconfirmed { node }),
            (None, going) if going > 0 => Some(Reason::StillEnding { going }),
            _ => None,
        }
    }
}

fn blank(roles: usize) -> Has {
    Has {
        live: vec![BTreeSet::new(); roles],
        promised: vec![BTreeSet::new(); roles],
        going: vec![BTreeSet::new(); roles],
        ..Has::default()
    }
}
