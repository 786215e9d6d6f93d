//! Clusters and jobs for tests.

use crater_engine::Settings;
use crater_k8s::{AIJob, Allocation};
use k8s_openapi::api::core::v1::Node;
use kube::runtime::watcher::Event;
use serde_json::{Value, json};

use crate::cache::{Cache, News, Quotas};
use crate::frame::{Frame, Promised};
use crate::setbacks::Setbacks;
use crate::snapshot::{Beside, Known, Tree, frame};

const ACCOUNTS: usize = 200;
const SHAPES: usize = 500;

/// An object of which only so much matters.
pub fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// An open node of eight H100s.
pub fn node(at: usize) -> Node {
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

fn account(at: usize) -> String {
    format!("team-{:03}", at % ACCOUNTS)
}

fn metadata(at: usize, name: String, uid: String) -> serde_json::Value {
    let namespace = format!("crater-{}", account(at));
    json!({"name": name, "namespace": namespace, "uid": uid, "resourceVersion": at.to_string()})
}

/// A job of one replica with one GPU, in a phase; its account goes by its number.
pub fn job(at: usize, phase: &str) -> AIJob {
    let shape = at % SHAPES;
    read(json!({
        "apiVersion": "crater.dev/v1",
        "kind": "AIJob",
        "metadata": metadata(at, format!("train-{at:06}"), format!("uid-{at}")),
        "spec": {
            "jobUid": format!("job-{at}"),
            "account": account(at),
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

/// Such a job has a device of a node.
pub fn allocation(at: usize, node: usize, device: usize) -> Allocation {
    read(json!({
        "apiVersion": "crater.dev/v1",
        "kind": "Allocation",
        "metadata": metadata(at, format!("train-{at:06}-1"), format!("allocation-{at}")),
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
pub fn full(nodes: usize, waiting: usize) -> Cache {
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

/// What a cycle would decide on.
pub fn framed(cache: &mut Cache, known: &mut Known, number: u64) -> Frame {
    let news = cache.take_news();
    framed_with(cache, known, news, number)
}

/// The same where this is new.
pub fn framed_with(cache: &Cache, known: &mut Known, news: News, number: u64) -> Frame {
    let (setbacks, promises) = (Setbacks::default(), Promised::default());
    let beside = Beside {
        tree: &Tree::new(),
        setbacks: &setbacks,
        promises: &promises,
        thought: None,
        settings: Settings::default(),
        now_ms: 1_000_000_000,
        cycle: number,
    };
    frame(cache, &beside, known, news)
}
