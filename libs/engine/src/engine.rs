//! The engine as others use it: [`decide`] for a snapshot, [`Engine`] for one that changes.

mod follow;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use crate::check::SnapshotError;
use crate::cycle::Decided;
use crate::model::{
    Account, AccountIx, Hold, Holding, Job, JobIx, Millis, Node, NodeIx, Plan, Reservation, Settings,
    Snapshot, User, UserIx, Verdict,
};
use crate::tell::{Teller, Told};
use crate::tree::Vertex;
use crate::usage::Borrowed;
use crate::world::World;

/// Decides what to do with a snapshot. Pure: the same snapshot gives the same plan.
///
/// # Errors
/// When the snapshot is not sound, as [`Snapshot::check`] says.
pub fn decide(snapshot: &Snapshot) -> Result<Plan, SnapshotError> {
    snapshot.check()?;
    let mut world = World::new(Cow::Borrowed(snapshot));
    let mut decided = world.decide();
    let verdicts = Teller::new(&mut world, &decided, &mut Told::default()).all();
    decided.plan.verdicts = verdicts;
    Ok(decided.plan)
}

/// What is different from the last cycle. Ordinals stay what they are as long as an engine lives.
#[derive(Clone, Debug)]
pub enum Change {
    /// Time passes; see [`Snapshot::now`] and [`Snapshot::cycle`].
    Time {
        /// The present instant.
        now: Millis,
        /// The number of the cycle.
        cycle: u64,
    },
    /// A job is new (its ordinal is the next one, or one that was [`Change::Gone`]), or is not what it was. Roles in which something is held
    /// must stay.
    Job(JobIx, Job),
    /// A job is over and holds nothing; its ordinal may be given to another.
    Gone(JobIx),
    /// A replica is allocated.
    Held(Holding),
    /// A replica that is held is being taken back.
    Going {
        /// Whose.
        job: JobIx,
        /// Index into the request's roles.
        role: u16,
        /// Index of the replica in its role.
        replica: u32,
    },
    /// A replica holds nothing any more.
    Released {
        /// Whose.
        job: JobIx,
        /// Index into the request's roles.
        role: u16,
        /// Index of the replica in its role.
        replica: u32,
    },
    /// [`Plan::holds`] of the last cycle.
    Holds(Vec<Hold>),
    /// [`Plan::reservations`] of the last cycle.
    Reservations(Vec<Reservation>),
    /// What each account borrowed lately; see [`Snapshot::lately`].
    Lately(Vec<Borrowed>),
    /// A node is new (with the next ordinal), or is not what it was. All is derived anew.
    Node(NodeIx, Node),
    /// An account is new (with the next ordinal), or is not what it was. All is derived anew.
    Account(AccountIx, Account),
    /// A user is new (with the next ordinal), or is not what it was. All is derived anew.
    User(UserIx, User),
    /// There are so many GPU models. All is derived anew.
    Models(u32),
    /// There are so many names of devices. All is derived anew.
    Extended(u32),
    /// An administrator turned something. All is derived anew.
    Settings(Settings),
}

/// Decides on a snapshot that changes, and looks only at what did.
///
/// At every moment it decides as [`decide`] would on [`Engine::snapshot`].
pub struct Engine {
    world: World<'static>,
    /// What each job holds, in order of role and replica. The snapshot's own list is empty.
    held: BTreeMap<JobIx, Vec<Holding>>,
    decided: Option<(Decided, Told)>,
    /// Jobs whose derived state is to be found anew.
    lifted: BTreeSet<JobIx>,
    /// Branches in which something is guaranteed and something changed, by the vertex at their top.
    branches: BTreeMap<Vertex, Vec<Vertex>>,
    stale: bool,
    /// How many shapes there were when all was last derived.
    shapes: usize,
}

impl Engine {
    /// Begins with a snapshot. A replica is held at most once.
    ///
    /// # Errors
    /// When the snapshot is not sound, as [`Snapshot::check`] says.
    pub fn new(mut snapshot: Snapshot) -> Result<Self, SnapshotError> {
        snapshot.check()?;
        snapshot.holdings.sort_by_key(|held| (held.job, held.role, held.replica));
        let mut held: BTreeMap<JobIx, Vec<Holding>> = BTreeMap::new();
        for (i, one) in snapshot.holdings.iter().enumerate() {
            let of = held.entry(one.job).or_default();
            if of.last().is_some_and(|last| (last.role, last.replica) == (one.role, one.replica)) {
                return Err(twice(i));
            }
            of.push(one.clone());
        }
        let mut world = World::new(Cow::Owned(snapshot));
        world.s.to_mut().holdings = Vec::new();
        let shapes = world.shapes.len();
        Ok(Self {
            world,
            held,
            decided: None,
            lifted: BTreeSet::new(),
            branches: BTreeMap::new(),
            stale: false,
            shapes,
        })
    }

    /// The snapshot that the next decision is made on.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = self.world.s.clone().into_owned();
        snapshot.holdings = self.held.values().flatten().cloned().collect();
        snapshot
    }

    /// Takes changes in, in order. What was said about the last plan is over with the first.
    ///
    /// # Errors
    /// The first change that makes no sense; those before it are taken in.
    pub fn apply(&mut self, changes: impl IntoIterator<Item = Change>) -> Result<(), SnapshotError> {
        self.world.roll_back();
        self.decided = None;
        changes.into_iter().try_for_each(|change| self.change(change))
    }

    fn change(&mut self, change: Change) -> Result<(), SnapshotError> {
        match change {
            Change::Time { now, cycle } => {
                let s = self.world.s.to_mut();
                (s.now, s.cycle) = (now, cycle);
            }
            Change::Job(ix, job) => return self.set_job(ix, job),
            Change::Gone(ix) => {
                let gone = self.world.s.jobs.get(ix.at()).map(|job| Job::nobody(job.account));
                let gone = gone.ok_or_else(|| out("jobs", ix.at(), "ordinal"))?;
                if self.held.contains_key(&ix) {
                    return Err(invalid("jobs", ix.at(), "holdings", "a job that is gone holds nothing"));
                }
                return self.set_job(ix, gone);
            }
            Change::Held(held) => {
                self.world.s.check_holding(0, &held)?;
                self.lift(held.job);
                let of = self.held.entry(held.job).or_default();
                let at = of.binary_search_by_key(&(held.role, held.replica), |h| (h.role, h.replica));
                let at = match at {
                    Ok(at) => return Err(twice(at)),
                    Err(at) => at,
                };
                self.charge(&held, true);
                self.held.entry(held.job).or_default().insert(at, held);
            }
            Change::Going { job, role, replica } => {
                self.lift(job);
                let mut held = self.take(job, role, replica)?;
                held.going = true;
                return self.change(Change::Held(held));
            }
            Change::Released { job, role, replica } => {
                self.lift(job);
                self.take(job, role, replica)?;
            }
            Change::Holds(holds) => {
                self.world.s.check_holds(&holds)?;
                self.world.s.to_mut().holds = holds;
            }
            Change::Reservations(reservations) => {
                self.world.s.check_reservations(&reservations)?;
                self.world.s.to_mut().reservations = reservations;
            }
            Change::Lately(lately) => {
                self.world.s.check_lately(&lately)?;
                self.world.s.to_mut().lately = lately;
                // accounts that are new are not in the tree yet
                if !self.stale {
                    self.world.tree.remember(&self.world.s);
                }
            }
            Change::Node(ix, node) => {
                let s = self.world.s.to_mut();
                let old = put(&mut s.nodes, "nodes", ix.at(), node)?;
                let sound = s.check_nodes().and_then(|()| self.held_fit(ix));
                if sound.is_err() {
                    put_back(&mut self.world.s.to_mut().nodes, ix.at(), old);
                }
                self.stale |= sound.is_ok();
                return sound;
            }
            Change::Account(ix, account) => {
                let s = self.world.s.to_mut();
                let old = put(&mut s.accounts, "accounts", ix.at(), account)?;
                let sound = s.check_accounts();
                if sound.is_err() {
                    put_back(&mut s.accounts, ix.at(), old);
                }
                self.stale |= sound.is_ok();
                return sound;
            }
            Change::User(ix, user) => {
                let s = self.world.s.to_mut();
                let old = put(&mut s.users, "users", ix.at(), user)?;
                let moved = old.as_ref().is_some_and(|old| old.account != s.users[ix.at()].account);
                let sound = s.check_accounts().and(if moved {
                    Err(invalid("users", ix.at(), "account", "a user stays in its account"))
                } else {
                    Ok(())
                });
                if sound.is_err() {
                    put_back(&mut s.users, ix.at(), old);
                }
                self.stale |= sound.is_ok();
                return sound;
            }
            Change::Models(models) => {
                let s = self.world.s.to_mut();
                if models < s.models {
                    return Err(invalid("snapshot", 0, "models", "models do not become fewer"));
                }
                s.models = models;
                self.stale = true;
            }
            Change::Extended(names) => {
                let s = self.world.s.to_mut();
                if names < s.extended {
                    return Err(invalid("snapshot", 0, "extended", "names do not become fewer"));
                }
                s.extended = names;
                self.stale = true;
            }
            Change::Settings(settings) => {
                let old = std::mem::replace(&mut self.world.s.to_mut().settings, settings);
                let sound = self.world.s.check_settings();
                if sound.is_err() {
                    self.world.s.to_mut().settings = old;
                }
                self.stale |= sound.is_ok();
                return sound;
            }
        }
        Ok(())
    }

    fn set_job(&mut self, ix: JobIx, job: Job) -> Result<(), SnapshotError> {
        self.world.s.check_job(ix.at(), &job)?;
        let held = self.held.get(&ix).into_iter().flatten();
        if held.into_iter().any(|held| usize::from(held.role) >= job.request.roles.len()) {
            return Err(out("jobs", ix.at(), "request.roles"));
        }
        let known = ix.at() < self.world.s.jobs.len();
        if known {
            self.lift(ix);
        }
        put(&mut self.world.s.to_mut().jobs, "jobs", ix.at(), job)?;
        self.world.work.grow_to(ix.at() + 1);
        self.lifted.insert(ix);
        if !self.stale {
            let (s, shapes) = (&self.world.s, &mut self.world.shapes);
            self.stale = !shapes.set(&s.nodes, ix.at(), &s.jobs[ix.at()]);
        }
        Ok(())
    }

    /// Forgets what follows from a job until the next decision.
    fn lift(&mut self, ix: JobIx) {
        if !self.stale && ix.at() < self.world.s.jobs.len() && self.lifted.insert(ix) {
            let held = self.held.get(&ix).map_or(&[][..], Vec::as_slice);
            self.world.lift(ix.at(), held);
            let branch = self.world.branch(ix.at());
            self.branches.extend(branch);
        }
    }

    fn take(&mut self, job: JobIx, role: u16, replica: u32) -> Result<Holding, SnapshotError> {
        let of = self.held.entry(job).or_default();
        let at = of.binary_search_by_key(&(role, replica), |held| (held.role, held.replica));
        let held = at.map(|at| of.remove(at)).map_err(|_| out("holdings", job.at(), "replica"));
        if of.is_empty() {
            self.held.remove(&job);
        }
        let held = held?;
        self.charge(&held, false);
        Ok(held)
    }

    /// Are the devices that are held on a node there?
    fn held_fit(&self, ix: NodeIx) -> Result<(), SnapshotError> {
        let mut here = self.held.values().flatten().filter(|held| held.node == ix);
        here.try_for_each(|held| self.world.s.check_holding(0, held))
    }

    /// Charges the room of a holding, or gives it back.
    fn charge(&mut self, held: &Holding, hold: bool) {
        if self.stale {
            return;
        }
        let coming = crate::room::comes_free(&self.world.s, held);
        let rooms = &mut self.world.rooms;
        if hold {
            rooms.hold(held.node, &held.each, &held.gpus, coming);
        } else {
            rooms.release(held.node, &held.each, &held.gpus, coming);
        }
    }

    /// Brings what follows from the snapshot up to date.
    fn settle(&mut self) {
        let work = &self.world.work;
        let worn =
            work.gone > 4096 + work.pieces.len() / 2 || self.world.shapes.len() > 4096 + 2 * self.shapes;
        let lifted = std::mem::take(&mut self.lifted);
        let mut branches = std::mem::take(&mut self.branches);
        if self.stale || worn {
            let snapshot = self.snapshot();
            self.world = World::new(Cow::Owned(snapshot));
            self.world.s.to_mut().holdings = Vec::new();
            (self.stale, self.shapes) = (false, self.world.shapes.len());
            return;
        }
        for ix in lifted {
            let held = self.held.get(&ix).map_or(&[][..], Vec::as_slice);
            self.world.settle(ix.at(), held);
            branches.extend(self.world.branch(ix.at()));
        }
        self.world.lines.settle(&self.world.shapes);
        for (_, branch) in branches {
            let World { s, tree, work, .. } = &mut self.world;
            work.charge_anew(s, tree, &branch);
        }
    }

    /// Decides. The plan carries no verdicts: ask for them by [`Engine::verdict`] or [`Engine::verdicts`].
    pub fn decide(&mut self) -> Plan {
        self.world.roll_back();
        self.settle();
        let decided = self.world.decide_for_now();
        let plan = decided.plan.clone();
        self.decided = Some((decided, Told::default()));
        plan
    }

    /// Why a job waits, by the last decision; its place in the order is not told. `None`: it does not wait, or nothing was decided since
    /// the last change.
    pub fn verdict(&mut self, job: JobIx) -> Option<Verdict> {
        let (decided, told) = self.decided.as_mut()?;
        if job.at() >= self.world.s.jobs.len() {
            return None;
        }
        let (reasons, expected_start) = Teller::new(&mut self.world, decided, told).of(job.at())?;
        Some(Verdict { job, position: 0, after: None, reasons, expected_start })
    }

    /// Why every job that waits does so, by the last decision, in the order in which jobs go.
    pub fn verdicts(&mut self) -> Vec<Verdict> {
        let Some((decided, told)) = self.decided.as_mut() else { return Vec::new() };
        Teller::new(&mut self.world, decided, told).all()
    }
}

/// Sets what is at an ordinal, or adds it as the next one; answers what was there.
fn put<T>(list: &mut Vec<T>, name: &'static str, at: usize, what: T) -> Result<Option<T>, SnapshotError> {
    if at > list.len() {
        return Err(out(name, at, "ordinal"));
    }
    if at == list.len() {
        list.push(what);
        return Ok(None);
    }
    Ok(Some(std::mem::replace(&mut list[at], what)))
}

/// Undoes [`put`].
fn put_back<T>(list: &mut Vec<T>, at: usize, old: Option<T>) {
    match old {
        Some(old) => list[at] = old,
        None => list.truncate(at),
    }
}

fn out(list: &'static str, index: usize, field: &'static str) -> SnapshotError {
    SnapshotError::OutOfRange { list, index, field }
}

fn invalid(list: &'static str, index: usize, field: &'static str, why: &'static str) -> SnapshotError {
    SnapshotError::Invalid { list, index, field, why }
}

fn twice(index: usize) -> SnapshotError {
    invalid("holdings", index, "replica", "is held already")
}
