//! The order in which the jobs of one account get the room that is there, by [`Settings::order`].
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use crater_engine::predict::{Predictor, Traits};
use crater_engine::{
    Account, AccountIx, Change, Engine, Job, JobIx, ModelIx, Node, Queueing, Request, Role, Settings, Shape,
    Snapshot, decide,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

const HOUR: i64 = 3_600_000;

fn job(submitted: i64, gpu: i64) -> Job {
    let each = Shape { cpu: 1, memory: 1, gpu, ..Shape::default() };
    Job {
        account: AccountIx(0),
        submitted,
        queued_since: submitted,
        request: Arc::new(Request { roles: vec![Role { each, replicas: 1, min: 1 }], ..Request::default() }),
        ..Job::default()
    }
}

fn world(order: Queueing, gpus: u16, jobs: Vec<Job>) -> Snapshot {
    let node = Node { cpu: 1000, memory: 1000, gpus, model: Some(ModelIx(0)), open: true, ..Node::default() };
    Snapshot {
        now: 10_000 * HOUR,
        models: 1,
        settings: Settings { order, ..Settings::default() },
        nodes: vec![node],
        accounts: vec![Account::default()],
        jobs,
        ..Snapshot::default()
    }
}

/// The order in which jobs of a whole node each are considered: who starts, then who waits.
fn turns(order: Queueing, gpus: u16, jobs: &[Job]) -> Vec<u32> {
    let plan = decide(&world(order, gpus, jobs.to_vec())).unwrap();
    let started = plan.grants.iter().map(|grant| grant.job.0);
    started.chain(plan.verdicts.iter().map(|verdict| verdict.job.0)).collect()
}

#[test]
fn each_order_does_what_its_name_says() {
    // 8 GPUs have a quantum of 500 s, which is as much for one job on all of them
    let told = |submitted, expected: i64| Job { expected_ms: Some(expected), ..job(submitted, 8000) };
    let jobs = [
        told(1, 9 * HOUR),
        Job { served: 8000 * 600_000, ..told(2, HOUR) },
        Job { priority: 1, ..told(3, 20 * HOUR) },
        Job { predicted_ms: Some(HOUR / 2), ..told(4, 90 * HOUR) },
    ];
    assert_eq!(turns(Queueing::Fifo, 8, &jobs), [0, 1, 2, 3]);
    assert_eq!(turns(Queueing::Priority, 8, &jobs), [2, 0, 1, 3]);
    // what is left of it is what counts, and the predictor is believed before the owner
    assert_eq!(turns(Queueing::Sjf, 8, &jobs), [2, 3, 1, 0]);
    // who had its quantum goes last
    assert_eq!(turns(Queueing::Las, 8, &jobs), [2, 0, 3, 1]);
    let mut snapshot = world(Queueing::default(), 8, jobs.to_vec());
    let default = decide(&snapshot).unwrap();
    snapshot.settings.order = Queueing::Priority;
    assert_eq!(decide(&snapshot).unwrap(), default);
}

#[test]
fn who_nothing_is_known_of_goes_neither_first_nor_last_for_ever() {
    let guess = Predictor::default().predict(&Traits::default()).cost(0);
    let told = |submitted, expected: i64| Job { expected_ms: Some(expected), ..job(submitted, 8000) };
    let jobs = [job(1, 8000), told(2, guess / 2), told(3, guess * 2)];
    assert_eq!(turns(Queueing::Sjf, 8, &jobs), [1, 0, 2]);
    // a run that outlasted its owner's word is as one of which nothing is known
    let jobs = [Job { served: 8000 * 10 * HOUR, ..told(1, HOUR) }, told(2, HOUR)];
    assert_eq!(turns(Queueing::Sjf, 8, &jobs), [1, 0]);
}

#[test]
fn nobody_is_passed_for_ever() {
    // one GPU of eight for an hour: an eighth of an hour of the pool, a thousand times
    let long = Job { expected_ms: Some(HOUR), ..job(0, 1000) };
    let short = |submitted| Job { expected_ms: Some(1), ..job(submitted, 1000) };
    let first = |submitted| {
        let mut snapshot = world(Queueing::Sjf, 8, vec![long.clone(), short(submitted)]);
        // one device is left
        snapshot.nodes[0].bad_gpus = (1..8).collect();
        decide(&snapshot).unwrap().grants[0].job
    };
    assert_eq!(first(125 * HOUR - 1000), JobIx(1));
    assert_eq!(first(125 * HOUR + 1), JobIx(0));
}

#[test]
fn what_was_served_is_no_less_than_nothing() {
    let snapshot = world(Queueing::Las, 8, vec![Job { served: -1, ..job(0, 1000) }]);
    assert_eq!(decide(&snapshot).unwrap_err().to_string(), "jobs[0].served is invalid: must not be negative");
}

fn any_job() -> impl Strategy<Value = Job> {
    let length = || option::of(1i64..100 * HOUR);
    (0i64..1000 * HOUR, 0i64..=8, -1i32..=1, length(), length(), 0i64..10_000 * HOUR).prop_map(
        |(submitted, gpus, priority, expected_ms, predicted_ms, served)| Job {
            priority,
            expected_ms,
            predicted_ms,
            served,
            ..job(submitted, gpus * 1000)
        },
    )
}

fn any_order() -> impl Strategy<Value = Queueing> {
    prop_oneof![Just(Queueing::Fifo), Just(Queueing::Priority), Just(Queueing::Sjf), Just(Queueing::Las)]
}

proptest! {
    #[test]
    fn an_order_does_not_hang_on_how_it_came_about(
        jobs in vec(any_job(), 2..20), order in any_order(), other in any_order()
    ) {
        let whole: Vec<Job> =
            jobs.iter().map(|of| Job { request: job(0, 8000).request, ..of.clone() }).collect();
        let all = turns(order, 8, &whole);
        // higher priority first, whatever the policy says
        let ranks: Vec<i32> = all.iter().map(|ix| whole[*ix as usize].priority).collect();
        prop_assert!(order == Queueing::Fifo || ranks.is_sorted_by(|a, b| a >= b), "{:?}", ranks);
        // an engine that hears of them one by one, and of the order last
        let mut engine = Engine::new(world(other, 8, Vec::new())).unwrap();
        engine.decide();
        for (ix, job) in whole.iter().enumerate() {
            engine.apply([Change::Job(JobIx::of(ix), Job { served: 0, predicted_ms: None, ..job.clone() })]).unwrap();
            engine.decide();
        }
        engine.apply([Change::Settings(world(order, 8, Vec::new()).settings)]).unwrap();
        engine.decide();
        let told = (0..).map(JobIx).zip(whole.iter().cloned()).map(|(ix, job)| Change::Job(ix, job));
        engine.apply(told).unwrap();
        let plan = engine.decide();
        let verdicts: Vec<u32> = engine.verdicts().iter().map(|verdict| verdict.job.0).collect();
        let first = plan.grants.iter().map(|grant| grant.job.0);
        prop_assert_eq!(first.chain(verdicts).collect::<Vec<_>>(), all);
    }

    #[test]
    fn ageing_bounds_by_whom_a_job_is_passed(jobs in vec(any_job(), 2..20)) {
        let whole: Vec<Job> = jobs
            .iter()
            .map(|of| Job { request: job(0, 8000).request, predicted_ms: Some(of.predicted_ms.unwrap_or(HOUR)), ..of.clone() })
            .collect();
        let order = turns(Queueing::Sjf, 8, &whole);
        for (at, late) in order.iter().enumerate() {
            for passed in &order[at + 1..] {
                let (late, passed) = (&whole[*late as usize], &whole[*passed as usize]);
                let patience = 1000 * passed.predicted_ms.unwrap();
                prop_assert!(late.priority > passed.priority || late.submitted - passed.submitted <= patience);
            }
        }
    }
}
