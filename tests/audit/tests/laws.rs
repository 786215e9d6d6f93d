//! The judge, by itself: histories that are as they should be give no violation, and every one that is spoilt in one place
//! gives one, of the law that was broken and with the cause that broke it. Times and versions are made up; nothing runs.
#![allow(clippy::unwrap_used, clippy::panic)]

mod world;

use std::collections::{BTreeMap, BTreeSet};

use crater_audit::judge::{Auditor, Settings};
use crater_audit::observation::*;
use crater_audit::violation::{Law, Violation};
use proptest::prelude::*;

use world::World;

fn only(found: &[Violation], law: Law, cause: &str) {
    assert!(
        found.iter().any(|v| v.law == law && v.cause.id == cause),
        "{law} by {cause} was expected: {found:#?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_history_as_it_should_be_gives_no_violation(seed in any::<u64>(), steps in 1u64..80) {
        let mut world = World::new(seed);
        world.live(steps);
        let found = world.judged();
        prop_assert!(found.is_empty(), "{found:#?}");
    }

    #[test]
    fn whatever_is_spoilt_is_found_and_named(seed in any::<u64>(), steps in 0u64..20, which in 0..SPOILT.len()) {
        let mut world = World::new(seed);
        for mut life in world.live(steps) {
            // room for what is to come
            if life.job.phase == Phase::Running {
                world.finish(&mut life);
            }
        }
        let (law, cause, spoil) = SPOILT[which];
        spoil(&mut world);
        only(&world.judged(), law, cause);
    }
}

type Spoil = fn(&mut World);

fn told(life: &world::Life, events: &[(i64, &str)]) -> Observation {
    let events = events.iter().map(|(n, r)| JobEvent { sequence: *n, time_ms: *n, reason: (*r).into() });
    Observation::Events(life.row.name.clone(), events.collect())
}

/// A limit, in force for long.
fn limited(world: &mut World, kind: &str, limit: i64) {
    let subject = Subject { account: "lab".into(), user: None };
    let limit = BTreeMap::from([(kind.to_owned(), limit)]);
    world.seen.push(Observation::Limits(BTreeMap::from([(subject, limit)])));
    for _ in 0..60 {
        world.read(Vec::new());
    }
}

/// One wrong each, with the law that it breaks and the cause that is to be named.
const SPOILT: [(Law, &str, Spoil); 24] = [
    (Law::I3, "double-grant", |w| {
        let mut life = w.submit(2000, 2);
        life.job.roles[0].devices = [("rdma/hca", 5)].into();
        w.job(Change::Modified, &life);
        assert!(w.grant(&mut life));
    }),
    (Law::I3, "double-grant", |w| {
        let first = w.running(2);
        let device = first.given.unwrap().granted[0].gpus[0];
        w.free.insert(device, 1000);
        let mut second = w.submit(2000, 1);
        // the lowest device that is free is the one that is not
        assert!(w.grant(&mut second));
    }),
    (Law::I3, "double-grant", |w| {
        let mut life = w.submit(2000, 1);
        life.job.roles[0].cpu = 65_000;
        w.job(Change::Modified, &life);
        assert!(w.grant(&mut life));
    }),
    (Law::I3, "early-release", |w| {
        let mut life = w.running(2);
        w.release(&mut life);
    }),
    (Law::I3, "early-release", |w| {
        let mut life = w.running(1);
        w.clear(&mut life);
    }),
    (Law::I3, "no-epoch-check", |w| {
        let mut life = w.submit(2000, 1);
        let listed = Some(w.revision);
        assert!(w.grant(&mut life));
        for list_revision in [None, listed] {
            let lease = Lease { holder: "b".into(), epoch: 2, list_revision };
            w.write(Change::Modified, Object::Lease(lease));
        }
        w.accept(&mut life, 2);
    }),
    (Law::I3, "lease", |w| {
        let lease = Lease { holder: "b".into(), epoch: 1, list_revision: None };
        w.write(Change::Modified, Object::Lease(lease));
    }),
    (Law::I2, "partial-grant", |w| {
        let mut life = w.submit(2000, 3);
        let mut smaller = life.clone();
        smaller.job.roles[0].replicas = 2;
        assert!(w.grant(&mut smaller));
        life.given = smaller.given;
    }),
    (Law::I1, "second-writer", |w| {
        let mut life = w.running(2);
        life.given.as_mut().unwrap().granted.pop();
        w.given(Change::Modified, &life);
    }),
    (Law::I1, "second-writer", |w| {
        let mut life = w.running(1);
        life.job.wanted += 1;
        life.job.revision += 1;
        life.job.scheduling += 1;
        w.job(Change::Modified, &life);
    }),
    (Law::I1, "second-writer", |w| {
        let mut life = w.running(1);
        life.job.fixed += 1;
        w.job(Change::Modified, &life);
    }),
    (Law::I6, "wrong-step", |w| {
        let mut life = w.running(1);
        w.finish(&mut life);
        w.phase(&mut life, Phase::Running);
    }),
    (Law::I6, "wrong-step", |w| {
        let mut life = w.running(1);
        w.finish(&mut life);
        life.row.state = Phase::Failed;
        w.read(vec![life.row.clone()]);
    }),
    (Law::I6, "wrong-step", |w| {
        let life = w.submit(2000, 1);
        w.seen.push(told(&life, &[(1, "Submitted"), (2, "Succeeded"), (3, "Running")]));
    }),
    (Law::I6, "double-consumption", |w| {
        let life = w.submit(2000, 1);
        w.seen.push(told(&life, &[(1, "Submitted"), (3, "Allocated")]));
    }),
    (Law::I6, "double-consumption", |w| {
        let mut life = w.submit(2000, 1);
        life.job.key.1 = "again".into();
        w.job(Change::Added, &life);
    }),
    (Law::I6, "double-consumption", |w| {
        w.submit(2000, 1);
        w.submit(2001, 1);
        w.seen.push(Observation::Acknowledged(Acknowledged {
            name: "accounts/lab/jobs/j2001".into(),
            uid: "uid-2001".into(),
            request_id: "r2000".into(),
        }));
    }),
    (Law::I6, "stray-pod", |w| {
        let mut life = w.running(1);
        let pod = life.pods[0].clone();
        w.delete_pods(&mut life);
        w.write(Change::Added, Object::Pod(Box::new(pod)));
    }),
    (Law::I3, "stray-pod", |w| {
        let life = w.running(1);
        let mut pod = life.pods[0].clone();
        pod.key.1 = "other".into();
        pod.replica.1 = 7;
        w.write(Change::Added, Object::Pod(Box::new(pod)));
    }),
    (Law::I5, "stray-pod", |w| {
        let mut life = w.running(1);
        life.job.attempts += 1;
        w.phase(&mut life, Phase::Starting);
        let mut pod = life.pods[0].clone();
        pod.key.1 = "second".into();
        pod.attempt = 2;
        w.write(Change::Added, Object::Pod(Box::new(pod)));
    }),
    (Law::I5, "answer-before-commit", |w| {
        let name = "accounts/lab/jobs/lost".to_owned();
        let ack = Acknowledged { name, uid: "uid-lost".into(), request_id: String::new() };
        w.seen.push(Observation::Acknowledged(ack));
        w.read(Vec::new());
    }),
    (Law::Orphans, "missed-release", |w| {
        let mut life = w.running(2);
        w.end_pods(&mut life);
        w.phase(&mut life, Phase::Succeeded);
    }),
    (Law::Views, "ignored-410", |w| {
        let mut life = w.running(1);
        w.end_pods(&mut life);
        life.job.phase = Phase::Succeeded;
        life.job.controlled += 1;
        w.job(Change::Modified, &life);
        w.release(&mut life);
    }),
    (Law::Limits, "limit-ignored", |w| {
        limited(w, "gpu", 1000);
        w.running(2);
    }),
];

#[test]
fn jobs_that_were_let_in_together_beyond_the_limit_are_found_and_others_are_not() {
    for (together, wrong) in [(false, false), (true, true)] {
        let mut world = World::new(7);
        limited(&mut world, "jobs.waiting", 2);
        let (mut all, mut first) = (Vec::new(), Vec::new());
        for n in 0..2 {
            first.push(world.submit(n, 8));
        }
        if together {
            all.push(world.submit(3, 8));
        } else {
            // one that was preempted comes back beside them
            let mut back = first.pop().unwrap();
            assert!(world.grant(&mut back));
            world.accept(&mut back, 1);
            world.start(&mut back);
            all.push(world.submit(3, 8));
            world.preempt(&mut back);
        }
        let found = world.judged();
        let named = found.iter().any(|v| v.law == Law::Limits && v.cause.id == "no-lock");
        assert_eq!(named, wrong, "{found:#?}");
    }
}

#[test]
fn an_audit_that_saw_nothing_does_not_count() {
    let mut judge = Auditor::new(Settings::default());
    let found = judge.close(3, true, true);
    let blind: BTreeSet<&str> = found.iter().map(|v| v.subject.as_str()).collect();
    assert!(blind.contains("AIJobs") && blind.contains("jobs told by the API"), "{found:#?}");
    assert!(found.iter().all(|v| v.law == Law::Blind));
}
