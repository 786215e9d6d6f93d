//! What if: decides on copies of a snapshot in which something is different, and says what comes of it.

mod remedy;

pub use remedy::{Amendment, Remedy, Scope};

use std::borrow::Cow;
use std::sync::Arc;

use crate::SnapshotError;
use crate::engine::{Change, Engine};
use crate::model::{Job, JobIx, Placement, Plan, Reservation, Revocation, Snapshot, Verdict};
use crate::world::World;

/// What comes of a job in one cycle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It gets all that must start together.
    Starts {
        /// Where.
        placements: Vec<Placement>,
        /// What is taken back for it first; empty if it starts at once.
        after: Vec<Revocation>,
    },
    /// It waits.
    Waits(Verdict),
    /// It holds what it needs already, or wants nothing.
    Settled,
}

/// A snapshot, and trials on it. Nothing that is tried stays but by [`WhatIf::add`].
pub struct WhatIf {
    snapshot: Snapshot,
    engine: Engine,
    plan: Plan,
}

impl WhatIf {
    /// Begins with what is decided on this snapshot.
    ///
    /// # Errors
    /// When the snapshot is not sound, as [`Snapshot::check`] says.
    pub fn new(snapshot: Snapshot) -> Result<Self, SnapshotError> {
        let mut engine = Engine::new(snapshot.clone())?;
        let plan = engine.decide();
        Ok(Self { snapshot, engine, plan })
    }

    /// What is decided, without verdicts.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// On what.
    #[must_use]
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Adds a job that is thought of, as the last one. Answers its ordinal.
    ///
    /// # Errors
    /// When the job is not sound.
    pub fn add(&mut self, job: Job) -> Result<JobIx, SnapshotError> {
        let ix = JobIx::of(self.snapshot.jobs.len());
        self.engine.apply([Change::Job(ix, job.clone())])?;
        self.plan = self.engine.decide();
        self.snapshot.jobs.push(job);
        Ok(ix)
    }

    /// What comes of a job.
    pub fn fate(&mut self, job: JobIx) -> Fate {
        if let Some(starts) = starts(&self.plan, job) {
            return starts;
        }
        // a trial may have left the engine undecided
        if self.engine.verdict(job).is_none() {
            self.engine.decide();
        }
        self.engine.verdict(job).map_or(Fate::Settled, Fate::Waits)
    }

    /// Those that wait, in the order in which they go.
    pub fn order(&mut self) -> Vec<JobIx> {
        // a trial may have left the engine undecided
        self.engine.decide();
        self.engine.verdicts().into_iter().map(|verdict| verdict.job).collect()
    }

    /// Who could start now but for the way it is, each change by itself: tried by deciding on it. Smallest first for the owner of the
    /// job, then what only an administrator can do. `go_on` is asked before each trial.
    pub fn remedies(&mut self, job: JobIx, scope: &Scope, go_on: &mut dyn FnMut() -> bool) -> Vec<Remedy> {
        match self.fate(job) {
            Fate::Waits(verdict) => remedy::find(self, &verdict, scope, go_on),
            Fate::Starts { .. } | Fate::Settled => Vec::new(),
        }
    }

    /// The fate of a job that is different, if it then starts.
    fn with_job(&mut self, ix: JobIx, change: impl FnOnce(&mut Job)) -> Option<Fate> {
        let job = self.snapshot.jobs.get(ix.at())?.clone();
        let mut changed = job.clone();
        change(&mut changed);
        let kept = self.snapshot.reservations.clone();
        let tried = self.engine.apply([Change::Reservations(others(&kept, ix)), Change::Job(ix, changed)]);
        let fate = tried.ok().and_then(|()| starts(&self.engine.decide(), ix));
        // they were sound before
        let _ = self.engine.apply([Change::Job(ix, job), Change::Reservations(kept)]);
        fate
    }

    /// The fate of a job on a snapshot that is different in something else, if it then starts.
    fn with_rest(&self, ix: JobIx, change: impl FnOnce(&mut Snapshot)) -> Option<Fate> {
        let mut changed = self.snapshot.clone();
        changed.reservations = others(&changed.reservations, ix);
        change(&mut changed);
        changed.check().ok()?;
        starts(&World::new(Cow::Owned(changed)).decide().plan, ix)
    }
}

/// The starts that were promised to others: what a job was promised is for what it was.
fn others(reservations: &[Reservation], job: JobIx) -> Vec<Reservation> {
    reservations.iter().filter(|kept| kept.job != job).cloned().collect()
}

/// Does a plan give a job all that it needs, and after which evictions?
fn starts(plan: &Plan, job: JobIx) -> Option<Fate> {
    if let Some(grant) = plan.grants.iter().find(|grant| grant.job == job) {
        return Some(Fate::Starts { placements: grant.placements.clone(), after: Vec::new() });
    }
    let hold = plan.holds.iter().find(|hold| hold.job == job)?;
    let after = plan.revocations.iter().filter(|revocation| revocation.beneficiary == Some(job));
    let after: Vec<Revocation> = after.cloned().collect();
    // room that others release anyway is waited for
    (!after.is_empty()).then(|| Fate::Starts { placements: hold.placements.clone(), after })
}

/// Changes a request that others may share.
fn amend(job: &mut Job, change: impl FnOnce(&mut crate::model::Request)) {
    change(Arc::make_mut(&mut job.request));
}
