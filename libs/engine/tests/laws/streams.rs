//! An engine that is told what changed decides as one that begins anew.

use std::collections::BTreeMap;

use crater_engine::{
    Account, AccountIx, Change, Engine, Holding, Job, JobIx, Node, NodeIx, Shape, Snapshot, decide,
};
use proptest::prelude::*;

use crate::audit::audit;
use crate::cases::case;

type Replica = (JobIx, u16, u32);

fn by_replica(s: &Snapshot) -> BTreeMap<Replica, &Holding> {
    s.holdings.iter().map(|held| ((held.job, held.role, held.replica), held)).collect()
}

/// What makes `new` of `old`.
fn changes(old: &Snapshot, new: &Snapshot) -> Vec<Change> {
    let mut changes = vec![Change::Time { now: new.now, cycle: new.cycle }];
    for (ix, job) in new.jobs.iter().enumerate() {
        if old.jobs.get(ix) != Some(job) {
            changes.push(Change::Job(JobIx::of(ix), job.clone()));
        }
    }
    for (ix, node) in new.nodes.iter().enumerate() {
        if old.nodes[ix] != *node {
            changes.push(Change::Node(NodeIx::of(ix), node.clone()));
        }
    }
    let (was, is) = (by_replica(old), by_replica(new));
    for ((job, role, replica), held) in &was {
        match is.get(&(*job, *role, *replica)) {
            None => changes.push(Change::Released { job: *job, role: *role, replica: *replica }),
            Some(now) if now.going != held.going => {
                changes.push(Change::Going { job: *job, role: *role, replica: *replica });
            }
            Some(_) => {}
        }
    }
    changes.extend(
        is.iter().filter(|(key, _)| !was.contains_key(key)).map(|(_, held)| Change::Held((*held).clone())),
    );
    if old.holds != new.holds {
        changes.push(Change::Holds(new.holds.clone()));
    }
    if old.lately != new.lately {
        changes.push(Change::Lately(new.lately.clone()));
    }
    if old.reservations != new.reservations {
        changes.push(Change::Reservations(new.reservations.clone()));
    }
    changes
}

proptest! {
    #![proptest_config(crate::config())]

    #[test]
    fn an_engine_that_follows_changes_decides_as_one_that_begins_anew(case in case()) {
        let mut sim = crate::sim::Sim::new(&case);
        let mut last = sim.snapshot.clone();
        let mut engine = Engine::new(last.clone()).unwrap();
        let mut shown = Engine::new(last.clone()).unwrap();
        for event in &case.events {
            sim.happen(event);
            sim.remember();
            engine.apply(changes(&last, &sim.snapshot)).unwrap();
            last = sim.snapshot.clone();
            let mut plan = engine.decide();
            // shown all of it, another finds out what changed
            shown.follow(&sim.snapshot).unwrap();
            prop_assert_eq!(&plan, &shown.decide());
            // asked for one by one, and together, verdicts are the same
            let each: Vec<_> = (0..last.jobs.len()).filter_map(|job| engine.verdict(JobIx::of(job))).collect();
            plan.verdicts = engine.verdicts();
            sim.decide();
            prop_assert_eq!(&plan, &sim.plan);
            prop_assert_eq!(plan.counts.waiting as usize, plan.verdicts.len());
            prop_assert_eq!(each.len(), plan.verdicts.len());
            for one in each {
                let same = plan.verdicts.iter().any(|all| (all.job, &all.reasons) == (one.job, &one.reasons));
                prop_assert!(same, "{:?} is not among the verdicts", one);
            }
            sim.carry_out(false);
        }
    }

    #[test]
    fn ordinals_of_jobs_that_are_gone_are_used_again(case in case()) {
        let mut engine = Engine::new(case.start.clone()).unwrap();
        let mut now = 1_000_000;
        let mut free: Vec<JobIx> = Vec::new();
        let mut next = 0;
        let mut jobs = case.jobs.iter().cycle();
        for cycle in 0..40u64 {
            now += 100_000;
            let mut changes = vec![Change::Time { now, cycle }];
            if let Some(job) = jobs.next() {
                let ix = free.pop().unwrap_or_else(|| { next += 1; JobIx(next - 1) });
                let mut job = job.clone();
                (job.submitted, job.queued_since) = (now, now);
                changes.push(Change::Job(ix, job));
            }
            engine.apply(changes).unwrap();
            let mut plan = engine.decide();
            plan.verdicts = engine.verdicts();
            let s = engine.snapshot();
            prop_assert_eq!(&plan, &decide(&s).unwrap());
            audit(&s, &plan);
            let mut changes = vec![
                Change::Holds(plan.holds.clone()),
                Change::Reservations(plan.reservations.clone()),
            ];
            for revocation in &plan.revocations {
                for r in &revocation.replicas {
                    changes.push(Change::Released { job: revocation.job, role: r.role, replica: r.replica });
                }
            }
            for grant in &plan.grants {
                changes.extend(s.holdings_of(grant).map(Change::Held));
            }
            engine.apply(changes).unwrap();
            // every third cycle the oldest job that runs ends
            let s = engine.snapshot();
            if let (0, Some(first)) = (cycle % 3, s.holdings.first()) {
                let job = first.job;
                let held = s.holdings.iter().filter(|held| held.job == job);
                let mut over: Vec<Change> =
                    held.map(|h| Change::Released { job, role: h.role, replica: h.replica }).collect();
                let holds = s.holds.iter().filter(|hold| hold.job != job).cloned().collect();
                over.extend([Change::Holds(holds), Change::Reservations(Vec::new()), Change::Gone(job)]);
                engine.apply(over).unwrap();
                free.push(job);
            }
        }
    }
}

#[test]
fn a_snapshot_that_is_not_sound_is_refused_and_the_next_is_decided_on() {
    let job = Job { submitted: 1, ..Job::nobody(AccountIx(0)) };
    let mut snapshot = Snapshot {
        accounts: vec![Account::default()],
        nodes: vec![Node { cpu: 1000, open: true, ..Node::default() }],
        jobs: vec![job],
        ..Snapshot::default()
    };
    let mut engine = Engine::new(snapshot.clone()).unwrap();
    let held = Holding {
        job: JobIx(0),
        role: 0,
        replica: 0,
        node: NodeIx(0),
        each: Shape::default(),
        gpus: Vec::new(),
        started: 0,
        going: false,
    };
    snapshot.holdings = vec![held.clone(), held];
    let error = engine.follow(&snapshot).unwrap_err().to_string();
    assert!(error.contains("held already"), "{error}");
    let twice = snapshot.clone();
    snapshot.holdings.pop();
    engine.follow(&snapshot).unwrap();
    assert_eq!(engine.snapshot().holdings, snapshot.holdings);
    // and so is one that was held already, and is there twice now
    let error = engine.follow(&twice).unwrap_err().to_string();
    assert!(error.contains("held already"), "{error}");
    engine.follow(&snapshot).unwrap();
    assert_eq!(engine.decide(), decide(&snapshot).unwrap());
}
