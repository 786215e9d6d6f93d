//! The turns of all lines, in order: what does not change from cycle to cycle.

use std::collections::{BTreeMap, BTreeSet};

use super::Turn;
use crate::model::{Class, Job, Millis, Queueing, Snapshot, WHOLE_GPU};
use crate::order::{self, Order, Standing, Tuning};
use crate::predict::{Prediction, Predictor, Traits};
use crate::shapes::{Ask, AskIx, Kin, Shapes};
use crate::tree::Vertex;

/// A turn that waits in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub place: Place,
    pub runs: Millis,
    pub ask: u32,
}

/// In what order turns of a line come.
pub(super) type Place = (bool, order::Rank, u32);

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
}

/// What the turns of one bucket have in common: they are judged alike, but for cpu, memory and how long they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Kind {
    pub kin: Kin,
    pub leaf: Vertex,
    pub priority: i32,
    pub growth: bool,
    pub new: bool,
}

/// The least that any turn of a bucket asks for in all, and how long the shortest of them runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Modest {
    pub cpu: i64,
    pub memory: i64,
    pub runs: Millis,
}

impl Modest {
    const NOBODY: Self = Self { cpu: i64::MAX, memory: i64::MAX, runs: Millis::MAX };

    fn of(entry: &Entry, asks: &[Ask]) -> Self {
        let ask = &asks[entry.ask as usize];
        Self { cpu: ask.cpu, memory: ask.memory, runs: entry.runs }
    }

    fn both(self, other: Self) -> Self {
        Self {
            cpu: self.cpu.min(other.cpu),
            memory: self.memory.min(other.memory),
            runs: self.runs.min(other.runs),
        }
    }
}

/// Turns of one kind in a line, in order.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    pub kind: Kind,
    pub entries: Vec<Entry>,
    pub modest: Modest,
}

impl Bucket {
    fn first(&self) -> Option<Place> {
        self.entries.first().map(|entry| entry.place)
    }

    pub fn turn(&self, at: usize, line: Vertex) -> Option<Turn> {
        let entry = self.entries.get(at)?;
        let Kind { leaf, priority, growth, new, .. } = self.kind;
        let (job, ask) = (entry.place.2 as usize, entry.ask as usize);
        Some(Turn { job, growth, line, ask, leaf, priority, runs: entry.runs, new })
    }

    fn count(&mut self, asks: &[Ask]) {
        let all = self.entries.iter().map(|entry| Modest::of(entry, asks));
        self.modest = all.fold(Modest::NOBODY, Modest::both);
    }
}

/// The turns of one account.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    pub buckets: Vec<Bucket>,
    by_kind: BTreeMap<Kind, usize>,
    /// The first turns of the buckets that have any, in order, once they were sorted.
    pub firsts: Vec<(Place, usize)>,
    /// How many turns there are.
    pub turns: usize,
}

impl Line {
    /// The ordinal of a bucket.
    pub fn bucket(&self, kind: &Kind) -> Option<usize> {
        self.by_kind.get(kind).copied()
    }

    fn bucket_at(&mut self, kind: Kind) -> usize {
        *self.by_kind.entry(kind).or_insert_with(|| {
            self.buckets.push(Bucket { kind, entries: Vec::new(), modest: Modest::NOBODY });
            self.buckets.len() - 1
        })
    }

    fn sort(&mut self) {
        for bucket in &mut self.buckets {
            if !bucket.entries.is_sorted_by_key(|entry| entry.place) {
                bucket.entries.sort_unstable_by_key(|entry| entry.place);
            }
        }
        let first = |(ix, bucket): (usize, &Bucket)| Some((bucket.first()?, ix));
        self.firsts = self.buckets.iter().enumerate().filter_map(first).collect();
        self.firsts.sort_unstable();
    }

    /// A bucket may have another first turn than before.
    fn settle_first(&mut self, ix: usize, before: Option<Place>) {
        let now = self.buckets[ix].first();
        if now == before {
            return;
        }
        if let Some(at) = before.and_then(|place| self.firsts.binary_search(&(place, ix)).ok()) {
            self.firsts.remove(at);
        }
        if let Some(place) = now {
            let at = self.firsts.partition_point(|first| *first < (place, ix));
            self.firsts.insert(at, (place, ix));
        }
    }
}

/// All lines.
#[derive(Clone, Debug)]
pub(crate) struct Lines {
    ruler: Ruler,
    guaranteed: Vec<Line>,
    best_effort: Vec<Line>,
    /// Buckets that lost whoever asked for least.
    uncounted: BTreeSet<(Class, Vertex, usize)>,
}

impl Lines {
    pub fn new(snapshot: &Snapshot, lines: usize) -> Self {
        let none = vec![Line::default(); lines];
        let uncounted = BTreeSet::new();
        Self { ruler: Ruler::new(snapshot), guaranteed: none.clone(), best_effort: none, uncounted }
    }

    pub(super) fn of(&self, class: Class) -> &[Line] {
        match class {
            Class::Guaranteed => &self.guaranteed,
            Class::BestEffort => &self.best_effort,
        }
    }

    fn line(&mut self, class: Class, line: Vertex) -> &mut Line {
        match class {
            Class::Guaranteed => &mut self.guaranteed[line],
            Class::BestEffort => &mut self.best_effort[line],
        }
    }

    /// The place of a turn in its line.
    pub(super) fn place(&self, snapshot: &Snapshot, turn: Turn) -> Place {
        let rank = self.ruler.rank(&snapshot.jobs[turn.job]);
        (turn.growth, rank, u32::try_from(turn.job).unwrap_or(u32::MAX))
    }

    fn entry(&self, snapshot: &Snapshot, turn: Turn) -> Entry {
        let ask = u32::try_from(turn.ask).unwrap_or(u32::MAX);
        Entry { place: self.place(snapshot, turn), runs: turn.runs, ask }
    }

    /// Adds a turn at the end of its bucket; see [`Lines::sort`].
    pub fn push(&mut self, snapshot: &Snapshot, shapes: &Shapes, class: Class, turn: Turn) {
        let entry = self.entry(snapshot, turn);
        let line = self.line(class, turn.line);
        line.turns += 1;
        let ix = line.bucket_at(kind(shapes, turn));
        let bucket = &mut line.buckets[ix];
        bucket.modest = bucket.modest.both(Modest::of(&entry, &shapes.asks));
        bucket.entries.push(entry);
    }

    /// Brings all lines in order.
    pub fn sort(&mut self) {
        self.guaranteed.iter_mut().chain(&mut self.best_effort).for_each(Line::sort);
    }

    /// Adds a turn in its place.
    pub fn insert(&mut self, snapshot: &Snapshot, shapes: &Shapes, class: Class, turn: Turn) {
        let new = self.entry(snapshot, turn);
        let line = self.line(class, turn.line);
        line.turns += 1;
        let ix = line.bucket_at(kind(shapes, turn));
        let bucket = &mut line.buckets[ix];
        let before = bucket.first();
        let at = bucket.entries.partition_point(|other| other.place < new.place);
        bucket.modest = bucket.modest.both(Modest::of(&new, &shapes.asks));
        bucket.entries.insert(at, new);
        line.settle_first(ix, before);
    }

    /// Finds anew what is least asked for where that went; needed before turns are judged by it.
    pub fn settle(&mut self, shapes: &Shapes) {
        for (class, line, ix) in std::mem::take(&mut self.uncounted) {
            self.line(class, line).buckets[ix].count(&shapes.asks);
        }
    }

    /// Takes a job's turn out of its line (see [`Lines::settle`]); the snapshot and the shapes must still know the job as it was.
    pub fn remove(&mut self, snapshot: &Snapshot, shapes: &Shapes, class: Class, turn: Turn) {
        let old = self.entry(snapshot, turn);
        let line = self.line(class, turn.line);
        let Some(ix) = line.bucket(&kind(shapes, turn)) else { return };
        let bucket = &mut line.buckets[ix];
        let (before, mut uncounted) = (bucket.first(), false);
        let at = bucket.entries.partition_point(|other| other.place < old.place);
        if bucket.entries.get(at).is_some_and(|found| found.place == old.place) {
            bucket.entries.remove(at);
            line.turns -= 1;
            let (is, most) = (Modest::of(&old, &shapes.asks), bucket.modest);
            if is.cpu == most.cpu || is.memory == most.memory || is.runs == most.runs {
                uncounted = true;
            }
            line.settle_first(ix, before);
        }
        if uncounted {
            self.uncounted.insert((class, turn.line, ix));
        }
    }
}

pub(super) fn kind(shapes: &Shapes, turn: Turn) -> Kind {
    let kin = shapes.asks[turn.ask as AskIx].kin;
    Kind { kin, leaf: turn.leaf, priority: turn.priority, growth: turn.growth, new: turn.new }
}
