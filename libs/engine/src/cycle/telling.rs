//! The end of a cycle: what was decided, and what everybody who waits is told.

use std::collections::{BTreeMap, BTreeSet};

use super::{Blocked, Cycle, placement};
use crate::model::{Counts, Hold, JobIx, Millis, Plan, Reservation, Verdict};
use crate::reason::Reason;
use crate::tree::Bound;

impl Cycle<'_> {
    pub(super) fn finish(mut self) -> Plan {
        let holds = self.holds();
        let reservations: Vec<Reservation> = self
            .kept
            .iter()
            .map(|kept| Reservation {
                job: JobIx::of(kept.job),
                expected_start: kept.start,
                nodes: kept.nodes.clone(),
            })
            .collect();
        let kept_for: Vec<JobIx> =
            reservations.iter().map(|r| r.job).chain(holds.iter().map(|h| h.job)).collect();
        let verdicts = self.verdicts(&holds, &kept_for);
        let running = self.work.has.iter().filter(|has| has.runs()).count();
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let counts = Counts {
            running: count(running),
            waiting: count(verdicts.len()),
            granted: count(self.grants.iter().map(|grant| grant.placements.len()).sum()),
            revoked: count(self.revoked.values().map(|r| r.replicas.len()).sum()),
            searches: self.searches,
        };
        Plan {
            cycle: self.s.cycle,
            grants: self.grants,
            revocations: self.revoked.into_values().collect(),
            holds,
            reservations,
            verdicts,
            counts,
        }
    }

    /// Promises that are not ready yet.
    fn holds(&self) -> Vec<Hold> {
        let mut holds: BTreeMap<usize, Hold> = BTreeMap::new();
        for piece in self.work.pieces.iter().filter(|piece| piece.promised && piece.alive) {
            let since: Millis = piece.started;
            let hold = holds.entry(piece.job).or_insert_with(|| Hold {
                job: JobIx::of(piece.job),
                since,
                placements: Vec::new(),
            });
            hold.since = hold.since.min(since);
            hold.placements.extend(piece.spots.iter().map(placement));
        }
        holds.into_values().collect()
    }

    fn verdicts(&mut self, holds: &[Hold], kept_for: &[JobIx]) -> Vec<Verdict> {
        let mut told: BTreeSet<usize> = BTreeSet::new();
        let mut all: Vec<(usize, Vec<Reason>, Option<Millis>)> = Vec::new();
        for hold in holds {
            let job = hold.job.at();
            if self.silent(job) || !told.insert(job) {
                continue;
            }
            let mut nodes: Vec<usize> = hold.placements.iter().map(|p| p.node.at()).collect();
            nodes.sort_unstable();
            nodes.dedup();
            let revoked = self.revoked.values().flat_map(|r| &r.replicas);
            let now_going = revoked.filter(|r| nodes.binary_search(&r.node.at()).is_ok()).count();
            let going: u32 = nodes.iter().map(|node| self.work.going_on[*node]).sum();
            let going = going + u32::try_from(now_going).unwrap_or(u32::MAX);
            // its room may be there, and only the limit of jobs not yet
            let full = if going == 0 { self.tree.full(self.leaf(job)) } else { None };
            let mut reasons = vec![full.map_or(Reason::RoomIsComing { going }, limit)];
            reasons.extend(self.work.own_past(job));
            all.push((job, reasons, None));
        }
        for (job, blocked) in std::mem::take(&mut self.waiting) {
            if self.silent(job) || !told.insert(job) {
                continue;
            }
            let start = self.kept.iter().find(|kept| kept.job == job).and_then(|kept| kept.start);
            let reasons = self.reasons(job, blocked, start, kept_for);
            all.push((job, reasons, start));
        }
        for job in 0..self.s.jobs.len() {
            if self.silent(job) || !told.insert(job) {
                continue;
            }
            let past = self.work.own_past(job);
            let reason = if self.s.jobs[job].closed { Some(Reason::Closed) } else { past };
            let reason = match reason {
                Some(reason) => reason,
                None => self.room_reason(job, kept_for),
            };
            all.push((job, vec![reason], None));
        }
        let mut after = None;
        let numbered = (1u32..).zip(all);
        let verdicts = numbered.map(|(position, (job, reasons, expected_start))| {
            let job = JobIx::of(job);
            Verdict { job, position, after: after.replace(job), reasons, expected_start }
        });
        verdicts.collect()
    }

    /// Runs, gets something, is only just being revoked, or wants nothing: no verdict.
    fn silent(&self, job: usize) -> bool {
        let has = &self.work.has[job];
        has.runs() || self.revoked.contains_key(&job) || (self.s.jobs[job].closed && has.going() == 0)
    }

    fn room_reason(&mut self, job: usize, kept_for: &[JobIx]) -> Reason {
        let want = self.work.missing(self.s, job, false);
        self.explainer.no_room(&mut self.rooms, job, &want, kept_for)
    }

    fn reasons(
        &mut self,
        job: usize,
        blocked: Blocked,
        start: Option<Millis>,
        kept_for: &[JobIx],
    ) -> Vec<Reason> {
        match blocked {
            Blocked::Limit(bound) => vec![limit(bound)],
            Blocked::MayNotBorrow => {
                let account = self.s.jobs[job].account;
                vec![Reason::MayNotBorrow { account }]
            }
            Blocked::Past(reason) | Blocked::Never(reason) => vec![reason],
            Blocked::Head(reason) => vec![reason, Reason::Reserved { expected_start: start }],
            Blocked::Room => vec![self.room_reason(job, kept_for)],
        }
    }
}

fn limit(bound: Bound) -> Reason {
    let Bound { holder, resource, used, wanted, limit, .. } = bound;
    Reason::Limit { holder, resource, used, wanted, limit }
}
