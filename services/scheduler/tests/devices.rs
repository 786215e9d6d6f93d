//! Devices that are asked for by name: MIG profiles, RDMA adapters.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so by failing")]

#[allow(dead_code, reason = "each suite uses its own part")]
mod house;

use crater_api::common::v1::Resources;
use crater_api::scheduling::v1 as pb;
use crater_k8s_mem::NodeSpec;
use house::{House, job, node, row};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;

const HCA: &str = "rdma/hca";
const MIG: &str = "nvidia.com/mig-1g.5gb";

fn offering(name: &str, devices: &[(&str, u32)]) -> NodeSpec {
    let mut node = node(name, 0);
    node.devices = devices.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
    node
}

fn on(all: &[crater_k8s::Allocation], job: &str) -> Vec<String> {
    let of = all.iter().filter(|a| a.spec.job == job).flat_map(|a| a.granted());
    of.map(|granted| granted.node).collect()
}

#[tokio::test]
async fn devices_are_given_whole_and_never_more_than_a_node_offers() {
    let house = House::new([offering("n0", &[(MIG, 7)]), offering("n1", &[(HCA, 4)])]).await;
    house.submit(&job("gang").replicas(3).devices(HCA, 1)).await;
    house.until("all of it is on the one node that has them", |all| on(all, "gang") == ["n1"; 3]).await;
    house.submit(&job("waits").devices(HCA, 2)).await;
    let told = house.reason("waits", "NotEnoughDevices").await;
    assert!(told.message.contains("short of rdma/hca on 1 nodes"), "{}", told.message);
    assert!(told.message.contains("1 more must come free"), "{}", told.message);
    assert!(told.message.contains("a replica needs 2 rdma/hca"), "{}", told.message);
    // what would start it: to ask for less
    house.explained("ann", "accounts/lab/jobs/waits").await;
    let found = house.remedies("ann", "accounts/lab/jobs/waits").await;
    let fewer = found.iter().flat_map(|remedy| &remedy.changes);
    let mut fewer = fewer.filter(|change| change.field == "spec.roles[0].resources.devices[rdma/hca]");
    assert_eq!(fewer.next().map(|change| &*change.value), Some("1"), "{found:?}");
    house.submit(&job("never").devices(MIG, 8)).await;
    let told = house.reason("never", "NeverFits").await;
    assert!(told.message.contains("8 nvidia.com/mig-1g.5gb"), "{}", told.message);
    // people see what is offered and held
    let nodes = house.cluster_of("ann").await.nodes;
    let counts = |of: &Option<Resources>| of.as_ref().unwrap().devices.clone();
    assert_eq!(counts(&nodes[1].allocatable), [(HCA.to_owned(), 4)].into());
    assert_eq!(counts(&nodes[1].held), [(HCA.to_owned(), 3)].into());
    house.finish("gang").await;
    house.until("what is released is given again", |all| on(all, "waits") == ["n1"]).await;
}

#[tokio::test]
async fn what_pods_of_others_hold_is_not_given() {
    let house = House::new([offering("n0", &[(HCA, 2)])]).await;
    let other: Pod = serde_json::from_value(json!({
        "metadata": {"name": "other", "namespace": "default"},
        "spec": {"nodeName": "n0", "containers": [{"name": "c", "image": "i", "resources": {"limits": {HCA: "1"}}}]},
    }))
    .unwrap();
    let pods: Api<Pod> = Api::namespaced(house.cluster.client(), "default");
    pods.create(&PostParams::default(), &other).await.unwrap();
    house.submit(&job("two").devices(HCA, 2)).await;
    house.reason("two", "NotEnoughDevices").await;
    house.submit(&job("one").devices(HCA, 1)).await;
    house.until("the rest is given", |all| on(all, "one") == ["n0"]).await;
    assert!(on(&house.allocations().await, "two").is_empty());
}

#[tokio::test]
async fn quota_names_devices_as_nodes_do() {
    let house = House::new([offering("n0", &[(HCA, 8)])]).await;
    house.limit("accounts/lab/quota", vec![row(HCA, None, Some(3))]);
    house.kept("\"limit\":3").await;
    house.submit(&job("two").devices(HCA, 2)).await;
    house.until("it is within the limit", |all| on(all, "two") == ["n0"]).await;
    house.submit(&job("more").devices(HCA, 2)).await;
    let told = house.reason("more", "AccountLimit").await;
    assert!(told.message.contains("2 rdma/hca in use, 2 rdma/hca asked for, limit 3"), "{}", told.message);
    assert_eq!(house.usage("accounts/lab", "").await.get(HCA), Some(&(2, 0)));
    house.limit("accounts/lab/quota", vec![row(HCA, None, Some(4))]);
    house.until("the limit is raised", |all| on(all, "more") == ["n0"]).await;
}

#[tokio::test]
async fn nodes_that_there_would_be_may_offer_devices() {
    let house = House::new([node("n0", 8)]).await;
    house.submit(&job("waits").devices(HCA, 2)).await;
    house.reason("waits", "NeverFits").await;
    let has = |devices: &[(&str, i64)]| pb::SimulateRequest {
        nodes: vec![pb::NodeGroup {
            count: 1,
            allocatable: Some(Resources {
                cpu_millis: 8000,
                memory_bytes: 1 << 30,
                devices: devices.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect(),
                ..Resources::default()
            }),
            ..pb::NodeGroup::default()
        }],
        ..pb::SimulateRequest::default()
    };
    let starting =
        async |devices: &[(&str, i64)]| house.simulate("ann", has(devices)).await.unwrap().starting;
    assert_eq!(starting(&[(HCA, 2)]).await, ["accounts/lab/jobs/waits"]);
    assert!(starting(&[(HCA, 1)]).await.is_empty());
    let wrong = house.simulate("ann", has(&[("cpu", 1)])).await.unwrap_err();
    assert!(format!("{wrong:?}").contains("nodes[0].allocatable.devices[cpu]"), "{wrong:?}");
}
