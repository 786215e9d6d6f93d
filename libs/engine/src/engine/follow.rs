//! An engine that is shown whole snapshots, one after the other, and finds out by itself what is different.

use std::collections::{BTreeMap, BTreeSet};

use super::{Change, Engine};
use crate::check::SnapshotError;
use crate::model::{Holding, JobIx, Snapshot};

/// Of more changes than the first of these and more than a quarter of the jobs, or than the second, to begin anew is quicker.
const MANY: (usize, usize) = (64, 2048);

impl Engine {
    /// The next decision is made on this snapshot. Ordinals are to mean what they meant in the last one; that of a job that is gone may stand
    /// for another, and that of nobody's ([`crate::Job::nobody`]) for none.
    ///
    /// The comparison takes a step for each job, node and replica that is held. Other nodes, accounts, users or settings, or
    /// other jobs by the quarter or the thousand, mean to begin anew.
    ///
    /// # Errors
    /// When the snapshot is not sound, or a replica is held twice. The engine is then to be shown another before it decides.
    pub fn follow(&mut self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        let s = &self.world.s;
        let step_by_step = (s.models, s.extended, s.settings)
            == (snapshot.models, snapshot.extended, snapshot.settings)
            && s.nodes == snapshot.nodes
            && s.accounts == snapshot.accounts
            && s.users == snapshot.users
            && s.jobs.len() <= snapshot.jobs.len();
        let most = (snapshot.jobs.len() / 4).clamp(MANY.0, MANY.1);
        let changes =
            step_by_step.then(|| self.differences(snapshot)).filter(|changes| changes.len() <= most);
        // what makes no sense as a change may do so as a beginning, or is told for what it is
        if changes.is_none_or(|changes| self.apply(changes).is_err()) {
            *self = Self::new(snapshot.clone())?;
        }
        Ok(())
    }

    /// What makes this snapshot of the last one, where only jobs, what is theirs, and the past differ.
    fn differences(&self, new: &Snapshot) -> Vec<Change> {
        let old = &self.world.s;
        let mut held: BTreeMap<JobIx, Vec<&Holding>> = BTreeMap::new();
        for one in &new.holdings {
            held.entry(one.job).or_default().push(one);
        }
        for of in held.values_mut() {
            of.sort_by_key(|held| (held.role, held.replica));
        }
        let none = (Vec::new(), Vec::new());
        let (mut released, mut taken) = (Vec::new(), Vec::new());
        let jobs: BTreeSet<JobIx> = self.held.keys().chain(held.keys()).copied().collect();
        for job in jobs {
            let was = self.held.get(&job).unwrap_or(&none.0);
            let is = held.get(&job).unwrap_or(&none.1);
            if was.iter().ne(is.iter().copied()) {
                compare(was, is, &mut released, &mut taken);
            }
        }
        let mut changes = vec![Change::Time { now: new.now, cycle: new.cycle }];
        changes.extend(released);
        let jobs = new.jobs.iter().enumerate().filter(|(ix, job)| old.jobs.get(*ix) != Some(job));
        changes.extend(jobs.map(|(ix, job)| Change::Job(JobIx::of(ix), job.clone())));
        changes.extend(taken);
        if old.holds != new.holds {
            changes.push(Change::Holds(new.holds.clone()));
        }
        if old.reservations != new.reservations {
            changes.push(Change::Reservations(new.reservations.clone()));
        }
        if old.lately != new.lately {
            changes.push(Change::Lately(new.lately.clone()));
        }
        changes
    }
}

/// What one job gave back, and what it took, between two lists in order of role and replica.
fn compare(was: &[Holding], is: &[&Holding], released: &mut Vec<Change>, taken: &mut Vec<Change>) {
    let at = |held: &Holding| (held.role, held.replica);
    // one that is there twice is taken twice, which is refused
    let twice = is.windows(2).filter(|pair| at(pair[0]) == at(pair[1])).map(|pair| pair[1]);
    taken.extend(twice.map(|held| Change::Held(held.clone())));
    let before: BTreeMap<_, &Holding> = was.iter().map(|held| (at(held), held)).collect();
    let now: BTreeMap<_, &Holding> = is.iter().map(|held| (at(held), *held)).collect();
    for held in was.iter().filter(|held| now.get(&at(held)) != Some(held)) {
        released.push(Change::Released { job: held.job, role: held.role, replica: held.replica });
    }
    let new = is.iter().filter(|held| before.get(&at(held)) != Some(*held));
    taken.extend(new.map(|held| Change::Held((*held).clone())));
}
