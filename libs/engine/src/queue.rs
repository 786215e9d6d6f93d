//! Whose turn it is: below-guarantee first, then the least weighted dominant share of what is (and was) borrowed, level by level;
//! inside an account by priority, then by submission, or as [`crate::model::Settings::order`] says.

mod lines;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use crate::model::{Class, Millis, Snapshot};
use crate::shapes::{AskIx, Shapes};
use crate::tree::{Demand, Tree, Vertex};

use lines::{Bucket, Place, kind};
pub(crate) use lines::{Kind, Lines, Modest};

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

/// Which turns are passed over for a cycle.
pub(crate) trait Pass {
    /// All of this kind in this line, of which none asks for less than that?
    fn all(&mut self, line: Vertex, kind: &Kind, least: Modest) -> bool;

    /// This one?
    fn one(&mut self, turn: Turn) -> bool;
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
    /// Would what the turn asks for be inside the guarantee of a vertex?
    fn owed(&self, vertex: Vertex, turn: Turn) -> bool {
        let owed =
            |demands: &[Demand]| self.tree.owed(turn.leaf, demands) & (1 << self.tree.depth(vertex)) != 0;
        self.tree.promises(vertex)
            && self.shapes.asks[turn.ask].options.iter().any(|(_, demands)| owed(demands))
    }
}

impl Ground<'_> {
    /// Might anybody in a bucket be inside the guarantee of a person? The least that any of them asks for is.
    fn may_be_owed(&self, bucket: &Bucket) -> bool {
        let Kind { kin, leaf, .. } = bucket.kind;
        let asked = &self.shapes.asks[self.shapes.first_of(kin)];
        let Modest { cpu, memory, .. } = bucket.modest;
        asked.options.iter().any(|(_, demands)| {
            let alone = demands.len() == 1;
            let least = |demand: &Demand| Demand {
                cpu: if alone { cpu } else { demand.cpu.min(1) },
                memory: if alone { memory } else { demand.memory.min(1) },
                ..*demand
            };
            let least: Vec<Demand> = demands.iter().map(least).collect();
            self.tree.owed(leaf, &least) & (1 << self.tree.depth(leaf)) != 0
        })
    }
}

/// Where a line has come to in a cycle.
#[derive(Default)]
struct Course {
    /// In each bucket.
    at: Vec<usize>,
    /// In which look at the line it was last asked of each bucket whether all of it is passed over, and how many looks there were.
    asked: Vec<u32>,
    looks: u32,
    /// How many buckets, by their first turns, were begun with.
    begun: usize,
    /// The first turns that are left of those, as they were when they were last looked at.
    firsts: BinaryHeap<Reverse<(Place, usize)>>,
    /// Turns that were not there when the cycle began: growth of gangs that it placed.
    grown: BTreeMap<Place, Turn>,
}

/// The order of turns of one class in one cycle.
pub(crate) struct Queue {
    class: Class,
    courses: Vec<Course>,
    /// Turns that were taken out of their order.
    done: BTreeSet<(usize, bool)>,
    heads: Vec<Option<Head>>,
    ranked: Vec<BTreeSet<(Rank, Vertex)>>,
}

impl Queue {
    pub fn new(ground: Ground<'_>, class: Class, pass: &mut impl Pass) -> Self {
        let vertices = ground.tree.len();
        let mut queue = Self {
            class,
            courses: Vec::new(),
            done: BTreeSet::new(),
            heads: vec![None; vertices],
            ranked: vec![BTreeSet::new(); vertices],
        };
        queue.courses.resize_with(vertices, Course::default);
        let used = (0..vertices).filter(|line| ground.lines.of(class)[*line].turns > 0);
        let mut used: Vec<Vertex> = used.collect();
        used.sort_by_key(|line| Reverse(ground.tree.depth(*line)));
        for line in used {
            let buckets = ground.lines.of(class)[line].buckets.len();
            (queue.courses[line].at, queue.courses[line].asked) = (vec![0; buckets], vec![0; buckets]);
            queue.refresh(ground, line, pass);
        }
        queue
    }

    /// The next turn of a line.
    fn front(&mut self, ground: Ground<'_>, line: Vertex, pass: &mut impl Pass) -> Option<Turn> {
        let lines::Line { buckets, firsts: order, .. } = &ground.lines.of(self.class)[line];
        let Self { courses, done, .. } = self;
        let Course { at: course_at, asked, looks, begun, firsts, .. } = &mut courses[line];
        // a person who is below the own guarantee may go before the first
        let people = ground.tree.promises_to_people(line) && self.class == Class::Guaranteed;
        if people {
            for (at, bucket) in course_at.iter_mut().zip(buckets) {
                if *at < bucket.entries.len() && pass.all(line, &bucket.kind, bucket.modest) {
                    *at = bucket.entries.len();
                }
            }
        }
        let mut first = None;
        *looks += 1;
        loop {
            while let Some((_, ix)) = order.get(*begun)
                && course_at[*ix] > 0
            {
                let left = buckets[*ix].entries.get(course_at[*ix]);
                firsts.extend(left.map(|entry| Reverse((entry.place, *ix))));
                *begun += 1;
            }
            let (new, old) = (order.get(*begun).copied(), firsts.peek().map(|Reverse(first)| *first));
            let Some((place, ix)) = [new, old].into_iter().flatten().min() else { break };
            let (bucket, at) = (&buckets[ix], &mut course_at[ix]);
            let is_old = *at > 0;
            let Some(next) = bucket.turn(*at, line) else {
                firsts.pop();
                continue;
            };
            // a line is asked only for what might come next, and for the others when that is passed over
            if std::mem::replace(&mut asked[ix], *looks) != *looks
                && !people
                && pass.all(line, &bucket.kind, bucket.modest)
            {
                *at = bucket.entries.len();
                // others are hardly better off
                let rest = buckets.iter().zip(course_at.iter_mut()).zip(asked.iter_mut());
                for ((bucket, at), asked) in rest {
                    let open = *at < bucket.entries.len() && std::mem::replace(asked, *looks) != *looks;
                    if open && pass.all(line, &bucket.kind, bucket.modest) {
                        *at = bucket.entries.len();
                    }
                }
                firsts.retain(|Reverse((_, ix))| course_at[*ix] < buckets[*ix].entries.len());
                continue;
            }
            if bucket.entries[*at].place == place {
                if !done.contains(&(next.job, next.growth)) && !pass.one(next) {
                    first = Some((place, next));
                    break;
                }
                *at += 1;
            }
            if is_old {
                firsts.pop();
                firsts.extend(bucket.entries.get(*at).map(|entry| Reverse((entry.place, ix))));
            }
        }
        if people {
            let owed = self.first_owed(ground, line, pass);
            if owed.is_some() {
                return owed;
            }
        }
        let grown = self.courses[line].grown.first_key_value().map(|(place, turn)| (*place, *turn));
        [first, grown].into_iter().flatten().min_by_key(|(place, _)| *place).map(|(_, turn)| turn)
    }

    /// The first turn of somebody who is below the own guarantee.
    fn first_owed(&self, ground: Ground<'_>, line: Vertex, pass: &mut impl Pass) -> Option<Turn> {
        let buckets = &ground.lines.of(self.class)[line].buckets;
        let first = |(ix, at): (usize, &usize)| {
            let bucket = &buckets[ix];
            let promised = bucket.kind.leaf != line && ground.tree.promises(bucket.kind.leaf);
            let entry = bucket.entries.get(*at).filter(|_| promised && ground.may_be_owed(bucket));
            entry.map(|entry| Reverse((entry.place, ix, *at)))
        };
        let mut firsts: BinaryHeap<_> = self.courses[line].at.iter().enumerate().filter_map(first).collect();
        while let Some(Reverse((_, ix, at))) = firsts.pop() {
            let Some(turn) = buckets[ix].turn(at, line) else { continue };
            if ground.owed(turn.leaf, turn)
                && !self.done.contains(&(turn.job, turn.growth))
                && !pass.one(turn)
            {
                return Some(turn);
            }
            if let Some(entry) = buckets[ix].entries.get(at + 1) {
                firsts.push(Reverse((entry.place, ix, at + 1)));
            }
        }
        None
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
        let course = &mut self.courses[turn.line];
        if turn.growth && course.grown.remove(&ground.lines.place(ground.snapshot, turn)).is_some() {
            return;
        }
        let line = &ground.lines.of(self.class)[turn.line];
        if let Some(ix) = line.bucket(&kind(ground.shapes, turn)) {
            let next = line.buckets[ix].turn(course.at[ix], turn.line);
            if next.is_some_and(|next| (next.job, next.growth) == (turn.job, turn.growth)) {
                course.at[ix] += 1;
                return;
            }
        }
        self.done.insert((turn.job, turn.growth));
    }

    /// A gang that was placed may grow, too.
    pub fn grow(&mut self, ground: Ground<'_>, turn: Turn) {
        self.courses[turn.line].grown.insert(ground.lines.place(ground.snapshot, turn), turn);
    }

    /// Ranks a line and all above it anew, after its use or its turns changed.
    pub fn refresh(&mut self, ground: Ground<'_>, line: Vertex, pass: &mut impl Pass) {
        let mut vertex = line;
        let mut turn = self.front(ground, line, pass);
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
