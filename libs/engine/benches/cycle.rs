//! One cycle of each shape that schedulers are measured by: `cargo bench -p crater-engine`.
#![allow(clippy::unwrap_used, clippy::disallowed_types, missing_docs)]

#[path = "../tests/laws/audit.rs"]
#[allow(dead_code)]
mod audit;
mod worlds;

use crater_engine::decide;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn whole(c: &mut Criterion) {
    let s = worlds::empty();
    let plan = decide(&s).unwrap();
    assert_eq!(plan.counts.granted, 50_000);
    audit::audit(&s, &plan);
    let mut group = c.benchmark_group("whole cycle");
    group.throughput(Throughput::Elements(50_000));
    group.bench_function("5,000 nodes, 50,000 jobs from empty", |b| b.iter(|| decide(&s).unwrap()));
    group.throughput(Throughput::Elements(1));
    let shapes = [
        ("10,000 full nodes, 100,000 waiting", worlds::full(10_000, 100_000)),
        ("reclaim: 500 nodes, 4,000 running, 4,000 with a right to all", worlds::reclaim()),
        ("1,000 full nodes, 10 accounts, 320,000 waiting", worlds::armada()),
    ];
    for (name, s) in shapes {
        let plan = decide(&s).unwrap();
        audit::audit(&s, &plan);
        group.bench_function(name, |b| b.iter(|| decide(&s).unwrap()));
    }
}

criterion_group!(benches, whole);
criterion_main!(benches);
