//! What the suites share: a cluster on a clock that stands still, small objects, and waiting for a condition.
#![allow(dead_code)] // each suite uses its own part

use std::sync::Arc;
use std::time::Duration;

use crater_k8s_mem::{Cluster, KubeletMode, ManualClock, NodeSpec};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::PostParams;
use kube::runtime::wait::{Condition, await_condition};
use kube::{Api, Client};
use serde_json::json;

pub const DEADLINE: Duration = Duration::from_secs(20);

pub async fn cluster(nodes: impl IntoIterator<Item = NodeSpec>) -> (Cluster, ManualClock) {
    let clock = ManualClock::default();
    let built = Cluster::builder().clock(Arc::new(clock.clone())).nodes(nodes).build().await;
    (built.unwrap(), clock)
}

pub async fn local_cluster(dir: &std::path::Path, nodes: impl IntoIterator<Item = NodeSpec>) -> Cluster {
    let shim = env!("CARGO_BIN_EXE_crater-shim").into();
    let mode = KubeletMode::RunLocal { data_dir: dir.to_owned(), shim };
    Cluster::builder().nodes(nodes).kubelet(mode).build().await.unwrap()
}

pub fn pods(client: &Client) -> Api<Pod> {
    Api::namespaced(client.clone(), "default")
}

pub fn configs(client: &Client) -> Api<ConfigMap> {
    Api::namespaced(client.clone(), "default")
}

pub fn config(name: &str, value: &str) -> ConfigMap {
    serde_json::from_value(
        json!({"metadata": {"name": name, "labels": {"value": value}}, "data": {"v": value}}),
    )
    .unwrap()
}

pub fn pod(name: &str, node: &str, duration: &str) -> Pod {
    let mut pod = json!({"metadata": {"name": name, "annotations": {}},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "none"}]}});
    if !node.is_empty() {
        pod["spec"]["nodeName"] = node.into();
    }
    if !duration.is_empty() {
        pod["metadata"]["annotations"]["play.crater.dev/duration"] = duration.into();
    }
    serde_json::from_value(pod).unwrap()
}

pub fn command(name: &str, command: &[&str]) -> Pod {
    serde_json::from_value(
        json!({"metadata": {"name": name}, "spec": {"restartPolicy": "Never", "nodeName": "local",
        "terminationGracePeriodSeconds": 30,
        "containers": [{"name": "main", "image": "none", "command": command}]}}),
    )
    .unwrap()
}

pub async fn create(client: &Client, pod: &Pod) -> Pod {
    pods(client).create(&PostParams::default(), pod).await.unwrap()
}

pub fn code(error: &kube::Error) -> u16 {
    match error {
        kube::Error::Api(status) => status.code,
        other => panic!("not an answer of the API server: {other:?}"),
    }
}

pub async fn until(client: &Client, name: &str, condition: impl Condition<Pod>) -> Option<Pod> {
    let waited = tokio::time::timeout(DEADLINE, await_condition(pods(client), name, condition)).await;
    waited.unwrap_or_else(|_| panic!("pod {name} did not get there in time")).unwrap()
}

pub fn phase(wanted: &'static str) -> impl Condition<Pod> {
    move |pod: Option<&Pod>| {
        pod.and_then(|p| p.status.as_ref()).and_then(|s| s.phase.as_deref()) == Some(wanted)
    }
}

pub fn gone() -> impl Condition<Pod> {
    |pod: Option<&Pod>| pod.is_none()
}

pub fn terminated(pod: &Pod) -> k8s_openapi::api::core::v1::ContainerStateTerminated {
    let statuses = pod.status.as_ref().and_then(|s| s.container_statuses.as_ref());
    statuses.unwrap()[0].state.as_ref().unwrap().terminated.clone().unwrap()
}
