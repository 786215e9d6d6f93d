//! All that a cycle works on, derived from a snapshot.

use std::borrow::Cow;

use crate::cycle::Cycle;
use crate::cycle::Decided;
use crate::feasible::Feasible;
use crate::judge::Lasting;
use crate::model::{Class, Holding, Millis, Snapshot};
use crate::queue::{Lines, Turn};
use crate::room::{Room, Rooms};
use crate::scorer::Mixture;
use crate::shapes::Shapes;
use crate::tree::{Tree, Vertex};
use crate::work::Work;

/// The rooms of the nodes were nothing of ours there; made when they are first asked for.
#[derive(Default)]
pub(crate) struct Vacant(Option<Rooms>);

impl Vacant {
    pub fn rooms(&mut self, snapshot: &Snapshot, shapes: &Shapes) -> &mut Rooms {
        self.0.get_or_insert_with(|| {
            let rooms = snapshot.nodes.iter().map(|node| Room::empty(node, false)).collect();
            Rooms::of(rooms, &shapes.groups.of, shapes.groups.len())
        })
    }
}

/// A snapshot and what follows from it.
pub(crate) struct World<'a> {
    pub s: Cow<'a, Snapshot>,
    pub shapes: Shapes,
    pub tree: Tree,
    pub rooms: Rooms,
    pub work: Work,
    pub lines: Lines,
    pub vacant: Vacant,
    pub feasible: Feasible,
    /// What all jobs want, where nodes are told apart by scores.
    mixture: Option<Mixture>,
    /// Jobs that hold nothing that stays, and want or await something.
    pub idle: u32,
    /// What is known of the pieces below each vertex.
    pub lasting: Lasting,
    /// Has a cycle been decided on that was not put back?
    decided: bool,
}

impl<'a> World<'a> {
    pub fn new(snapshot: Cow<'a, Snapshot>) -> Self {
        let s: &Snapshot = &snapshot;
        let shapes = Shapes::new(s);
        let mut tree = Tree::new(s);
        let rooms = Rooms::new(s, &shapes.groups.of, shapes.groups.len());
        let work = Work::new(s, &mut tree);
        let lines = Lines::new(s, tree.len());
        let (vacant, feasible) = (Vacant::default(), Feasible::default());
        let mixture = Mixture::new(s, &shapes);
        let mut world = Self {
            s: snapshot,
            shapes,
            tree,
            rooms,
            work,
            lines,
            vacant,
            feasible,
            mixture,
            idle: 0,
            lasting: Lasting::default(),
            decided: false,
        };
        for job in 0..world.s.jobs.len() {
            world.idle += u32::from(world.is_idle(job));
            for turn in world.turns(job).into_iter().flatten() {
                let class = world.s.jobs[job].class;
                world.lines.push(&world.s, &world.shapes, class, turn);
                world.count_waiting(class, turn, true);
            }
        }
        world.lines.sort();
        world
    }

    /// Does a job hold nothing that stays, and want or await something?
    pub fn is_idle(&self, job: usize) -> bool {
        let has = self.work.has(job);
        !has.runs() && (!self.s.jobs[job].closed || has.going() > 0)
    }

    /// The turns of a job: for its gang, and to grow.
    pub fn turns(&self, job: usize) -> [Option<Turn>; 2] {
        let of = &self.s.jobs[job];
        if of.closed {
            return [None, None];
        }
        let line = self.tree.line(of.account);
        let turn = |part: usize| Turn {
            job,
            growth: part > 0,
            line,
            ask: self.shapes.ask(job, part),
            leaf: self.tree.leaf(of.account, of.user),
            priority: of.priority,
            runs: of.expected_ms.unwrap_or(Millis::MAX),
            new: self.work.is_new(job),
        };
        let elastic = !self.work.is_new(job) && of.request.roles.iter().any(|role| role.min < role.replicas);
        let grows = if elastic { self.work.grows(&self.s, job) } else { None };
        [self.work.lacks(&self.s, job).then(|| turn(0)), grows.map(|role| turn(1 + role))]
    }

    /// Decides, once; what follows from the snapshot is then as it would be if the plan were carried out.
    pub fn decide(&mut self) -> Decided {
        self.rooms.begin();
        self.work.begin();
        let mix = self.mixture.as_mut().map(|mixture| mixture.now(&self.shapes).clone());
        self.rooms.score_by(mix);
        let idle = self.idle;
        Cycle::new(self).run(idle)
    }

    /// Decides; the state in which that ends stays until [`World::roll_back`].
    pub fn decide_for_now(&mut self) -> Decided {
        self.tree.begin();
        self.decided = true;
        let mut decided = self.decide();
        self.lasting = std::mem::take(&mut decided.lasting);
        decided
    }

    /// Everything is as it was before [`World::decide_for_now`].
    pub fn roll_back(&mut self) {
        if std::mem::take(&mut self.decided) {
            self.tree.roll_back();
            self.work.roll_back();
            self.rooms.roll_back();
        }
    }

    /// Forgets what follows from a job and from what it holds; [`World::settle`] finds it again after both were changed.
    pub fn lift(&mut self, job: usize, held: &[Holding]) {
        self.count_wanted(job, -1);
        self.idle -= u32::from(self.is_idle(job));
        for turn in self.turns(job).into_iter().flatten() {
            let class = self.s.jobs[job].class;
            self.lines.remove(&self.s, &self.shapes, class, turn);
            self.count_waiting(class, turn, false);
        }
        let plain = self.plain(job);
        self.work.forget(&self.s, &mut self.tree, job, held.iter(), plain);
        self.forget_lasting(job);
    }

    /// Finds anew what follows from a job and from what it holds, in order of role and replica. Where something is guaranteed, the branch
    /// is still to be charged anew.
    pub fn settle(&mut self, job: usize, held: &[Holding]) {
        self.work.read(&self.s, &mut self.tree, job, held.iter());
        if self.plain(job) {
            self.work.charge_plainly(&mut self.tree, job);
        }
        self.forget_lasting(job);
        self.count_wanted(job, 1);
        self.idle += u32::from(self.is_idle(job));
        for turn in self.turns(job).into_iter().flatten() {
            let class = self.s.jobs[job].class;
            self.lines.insert(&self.s, &self.shapes, class, turn);
            self.count_waiting(class, turn, true);
        }
    }

    fn count_waiting(&mut self, class: Class, turn: Turn, waits: bool) {
        if class == Class::Guaranteed {
            self.tree.count_waiting(turn.line, waits);
        }
    }

    /// Counts what a job wants, or (by `sign`) counts it no more.
    fn count_wanted(&mut self, job: usize, sign: i64) {
        let wanted = self.mixture.as_mut().filter(|_| !self.s.jobs[job].closed);
        if let Some(mixture) = wanted {
            mixture.count(self.shapes.of(job), sign);
        }
    }

    fn leaf(&self, job: usize) -> Vertex {
        self.tree.leaf(self.s.jobs[job].account, self.s.jobs[job].user)
    }

    /// Is nothing guaranteed in the branch of a job?
    fn plain(&self, job: usize) -> bool {
        !self.tree.branch_promises(self.leaf(job))
    }

    /// The branch of a job, where something is guaranteed in it.
    pub fn branch(&self, job: usize) -> Option<(Vertex, Vec<Vertex>)> {
        if self.plain(job) { None } else { Some(self.tree.branch(self.leaf(job))) }
    }

    fn forget_lasting(&mut self, job: usize) {
        for vertex in self.tree.path(self.leaf(job)).chain([0]) {
            self.lasting.forget(vertex);
        }
    }
}
