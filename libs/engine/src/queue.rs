//! Whose turn it is: below-guarantee first, then the least weighted dominant share of what is borrowed, level by level;
//! inside an account by priority, then by submission.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Class, Millis, Snapshot};
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
type Place = (bool, Reverse<i32>, Millis, u32);

/// The turns of all lines, in order: what does not change from cycle to cycle.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lines {
    guaranteed: Vec<Vec<Entry>>,
    best_effort: Vec<Vec<Entry>>,
}

fn place(snapshot: &Snapshot, entry: &Entry) -> Place {
    let job = &snapshot.jobs[entry.job as usize];
    (entry.growth, Reverse(job.priority), job.submitted, entry.job)
}

impl Lines {
    pub fn new(lines: usize) -> Self {
        Self { guaranteed: vec![Vec::new(); lines], best_effort: vec![Vec::new(); lines] }
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
        for line in self.guaranteed.iter_mut().chain(&mut self.best_effort) {
            if !line.is_sorted_by_key(|entry| place(snapshot, entry)) {
                line.sort_by_cached_key(|entry| place(snapshot, entry));
            }
        }
    }

    /// Adds a turn in its place.
    pub fn insert(&mut self, snapshot: &Snapshot, class: Class, turn: Turn) {
        let new = place(snapshot, &entry(turn));
        let line = self.line(class, turn.line);
        let at = line.partition_point(|other| place(snapshot, other) < new);
        line.insert(at, entry(turn));
    }

    /// Takes a job's turns out of a line; the snapshot must still know the job as it was.
    pub fn remove(&mut self, snapshot: &Snapshot, class: Class, turn: Turn) {
        let old = place(snapshot, &entry(turn));
        let line = self.line(class, turn.line);
        let at = line.partition_point(|other| place(snapshot, other) < old);
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

/// What orders siblings: owed a guarantee, share, then who has waited longest.
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
                first = Some((place(ground.snapshot, entry), next));
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
            Class::Guaranteed => ground.tree.share(vertex),
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
        if turn.growth && self.grown[turn.line].remove(&place(ground.snapshot, &entry(turn))).is_some() {
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
    pub fn grow(&mut self, snapshot: &Snapshot, turn: Turn) {
        self.grown[turn.line].insert(place(snapshot, &entry(turn)), turn);
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
