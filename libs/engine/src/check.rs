//! Is a snapshot sound? Every ordinal in range, no negative amount, no account its own ancestor.

use std::sync::Arc;

use crate::model::{
    Amounts, Extended, Hold, Holding, Job, JobIx, Placement, Request, Reservation, Shape, Snapshot, WHOLE_GPU,
};
use crate::usage::Borrowed;

/// How deep the account tree may be.
pub(crate) const MAX_DEPTH: u32 = 56;

/// Why a snapshot cannot be decided on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// An ordinal that is not in the snapshot.
    #[error("{list}[{index}].{field} is out of range")]
    OutOfRange {
        /// The list it is in.
        list: &'static str,
        /// Where in the list.
        index: usize,
        /// Which field.
        field: &'static str,
    },
    /// A negative amount, a share of a GPU above one device, an empty role…
    #[error("{list}[{index}].{field} is invalid: {why}")]
    Invalid {
        /// The list it is in.
        list: &'static str,
        /// Where in the list.
        index: usize,
        /// Which field.
        field: &'static str,
        /// What is wrong.
        why: &'static str,
    },
}

fn out(list: &'static str, index: usize, field: &'static str) -> SnapshotError {
    SnapshotError::OutOfRange { list, index, field }
}

fn invalid(list: &'static str, index: usize, field: &'static str, why: &'static str) -> SnapshotError {
    SnapshotError::Invalid { list, index, field, why }
}

/// Is this an amount of GPU that a replica can have: none, part of one device, or whole devices?
#[must_use]
pub fn valid_gpu(milli: i64) -> bool {
    milli >= 0 && (milli < WHOLE_GPU || milli % WHOLE_GPU == 0)
}

fn valid_shape(shape: &Shape) -> bool {
    shape.cpu >= 0 && shape.memory >= 0 && valid_gpu(shape.gpu)
}

impl Snapshot {
    /// Refuses what could not be decided on; [`crate::decide`] calls it first.
    pub fn check(&self) -> Result<(), SnapshotError> {
        self.check_nodes()?;
        self.check_accounts()?;
        let mut sound: Option<&Arc<Request>> = None;
        for (i, job) in self.jobs.iter().enumerate() {
            self.check_place(i, job)?;
            // neighbours often share their request
            if sound.is_none_or(|request| !Arc::ptr_eq(request, &job.request)) {
                self.check_request(i, &job.request)?;
                sound = Some(&job.request);
            }
        }
        for (i, held) in self.holdings.iter().enumerate() {
            self.check_holding(i, held)?;
        }
        self.check_holds(&self.holds)?;
        self.check_reservations(&self.reservations)?;
        self.check_lately(&self.lately)?;
        self.check_settings()
    }

    pub(crate) fn check_settings(&self) -> Result<(), SnapshotError> {
        if self.settings.half_life_ms < 0 {
            return Err(invalid("settings", 0, "half_life_ms", "must not be negative"));
        }
        Ok(())
    }

    /// Is what accounts borrowed sound, beside the accounts and models that there are?
    pub(crate) fn check_lately(&self, lately: &[Borrowed]) -> Result<(), SnapshotError> {
        for (i, past) in lately.iter().enumerate() {
            if i >= self.accounts.len() {
                return Err(out("lately", i, "ordinal"));
            }
            for usage in [&past.all, &past.own] {
                if usage.gpu.len() > self.models as usize {
                    return Err(out("lately", i, "gpu"));
                }
                if usage.cpu < 0 || usage.memory < 0 || usage.gpu.iter().any(|nano| *nano < 0) {
                    return Err(invalid("lately", i, "cpu, memory or gpu", "must not be negative"));
                }
            }
        }
        Ok(())
    }

    /// Is a job sound, beside the accounts and users that there are?
    pub(crate) fn check_job(&self, i: usize, job: &Job) -> Result<(), SnapshotError> {
        self.check_place(i, job)?;
        self.check_request(i, &job.request)
    }

    fn check_place(&self, i: usize, job: &Job) -> Result<(), SnapshotError> {
        if job.account.at() >= self.accounts.len() {
            return Err(out("jobs", i, "account"));
        }
        if job.served < 0 {
            return Err(invalid("jobs", i, "served", "must not be negative"));
        }
        match job.user.map(|user| self.users.get(user.at())) {
            Some(None) => Err(out("jobs", i, "user")),
            Some(Some(u)) if u.account != job.account => {
                Err(invalid("jobs", i, "user", "is of another account"))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn check_nodes(&self) -> Result<(), SnapshotError> {
        for (i, node) in self.nodes.iter().enumerate() {
            if node.cpu < 0 || node.memory < 0 || node.others_cpu < 0 || node.others_memory < 0 {
                return Err(invalid("nodes", i, "cpu or memory", "must not be negative"));
            }
            if node.model.is_some() != (node.gpus > 0) {
                return Err(invalid("nodes", i, "model", "must be given exactly when there are gpus"));
            }
            if node.model.is_some_and(|m| m.0 >= self.models) {
                return Err(out("nodes", i, "model"));
            }
            if node.bad_gpus.iter().chain(node.others_gpus.iter().map(|(d, _)| d)).any(|d| *d >= node.gpus) {
                return Err(out("nodes", i, "bad_gpus or others_gpus"));
            }
            let named = node.extended.iter().chain(&node.others_extended);
            if named.clone().any(|(name, _)| name.0 >= self.extended) {
                return Err(out("nodes", i, "extended or others_extended"));
            }
            if node.others_gpus.iter().any(|(_, milli)| *milli < 0) {
                return Err(invalid("nodes", i, "others_gpus", "must not be negative"));
            }
        }
        Ok(())
    }

    fn check_amounts(&self, list: &'static str, i: usize, amounts: &Amounts) -> Result<(), SnapshotError> {
        let plain = [amounts.cpu, amounts.memory, amounts.gpu, amounts.jobs];
        let models = amounts.gpu_models.iter().map(|(_, n)| n);
        let named = amounts.extended.iter().map(|(_, n)| n);
        if plain.iter().flatten().chain(models).chain(named).any(|n| *n < 0) {
            return Err(invalid(list, i, "guaranteed or limit", "must not be negative"));
        }
        let unknown = amounts.extended.iter().any(|(name, _)| name.0 >= self.extended);
        if unknown || amounts.gpu_models.iter().any(|(m, _)| m.0 >= self.models) {
            return Err(out(list, i, "guaranteed or limit"));
        }
        Ok(())
    }

    fn check_guarantee(&self, list: &'static str, i: usize, amounts: &Amounts) -> Result<(), SnapshotError> {
        if amounts.jobs.is_some() {
            return Err(invalid(list, i, "guaranteed.jobs", "jobs can be limited, not guaranteed"));
        }
        self.check_amounts(list, i, amounts)
    }

    pub(crate) fn check_accounts(&self) -> Result<(), SnapshotError> {
        for (i, account) in self.accounts.iter().enumerate() {
            if account.weight < 1 {
                return Err(invalid("accounts", i, "weight", "must be at least 1"));
            }
            self.check_guarantee("accounts", i, &account.guaranteed)?;
            self.check_amounts("accounts", i, &account.limit)?;
            let mut depth = 0;
            let mut above = account.parent;
            while let Some(parent) = above {
                let Some(next) = self.accounts.get(parent.at()) else {
                    return Err(out("accounts", i, "parent"));
                };
                above = next.parent;
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err(invalid("accounts", i, "parent", "the tree is too deep or has a cycle"));
                }
            }
        }
        for (i, user) in self.users.iter().enumerate() {
            if user.account.at() >= self.accounts.len() {
                return Err(out("users", i, "account"));
            }
            self.check_guarantee("users", i, &user.guaranteed)?;
            self.check_amounts("users", i, &user.limit)?;
        }
        Ok(())
    }

    fn check_request(&self, i: usize, request: &Request) -> Result<(), SnapshotError> {
        if request.roles.is_empty() || request.roles.len() > usize::from(u16::MAX) {
            return Err(invalid("jobs", i, "request.roles", "must have at least one role"));
        }
        for role in &request.roles {
            if role.replicas == 0 || role.min > role.replicas {
                return Err(invalid("jobs", i, "request.roles", "needs 1 <= replicas and min <= replicas"));
            }
            if !valid_shape(&role.each) {
                return Err(invalid(
                    "jobs",
                    i,
                    "request.roles.each",
                    "must not be negative, nor part of several gpus",
                ));
            }
        }
        let named = || request.roles.iter().flat_map(|role| role.each.extended.iter());
        if named().any(|(name, _)| name.0 >= self.extended) {
            return Err(out("jobs", i, "request.roles.each.extended"));
        }
        if Extended::new(named().map(|(name, _)| (name, 1))).is_none() {
            return Err(invalid(
                "jobs",
                i,
                "request.roles.each.extended",
                "all roles together name at most four",
            ));
        }
        if request.roles.iter().all(|role| role.min == 0) {
            return Err(invalid("jobs", i, "request.roles", "the gang must have at least one replica"));
        }
        if request.models.iter().any(|m| m.0 >= self.models) {
            return Err(out("jobs", i, "request.models"));
        }
        Ok(())
    }

    /// Is a holding sound, beside the jobs and nodes that there are?
    pub(crate) fn check_holding(&self, i: usize, held: &Holding) -> Result<(), SnapshotError> {
        let Some(node) = self.nodes.get(held.node.at()) else { return Err(out("holdings", i, "node")) };
        let Some(job) = self.jobs.get(held.job.at()) else { return Err(out("holdings", i, "job")) };
        if usize::from(held.role) >= job.request.roles.len() {
            return Err(out("holdings", i, "role"));
        }
        if held.gpus.iter().any(|(device, _)| *device >= node.gpus) {
            return Err(out("holdings", i, "gpus"));
        }
        if held.each.extended.iter().any(|(name, _)| name.0 >= self.extended) {
            return Err(out("holdings", i, "each.extended"));
        }
        if held.each.cpu < 0 || held.each.memory < 0 || held.gpus.iter().any(|(_, milli)| *milli < 0) {
            return Err(invalid("holdings", i, "each", "must not be negative"));
        }
        Ok(())
    }

    /// Are promises sound, beside the jobs and nodes that there are?
    pub(crate) fn check_holds(&self, holds: &[Hold]) -> Result<(), SnapshotError> {
        let mut holds = holds.iter().enumerate();
        holds.try_for_each(|(i, hold)| self.check_places("holds", i, hold.job, &hold.placements))
    }

    /// Are reservations sound, beside the jobs and nodes that there are?
    pub(crate) fn check_reservations(&self, reservations: &[Reservation]) -> Result<(), SnapshotError> {
        let mut all = reservations.iter().enumerate();
        all.try_for_each(|(i, kept)| self.check_places("reservations", i, kept.job, &kept.placements))
    }

    fn check_places(
        &self,
        list: &'static str,
        i: usize,
        job: JobIx,
        placements: &[Placement],
    ) -> Result<(), SnapshotError> {
        let Some(job) = self.jobs.get(job.at()) else { return Err(out(list, i, "job")) };
        for place in placements {
            let Some(node) = self.nodes.get(place.node.at()) else { return Err(out(list, i, "node")) };
            let Some(role) = job.request.roles.get(usize::from(place.role)) else {
                return Err(out(list, i, "role"));
            };
            if place.replica >= role.replicas || place.gpus.iter().any(|(device, _)| *device >= node.gpus) {
                return Err(out(list, i, "replica or gpus"));
            }
        }
        Ok(())
    }
}
