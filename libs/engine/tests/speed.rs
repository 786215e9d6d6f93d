//! How long one cycle takes at 1,000 nodes × 8 GPUs with 5,000 jobs waiting. Run by hand, optimised:
//! `cargo test --release -p crater-engine --test speed -- --ignored --nocapture`
#![allow(clippy::disallowed_types, clippy::unwrap_used)]

#[path = "../benches/worlds/mod.rs"]
#[allow(dead_code, clippy::panic)]
mod worlds;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crater_engine::{
    Account, AccountIx, Amounts, Backfill, Class, Holding, Job, JobIx, ModelIx, Node, NodeIx, Placing,
    Request, Role, Settings, Shape, Snapshot, decide,
};

const GI: i64 = 1 << 30;

/// `nodes` nodes of 8 GPUs in two models, 200 accounts, and `waiting` jobs in some 500 shapes.
fn world(nodes: u32, waiting: u32, full: bool, guaranteed: Option<i64>) -> Snapshot {
    let node = |n: u32| Node {
        cpu: 128_000,
        memory: 1024 * GI,
        gpus: 8,
        model: Some(ModelIx(n % 2)),
        open: true,
        ..Node::default()
    };
    let guaranteed = Amounts { gpu: guaranteed.map(|gpus| gpus * 1000), ..Amounts::default() };
    let account = |_| Account { guaranteed: guaranteed.clone(), ..Account::default() };
    let mut s = Snapshot {
        now: 10_000_000,
        models: 2,
        nodes: (0..nodes).map(node).collect(),
        accounts: (0..200).map(account).collect(),
        ..Snapshot::default()
    };
    let job = |account: u32, class: Class, gpus: i64, cpu: i64, replicas: u32, submitted: i64| Job {
        account: AccountIx(account % 200),
        class,
        priority: i32::try_from(account % 3).unwrap(),
        submitted,
        queued_since: submitted,
        expected_ms: Some(3_600_000),
        request: Arc::new(Request {
            roles: vec![Role {
                each: Shape { cpu, memory: 8 * GI, gpu: gpus * 1000, ..Shape::default() },
                replicas,
                min: replicas,
            }],
            ..Request::default()
        }),
        ..Job::default()
    };
    if full {
        // two jobs of 4 GPUs a node, of the first 20 accounts
        for n in 0..nodes {
            for half in 0..2u16 {
                let ix = JobIx::of(s.jobs.len());
                s.jobs.push(job(n % 20, Class::Guaranteed, 4, 8000, 1, i64::from(n)));
                s.holdings.push(Holding {
                    job: ix,
                    role: 0,
                    replica: 0,
                    node: NodeIx(n),
                    each: s.jobs[ix.at()].request.roles[0].each,
                    gpus: (0..4).map(|d| (half * 4 + d, 1000)).collect(),
                    started: 1_000_000,
                    going: false,
                });
            }
        }
    }
    for n in 0..waiting {
        let gpus = [1, 2, 4, 8][n as usize % 4];
        let replicas = [1, 1, 1, 2, 4][n as usize % 5];
        let class = if n % 7 == 0 { Class::BestEffort } else { Class::Guaranteed };
        s.jobs.push(job(n, class, gpus, 1000 + i64::from(n % 25) * 100, replicas, 2_000_000 + i64::from(n)));
    }
    s
}

/// The same with a limit of running jobs in every account, below one that has all of them, and with weights.
fn limited(mut s: Snapshot, jobs: i64) -> Snapshot {
    let top = AccountIx::of(s.accounts.len());
    for (account, weight) in s.accounts.iter_mut().zip((1..=5).cycle()) {
        account.parent = Some(top);
        account.weight = weight;
        account.limit.jobs = Some(jobs);
    }
    s.accounts.push(Account::default());
    s
}

/// How long this thread was on a processor: what a busy machine does not change.
fn worked() -> Duration {
    // the count is brought up to date when others get their turn
    std::thread::yield_now();
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split_whitespace().next().unwrap().parse().unwrap())
}

/// 2,000 full nodes, 20,000 jobs waiting: what follows from one job's end is decided in a small part of the time that all of it takes.
#[test]
#[cfg_attr(debug_assertions, ignore = "a ratio of times; run in release")]
fn what_follows_from_one_end_is_decided_in_a_twentieth_of_a_rebuild() {
    let mut engine = worlds::at_rest(worlds::full(2000, 20_000));
    let (mut ends, mut rebuilds) = (Vec::new(), Vec::new());
    for turn in 1..=15 {
        let s = engine.snapshot();
        let job = s.holdings[turn * 7919 % s.holdings.len()].job;
        let changes = worlds::end(&s, job);
        let before = worked();
        engine.apply(changes).unwrap();
        let plan = engine.decide();
        ends.push(worked() - before);
        let s = engine.snapshot();
        let before = worked();
        let mut rebuilt = decide(&s).unwrap();
        rebuilds.push(worked() - before);
        rebuilt.verdicts.clear();
        assert_eq!(plan, rebuilt);
        assert!(!plan.grants.is_empty() || !plan.revocations.is_empty(), "somebody gets what is free");
        engine.apply(worlds::carry_out(&s, &plan)).unwrap();
        worlds::rest(&mut engine);
    }
    ends.sort();
    rebuilds.sort();
    let (end, rebuild) = (ends[ends.len() / 2], rebuilds[rebuilds.len() / 2]);
    assert!(end * 20 < rebuild, "{end:?} for one end, {rebuild:?} for all");
}

#[test]
#[ignore = "measures; run by hand in release"]
fn one_cycle() {
    let placed = |placement| {
        let s = world(1523, 1000, false, None);
        Snapshot { settings: Settings { placement, ..s.settings }, ..s }
    };
    let told = |nodes| {
        // everybody has the same share, so that room comes only from those that end
        let mut s = world(nodes, 5000, true, None);
        s.accounts.truncate(1);
        s.jobs.iter_mut().for_each(|job| job.account = AccountIx(0));
        for held in &mut s.holdings {
            // all over an hour
            held.started += i64::from(held.node.0) * 3000;
        }
        Snapshot { settings: Settings { backfill: Backfill::Conservative, ..s.settings }, ..s }
    };
    let cases = [
        ("1,000 nodes, full, everybody has a start", told(1000)),
        ("10,000 nodes, full, everybody has a start", told(10_000)),
        ("1,523 nodes, empty, best fit", placed(Placing::BestFit)),
        ("1,523 nodes, empty, spread", placed(Placing::Spread)),
        ("1,523 nodes, empty, fragmentation", placed(Placing::Fragmentation)),
        ("1,523 nodes, empty, crater", placed(Placing::Crater)),
        ("1,523 nodes, empty", world(1523, 1000, false, None)),
        ("1,523 nodes, empty, three jobs an account", limited(world(1523, 1000, false, None), 3)),
        ("1,523 nodes, full", world(1523, 1000, true, None)),
        ("1,523 nodes, full, three jobs an account", limited(world(1523, 1000, true, None), 3)),
        ("empty cluster", world(1000, 5000, false, None)),
        ("full cluster, equal shares due", world(1000, 5000, true, None)),
        ("full cluster, guarantees due", world(1000, 5000, true, Some(40))),
    ];
    for (name, mut s) in cases {
        for cycle in ["first", "second", "third"] {
            let (start, before) = (Instant::now(), worked());
            let plan = decide(&s).unwrap();
            let [took, worked] = [start.elapsed(), worked() - before].map(|time| time.as_secs_f64() * 1000.0);
            println!("{name}, {cycle}: {worked:.1} ms of work, {took:.1} ms in all, {:?}", plan.counts);
            for revocation in &plan.revocations {
                s.holdings.retain(|held| held.job != revocation.job);
            }
            for grant in &plan.grants {
                let held: Vec<Holding> = s.holdings_of(grant).collect();
                s.holdings.extend(held);
            }
            s.holds.clone_from(&plan.holds);
            s.reservations.clone_from(&plan.reservations);
            s.now += 1000;
        }
    }
}
