//! Whose turn it is: below-guarantee first, then the least weighted dominant share of what is (and was) borrowed, level by level;
//! inside an account by priority, then by submission, or as [`crate::model::Settings::order`] says.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Class, Job, Millis, Queueing, Snapshot, WHOLE_GPU};
use crate::order::{self, Order, Standing, Tuning};
use crate::predict::{Prediction, Predictor, Traits};
use crate::shapes::{AskIx, Shapes};
use crate::tree::{Tree, Vertex};

/// A job's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    pub job: usize,
    /// One replica above the gang (and the turn comes again), or the gang.
    pub growth: bool,
    pub line: Vertex,
    pub ask: AskIx,
    /// What a turn is judged by before its job is looked at.
    pub leaf: Vertex,
    pub priority: i32,
    /// How long it runs once started; `Millis::MAX`: nobody said.
    pub runs: Millis,
    /// The job holds nothing.
    pub new: bool,
}

/// A turn that waits in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    runs: Millis,
    job: u32,
    ask: u32,
    leaf: u32,
    priority: i32,
    growth: bool,
    new: bool,
}

/// In what order turns of a line come.
type Place = (bool, order::Rank, u32);

/// By what the jobs of a line are ranked. As long as a job, the nodes and the settings stay what they are, so does its rank:
/// time alone brings no line out of order.
#[derive(Clone, Debug)]
struct Ruler {
    order: Order,
    tuning: Tuning,
    /// Milli-GPU of all nodes, open or not.
    pool_gpu: i64,
    /// What to think of a job of which nothing is known.
    guess: Option<Prediction>,
}

impl Ruler {
    fn new(snapshot: &Snapshot) -> Self {
        let order = match snapshot.settings.order {
            Queueing::Fifo => Order::Fifo,
            Queueing::Priority => Order::Priority,
            Queueing::Sjf => Order::Sjf,
            Queueing::Las => Order::Las,
        };
        let gpus: i64 = snapshot.nodes.iter().map(|node| i64::from(node.gpus)).sum();
        let guess = (order == Order::Sjf).then(|| Predictor::default().predict(&Traits::default()));
        Self { order, tuning: Tuning::default(), pool_gpu: (gpus * WHOLE_GPU).max(1), guess }
    }

    fn rank(&self, job: &Job) -> order::Rank {
        let mut standing =
            Standing { priority: job.priority, submitted: job.submitted, ..Standing::default() };
        if matches!(self.order, Order::Fifo | Order::Priority) {
            return order::rank(self.order, &self.tuning, self.pool_gpu, &standing);
        }
        let roles = job.request.roles.iter();
        standing.gpu = roles
            .map(|role| role.each.gpu.saturating_mul(i64::from(role.replicas)))
            .fold(0, i64::saturating_add);
        standing.served = job.served / standing.gpu.max(1);
        let told = job.expected_ms.filter(|all| *all > standing.served).map(|all| all - standing.served);
        standing.remaining = job.predicted_ms.or(told);
        standing.prediction = self.guess.as_ref().filter(|_| standing.remaining.is_none());
        order::rank(self.order, &self.tuning, self.pool_gpu, &standing)
    }

    fn place(&self, snapshot: &Snapshot, entry: &Entry) -> Place {
        (entry.growth, self.rank(&snapshot.jobs[entry.job as usize]), entry.job)
    }
}

/// The turns of all lines, in order: what does not change from cycle to cycle.
#[derive(Clone, Debug)]
pub(crate) struct Lines {
    ruler: Ruler,
    guaranteed: Vec<Vec<Entry>>,
    best_effort: Vec<Vec<Entry>>,
}

impl Lines {
    pub fn new(snapshot: &Snapshot, lines: usize) -> Self {
        let none = vec![Vec::new(); lines];
        Self { ruler: Ruler::new(snapshot), guaranteed: none.clone(), best_effort: none }
    }

    fn of(&self, class: Class) -> &[Vec<Entry>] {
        match class {
            Class::Guaranteed => &self.guaranteed,
            Class::BestEffort => &self.best_effort,
        }
    }

    fn line(&mut self, class: Class, line: Vertex) -> &mut Vec<Entry> {
        match class {
            Class::Guaranteed => &mut self.guaranteed[line],
            Class::BestEffort => &mut self.best_effort[line],
        }
    }

    /// Adds a turn at the end of its line; see [`Lines::sort`].
    pub fn push(&mut self, class: Class, turn: Turn) {
        self.line(class, turn.line).push(entry(turn));
    }

    /// Brings all lines in order.
    pub fn sort(&mut self, snapshot: &Snapshot) {
        let Self { ruler, guaranteed, best_effort } = self;
        for line in guaranteed.iter_mut().chain(best_effort) {
            if !line.is_sorted_by_key(|entry| ruler.place(snapshot, entry)) {
                line.sort_by_cached_key(|entry| ruler.place(snapshot, entry));
            }
        }
    }

    /// Adds a turn in its place.
    pub fn insert(&mut self, snapshot: &Snapshot, class: Class, turn: Turn) {
        let new = self.ruler.place(snapshot, &entry(turn));
        let at = self.of(class)[turn.line].partition_point(|other| self.ruler.place(snapshot, other) < new);
        let line = self.line(class, turn.line);
        line.insert(at, entry(turn));
    }

    /// Takes a job's turns out of a line; the snapshot must still know the job as it was.
    pub fn remove(&mut self, snapshot: &Snapshot, class: Class, turn: Turn) {
        let old = self.ruler.place(snapshot, &entry(turn));
        let at = self.of(class)[turn.line].partition_point(|other| self.ruler.place(snapshot, other) < old);
        let line = self.line(class, turn.line);
        if line.get(at).is_some_and(|found| found.job == entry(turn).job && found.growth == turn.growth) {
            line.remove(at);
        }
    }
}

fn entry(turn: Turn) -> Entry {
    let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Entry {
        runs: turn.runs,
        job: small(turn.job),
        ask: small(turn.ask),
        leaf: small(turn.leaf),
        priority: turn.priority,
        growth: turn.growth,
        new: turn.new,
    }
}

impl Entry {
    fn turn(&self, line: Vertex) -> Turn {
        Turn {
            job: self.job as usize,
            growth: self.growth,
            line,
            ask: self.ask as usize,
            leaf: self.leaf as usize,
            priority: self.priority,
            runs: self.runs,
            new: self.new,
        }
    }
}

/// What orders siblings: owed a guarantee, standing, then who has waited longest.
type Rank = (bool, i64, i64, usize);

#[derive(Clone, Copy)]
struct Head {
    turn: Turn,
    rank: Rank,
}

/// What a queue is asked about.
#[derive(Clone, Copy)]
pub(crate) struct Ground<'a> {
    pub snapshot: &'a Snapshot,
    pub shapes: &'a Shapes,
    pub tree: &'a Tree,
    pub lines: &'a Lines,
}

impl Ground<'_> {
    fn place(&self, entry: &Entry) -> Place {
        self.lines.ruler.place(self.snapshot, entry)
    }

    /// Would what the turn asks for be inside the guarantee of a vertex?
    fn owed(&self, vertex: Vertex, turn: Turn) -> bool {
        self.tree.promises(vertex)
            && self.shapes.asks[turn.ask].options.iter().any(|(_, demands)| self.tree.covers(vertex, demands))
    }
}

/// The order of turns of one class in one cycle.
pub(crate) struct Queue {
    class: Class,
    /// Where each line has come to.
    at: Vec<usize>,
    /// Turns that were not there when the cycle began: growth of gangs that it placed.
    grown: Vec<BTreeMap<Place, Turn>>,
    /// Turns that were taken out of their order.
    done: BTreeSet<(usize, bool)>,
    heads: Vec<Option<Head>>,
    ranked: Vec<BTreeSet<(Rank, Vertex)>>,
}

impl Queue {
    /// `skip` says which turns are passed over for this cycle.
    pub fn new(ground: Ground<'_>, class: Class, mut skip: impl FnMut(Turn) -> bool) -> Self {
        let vertices = ground.tree.len();
        let mut queue = Self {
            class,
            at: vec![0; vertices],
            grown: vec![BTreeMap::new(); vertices],
            done: BTreeSet::new(),
            heads: vec![None; vertices],
            ranked: vec![BTreeSet::new(); vertices],
        };
        let used = (0..vertices).filter(|line| !ground.lines.of(class)[*line].is_empty());
        let mut used: Vec<Vertex> = used.collect();
        used.sort_by_key(|line| Reverse(ground.tree.depth(*line)));
        for line in used {
            queue.refresh(ground, line, &mut skip);
        }
        queue
    }

    /// The next turn of a line.
    fn front(
        &mut self,
        ground: Ground<'_>,
        line: Vertex,
        skip: &mut impl FnMut(Turn) -> bool,
    ) -> Option<Turn> {
        let entries = &ground.lines.of(self.class)[line];
        let mut first = None;
        while let Some(entry) = entries.get(self.at[line]) {
            let next = entry.turn(line);
            let passed = !self.done.is_empty() && self.done.contains(&(next.job, next.growth));
            if !passed && !skip(next) {
                first = Some((ground.place(entry), next));
                break;
            }
            self.at[line] += 1;
        }
        if ground.tree.promises_to_people(line) && self.class == Class::Guaranteed {
            // a person below the own guarantee goes first
            let owed = entries[self.at[line]..].iter().map(|entry| entry.turn(line)).find(|turn| {
                turn.leaf != line
                    && ground.owed(turn.leaf, *turn)
                    && !self.done.contains(&(turn.job, turn.growth))
                    && !skip(*turn)
            });
            if owed.is_some() {
                return owed;
            }
        }
        let grown = self.grown[line].first_key_value().map(|(place, turn)| (*place, *turn));
        [first, grown].into_iter().flatten().min_by_key(|(place, _)| *place).map(|(_, turn)| turn)
    }

    fn rank(&self, ground: Ground<'_>, vertex: Vertex, turn: Turn) -> Rank {
        let share = match self.class {
            Class::Guaranteed => ground.tree.standing(vertex),
            Class::BestEffort => ground.tree.share_with_spare(vertex),
        };
        let owed = self.class == Class::Guaranteed && ground.owed(vertex, turn);
        (!owed, share, ground.snapshot.jobs[turn.job].submitted, turn.job)
    }

    /// Whose turn it is.
    pub fn next(&self) -> Option<Turn> {
        self.ranked[0].first().and_then(|(_, child)| self.heads[*child]).map(|head| head.turn)
    }

    /// Takes a turn out of its line.
    pub fn done(&mut self, ground: Ground<'_>, turn: Turn) {
        if turn.growth && self.grown[turn.line].remove(&ground.place(&entry(turn))).is_some() {
            return;
        }
        let next = ground.lines.of(self.class)[turn.line].get(self.at[turn.line]);
        if next.is_some_and(|next| (next.job, next.growth) == (entry(turn).job, turn.growth)) {
            self.at[turn.line] += 1;
        } else {
            self.done.insert((turn.job, turn.growth));
        }
    }

    /// A gang that was placed may grow, too.
    pub fn grow(&mut self, ground: Ground<'_>, turn: Turn) {
        self.grown[turn.line].insert(ground.place(&entry(turn)), turn);
    }

    /// Ranks a line and all above it anew, after its use or its turns changed.
    pub fn refresh(&mut self, ground: Ground<'_>, line: Vertex, skip: &mut impl FnMut(Turn) -> bool) {
        let mut vertex = line;
        let mut turn = self.front(ground, line, skip);
        while vertex != 0 {
            let parent = ground.tree.parent(vertex);
            if let Some(old) = self.heads[vertex] {
                self.ranked[parent].remove(&(old.rank, vertex));
            }
            self.heads[vertex] = turn.map(|turn| Head { turn, rank: self.rank(ground, vertex, turn) });
            if let Some(new) = self.heads[vertex] {
                self.ranked[parent].insert((new.rank, vertex));
            }
            turn =
                self.ranked[parent].first().and_then(|(_, child)| self.heads[*child]).map(|head| head.turn);
            vertex = parent;
        }
    }
}
