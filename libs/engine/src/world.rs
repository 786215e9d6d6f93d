//! All that a cycle works on, derived from a snapshot.

use std::borrow::Cow;

use crate::cycle::Cycle;
use crate::cycle::Decided;
use crate::feasible::Feasible;
use crate::model::Snapshot;
use crate::queue::{Lines, Turn};
use crate::room::{Room, Rooms};
use crate::shapes::Shapes;
use crate::tree::Tree;
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
    /// Jobs that hold nothing that stays, and want or await something.
    pub idle: u32,
}

impl<'a> World<'a> {
    pub fn new(snapshot: Cow<'a, Snapshot>) -> Self {
        let s: &Snapshot = &snapshot;
        let shapes = Shapes::new(s);
        let mut tree = Tree::new(s);
        let rooms = Rooms::new(s, &shapes.groups.of, shapes.groups.len());
        let work = Work::new(s, &mut tree);
        let lines = Lines::new(tree.len());
        let (vacant, feasible) = (Vacant::default(), Feasible::default());
        let mut world = Self { s: snapshot, shapes, tree, rooms, work, lines, vacant, feasible, idle: 0 };
        for job in 0..world.s.jobs.len() {
            world.idle += u32::from(world.is_idle(job));
            for turn in world.turns(job).into_iter().flatten() {
                world.lines.push(world.s.jobs[job].class, turn);
            }
        }
        world.lines.sort(&world.s);
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
        let turn = |part: usize| Turn { job, growth: part > 0, line, ask: self.shapes.ask(job, part) };
        let elastic = !self.work.is_new(job) && of.request.roles.iter().any(|role| role.min < role.replicas);
        let grows = if elastic { self.work.grows(&self.s, job) } else { None };
        [self.work.lacks(&self.s, job).then(|| turn(0)), grows.map(|role| turn(1 + role))]
    }

    /// Decides; the state in which that ends stays until [`World::roll_back`].
    pub fn decide(&mut self) -> Decided {
        self.rooms.begin();
        self.work.begin();
        let idle = self.idle;
        Cycle::new(self).run(idle)
    }
}
