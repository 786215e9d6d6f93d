//! On which nodes jobs run, and how near each other.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so by failing")]

#[allow(dead_code, reason = "each suite uses its own part")]
mod house;

use crater_k8s::Allocation;
use crater_k8s_mem::NodeSpec;
use house::{House, job, node};

const RACK: &str = "example.com/rack";

fn labelled(name: &str, labels: &[(&str, &str)]) -> NodeSpec {
    let mut node = node(name, 4);
    node.labels.extend(labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    node
}

fn nodes_of(all: &[Allocation], job: &str) -> Vec<String> {
    let of = all.iter().filter(|a| a.spec.job == job).flat_map(|a| a.granted());
    let mut nodes: Vec<String> = of.map(|granted| granted.node).collect();
    nodes.sort();
    nodes.dedup();
    nodes
}

#[tokio::test]
async fn a_job_runs_only_on_nodes_with_the_labels_that_it_asks_for() {
    let house = House::new([labelled("n0", &[]), labelled("n1", &[("disk", "nvme"), ("zone", "a")])]).await;
    house.submit(&job("picky").gpus(4000).on("disk", "nvme").on("zone", "a")).await;
    house.until("it is allocated", |all| nodes_of(all, "picky") == ["n1"]).await;
    // the other node is free, and of no use to it
    house.submit(&job("second").gpus(1000).on("disk", "nvme")).await;
    let told = house.reason("second", "NotEnoughGpus").await;
    assert!(told.message.contains("on 1 nodes it may use"), "{}", told.message);
    house.submit(&job("never").gpus(1000).on("disk", "tape")).await;
    house.reason("never", "NeverFits").await;
    house.submit(&job("any").gpus(4000)).await;
    house.until("it takes the other", |all| nodes_of(all, "any") == ["n0"]).await;
}

#[tokio::test]
async fn a_gang_stays_within_one_rack_or_waits_and_one_that_only_prefers_it_does_not() {
    let rack = |name: &str, rack: &str| labelled(name, &[(RACK, rack)]);
    let house = House::new([rack("n0", "r0"), rack("n1", "r1"), rack("n2", "r1")]).await;
    house.submit(&job("near").replicas(2).gpus(4000).within(RACK, true)).await;
    house.until("it is allocated", |all| nodes_of(all, "near") == ["n1", "n2"]).await;
    house.submit(&job("waits").replicas(2).gpus(3000).within(RACK, true)).await;
    let told = house.reason("waits", "NotEnoughGpus").await;
    assert!(told.message.contains(&format!("in one {RACK} (best: r0)")), "{}", told.message);
    house.finish("near").await;
    house.until("it has the rack", |all| nodes_of(all, "waits") == ["n1", "n2"]).await;
    house.submit(&job("spills").replicas(3).gpus(1000).within(RACK, false)).await;
    house
        .until("it starts where there is room", |all| {
            all.iter().filter(|a| a.spec.job == "spills").flat_map(|a| a.granted()).count() == 3
        })
        .await;
}

#[tokio::test]
async fn what_would_start_a_gang_that_insists_on_one_rack_is_to_insist_no_more() {
    let rack = |name: &str, rack: &str| labelled(name, &[(RACK, rack)]);
    let house = House::new([rack("n0", "r0"), rack("n1", "r1")]).await;
    house.submit(&job("insists").replicas(2).gpus(3000).within(RACK, true)).await;
    house.explained("ann", "accounts/lab/jobs/insists").await;
    let found = house.remedies("ann", "accounts/lab/jobs/insists").await;
    let relax = &found[0].changes[0];
    assert_eq!((&*relax.field, &*relax.value), ("spec.topology.required", "false"), "{found:?}");
    house.submit(&job("prefers").replicas(2).gpus(3000).within(RACK, false)).await;
    house.until("it starts", |all| nodes_of(all, "prefers") == ["n0", "n1"]).await;
}

#[tokio::test]
async fn a_gang_that_fits_in_no_rack_stays_in_a_zone_though_nobody_asks_for_zones() {
    const ZONE: &str = "topology.kubernetes.io/zone";
    let at = |name: &str, rack: &str, zone: &str| labelled(name, &[(RACK, rack), (ZONE, zone)]);
    let house =
        House::new([at("n0", "r0", "a"), at("n1", "r1", "b"), at("n2", "r2", "c"), at("n3", "r3", "b")])
            .await;
    house.submit(&job("near").replicas(2).gpus(3000).within(RACK, false)).await;
    house.until("it is in one zone", |all| nodes_of(all, "near") == ["n1", "n3"]).await;
    house.finish("near").await;
    house.submit(&job("far").replicas(3).gpus(3000).within(ZONE, false)).await;
    house
        .until("it is in few zones", |all| {
            let nodes = nodes_of(all, "far");
            nodes.len() == 3 && ["n1", "n3"].iter().all(|node| nodes.contains(&(*node).to_owned()))
        })
        .await;
}
