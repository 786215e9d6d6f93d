//! Whose limit binds.

use super::demand::sum;
use super::{Asker, Bound, CPU, Counted, Demand, GPU, MEMORY, MODELS, Tree, Vertex};
use crate::model::{ExtendedIx, ModelIx};
use crate::reason::Resource;

impl Tree {
    /// How much more milli-GPU the limits above a line allow guaranteed work, and whether one job more may run.
    pub fn headroom(&self, line: Vertex, best_effort: bool) -> (i64, bool) {
        let mut room = (i64::MAX, true);
        for entry in self.path(line).map(|vertex| &self.entries[vertex]).filter(|entry| entry.limited) {
            if let Some(limit) = entry.limit.0[GPU].filter(|_| !best_effort || self.best_effort_limited) {
                room.0 = room.0.min(limit - entry.used[GPU]);
            }
            room.1 &= entry.jobs.limit.is_none_or(|limit| entry.jobs.stay + entry.jobs.promised < limit);
        }
        room
    }

    /// Charges one replica that is going (or, by `sign`, undoes that).
    pub fn add_going(&mut self, leaf: Vertex, demand: Demand, best_effort: bool, sign: i64) {
        if best_effort && !self.best_effort_limited {
            return;
        }
        let mut at = leaf;
        while at != 0 {
            for (r, amount) in demand.amounts(self.models) {
                self.touch(at).going[r] += sign * amount;
            }
            at = self.entries[at].parent;
        }
    }

    /// A job counts otherwise than before.
    pub fn recount(&mut self, leaf: Vertex, before: Counted, now: Counted) {
        let mut at = leaf;
        while at != 0 {
            let entry = self.touch(at);
            for (counted, sign) in [(before, -1), (now, 1)] {
                if let Some(count) = entry.jobs.of(counted) {
                    *count += sign;
                }
            }
            at = entry.parent;
        }
    }

    /// The first limit, from the leaf up, that this would break. `going`: does what is being released still count?
    pub fn bound(&self, asker: Asker, demands: &[Demand], going: bool) -> Option<Bound> {
        self.bounds(asker, demands, going).next()
    }

    /// The limits that this would break, from the leaf up: the first of each account or person.
    pub fn bounds(&self, asker: Asker, demands: &[Demand], going: bool) -> impl Iterator<Item = Bound> {
        let limited = self.path(asker.leaf).filter(|v| self.entries[*v].limited);
        limited.filter_map(move |vertex| {
            let unlimited = asker.best_effort && !self.best_effort_limited;
            let amounts = if unlimited { None } else { self.amount_bound(vertex, demands, going) };
            amounts.or_else(|| {
                let jobs = self.entries[vertex].jobs;
                let used = jobs.stay + jobs.promised + if going { jobs.going } else { 0 };
                if asker.enters { self.jobs_bound(vertex, used) } else { None }
            })
        })
    }

    fn amount_bound(&self, vertex: Vertex, demands: &[Demand], going: bool) -> Option<Bound> {
        let entry = &self.entries[vertex];
        (0..self.capacity.len()).find_map(|r| {
            let limit = entry.limit.0[r]?;
            let wanted = sum(demands, r, self.models);
            let used = entry.used[r] + if going { entry.going[r] } else { 0 };
            let holder = entry.holder?;
            let resource = match r {
                CPU => Resource::Cpu,
                MEMORY => Resource::Memory,
                GPU => Resource::Gpu,
                model if model < MODELS + self.models => Resource::GpuModel(ModelIx::of(model - MODELS)),
                name => Resource::Extended(ExtendedIx::of(name - MODELS - self.models)),
            };
            let bound = Bound { vertex, holder, resource, used, wanted, limit };
            (wanted > 0 && used + wanted > limit).then_some(bound)
        })
    }

    fn jobs_bound(&self, vertex: Vertex, used: i64) -> Option<Bound> {
        let entry = &self.entries[vertex];
        let (limit, holder) = (entry.jobs.limit?, entry.holder?);
        let bound = Bound { vertex, holder, resource: Resource::Jobs, used, wanted: 1, limit };
        (used >= limit).then_some(bound)
    }

    /// The first limit of jobs that leaves no room for one more beside those that hold something now, promises apart.
    pub fn full(&self, leaf: Vertex) -> Option<Bound> {
        let mut limited = self.path(leaf).filter(|v| self.entries[*v].limited);
        limited.find_map(|vertex| {
            let jobs = self.entries[vertex].jobs;
            self.jobs_bound(vertex, jobs.stay + jobs.going)
        })
    }
}
