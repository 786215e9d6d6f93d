//! One cycle of each shape that schedulers are measured by: `cargo bench -p crater-engine`.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_types, missing_docs)]

#[path = "../tests/laws/audit.rs"]
#[allow(dead_code)]
mod audit;
mod worlds;

use std::cell::RefCell;
use std::time::Duration;

use crater_engine::{Change, Engine, JobIx, decide};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

/// That of the processes in which it runs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn whole(c: &mut Criterion) {
    let s = worlds::empty();
    let plan = decide(&s).unwrap();
    assert_eq!(plan.counts.granted, 50_000);
    audit::audit(&s, &plan);
    let mut group = c.benchmark_group("whole cycle");
    group.throughput(Throughput::Elements(50_000));
    group.bench_function("5,000 nodes, 50,000 jobs from empty", |b| {
        b.iter(|| decide(&s).unwrap());
    });
    group.throughput(Throughput::Elements(1));
    let shapes = [
        ("10,000 full nodes, 100,000 waiting", worlds::at_rest(worlds::full(10_000, 100_000)).snapshot()),
        ("reclaim: 500 nodes, 4,000 running, 4,000 with a right to all", worlds::reclaim()),
    ];
    for (name, s) in shapes {
        let plan = decide(&s).unwrap();
        audit::audit(&s, &plan);
        group.bench_function(name, |b| b.iter(|| decide(&s).unwrap()));
    }
}

/// One job ends; what the plan for that says is carried out outside of the measure.
fn one_ends(c: &mut Criterion, name: &str, engine: Engine) {
    let engine = RefCell::new(engine);
    let plan = RefCell::new(crater_engine::Plan::default());
    let turn = RefCell::new(0usize);
    let setup = || {
        let mut engine = engine.borrow_mut();
        let s = engine.snapshot();
        engine.apply(worlds::carry_out(&s, &plan.borrow())).unwrap();
        worlds::rest(&mut engine);
        let s = engine.snapshot();
        *turn.borrow_mut() += 7919;
        let job = s.holdings[*turn.borrow() % s.holdings.len()].job;
        worlds::end(&s, job)
    };
    let measured = |changes: Vec<Change>| {
        let mut engine = engine.borrow_mut();
        engine.apply(changes).unwrap();
        *plan.borrow_mut() = engine.decide();
    };
    c.bench_function(name, |b| b.iter_batched(setup, measured, BatchSize::PerIteration));
    let mut engine = engine.into_inner();
    let mut plan = engine.decide();
    plan.verdicts = engine.verdicts();
    let s = engine.snapshot();
    audit::audit(&s, &plan);
    assert_eq!(plan, decide(&s).unwrap());
}

fn incremental(c: &mut Criterion) {
    let full = worlds::at_rest(worlds::full(10_000, 100_000));
    one_ends(c, "one cycle/10,000 full nodes, 100,000 waiting, one job ends", full);
    let armada = worlds::at_rest(worlds::armada());
    one_ends(c, "one cycle/1,000 full nodes, 10 accounts, 320,000 waiting, one job ends", armada);
    let s = worlds::gang();
    let job = JobIx::of(s.jobs.len());
    let engine = RefCell::new(Engine::new(s).unwrap());
    let setup = || {
        let mut engine = engine.borrow_mut();
        let _ = engine.apply([Change::Gone(job)]);
        engine.decide();
    };
    let measured = |()| {
        let mut engine = engine.borrow_mut();
        engine.apply([Change::Job(job, worlds::thousand())]).unwrap();
        engine.decide();
        engine.verdict(job).unwrap()
    };
    c.bench_function("one cycle/a gang of 1,000 nodes that cannot fit 10,000", |b| {
        b.iter_batched(setup, measured, BatchSize::PerIteration);
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(5)).sample_size(10);
    targets = whole, incremental
}
criterion_main!(benches);
