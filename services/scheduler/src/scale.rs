//! What a cycle of the loop costs on a large cluster: `cargo test --release -p crater-scheduler scale -- --ignored --nocapture`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crater_engine::Engine;
use kube::runtime::watcher::Event;

use crate::cache::Cache;
use crate::foresight::Decided;
use crate::sample::{allocation, framed, full, job};
use crate::snapshot::Known;
use crate::told::Verdicts;

/// Which step took how long.
type Took = [(&'static str, Duration); 5];

/// One cycle; who got something, and what it took.
fn cycle(cache: &mut Cache, memory: &mut (Known, Option<Engine>), number: u64) -> (usize, Took) {
    let mut last = Instant::now();
    let mut took = |step| {
        let before = std::mem::replace(&mut last, Instant::now());
        (step, last - before)
    };
    let frame = framed(cache, &mut memory.0, number);
    let frame_took = took("frame");
    match &mut memory.1 {
        Some(engine) => engine.follow(&frame.snapshot).unwrap(),
        none => *none = Some(Engine::new(frame.snapshot.clone()).unwrap()),
    }
    let followed = took("follow");
    let engine = memory.1.as_mut().unwrap();
    let mut plan = engine.decide();
    let decided = took("decision");
    plan.verdicts = engine.verdicts();
    let judged = took("verdicts");
    let (grants, waiting) = (plan.grants.len(), plan.verdicts.len());
    let told = Verdicts::new(Arc::new(Decided { frame, plan }));
    let said = took("order");
    assert_eq!(told.order().count(), waiting);
    (grants, [frame_took, followed, decided, judged, said])
}

#[test]
#[ignore = "large"]
fn a_cycle_that_follows_another_looks_at_what_changed() {
    let mut cache = full(10_000, 100_000);
    let mut memory = (Known::default(), None);
    let mut cycles: Vec<Duration> = Vec::new();
    for number in 1..6 {
        let (grants, took) = cycle(&mut cache, &mut memory, number);
        println!("cycle {number}: {grants} grants, {took:?}");
        cycles.push(took.iter().map(|(_, took)| *took).sum());
        let over = usize::try_from(number).unwrap();
        cache.allocation(Event::Delete(allocation(over, 0, 0)), 0);
        cache.job(Event::Delete(job(over, "Running")));
    }
    assert!(cycles[4] * 4 < cycles[0], "{cycles:?}");
}
