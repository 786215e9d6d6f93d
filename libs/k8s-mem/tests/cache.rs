//! The law that everything else rests on: whoever lists, then applies what a watch says, knows what a list says.
#![allow(clippy::unwrap_used, clippy::panic)] // the helpers of tests are tests too

mod common;

use std::collections::BTreeMap;

use common::{configs, pods};
use crater_k8s_mem::{Cluster, NodeSpec};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use proptest::prelude::*;
use serde_json::json;

#[derive(Debug, Clone)]
enum Op {
    Create(u8, u8),
    Patch(u8, u8),
    Delete(u8),
    Finalize(u8, bool),
    Compact,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..6u8, 0..3u8).prop_map(|(name, value)| Op::Create(name, value)),
        4 => (0..6u8, 0..3u8).prop_map(|(name, value)| Op::Patch(name, value)),
        2 => (0..6u8).prop_map(Op::Delete),
        2 => (0..6u8, any::<bool>()).prop_map(|(name, held)| Op::Finalize(name, held)),
        1 => Just(Op::Compact),
    ]
}

async fn perform(cluster: &Cluster, op: &Op) {
    let api = configs(&cluster.client());
    let name = |n: u8| format!("c{n}");
    // many of these are refused, which is part of what is tested
    let _ = match op {
        Op::Create(n, v) => {
            api.create(&PostParams::default(), &common::config(&name(*n), &v.to_string())).await.map(drop)
        }
        Op::Patch(n, v) => {
            let patch =
                json!({"metadata": {"labels": {"value": v.to_string()}}, "data": {"v": v.to_string()}});
            api.patch(&name(*n), &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
        }
        Op::Delete(n) => api.delete(&name(*n), &DeleteParams::default()).await.map(drop),
        Op::Finalize(n, held) => {
            let list = if *held { json!(["x.dev/hold"]) } else { json!(null) };
            let patch = Patch::Merge(json!({"metadata": {"finalizers": list}}));
            api.patch(&name(*n), &PatchParams::default(), &patch).await.map(drop)
        }
        Op::Compact => {
            cluster.compact();
            Ok(())
        }
    };
}

type Cache = BTreeMap<String, ConfigMap>;

/// A client's cache, kept by the protocol alone: list, watch from there, list again when that is gone.
struct Follower {
    labels: &'static str,
    cache: Cache,
    version: String,
    relists: u32,
}

impl Follower {
    async fn list(cluster: &Cluster, labels: &'static str) -> (Cache, String) {
        let list = configs(&cluster.client()).list(&ListParams::default().labels(labels)).await.unwrap();
        let version = list.metadata.resource_version.clone().unwrap();
        (list.into_iter().map(|o| (o.name_any(), o)).collect(), version)
    }

    async fn start(cluster: &Cluster, labels: &'static str) -> Self {
        let (cache, version) = Self::list(cluster, labels).await;
        Self { labels, cache, version, relists: 0 }
    }

    /// Applies events until the cache is as new as the version.
    async fn catch_up(&mut self, cluster: &Cluster, to: u64) {
        let params = WatchParams::default().labels(self.labels).disable_bookmarks();
        let mut events = configs(&cluster.client()).watch(&params, &self.version).await.unwrap().boxed();
        let sentinel = |o: &ConfigMap| o.resource_version().and_then(|v| v.parse::<u64>().ok()).unwrap_or(0);
        loop {
            let event =
                tokio::time::timeout(common::DEADLINE, events.try_next()).await.unwrap().unwrap().unwrap();
            let seen = match event {
                WatchEvent::Added(o) | WatchEvent::Modified(o) => {
                    let seen = sentinel(&o);
                    self.cache.insert(o.name_any(), o);
                    seen
                }
                WatchEvent::Deleted(o) => {
                    self.cache.remove(&o.name_any());
                    sentinel(&o)
                }
                WatchEvent::Bookmark(_) => continue,
                WatchEvent::Error(e) => {
                    assert_eq!(e.code, 410);
                    self.relists += 1;
                    (self.cache, self.version) = Self::list(cluster, self.labels).await;
                    return;
                }
            };
            assert!(seen > self.version.parse().unwrap(), "events come in order and none twice");
            self.version = seen.to_string();
            if seen >= to {
                return;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_cache_kept_by_a_watch_equals_a_list(bursts in prop::collection::vec(prop::collection::vec(op(), 1..12), 1..6)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (cluster, _) = common::cluster([]).await;
            let mut followers = [Follower::start(&cluster, "").await, Follower::start(&cluster, "value=1").await];
            for (i, burst) in bursts.iter().enumerate() {
                for op in burst {
                    perform(&cluster, op).await;
                }
                // one more write that every follower sees tells them where the burst ends
                let mark = common::config(&format!("mark{i}"), "1");
                let mark = configs(&cluster.client()).create(&PostParams::default(), &mark).await.unwrap();
                let end = mark.resource_version().unwrap().parse().unwrap();
                for follower in &mut followers {
                    follower.catch_up(&cluster, end).await;
                    let (listed, _) = Follower::list(&cluster, follower.labels).await;
                    assert_eq!(follower.cache, listed);
                }
            }
        });
    }
}

#[tokio::test]
async fn ten_thousand_pods_on_many_nodes_are_played_to_their_end() {
    const NODES: usize = 1_000;
    const PODS: usize = 10_000;
    let nodes = (0..NODES).map(|i| NodeSpec::gpu_server(format!("n{i}"), 8, "A100"));
    let (cluster, clock) = common::cluster(nodes).await;
    let client = cluster.client();
    let api = pods(&client);
    let began = std::time::Instant::now();
    let creations = futures::stream::iter(0..PODS).map(|i| {
        let (api, pod) = (api.clone(), common::pod(&format!("p{i}"), &format!("n{}", i % NODES), "5s"));
        async move { api.create(&PostParams::default(), &pod).await }
    });
    let made: Vec<_> = creations.buffer_unordered(64).try_collect().await.unwrap();
    assert_eq!(made.len(), PODS);
    let count = async |phase: &str| {
        let params = ListParams::default().fields(&format!("status.phase={phase}"));
        api.list_metadata(&params).await.unwrap().items.len()
    };
    for (phase, advance) in [("Running", 0), ("Succeeded", 5)] {
        clock.advance(std::time::Duration::from_secs(advance));
        while count(phase).await < PODS {
            assert!(began.elapsed() < common::DEADLINE * 6, "the kubelets are too slow");
            tokio::task::yield_now().await;
        }
    }
    let memory = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let memory = memory.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default().to_owned();
    println!("{memory}");
    println!("{PODS} pods on {NODES} nodes: {:?}", began.elapsed());
}
