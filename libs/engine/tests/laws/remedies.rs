//! What is told to help does help, whatever the world.

use std::sync::Arc;

use crater_engine::whatif::{Amendment, Fate, Scope, WhatIf};
use crater_engine::{
    Amounts, Class, Holder, JobIx, Node, Plan, Request, Resource, Snapshot, Verdict, decide,
};
use proptest::prelude::*;

use crate::cases::{Event, case};
use crate::{config, play};

/// The change as a person would make it.
fn make(s: &mut Snapshot, ix: JobIx, amendment: &Amendment) {
    // what it was promised is for what it was
    s.reservations.retain(|kept| kept.job != ix);
    let job = &mut s.jobs[ix.at()];
    let mut request: Request = (*job.request).clone();
    match amendment {
        Amendment::Replicas { role, to, .. } => {
            let role = &mut request.roles[usize::from(*role)];
            (role.replicas, role.min) = (*to, *to);
        }
        Amendment::MinReplicas { role, to, .. } => request.roles[usize::from(*role)].min = *to,
        Amendment::Each { role, resource, to, .. } => {
            let each = &mut request.roles[usize::from(*role)].each;
            match resource {
                Resource::Cpu => each.cpu = *to,
                Resource::Memory => each.memory = *to,
                Resource::Extended(name) => {
                    each.extended = each.extended.without(*name);
                    each.extended.add(*name, u32::try_from(*to).unwrap());
                }
                _ => each.gpu = *to,
            }
        }
        Amendment::Models(more) => request.models.extend(more),
        Amendment::Class(class) => job.class = *class,
        Amendment::Priority(priority) => job.priority = *priority,
        Amendment::Duration(ms) => job.expected_ms = Some(*ms),
        Amendment::PreferTopology => request.topology.as_mut().unwrap().required = false,
        Amendment::Limits(limits) => {
            for (holder, resource, to) in limits {
                let limit: &mut Amounts = match holder {
                    Holder::Account(account) => &mut s.accounts[account.at()].limit,
                    Holder::User(user) => &mut s.users[user.at()].limit,
                };
                match resource {
                    Resource::Gpu => limit.gpu = Some(*to),
                    Resource::Jobs => limit.jobs = Some(*to),
                    Resource::Extended(name) => limit.extended = vec![(*name, *to)],
                    other => panic!("no world has a limit of {other:?}"),
                }
            }
        }
        Amendment::Nodes { like, count } => {
            let like = &s.nodes[like.at()];
            let new = Node { open: true, bad_gpus: Vec::new(), ..like.clone() };
            s.nodes.extend(vec![new; *count as usize]);
        }
    }
    s.jobs[ix.at()].request = Arc::new(request);
}

/// Whose replicas are taken back for a job that gets all that must start; `None`: it does not start.
fn evicts(plan: &Plan, job: JobIx) -> Option<Vec<JobIx>> {
    let granted = plan.grants.iter().any(|grant| grant.job == job);
    let held = plan.holds.iter().any(|hold| hold.job == job);
    let for_it = plan.revocations.iter().filter(|revocation| revocation.beneficiary == Some(job));
    let victims: Vec<JobIx> = for_it.map(|revocation| revocation.job).collect();
    if granted {
        return Some(Vec::new());
    }
    (held && !victims.is_empty()).then_some(victims)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_remedy_starts_the_job_at_the_price_that_is_told(case in case()) {
        let mut sim = play(&case, |_| {});
        sim.happen(&Event::Release);
        prop_assume!(sim.settle(60));
        sim.decide();
        let mut what = WhatIf::new(sim.snapshot.clone()).unwrap();
        let mut plan = sim.plan.clone();
        let waiting: Vec<_> = std::mem::take(&mut plan.verdicts);
        prop_assert_eq!(what.plan(), &plan);
        // time has passed: some may be given room by this cycle
        let waits = |verdict: &&Verdict| plan.holds.iter().all(|hold| hold.job != verdict.job);
        for verdict in waiting.iter().filter(waits).take(4) {
            let remedies = what.remedies(verdict.job, &Scope { priorities: -10..=10 }, &mut || true);
            for remedy in &remedies {
                let mut changed = sim.snapshot.clone();
                make(&mut changed, verdict.job, &remedy.amendment);
                let came = evicts(&decide(&changed).unwrap(), verdict.job);
                prop_assert_eq!(came.as_ref(), Some(&remedy.evicts), "{:?}", remedy);
            }
            // and nothing of the trials stays
            let fate = what.fate(verdict.job);
            let Fate::Waits(again) = fate else { panic!("it waits for {:?}, came {fate:?}", verdict) };
            prop_assert_eq!((&again.reasons, again.expected_start), (&verdict.reasons, verdict.expected_start));
        }
    }

    #[test]
    fn a_job_that_is_thought_of_fares_as_if_it_had_been_submitted(case in case()) {
        let mut sim = play(&case, |_| {});
        let Some(job) = case.jobs.first() else { return Ok(()) };
        let mut what = WhatIf::new(sim.snapshot.clone()).unwrap();
        let ix = what.add(job.clone()).unwrap();
        sim.snapshot.jobs.push(job.clone());
        sim.decide();
        match what.fate(ix) {
            Fate::Starts { after, .. } => {
                let victims: Vec<JobIx> = after.iter().map(|revocation| revocation.job).collect();
                prop_assert_eq!(evicts(&sim.plan, ix), Some(victims));
            }
            Fate::Waits(verdict) => {
                let told = sim.plan.verdicts.iter().find(|told| told.job == ix);
                prop_assert_eq!(told.map(|told| &told.reasons), Some(&verdict.reasons));
            }
            Fate::Settled => prop_assert!(job.closed || job.class == Class::BestEffort),
        }
    }
}
