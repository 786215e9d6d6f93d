//! What runs and what is promised, in the pieces in which it can be taken back: a gang whole, or one replica above it.

mod before;
mod has;
mod pieces;
mod promise;
mod wants;

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::model::{Class, Holding, Millis, ModelIx, NodeIx, Placement, Preemptible, Shape, Snapshot};
use crate::room::{Rooms, View};
use crate::tree::{Asker, Charge, Counted, Demand, Tree, Vertex, model_at};

pub(crate) use has::Has;
use has::NOTHING;

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
    /// When it ends, by what its owner said.
    pub end: Option<Millis>,
}

/// All pieces, and who has which.
#[derive(Default)]
pub(crate) struct Work {
    pub pieces: Vec<Piece>,
    /// `None`: it has nothing.
    has: Vec<Option<Box<Has>>>,
    /// Pieces by the leaf they are charged to, best effort apart.
    pub of_leaf: Vec<Vec<PieceIx>>,
    pub spare: Vec<Vec<PieceIx>>,
    /// How many pieces of each leaf are above a minimum.
    pub surplus_in: Vec<u32>,
    /// How many pieces run as best effort.
    pub spares: usize,
    /// What they have in all: milli-cores, then milli-GPU of each model.
    spared: Vec<i64>,
    /// Pieces that run or are promised, by node.
    pub on_node: Vec<Vec<PieceIx>>,
    /// Replicas that are going, by node.
    pub going_on: Vec<u32>,
    /// When the first of those on a node ends, by what their owners said; no later than that.
    pub first_end: Vec<Millis>,
    /// Pieces for which room is kept.
    pub promised: Vec<PieceIx>,
    /// How many jobs hold something that stays.
    pub running: u32,
    /// Pieces that are no more, but have their number still.
    pub gone: usize,
    before: Before,
}

/// What was before a cycle touched it, so that everything can be put back.
#[derive(Default)]
struct Before {
    kept: bool,
    pieces: usize,
    running: u32,
    /// Base pieces that were touched.
    touched: Vec<PieceIx>,
    jobs: Vec<Touched>,
    /// Where a job is among them, from 1; 0: it was not touched.
    known: Vec<u32>,
}

/// A job that was touched.
struct Touched {
    job: usize,
    /// What it had before.
    has: Option<Box<Has>>,
    /// Where its grant is among all, from 1; 0: it got none.
    grant: u32,
}

impl Work {
    /// Reads holdings; charges them to `tree`.
    pub fn new(snapshot: &Snapshot, tree: &mut Tree) -> Self {
        let mut work = Self {
            has: vec![None; snapshot.jobs.len()],
            of_leaf: vec![Vec::new(); tree.len()],
            spare: vec![Vec::new(); tree.len()],
            surplus_in: vec![0; tree.len()],
            on_node: vec![Vec::new(); snapshot.nodes.len()],
            going_on: vec![0; snapshot.nodes.len()],
            first_end: vec![Millis::MAX; snapshot.nodes.len()],
            ..Self::default()
        };
        let mut order: Vec<u32> = (0u32..).take(snapshot.holdings.len()).collect();
        order.sort_by_key(|ix| {
            let held = &snapshot.holdings[*ix as usize];
            (held.job, held.role, held.replica)
        });
        let of = |ix: &u32| snapshot.holdings[*ix as usize].job;
        for held in order.chunk_by(|a, b| of(a) == of(b)) {
            let held = held.iter().map(|ix| &snapshot.holdings[*ix as usize]);
            work.read(snapshot, tree, of_first(held.clone()), held);
        }
        let all = (0..work.pieces.len()).collect();
        work.classify(snapshot, tree, all);
        work
    }

    /// Reads what one job holds, in order of role and replica; its pieces are charged to no guarantee yet.
    pub fn read<'h>(
        &mut self,
        snapshot: &Snapshot,
        tree: &mut Tree,
        job: usize,
        held: impl Iterator<Item = &'h Holding>,
    ) {
        let of = &snapshot.jobs[job];
        let leaf = tree.leaf(of.account, of.user);
        let mut spots = Vec::new();
        for held in held {
            let has = self.has_mut(job);
            if held.going {
                has.going.insert(held.role, held.replica);
                if snapshot.nodes[held.node.at()].lost {
                    has.unconfirmed = has.unconfirmed.max(Some(held.node));
                }
                self.going_on[held.node.at()] += 1;
                tree.add_going(leaf, going_demand(snapshot, held), of.class == Class::BestEffort, 1);
                continue;
            }
            has.live.insert(held.role, held.replica);
            has.node = Some(has.node.map_or(held.node, |node| node.min(held.node)));
            let spot = Spot {
                role: held.role,
                replica: held.replica,
                node: held.node,
                each: held.each,
                gpus: held.gpus.clone(),
            };
            spots.push((held.started, spot));
        }
        if !spots.is_empty() {
            let mut left: Vec<u32> = of.request.roles.iter().map(|role| role.min).collect();
            self.split(snapshot, tree, job, spots, &mut left, false);
        }
        self.recount(tree, leaf, job);
    }

    fn settle_first_end(&mut self, node: NodeIx) {
        let ends = self.on_node[node.at()].iter().filter_map(|ix| self.pieces[*ix].end);
        self.first_end[node.at()] = ends.min().unwrap_or(Millis::MAX);
    }

    /// Was a piece there when the cycle began?
    pub fn is_old(&self, ix: PieceIx) -> bool {
        !self.before.kept || ix < self.before.pieces
    }

    /// Forgets what a job has; `held` is what it was read from. `plain`: nothing is guaranteed in its branch, else that is to be charged anew.
    pub fn forget<'h>(
        &mut self,
        snapshot: &Snapshot,
        tree: &mut Tree,
        job: usize,
        held: impl Iterator<Item = &'h Holding>,
        plain: bool,
    ) {
        let of = &snapshot.jobs[job];
        let leaf = tree.leaf(of.account, of.user);
        for held in held.filter(|held| held.going) {
            self.going_on[held.node.at()] -= 1;
            tree.add_going(leaf, going_demand(snapshot, held), of.class == Class::BestEffort, -1);
        }
        let Some(has) = self.has[job].take() else { return };
        tree.recount(leaf, has.counted, Counted::Not);
        self.running -= u32::from(has.counted == Counted::Stays);
        for ix in &has.pieces {
            let piece = &mut self.pieces[*ix];
            piece.alive = false;
            if plain {
                tree.remove(leaf, &piece.demands, piece.charge);
            }
            self.surplus_in[leaf] -= u32::from(piece.surplus);
            let (best_effort, spots) = (piece.charge.best_effort, std::mem::take(&mut piece.spots));
            if best_effort {
                self.count_spare(*ix, -1);
            }
            let list = if best_effort { &mut self.spare[leaf] } else { &mut self.of_leaf[leaf] };
            list.retain(|other| other != ix);
            for node in nodes_of(&spots) {
                self.on_node[node.at()].retain(|other| other != ix);
                self.settle_first_end(node);
            }
        }
        self.gone += has.pieces.len();
    }

    /// Charges what a job has where nothing is guaranteed.
    pub fn charge_plainly(&self, tree: &mut Tree, job: usize) {
        for piece in self.has(job).pieces.iter().map(|ix| &self.pieces[*ix]) {
            tree.add(piece.leaf, &piece.demands, piece.charge);
        }
    }

    /// Counts a piece among those that run as best effort, or (by `sign`) no more.
    fn count_spare(&mut self, ix: PieceIx, sign: i64) {
        let demands = &self.pieces[ix].demands;
        for demand in demands {
            let model = demand.model.map_or(0, |model| 1 + model.at());
            self.spared.resize(self.spared.len().max(1 + model), 0);
            self.spared[0] += sign * demand.cpu;
            if model > 0 {
                self.spared[model] += sign * demand.gpu;
            }
        }
        self.spares = if sign > 0 { self.spares + 1 } else { self.spares - 1 };
    }

    /// What runs as best effort: milli-GPU of these models, or milli-cores. What was only taken back in this cycle counts still.
    pub fn spare_amount(&self, models: &[ModelIx], gpus: bool) -> i64 {
        let amount = |at: usize| self.spared.get(at).copied().unwrap_or(0);
        if gpus { models.iter().map(|model| amount(1 + model.at())).sum() } else { amount(0) }
    }

    /// Knows of so many jobs.
    pub fn grow_to(&mut self, jobs: usize) {
        if jobs > self.has.len() {
            self.has.resize(jobs, None);
        }
    }

    /// Charges anew all that runs below these vertices, which are a whole branch.
    pub fn charge_anew(&mut self, snapshot: &Snapshot, tree: &mut Tree, branch: &[Vertex]) {
        let mut pieces = Vec::new();
        for vertex in branch {
            tree.clear(*vertex);
            pieces.extend(self.of_leaf[*vertex].iter().chain(&self.spare[*vertex]).copied());
        }
        for ix in &pieces {
            self.pieces[*ix].charge.inside = 0;
        }
        self.classify(snapshot, tree, pieces);
    }

    /// What a job has.
    pub fn has(&self, job: usize) -> &Has {
        self.has[job].as_deref().unwrap_or(&NOTHING)
    }

    /// Has a job nothing at all?
    pub fn is_new(&self, job: usize) -> bool {
        self.has[job].as_ref().is_none_or(|has| has.is_nothing())
    }

    /// Had a job nothing at all when the cycle began?
    pub fn was_new(&self, job: usize) -> bool {
        match self.before.of(job) {
            Some(before) => before.as_ref().is_none_or(|has| has.is_nothing()),
            None => self.is_new(job),
        }
    }

    /// Had a job nothing that stays when the cycle began?
    pub fn was_idle(&self, job: usize) -> bool {
        match self.before.of(job) {
            Some(before) => before.as_ref().is_none_or(|has| !has.runs()),
            None => !self.has(job).runs(),
        }
    }

    fn has_mut(&mut self, job: usize) -> &mut Has {
        if self.before.kept {
            self.before.note(job, &self.has[job]);
        }
        self.has[job].get_or_insert_default()
    }

    fn piece_mut(&mut self, ix: PieceIx) -> &mut Piece {
        let piece = &mut self.pieces[ix];
        if self.before.kept && ix < self.before.pieces && piece.alive && !piece.fresh {
            self.before.touched.push(ix);
        }
        piece
    }

    /// Which pieces are inside the guarantee, at every level: what may not be preempted first, then gangs, by priority.
    fn classify(&mut self, snapshot: &Snapshot, tree: &mut Tree, mut order: Vec<PieceIx>) {
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
            // is the gang of a job inside here? It goes before what is above it
            let mut gangs: BTreeMap<usize, bool> = BTreeMap::new();
            for ix in &order {
                let piece = &mut self.pieces[*ix];
                let with_gang = !piece.surplus || gangs.get(&piece.job).copied().unwrap_or(false);
                let Some(vertex) = tree.path(piece.leaf).find(|v| tree.depth(*v) == depth) else { continue };
                if !piece.charge.best_effort && with_gang && tree.covers(vertex, &piece.demands) {
                    piece.charge.inside |= 1 << depth;
                }
                if !piece.surplus && self.surplus_in[piece.leaf] > 0 {
                    let inside = piece.charge.inside & (1 << depth) != 0;
                    gangs.entry(piece.job).and_modify(|all| *all &= inside).or_insert(inside);
                }
                tree.add_at(vertex, &piece.demands, piece.charge);
            }
        }
    }

    /// Where a piece may be inside the guarantee: what is above a gang only where its gang is. Else it would take by a right that
    /// the job has not, and lose by priority, with its gang, what it took.
    fn gang_inside(&self, ix: PieceIx) -> u64 {
        let piece = &self.pieces[ix];
        if piece.surplus { self.inside(piece.job) } else { u64::MAX }
    }

    /// The levels at which the gang of a job is inside the guarantee.
    pub fn inside(&self, job: usize) -> u64 {
        let pieces = self.has(job).pieces.iter().map(|ix| &self.pieces[*ix]);
        let gang = pieces.filter(|piece| !piece.surplus && piece.alive);
        gang.map(|piece| piece.charge.inside).reduce(|all, inside| all & inside).unwrap_or(0)
    }

    /// Charges a piece that is new to the tree, inside the guarantee where it fits.
    fn charge_new(&mut self, tree: &mut Tree, ix: PieceIx) {
        let with_gang = self.gang_inside(ix);
        let piece = &mut self.pieces[ix];
        if !piece.charge.best_effort {
            piece.charge.inside = with_gang & tree.owed(piece.leaf, &piece.demands);
        }
        tree.add(piece.leaf, &piece.demands, piece.charge);
        let (leaf, job) = (piece.leaf, piece.job);
        self.put_back(ix);
        let node = self.pieces[ix].spots.first().map(|spot| spot.node);
        self.has_mut(job).node = node;
        self.recount(tree, leaf, job);
    }

    /// Counts the replicas of a piece among what its job has.
    fn put_back(&mut self, ix: PieceIx) {
        let (job, promised) = (self.pieces[ix].job, self.pieces[ix].promised);
        let spots = std::mem::take(&mut self.pieces[ix].spots);
        let has = self.has_mut(job);
        let set = if promised { &mut has.promised } else { &mut has.live };
        for spot in &spots {
            set.insert(spot.role, spot.replica);
        }
        self.pieces[ix].spots = spots;
    }

    /// Counts a job anew, after what it has changed.
    fn recount(&mut self, tree: &mut Tree, leaf: Vertex, job: usize) {
        let Some(has) = &mut self.has[job] else { return };
        let now = has.counts();
        if now != has.counted {
            tree.recount(leaf, has.counted, now);
            self.running -= u32::from(has.counted == Counted::Stays);
            self.running += u32::from(now == Counted::Stays);
            has.counted = now;
        }
    }

    /// Something of a job is taken back for good: the job counts until that is gone.
    pub fn revoked(&mut self, tree: &mut Tree, leaf: Vertex, job: usize) {
        self.has_mut(job).revoked = true;
        self.recount(tree, leaf, job);
    }

    /// A job as it is measured against limits.
    pub fn asker(&self, snapshot: &Snapshot, tree: &Tree, job: usize) -> Asker {
        let (of, has) = (&snapshot.jobs[job], self.has(job));
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
        for at in 0..self.has(job).pieces.len() {
            let ix = self.has(job).pieces[at];
            self.piece_mut(ix).fresh = true;
        }
    }

    /// A promise whose room is free now: it is granted.
    pub fn keep_promise(&mut self, tree: &mut Tree, ix: PieceIx) {
        let (leaf, job) = (self.pieces[ix].leaf, self.pieces[ix].job);
        self.freshen(job);
        self.pieces[ix].promised = false;
        let spots = std::mem::take(&mut self.pieces[ix].spots);
        let has = self.has_mut(job);
        has.node = spots.first().map(|spot| spot.node);
        for spot in &spots {
            has.promised.remove(spot.role, spot.replica);
            has.live.insert(spot.role, spot.replica);
        }
        self.pieces[ix].spots = spots;
        self.recount(tree, leaf, job);
    }

    /// Takes a piece away, in thought: its room comes free soon.
    pub fn evict(&mut self, tree: &mut Tree, rooms: &mut Rooms, ix: PieceIx) {
        self.piece_mut(ix).alive = false;
        let spots = std::mem::take(&mut self.pieces[ix].spots);
        let piece = &self.pieces[ix];
        tree.remove(piece.leaf, &piece.demands, piece.charge);
        let (leaf, job, promised) = (piece.leaf, piece.job, piece.promised);
        let has = self.has_mut(job);
        let set = if promised { &mut has.promised } else { &mut has.live };
        for spot in &spots {
            rooms.give(View::Soon, spot.node, &spot.each, &spot.gpus);
            set.remove(spot.role, spot.replica);
        }
        self.pieces[ix].spots = spots;
        self.recount(tree, leaf, job);
    }

    /// Undoes [`Work::evict`].
    pub fn restore(&mut self, tree: &mut Tree, rooms: &mut Rooms, ix: PieceIx) {
        let piece = &mut self.pieces[ix];
        piece.alive = true;
        tree.add(piece.leaf, &piece.demands, piece.charge);
        for spot in &piece.spots {
            rooms.take(View::Soon, spot.node, &spot.each, &spot.gpus);
        }
        let (leaf, job) = (piece.leaf, piece.job);
        self.put_back(ix);
        self.recount(tree, leaf, job);
    }

    /// Everything else of a job that cannot stay once its gang is gone.
    pub fn surplus_of(&self, job: usize) -> Vec<PieceIx> {
        let pieces = self.has(job).pieces.iter().copied();
        pieces.filter(|ix| self.pieces[*ix].surplus && self.pieces[*ix].alive).collect()
    }

    /// What is given back with a piece: a gang takes with it what is above it.
    pub fn falls_with(&self, ix: PieceIx) -> Cow<'_, [Demand]> {
        let piece = &self.pieces[ix];
        let along = if piece.surplus { Vec::new() } else { self.surplus_of(piece.job) };
        if along.is_empty() {
            return Cow::Borrowed(&piece.demands);
        }
        let all = along.into_iter().chain([ix]).flat_map(|ix| self.pieces[ix].demands.iter().copied());
        Cow::Owned(all.collect())
    }
}

fn of_first<'h>(mut held: impl Iterator<Item = &'h Holding>) -> usize {
    held.next().map_or(0, |held| held.job.at())
}

/// What one replica that is going still asks of quota.
fn going_demand(snapshot: &Snapshot, held: &Holding) -> Demand {
    let mut demand = Demand { model: model_at(snapshot, held.node), ..Demand::default() };
    demand.add(&held.each, 1);
    demand
}

/// The nodes of spots, each once.
fn nodes_of(spots: &[Spot]) -> impl Iterator<Item = NodeIx> + use<> {
    // mostly it is one, and nothing is to be sorted
    let (one, several) = if let [one] = spots { (Some(one.node), &[][..]) } else { (None, spots) };
    let mut nodes: Vec<NodeIx> = several.iter().map(|spot| spot.node).collect();
    nodes.sort_unstable();
    nodes.dedup();
    one.into_iter().chain(nodes)
}
