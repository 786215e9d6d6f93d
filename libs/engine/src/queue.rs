//! Whose turn it is: below-guarantee first, then the least weighted dominant share of what is borrowed, level by level;
//! inside an account by priority, then by submission.

use std::cmp::Reverse;

use crate::model::{Class, Snapshot};
use crate::tree::{Demand, Tree, Vertex};

/// A job's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    pub job: usize,
    /// One replica above the gang (and the turn comes again), or the gang.
    pub growth: bool,
    pub line: Vertex,
}

/// What orders siblings: owed a guarantee, share, then who has waited longest.
type Rank = (bool, i64, i64, usize);

#[derive(Clone, Copy)]
struct Head {
    turn: Turn,
    rank: Rank,
}

pub(crate) struct Queue {
    lines: Vec<Vec<Turn>>,
    children: Vec<Vec<Vertex>>,
    heads: Vec<Option<Head>>,
    class: Class,
}

impl Queue {
    /// A queue of the turns of one class.
    pub fn new(
        snapshot: &Snapshot,
        tree: &Tree,
        class: Class,
        turns: Vec<Turn>,
        demand: &impl Fn(Turn) -> Vec<Vec<Demand>>,
    ) -> Self {
        let mut queue = Self {
            lines: vec![Vec::new(); tree.len()],
            children: vec![Vec::new(); tree.len()],
            heads: vec![None; tree.len()],
            class,
        };
        for turn in turns {
            queue.lines[turn.line].push(turn);
        }
        let mut used = vec![false; tree.len()];
        for line in 0..tree.len() {
            if queue.lines[line].is_empty() {
                continue;
            }
            // reversed: the next turn is the last, so that taking it is cheap
            queue.lines[line].sort_by_key(|turn| {
                let job = &snapshot.jobs[turn.job];
                Reverse((turn.growth, Reverse(job.priority), job.submitted, turn.job))
            });
            let mut at = line;
            while !std::mem::replace(&mut used[at], true) && at != 0 {
                queue.children[tree.parent(at)].push(at);
                at = tree.parent(at);
            }
        }
        let mut vertices: Vec<Vertex> = (1..tree.len()).filter(|v| used[*v]).collect();
        vertices.sort_by_key(|v| Reverse(tree.depth(*v)));
        for vertex in vertices.into_iter().chain([0]) {
            queue.heads[vertex] = queue.head(snapshot, tree, vertex, demand);
        }
        queue
    }

    fn head(
        &self,
        snapshot: &Snapshot,
        tree: &Tree,
        vertex: Vertex,
        demand: &impl Fn(Turn) -> Vec<Vec<Demand>>,
    ) -> Option<Head> {
        let turn = match self.front(snapshot, tree, vertex, demand) {
            Some(turn) => turn,
            None => {
                let heads = self.children[vertex].iter().filter_map(|child| self.heads[*child]);
                heads.min_by_key(|head| head.rank)?.turn
            }
        };
        let share = match self.class {
            Class::Guaranteed => tree.share(vertex),
            Class::BestEffort => tree.share_with_spare(vertex),
        };
        let owed = vertex != 0
            && self.class == Class::Guaranteed
            && demand(turn).iter().any(|demands| tree.covers(vertex, demands));
        Some(Head { turn, rank: (!owed, share, snapshot.jobs[turn.job].submitted, turn.job) })
    }

    /// The next of one line: a person below the own guarantee goes first.
    fn front(
        &self,
        snapshot: &Snapshot,
        tree: &Tree,
        line: Vertex,
        demand: &impl Fn(Turn) -> Vec<Vec<Demand>>,
    ) -> Option<Turn> {
        let turns = &self.lines[line];
        if tree.has_users() && self.class == Class::Guaranteed {
            let owed = turns.iter().rev().find(|turn| {
                let job = &snapshot.jobs[turn.job];
                let leaf = tree.leaf(job.account, job.user);
                leaf != line && demand(**turn).iter().any(|demands| tree.covers(leaf, demands))
            });
            if let Some(turn) = owed {
                return Some(*turn);
            }
        }
        turns.last().copied()
    }

    /// Whose turn it is.
    pub fn next(&self) -> Option<Turn> {
        self.heads[0].map(|head| head.turn)
    }

    /// Takes a turn out of its line.
    pub fn done(&mut self, turn: Turn) {
        let line = &mut self.lines[turn.line];
        if let Some(at) = line.iter().rposition(|other| other.job == turn.job && other.growth == turn.growth)
        {
            line.remove(at);
        }
    }

    /// Ranks a line and all above it anew, after its use or its turns changed.
    pub fn refresh(
        &mut self,
        snapshot: &Snapshot,
        tree: &Tree,
        line: Vertex,
        demand: &impl Fn(Turn) -> Vec<Vec<Demand>>,
    ) {
        let path: Vec<Vertex> = tree.path(line).chain([0]).collect();
        for vertex in path {
            self.heads[vertex] = self.head(snapshot, tree, vertex, demand);
        }
    }
}
