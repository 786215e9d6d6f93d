//! How much anybody could at most have a right to, by counts that are kept: never less than is true.

use std::collections::BTreeMap;

use super::Facts;
use crate::model::ModelIx;
use crate::tree::{Demand, Reach, Tree, Vertex};

/// The least amounts of pieces below a vertex: of those on each model, then of all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Least {
    amounts: Vec<Option<Vec<i64>>>,
    /// Milli-GPU of each model, then milli-cores, of the pieces of each priority.
    by_priority: BTreeMap<i32, Vec<i64>>,
}

impl Least {
    fn new(models: usize) -> Self {
        Self { amounts: vec![None; models + 1], by_priority: BTreeMap::new() }
    }

    fn count(&mut self, tree: &Tree, priority: i32, demands: &[Demand]) {
        let models = tree.models();
        let here = self.by_priority.entry(priority).or_insert_with(|| vec![0; models + 1]);
        for demand in demands {
            if let Some(model) = demand.model {
                here[model.at()] += demand.gpu;
            }
            here[models] += demand.cpu;
        }
        for kind in demands.iter().filter_map(|demand| demand.model).map(|model| model.at()).chain([models]) {
            let none = || vec![i64::MAX; tree.resources()];
            tree.lessen(self.amounts[kind].get_or_insert_with(none), demands);
        }
    }

    fn join(&mut self, other: &Self) {
        for (mine, theirs) in self.amounts.iter_mut().zip(&other.amounts) {
            let Some(theirs) = theirs else { continue };
            match mine {
                Some(mine) => mine.iter_mut().zip(theirs).for_each(|(a, b)| *a = (*a).min(*b)),
                None => *mine = Some(theirs.clone()),
            }
        }
        for (priority, theirs) in &other.by_priority {
            let mine = self.by_priority.entry(*priority).or_insert_with(|| vec![0; theirs.len()]);
            mine.iter_mut().zip(theirs).for_each(|(a, b)| *a += b);
        }
    }
}

/// What stands from cycle to cycle, as long as the pieces below a vertex and its use stay what they are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lasting {
    /// Of what there was when a cycle began.
    least: Vec<Option<Least>>,
    /// By child: after which charge it was counted, and what it could be left with, were it one piece on each model poorer, then any piece.
    left: Vec<(u64, Vec<Left>)>,
}

impl Lasting {
    /// The pieces below a vertex are others now.
    pub fn forget(&mut self, vertex: Vertex) {
        if let (Some(least), Some(left)) = (self.least.get_mut(vertex), self.left.get_mut(vertex)) {
            *least = None;
            left.0 = 0;
        }
    }
}

/// What could at most be taken of the children of a vertex: of the child with most, and of the others.
#[derive(Clone, Debug)]
struct Slack {
    /// By model, then without: the greatest share left, whose, and the next.
    top: Vec<Top>,
    /// The greatest share as it is, whose, and the next.
    share: Top,
    /// How many children borrow, and one that does.
    borrowers: (usize, Vertex),
}

/// The dominant shares that a vertex could be left with at the most: of everything, and of what the piece has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Left {
    all: i64,
    kinds: i64,
}

impl Left {
    const NOTHING: Self = Self { all: i64::MIN, kinds: i64::MIN };
}

/// The greatest of all, whose it is, and the next.
#[derive(Clone, Copy, Debug)]
struct Top(i64, Vertex, i64);

impl Top {
    const NONE: Self = Self(i64::MIN, 0, i64::MIN);

    fn add(&mut self, share: i64, of: Vertex) {
        if share > self.0 {
            *self = Self(share, of, self.0);
        } else {
            self.2 = self.2.max(share);
        }
    }

    fn beside(&self, vertex: Vertex) -> i64 {
        if self.1 == vertex { self.2 } else { self.0 }
    }
}

/// What is known of what shares and pieces allow.
#[derive(Default)]
pub(super) struct Bounds {
    lasting: Lasting,
    /// Of what is promised.
    promised: BTreeMap<Vertex, Least>,
    reach: Vec<(u64, Reach)>,
    slack: Vec<(u64, Option<Slack>)>,
    lowest_spare: Option<Vec<i32>>,
}

impl Bounds {
    pub fn new(facts: Facts<'_>, mut lasting: Lasting) -> Self {
        let vertices = facts.tree.len();
        lasting.least.resize(vertices, None);
        lasting.left.resize(vertices, (0, Vec::new()));
        let mut promised: BTreeMap<Vertex, Least> = BTreeMap::new();
        for piece in facts.work.promised.iter().map(|ix| &facts.work.pieces[*ix]) {
            let priority = facts.snapshot.jobs[piece.job].priority;
            for vertex in facts.tree.path(piece.leaf).filter(|_| !piece.charge.best_effort) {
                let here = promised.entry(vertex).or_insert_with(|| Least::new(facts.tree.models()));
                here.count(facts.tree, priority, &piece.demands);
            }
        }
        Self {
            lasting,
            promised,
            reach: vec![(0, Reach::default()); vertices],
            slack: vec![(0, None); vertices],
            lowest_spare: None,
        }
    }

    pub fn into_lasting(mut self) -> Lasting {
        // what is promised is of this cycle alone
        for vertex in self.promised.keys() {
            self.lasting.left[*vertex].0 = 0;
        }
        self.lasting
    }

    /// Could a leaf have a right to anything by its share or by its guarantee, for so much on this model (or for cpu work)?
    pub fn reaches(&mut self, facts: Facts<'_>, leaf: Vertex, asked: &Demand) -> bool {
        let reach = self.reach(facts, leaf);
        match asked.model {
            Some(model) if asked.gpu > reach.models[model.at()] => return false,
            None if asked.cpu > reach.cpu => return false,
            _ => {}
        }
        let tree = facts.tree;
        let demands = std::slice::from_ref(asked);
        tree.path(leaf).any(|at| self.guaranteed(facts, at, asked) || self.has_less(facts, at, demands))
    }

    /// Might it be inside the guarantee of a vertex?
    fn guaranteed(&mut self, facts: Facts<'_>, at: Vertex, asked: &Demand) -> bool {
        let tree = facts.tree;
        if !tree.promises(at) {
            return false;
        }
        let Some(slack) = self.slack(facts, tree.parent(at)) else { return true };
        let (borrowers, one) = slack.borrowers;
        let others = borrowers > usize::from(one == at) || !tree.is_account(at);
        let left = tree.uncovered(at);
        others
            && match asked.model {
                Some(model) => asked.gpu <= left.models[model.at()],
                None => asked.cpu <= left.cpu,
            }
    }

    /// Might a sibling of a vertex have more, even without a piece of its own and this here?
    fn has_less(&mut self, facts: Facts<'_>, at: Vertex, asked: &[Demand]) -> bool {
        let tree = facts.tree;
        let model = asked.first().and_then(|demand| demand.model);
        let kind = model.map_or(tree.models(), |model| model.at());
        // what the piece has is not known but for its model
        let here = tree.share_on(at, asked, model);
        let (now, all) = (tree.share(at), tree.share_with(at, asked, 1));
        tree.children(tree.parent(at)).iter().any(|sibling| {
            *sibling != at
                && now < tree.share(*sibling)
                && self.lasting.left[*sibling]
                    .1
                    .get(kind)
                    .is_some_and(|left| all <= left.all && here <= left.kinds)
        })
    }

    /// The most that a leaf could have a right to.
    fn reach(&mut self, facts: Facts<'_>, leaf: Vertex) -> &Reach {
        let tree = facts.tree;
        if self.reach[leaf].0 != tree.charges() {
            let mut reach = Reach { models: vec![i64::MIN; tree.models()], cpu: i64::MIN };
            for at in tree.path(leaf) {
                let Some(slack) = self.slack(facts, tree.parent(at)) else { continue };
                // only from who has more
                if tree.share(at) < slack.share.beside(at) {
                    let most: Vec<i64> = slack.top.iter().map(|top| top.beside(at)).collect();
                    if let Some((without, models)) = most.split_last() {
                        reach.widen(&tree.until(at, models, *without));
                    }
                }
                let (borrowers, one) = slack.borrowers;
                // a person may also take what the own queue of the account runs
                let others = borrowers > usize::from(one == at) || !tree.is_account(at);
                if others && tree.promises(at) {
                    reach.widen(&tree.uncovered(at));
                }
            }
            self.reach[leaf] = (tree.charges(), reach);
        }
        &self.reach[leaf].1
    }

    fn slack(&mut self, facts: Facts<'_>, parent: Vertex) -> Option<&Slack> {
        let tree = facts.tree;
        if self.slack[parent].0 != tree.charges() {
            let mut slack =
                Slack { top: vec![Top::NONE; tree.models() + 1], share: Top::NONE, borrowers: (0, 0) };
            for child in tree.children(parent).iter().copied() {
                if !tree.borrows(child) {
                    continue;
                }
                slack.borrowers = (slack.borrowers.0 + 1, child);
                slack.share.add(tree.share(child), child);
                if self.lasting.left[child].0 != tree.charged(child) {
                    self.lasting.left[child] = (tree.charged(child), self.left_with(facts, child));
                }
                for (top, left) in slack.top.iter_mut().zip(&self.lasting.left[child].1) {
                    top.add(left.kinds, child);
                }
            }
            self.slack[parent] = (tree.charges(), Some(slack));
        }
        self.slack[parent].1.as_ref()
    }

    /// The greatest share that a vertex could be left with, were it one piece poorer: one on each model, then any.
    fn left_with(&mut self, facts: Facts<'_>, vertex: Vertex) -> Vec<Left> {
        let models = facts.tree.models();
        let least = |amounts: &[Option<Vec<i64>>], kind: usize| {
            let Some(least) = amounts[kind].as_ref() else { return Left::NOTHING };
            let model = Some(kind).filter(|kind| *kind < models);
            let share = |model| facts.tree.share_without(vertex, least, model);
            Left { all: share(None), kinds: share(model) }
        };
        let promised = self.promised.get(&vertex).cloned();
        let known = self.least(facts, vertex);
        match promised {
            None => (0..=models).map(|kind| least(&known.amounts, kind)).collect(),
            Some(mut all) => {
                all.join(known);
                (0..=models).map(|kind| least(&all.amounts, kind)).collect()
            }
        }
    }

    /// The lowest priority of what runs or is promised below a vertex.
    pub fn lowest(&mut self, facts: Facts<'_>, line: Vertex) -> Option<i32> {
        let first = |least: &Least| least.by_priority.first_key_value().map(|(priority, _)| *priority);
        let promised = self.promised.get(&line).and_then(first);
        [first(self.least(facts, line)), promised].into_iter().flatten().min()
    }

    /// How much of lower priority there is below a vertex: milli-GPU of these models, or milli-cores.
    pub fn lower(
        &mut self,
        facts: Facts<'_>,
        line: Vertex,
        priority: i32,
        models: &[ModelIx],
        gpus: bool,
    ) -> i64 {
        let sum = |least: &Least| -> i64 {
            let lower = least.by_priority.range(..priority).map(|(_, amounts)| amounts);
            if gpus {
                lower.map(|amounts| models.iter().map(|model| amounts[model.at()]).sum::<i64>()).sum()
            } else {
                lower.filter_map(|amounts| amounts.last()).sum()
            }
        };
        let promised = self.promised.get(&line).map_or(0, sum);
        sum(self.least(facts, line)) + promised
    }

    /// Of the guaranteed pieces below a vertex.
    fn least(&mut self, facts: Facts<'_>, vertex: Vertex) -> &Least {
        if self.lasting.least[vertex].is_none() {
            let mut least = Least::new(facts.tree.models());
            for ix in facts.work.of_leaf[vertex].iter().filter(|ix| facts.work.is_old(**ix)) {
                let piece = &facts.work.pieces[*ix];
                least.count(facts.tree, facts.snapshot.jobs[piece.job].priority, &piece.demands);
            }
            for child in facts.tree.children(vertex) {
                least.join(self.least(facts, *child));
            }
            self.lasting.least[vertex] = Some(least);
        }
        self.lasting.least[vertex].get_or_insert_default()
    }

    /// The lowest priority of what a line runs as best effort.
    pub fn lowest_spare(&mut self, facts: Facts<'_>, line: Vertex) -> i32 {
        let lowest = self.lowest_spare.get_or_insert_with(|| {
            let mut lowest = vec![i32::MAX; facts.tree.len()];
            for piece in facts.work.spare.iter().flatten().map(|ix| &facts.work.pieces[*ix]) {
                lowest[piece.line] = lowest[piece.line].min(facts.snapshot.jobs[piece.job].priority);
            }
            lowest
        });
        lowest[line]
    }
}
