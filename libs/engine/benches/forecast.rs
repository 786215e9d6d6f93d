//! What a forecast takes: 10,000 nodes × 8 GPUs full, 100,000 jobs waiting.
#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};

use crater_engine::forecast::{COURSES, Courses, Forecaster, count};
use crater_engine::{
    Account, Holding, Job, JobIx, Millis, ModelIx, Node, NodeIx, Request, Role, Shape, Snapshot,
};

const NODES: u32 = 10_000;
const WAITING: u32 = 100_000;

fn request(gpus: i64) -> Arc<Request> {
    let role = Role {
        each: Shape { cpu: 4000, memory: 1 << 30, gpu: gpus * 1000, ..Shape::default() },
        replicas: 1,
        min: 1,
    };
    Arc::new(Request { roles: vec![role], ..Request::default() })
}

fn snapshot() -> Snapshot {
    let node = Node {
        cpu: 128_000,
        memory: 1 << 40,
        gpus: 8,
        model: Some(ModelIx(0)),
        open: true,
        ..Node::default()
    };
    let requests: Vec<Arc<Request>> = [1, 2, 4, 8].map(request).into();
    let mut jobs: Vec<Job> = (0..NODES).map(|_| Job { request: request(8), ..Job::default() }).collect();
    jobs.extend((0..WAITING).map(|n| Job {
        submitted: Millis::from(n),
        request: requests[n as usize % 4].clone(),
        ..Job::default()
    }));
    let holdings = (0..NODES).map(|n| Holding {
        job: JobIx(n),
        role: 0,
        replica: 0,
        node: NodeIx(n),
        each: Shape { cpu: 4000, memory: 1 << 30, gpu: 8000, ..Shape::default() },
        gpus: (0..8).map(|device| (device, 1000)).collect(),
        started: 0,
        going: false,
    });
    Snapshot {
        models: 1,
        nodes: vec![node; NODES as usize],
        accounts: vec![Account::default()],
        jobs,
        holdings: holdings.collect(),
        ..Snapshot::default()
    }
}

fn forecasts(criterion: &mut Criterion) {
    let snapshot = snapshot();
    let order = || (NODES..NODES + WAITING).map(JobIx);
    let left = |job: JobIx| -> Courses {
        let mut courses = [0; COURSES];
        for (n, course) in (1..).zip(&mut courses) {
            *course = n * n * (60_000 + Millis::from(job.0));
        }
        courses
    };
    let mut forecaster = Forecaster::default();
    for who in 0..60_000 {
        let told = forecaster.tell(0, &[3_600_000; COURSES], who);
        forecaster.remember(who as u64, told);
    }
    let last = JobIx(NODES + WAITING - 1);
    criterion.bench_function("forecast of the last of 100,000 waiting jobs", |bench| {
        let mut now = 1;
        bench.iter(|| {
            now += 1000;
            let before = count(&snapshot, order(), last, &mut |job| left(job));
            black_box(forecaster.tell(now, &before.scene().waits(), 1))
        });
    });
    let before = count(&snapshot, order(), last, &mut |job| left(job));
    criterion.bench_function("its walk alone", |bench| bench.iter(|| black_box(before.scene().waits())));
    criterion.bench_function("another forecast at the same instant, its waits known", |bench| {
        let waits = before.scene().waits();
        bench.iter(|| black_box(forecaster.tell(1, &waits, 1)));
    });
}

criterion_group!(benches, forecasts);
criterion_main!(benches);
