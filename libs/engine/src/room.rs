//! How much room each node has, now and soon; the only place where amounts on nodes are added and taken.

mod alike;
mod classes;
mod node;

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use crate::index::Index;
use crate::model::{Holding, NodeIx, Shape, Snapshot};
use crate::scorer::{Mix, Scorer};
use alike::Alike;
use classes::Classes;

pub(crate) use classes::ByKind;
pub(crate) use node::Room;

/// Which room is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum View {
    /// What nobody holds at this instant, though it may be promised.
    Raw,
    /// What nobody holds and nobody is promised.
    Now,
    /// What nobody is promised, once everything revoked is gone.
    Soon,
}

/// The room of all nodes.
#[derive(Clone, Debug)]
pub(crate) struct Rooms {
    /// Less what is held, going or not.
    raw: Vec<Room>,
    /// Less what is held and stays, less what is promised.
    soon: Vec<Room>,
    /// What both have.
    now: Vec<Room>,
    /// The group of each node.
    group: Vec<u32>,
    by_now: Vec<Index>,
    /// Only where `soon` differs from `now` somewhere.
    by_soon: Option<Vec<Index>>,
    /// Only where nodes are told apart by scores.
    classes: Option<Classes>,
    before: Before,
    /// Nodes where more is free at this instant than nobody is promised.
    parted: BTreeSet<NodeIx>,
    /// How often a room changed.
    changes: u64,
    /// By what nodes are told apart in this cycle, where the tightest is not simply the best.
    scores: Option<Scores>,
}

/// What is found of scores when it is first asked for.
#[derive(Clone, Debug, Default)]
struct Scores {
    mix: Option<Arc<Mix>>,
    scorer: OnceLock<Arc<Scorer>>,
}

/// What nodes had free before they were touched, so that everything can be put back.
#[derive(Clone, Debug, Default)]
struct Before {
    kept: bool,
    touched: Vec<bool>,
    rooms: Vec<(NodeIx, Room, Room)>,
}

impl Rooms {
    /// Where nothing is going or promised; `group` is the group of each node, of `groups`.
    pub fn of(rooms: Vec<Room>, group: &[u32], groups: usize) -> Self {
        let mut all = Self {
            raw: rooms.clone(),
            soon: rooms.clone(),
            now: rooms,
            group: group.to_vec(),
            by_now: Vec::new(),
            by_soon: None,
            classes: None,
            before: Before::default(),
            parted: BTreeSet::new(),
            changes: 0,
            scores: None,
        };
        all.by_now = all.index(&all.now, groups);
        all
    }

    pub fn new(snapshot: &Snapshot, group: &[u32], groups: usize) -> Self {
        let mut raw: Vec<Room> = snapshot.nodes.iter().map(|node| Room::empty(node, false)).collect();
        let mut coming = false;
        let mut soon: Vec<Room> = raw.clone();
        for held in &snapshot.holdings {
            raw[held.node.at()].take(&held.each, &held.gpus);
            if comes_free(snapshot, held) {
                coming = true;
            } else {
                soon[held.node.at()].take(&held.each, &held.gpus);
            }
        }
        let mut now = soon.clone();
        for (now, (raw, soon)) in now.iter_mut().zip(raw.iter().zip(&soon)) {
            now.meet(raw, soon);
        }
        let group = group.to_vec();
        let before = Before::default();
        let differ = |ix: &usize| raw[*ix] != now[*ix];
        let parted = (0..raw.len()).filter(differ).map(NodeIx::of).collect();
        let mut all = Self {
            raw,
            soon,
            now,
            group,
            by_now: Vec::new(),
            by_soon: None,
            classes: None,
            before,
            parted,
            changes: 0,
            scores: None,
        };
        all.by_now = all.index(&all.now, groups);
        if coming {
            all.part_views();
        }
        all
    }

    fn index(&self, rooms: &[Room], groups: usize) -> Vec<Index> {
        let mut index = vec![Index::default(); groups];
        for (node, room) in rooms.iter().enumerate() {
            index[self.group[node] as usize].insert(NodeIx::of(node), room);
        }
        index
    }

    fn part_views(&mut self) {
        if self.by_soon.is_none() {
            self.by_soon = Some(self.index(&self.soon, self.by_now.len()));
        }
        if let Some(classes) = &mut self.classes {
            classes.part_views(&self.group, self.by_now.len(), &self.soon);
        }
    }

    /// Sets what nodes are told apart by from now on; `None`: the tightest is the best.
    pub fn score_by(&mut self, mix: Option<Arc<Mix>>) {
        if let (Some(mix), None) = (&mix, &self.classes) {
            let soon = (self.soon.as_slice(), self.by_soon.is_some());
            let (sites, groups) = (mix.sites().clone(), self.by_now.len());
            self.classes = Some(Classes::new(sites, &self.group, groups, &self.now, soon));
        }
        self.scores = mix.map(|mix| Scores { mix: Some(mix), scorer: OnceLock::new() });
    }

    /// Tells nodes apart as others do.
    pub fn score_like(&mut self, other: &Rooms) {
        self.scores = other.scorer().map(|scorer| Scores { mix: None, scorer: scorer.into() });
    }

    /// By what nodes are told apart: prices are those of the moment at which this is first asked in a cycle.
    pub fn scorer(&self) -> Option<Arc<Scorer>> {
        let Scores { mix, scorer } = self.scores.as_ref()?;
        if let (None, Some(mix), Some(classes)) = (scorer.get(), mix, &self.classes) {
            return Some(scorer.get_or_init(|| Arc::new(Scorer::new(mix, &classes.left))).clone());
        }
        scorer.get().cloned()
    }

    /// The rooms of a view and its nodes by class, where those are kept.
    pub fn alike(&self, view: View) -> Option<(&[Room], &[Alike])> {
        let classes = self.classes.as_ref()?;
        match view {
            View::Raw => None,
            View::Now => Some((&self.now, &classes.now)),
            View::Soon => Some((&self.soon, classes.soon.as_ref().unwrap_or(&classes.now))),
        }
    }

    /// Changes what a node has free: `what` sees its raw and its soon room.
    fn change(&mut self, node: NodeIx, what: impl FnOnce(&mut Room, &mut Room)) {
        let at = node.at();
        self.changes += 1;
        let group = self.group[at] as usize;
        if self.before.kept && !std::mem::replace(&mut self.before.touched[at], true) {
            self.before.rooms.push((node, self.raw[at].clone(), self.soon[at].clone()));
        }
        if let Some(index) = &mut self.by_soon {
            index[group].remove(node, &self.soon[at]);
        }
        self.by_now[group].remove(node, &self.now[at]);
        if let Some(classes) = &mut self.classes {
            classes.remove(node, group, &mut self.now[at], &mut self.soon[at]);
        }
        what(&mut self.raw[at], &mut self.soon[at]);
        self.now[at].meet(&self.raw[at], &self.soon[at]);
        self.by_now[group].insert(node, &self.now[at]);
        if let Some(classes) = &mut self.classes {
            classes.insert(node, group, &self.now[at], &self.soon[at]);
        }
        if let Some(index) = &mut self.by_soon {
            index[group].insert(node, &self.soon[at]);
            if self.raw[at] == self.now[at] {
                self.parted.remove(&node);
            } else {
                self.parted.insert(node);
            }
        }
    }

    /// Nodes where what is free at this instant is more than what is free and promised to nobody, of these groups.
    pub fn parted<'a>(&'a self, groups: &'a [u32]) -> impl Iterator<Item = NodeIx> + 'a {
        let here = |node: &NodeIx| groups.binary_search(&self.group[node.at()]).is_ok();
        self.parted.iter().copied().filter(here)
    }

    /// From now on what is changed can be put back.
    pub fn begin(&mut self) {
        self.before.kept = true;
        self.before.touched.resize(self.raw.len(), false);
    }

    /// Puts everything back as it was at [`Rooms::begin`].
    pub fn roll_back(&mut self) {
        self.before.kept = false;
        self.scores = None;
        for (node, raw, soon) in std::mem::take(&mut self.before.rooms) {
            self.before.touched[node.at()] = false;
            self.change(node, |to_raw, to_soon| (*to_raw, *to_soon) = (raw, soon));
        }
    }

    /// How often the room of a node changed so far.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Something is held from now on; `coming`: it is going.
    pub fn hold(&mut self, node: NodeIx, each: &Shape, gpus: &[(u16, i64)], coming: bool) {
        if coming {
            self.keep_promise(node, each, gpus);
        } else {
            self.take(View::Now, node, each, gpus);
        }
    }

    /// Undoes [`Rooms::hold`].
    pub fn release(&mut self, node: NodeIx, each: &Shape, gpus: &[(u16, i64)], coming: bool) {
        if coming {
            self.break_promise(node, each, gpus);
        } else {
            self.give(View::Now, node, each, gpus);
        }
    }

    pub fn room(&self, view: View, node: NodeIx) -> &Room {
        &self.rooms(view)[node.at()]
    }

    fn rooms(&self, view: View) -> &[Room] {
        match view {
            View::Raw => &self.raw,
            View::Now => &self.now,
            View::Soon => &self.soon,
        }
    }

    /// The rooms of a view and the order that is kept of them, if one is.
    pub fn ordered(&self, view: View) -> Option<(&[Room], &[Index])> {
        match view {
            View::Raw => None,
            View::Now => Some((&self.now, &self.by_now)),
            View::Soon => Some((&self.soon, self.by_soon.as_ref().unwrap_or(&self.by_now))),
        }
    }

    pub fn capacity(&self, view: View, node: NodeIx, each: &Shape, most: u32) -> u32 {
        self.room(view, node).capacity(each, most)
    }

    pub fn devices(&self, view: View, node: NodeIx, each: &Shape) -> Option<Vec<(u16, i64)>> {
        self.room(view, node).devices(each)
    }

    pub fn score(&self, view: View, node: NodeIx, each: &Shape) -> (i64, i64) {
        self.room(view, node).score(each)
    }

    /// Is this exact room free?
    pub fn has(&self, view: View, node: NodeIx, each: &Shape, gpus: &[(u16, i64)]) -> bool {
        self.room(view, node).has(each, gpus)
    }

    /// Milli-GPU free (or milli-cores, for work without GPUs).
    pub fn amount(&self, view: View, node: NodeIx, each: &Shape) -> i64 {
        let room = self.room(view, node);
        if each.gpu > 0 { room.milli() } else { room.cpu.max(0) }
    }

    /// The same on all nodes of these groups.
    pub fn total(&self, view: View, each: &Shape, groups: &[u32]) -> i64 {
        let index = match view {
            View::Soon => self.by_soon.as_ref().unwrap_or(&self.by_now),
            View::Raw | View::Now => &self.by_now,
        };
        groups.iter().map(|group| index[*group as usize].total(each)).sum()
    }

    /// Charges a placement: what is granted now is gone from every view, what is promised only from `Now` and `Soon`.
    pub fn take(&mut self, view: View, node: NodeIx, each: &Shape, gpus: &[(u16, i64)]) {
        if view == View::Soon {
            self.part_views();
        }
        self.change(node, |raw, soon| {
            if view != View::Soon {
                raw.take(each, gpus);
            }
            soon.take(each, gpus);
        });
    }

    /// Undoes [`Rooms::take`].
    pub fn give(&mut self, view: View, node: NodeIx, each: &Shape, gpus: &[(u16, i64)]) {
        if view == View::Soon {
            self.part_views();
        }
        self.change(node, |raw, soon| {
            if view != View::Soon {
                raw.add(each, gpus);
            }
            soon.add(each, gpus);
        });
    }

    /// What was promised is granted: it is held from now on.
    pub fn keep_promise(&mut self, node: NodeIx, each: &Shape, gpus: &[(u16, i64)]) {
        self.part_views();
        self.change(node, |raw, _| raw.take(each, gpus));
    }

    /// Undoes [`Rooms::keep_promise`].
    pub fn break_promise(&mut self, node: NodeIx, each: &Shape, gpus: &[(u16, i64)]) {
        self.part_views();
        self.change(node, |raw, _| raw.add(each, gpus));
    }
}

/// What goes from a node that does not answer is not coming.
pub(crate) fn comes_free(snapshot: &Snapshot, held: &Holding) -> bool {
    held.going && !snapshot.nodes[held.node.at()].lost
}
