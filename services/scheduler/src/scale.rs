//! What a cycle of the loop costs on a large cluster: `cargo test --release -p crater-scheduler scale -- --ignored --nocapture`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crater_engine::{Engine, Settings};
use crater_k8s::{AIJob, Allocation};
use k8s_openapi::api::core::v1::Node;
use kube::runtime::watcher::Event;
use serde_json::{Value, json};

use crate::cache::{Cache, Quotas};
use crate::foresight::Decided;
use crate::frame::Promised;
use crate::setbacks::Setbacks;
use crate::snapshot::{Beside, Known, Tree, frame};
use crate::told::Verdicts;

const ACCOUNTS: usize = 200;
const SHAPES: usize = 500;

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn node(at: usize) -> Node {
    let amounts = json!({"cpu": "128", "memory": "1024Gi", "nvidia.com/gpu": "8", "pods": "110"});
    read(json!({
        "metadata": {"name": format!("node-{at:05}"), "labels": {"nvidia.com/gpu.product": "H100"}},
        "status": {
            "allocatable": amounts,
            "capacity": amounts,
            "conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": null, "lastTransitionTime": null}],
        },
    }))
}

fn job(at: usize, phase: &str) -> AIJob {
    let account = format!("team-{:03}", at % ACCOUNTS);
    let shape = at % SHAPES;
    read(json!({
        "apiVersion": "crater.dev/v1",
        "kind": "AIJob",
        "metadata": {
            "name": format!("train-{at:06}"),
            "namespace": format!("crater-{account}"),
            "uid": format!("uid-{at}"),
            "resourceVersion": at.to_string(),
        },
        "spec": {
            "jobUid": format!("job-{at}"),
            "account": account,
            "creator": format!("ann{}", at % 1000),
            "serviceClass": "Guaranteed",
            "priority": 0,
            "submittedMillis": at,
            "revision": 1,
            "roles": [{
                "name": "worker",
                "replicas": 1,
                "minReplicas": 1,
                "image": "train:1",
                "resources": {"cpuMillis": 1000 + 10 * shape, "memoryBytes": 8_589_934_592_i64, "gpuMillis": 1000},
            }],
        },
        "status": {"phase": phase},
    }))
}

fn allocation(at: usize, node: usize, device: usize) -> Allocation {
    let account = format!("team-{:03}", at % ACCOUNTS);
    read(json!({
        "apiVersion": "crater.dev/v1",
        "kind": "Allocation",
        "metadata": {
            "name": format!("train-{at:06}-1"),
            "namespace": format!("crater-{account}"),
            "uid": format!("allocation-{at}"),
            "resourceVersion": at.to_string(),
        },
        "spec": {
            "job": format!("train-{at:06}"),
            "jobUid": format!("job-{at}"),
            "grantedMillis": at,
            "epoch": 1,
            "placements": [{
                "node": format!("node-{node:05}"),
                "role": "worker",
                "firstReplica": 0,
                "count": 1,
                "gpus": [[device]],
                "gpuMillis": 1000,
            }],
        },
    }))
}

/// All GPUs of so many nodes are held, and so many jobs wait.
fn full(nodes: usize, waiting: usize) -> Cache {
    let mut cache = Cache::default();
    cache.set_quotas(Quotas::new());
    cache.node(Event::Init);
    (0..nodes).for_each(|at| cache.node(Event::InitApply(node(at))));
    cache.node(Event::InitDone);
    let running = nodes * 8;
    cache.job(Event::Init);
    (0..running + waiting).for_each(|at| {
        cache.job(Event::InitApply(job(at, if at < running { "Running" } else { "Queued" })));
    });
    cache.job(Event::InitDone);
    cache.allocation(Event::Init, 0);
    (0..running).for_each(|at| cache.allocation(Event::InitApply(allocation(at, at / 8, at % 8)), 0));
    cache.allocation(Event::InitDone, 0);
    cache
}

/// Which step took how long.
type Took = [(&'static str, Duration); 5];

/// One cycle; who got something, and what it took.
fn cycle(cache: &mut Cache, memory: &mut (Known, Option<Engine>), number: u64) -> (usize, Took) {
    let tree = Tree::new();
    let (setbacks, promises) = (Setbacks::default(), Promised::default());
    let beside = Beside {
        tree: &tree,
        setbacks: &setbacks,
        promises: &promises,
        thought: None,
        settings: Settings::default(),
        now_ms: 1_000_000_000,
        cycle: number,
    };
    let mut last = Instant::now();
    let mut took = |step| {
        let before = std::mem::replace(&mut last, Instant::now());
        (step, last - before)
    };
    let news = cache.take_news();
    let frame = frame(cache, &beside, &mut memory.0, news);
    let framed = took("frame");
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
    (grants, [framed, followed, decided, judged, said])
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
