//! Carries plans out on a snapshot, with a grace period between "going" and gone.

use crater_engine::usage::decay_all;
use crater_engine::{Class, Holding, Job, JobIx, Plan, Snapshot, WHOLE_GPU, decide};

use crate::cases::{Case, Event};

pub struct Sim {
    pub snapshot: Snapshot,
    pub plan: Plan,
    coming: std::vec::IntoIter<Job>,
    /// When the last cycle was.
    last: i64,
}

pub fn best_effort(job: &Job) -> bool {
    job.class == Class::BestEffort
}

impl Sim {
    pub fn new(case: &Case) -> Self {
        let mut snapshot = case.start.clone();
        snapshot.now = 1_000_000;
        let last = snapshot.now;
        Self { snapshot, plan: Plan::default(), coming: case.jobs.clone().into_iter(), last }
    }

    /// What accounts borrowed until now; the plan is carried out already.
    pub fn remember(&mut self) {
        let s = &mut self.snapshot;
        if s.settings.half_life_ms > 0 {
            decay_all(&mut s.lately, &self.plan.borrowed, s.now - self.last, s.settings.half_life_ms);
        }
        self.last = s.now;
    }

    pub fn happen(&mut self, event: &Event) {
        self.snapshot.now += 1000;
        self.snapshot.cycle += 1;
        let snapshot = &mut self.snapshot;
        match event {
            Event::Submit => {
                if let Some(mut job) = self.coming.next() {
                    job.submitted = snapshot.now;
                    job.queued_since = snapshot.now;
                    snapshot.jobs.push(job);
                }
            }
            Event::Finish(n) => {
                let mut running: Vec<JobIx> = snapshot.holdings.iter().map(|held| held.job).collect();
                running.sort_unstable();
                running.dedup();
                if let Some(job) = running.get(n % running.len().max(1)) {
                    snapshot.holdings.retain(|held| held.job != *job);
                    snapshot.holds.retain(|hold| hold.job != *job);
                    snapshot.jobs[job.at()].closed = true;
                }
            }
            Event::Release => snapshot.holdings.retain(|held| !held.going),
            Event::Toggle(n) => {
                let n = n % snapshot.nodes.len();
                snapshot.nodes[n].open ^= true;
            }
            Event::Die(n) => {
                if !snapshot.holdings.is_empty() {
                    let n = n % snapshot.holdings.len();
                    snapshot.holdings.remove(n);
                }
            }
            Event::Wait(ms) => snapshot.now += ms,
        }
    }

    pub fn decide(&mut self) {
        self.remember();
        self.plan = decide(&self.snapshot).unwrap();
    }

    /// Carries the plan out; `at_once`: what is revoked is gone before the next cycle. Says whether anything changed.
    pub fn carry_out(&mut self, at_once: bool) -> bool {
        let (snapshot, plan) = (&mut self.snapshot, &self.plan);
        for revocation in &plan.revocations {
            for replica in &revocation.replicas {
                for held in &mut snapshot.holdings {
                    let same = held.job == revocation.job && held.role == replica.role;
                    held.going |= same && held.replica == replica.replica;
                }
            }
            snapshot.jobs[revocation.job.at()].queued_since = snapshot.now;
        }
        for grant in &plan.grants {
            let held: Vec<Holding> = snapshot.holdings_of(grant).collect();
            snapshot.holdings.extend(held);
        }
        let moved = !plan.grants.is_empty() || !plan.revocations.is_empty() || snapshot.holds != plan.holds;
        snapshot.holds.clone_from(&plan.holds);
        snapshot.reservations.clone_from(&plan.reservations);
        if at_once {
            snapshot.holdings.retain(|held| !held.going);
        }
        // longer than any start protection, and than any job was said to run: that these are over is an event too
        snapshot.now += if at_once { 1_000_000 } else { 1000 };
        snapshot.cycle += 1;
        moved
    }

    /// Cycles until nothing moves; says whether that came.
    pub fn settle(&mut self, most: usize) -> bool {
        for _ in 0..most {
            self.decide();
            if !self.carry_out(true) {
                return true;
            }
        }
        false
    }

    /// Has any node room for one replica of a job's first needed role, whoever it may be kept for?
    pub fn fits_somewhere(&self, job: JobIx) -> bool {
        let request = &self.snapshot.jobs[job.at()].request;
        let Some(role) = request.roles.iter().find(|role| role.min > 0) else { return false };
        self.snapshot.nodes.iter().enumerate().any(|(ix, node)| {
            let here: Vec<&Holding> =
                self.snapshot.holdings.iter().filter(|held| held.node.at() == ix).collect();
            let cpu = node.cpu - here.iter().map(|held| held.each.cpu).sum::<i64>();
            let memory = node.memory - here.iter().map(|held| held.each.memory).sum::<i64>();
            let mut gpus = vec![WHOLE_GPU; usize::from(node.gpus)];
            for (device, milli) in here.iter().flat_map(|held| &held.gpus) {
                gpus[usize::from(*device)] -= milli;
            }
            let gpu = role.each.gpu;
            let whole = i64::try_from(gpus.iter().filter(|free| **free == WHOLE_GPU).count()).unwrap();
            let devices =
                if gpu < WHOLE_GPU { gpus.iter().any(|free| *free >= gpu) } else { whole * WHOLE_GPU >= gpu };
            let model = gpu == 0
                || request.models.is_empty()
                || node.model.is_some_and(|m| request.models.contains(&m));
            node.open
                && model
                && (gpu == 0 || devices)
                && request.selector.iter().all(|label| node.labels.contains(label))
                && cpu >= role.each.cpu
                && role.each.extended.iter().all(|(name, count)| {
                    let offered = node.extended.iter().filter(|(known, _)| *known == name);
                    let offered: i64 = offered.map(|(_, count)| i64::from(*count)).sum();
                    let held: i64 = here.iter().map(|held| held.each.extended.of(name)).sum();
                    offered - held >= count
                })
                && memory >= role.each.memory
        })
    }
}
