//! What an engine takes of memory, alone in its process. At full size in release builds:
//! `cargo test --release -p crater-engine --test memory -- --nocapture`
#![allow(clippy::unwrap_used)]

#[path = "../benches/worlds/mod.rs"]
#[allow(dead_code, clippy::panic, clippy::disallowed_types)]
mod worlds;

use crater_engine::{Change, Engine};

/// Nodes of 8 GPUs, all held, and ten times as many jobs that wait.
const NODES: u32 = if cfg!(debug_assertions) { 1_000 } else { 10_000 };

/// The most bytes that this process ever held, and those that it holds now, where the system tells.
fn held() -> Option<(u64, u64)> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let bytes = |field: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(field))?;
        line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
    };
    Some((bytes("VmHWM:")?, bytes("VmRSS:")?))
}

#[test]
fn ten_thousand_nodes_and_more_than_a_hundred_thousand_jobs_take_less_than_300_mib() {
    let Some((_, before)) = held() else {
        println!("note: the system does not tell how much memory a process holds");
        return;
    };
    let snapshot = worlds::full(NODES, 10 * NODES);
    let (jobs, now, first) = (snapshot.jobs.len(), snapshot.now, snapshot.holdings[0].clone());
    let mut engine = Engine::new(snapshot).unwrap();
    engine.decide();
    let later = Change::Time { now: now + 1000, cycle: 1 };
    let over = Change::Released { job: first.job, role: first.role, replica: first.replica };
    engine.apply([later, over, Change::Gone(first.job)]).unwrap();
    assert!(!engine.decide().grants.is_empty());
    assert!(!engine.verdicts().is_empty());
    let (most, after) = held().unwrap();
    println!("{jobs} jobs: {} MiB, at most {} MiB", (after - before) >> 20, (most - before) >> 20);
    assert!(most - before < 300 << 20, "{most} - {before}");
}
