//! Nodes: watched, cordoned, drained. The controller is played by patches of Allocation status.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so by failing")]

#[allow(dead_code, reason = "each suite uses its own part")]
mod house;

use crater_k8s::names;
use crater_k8s_mem::NodeSpec;
use house::{Heard, House, job, node};
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;
use tokio::time::Instant;

fn holders(node: &crater_api::scheduling::v1::Node) -> Vec<&str> {
    let mut jobs: Vec<&str> = node.gpus.iter().flat_map(|gpu| &gpu.jobs).map(String::as_str).collect();
    jobs.dedup();
    jobs
}

#[tokio::test]
async fn a_watcher_hears_the_whole_then_only_what_changed() {
    let house = House::new([node("n0", 2), node("n1", 2), node("n2", 2)]).await;
    let (mut watch, nodes) = house.watch("ann").await;
    assert_eq!(nodes.keys().collect::<Vec<_>>(), ["n0", "n1", "n2"]);
    house.submit(&job("a").gpus(2000)).await;
    let (seen, counts) = watch.until("a holds something", |node| node.replicas == 1).await;
    assert!(seen.iter().all(|node| node.name == seen[0].name), "only one node changed: {seen:?}");
    let held = seen.last().unwrap();
    assert_eq!((holders(held), counts.running_jobs), (vec!["accounts/lab/jobs/a"], 1));
    assert_eq!(held.held.as_ref().unwrap().gpu_millis, 2000);
    // what waits is counted, though no node changes
    house.submit(&job("wide").gpus(4000)).await;
    loop {
        match watch.next().await {
            Heard::Counts(counts) if counts.waiting_jobs == 1 => break,
            Heard::Counts(_) => {}
            other => panic!("no node changed: {other:?}"),
        }
    }
    house.nodes().delete("n2", &DeleteParams::default()).await.unwrap();
    let gone = loop {
        match watch.next().await {
            Heard::Deleted(name) => break name,
            Heard::Counts(_) => {}
            other => panic!("n2 is gone: {other:?}"),
        }
    };
    assert_eq!(gone, "n2");
    // and a sign of life without any change
    let began = Instant::now();
    let mut quiet = 0;
    while quiet < 2 {
        assert!(matches!(watch.next().await, Heard::Counts(_)));
        quiet += 1;
    }
    assert!(began.elapsed().as_secs() <= 20, "at least every ten seconds");
}

#[tokio::test]
async fn who_holds_what_is_told_by_the_memberships_of_now() {
    let house = House::new([node("n0", 2)]).await;
    house.submit(&job("secret").gpus(1000)).await;
    house.until("it is allocated", |all| all.len() == 1).await;
    let (mut bob, nodes) = house.watch("bob").await;
    // it may be seen a moment later, and then without a name
    let node = match nodes["n0"].replicas {
        1 => nodes["n0"].clone(),
        _ => bob.until("it is held", |node| node.replicas == 1).await.0.remove(0),
    };
    assert_eq!((node.gpus[0].held_millis, holders(&node).len()), (1000, 0));
    house.member("bob", &["den", "lab"]);
    let (seen, _) = bob.until("bob is let in", |node| !holders(node).is_empty()).await;
    assert_eq!(holders(&seen[0]), ["accounts/lab/jobs/secret"]);
    house.member("bob", &["den"]);
    bob.until("bob is out again", |node| holders(node).is_empty()).await;
    let (_, nodes) = house.watch("root").await;
    assert_eq!(holders(&nodes["n0"]), ["accounts/lab/jobs/secret"], "an admin sees all");
}

#[tokio::test]
async fn a_cordoned_node_keeps_what_it_has_and_gets_nothing_new() {
    let house = House::new([node("n0", 2)]).await;
    house.submit(&job("a").gpus(1000)).await;
    house.until("a is allocated", |all| all.len() == 1).await;
    let would = house.cordon("root", "n0", "the disk", true).await.unwrap();
    assert!(would.cordoned && !would.schedulable);
    assert!(house.nodes().get("n0").await.unwrap().spec.unwrap().unschedulable.is_none(), "a check only");
    let (mut watch, _) = house.watch("ann").await;
    for _ in 0..2 {
        let closed = house.cordon("root", "n0", "the disk", false).await.unwrap();
        assert!(closed.cordoned && !closed.draining && !closed.schedulable);
        assert_eq!(closed.message, "the node is cordoned by users/root: the disk");
    }
    let (seen, _) = watch.until("it is seen", |node| node.cordoned).await;
    assert_eq!(seen.last().unwrap().replicas, 1);
    let written = house.nodes().get("n0").await.unwrap();
    assert_eq!(written.spec.as_ref().unwrap().unschedulable, Some(true));
    assert!(written.annotations()[names::CORDONED].contains("the disk"));
    house.submit(&job("b").gpus(1000)).await;
    house.reason("b", "").await;
    let all = house.allocations().await;
    assert_eq!((all.len(), all[0].spec.revoked.len()), (1, 0), "a runs on, b waits");
    let open = house.uncordon("root", "n0").await.unwrap();
    assert!(open.schedulable && !open.cordoned && open.message.is_empty());
    house.until("b is allocated", |all| all.len() == 2).await;
    assert!(!house.nodes().get("n0").await.unwrap().annotations().contains_key(names::CORDONED));
}

#[tokio::test]
async fn a_node_cordoned_by_kubectl_is_shown_and_opened_like_any_other() {
    let house = House::new([node("n0", 2)]).await;
    let (mut watch, _) = house.watch("ann").await;
    let patch = Patch::Merge(json!({"spec": {"unschedulable": true}}));
    house.nodes().patch("n0", &PatchParams::default(), &patch).await.unwrap();
    let (seen, _) = watch.until("it is cordoned", |node| node.cordoned).await;
    assert_eq!(seen.last().unwrap().message, "the node is cordoned");
    house.uncordon("root", "n0").await.unwrap();
    watch.until("it is open", |node| node.schedulable && !node.cordoned).await;
}

#[tokio::test]
async fn a_drained_node_is_left_by_whole_jobs_and_stays_empty_until_it_is_opened() {
    let mut house = House::new([node("n0", 2), node("n1", 2)]).await;
    // a gang over both nodes, and nothing else fits
    house.submit(&job("gang").replicas(2).gpus(2000)).await;
    house.until("the gang is allocated", |all| all.len() == 1).await;
    house.accept("gang").await;
    let would = house.drain("root", "n0", true).await.unwrap();
    assert_eq!(would.jobs, ["accounts/lab/jobs/gang"]);
    assert!(would.node.unwrap().draining);
    assert!(house.allocations().await[0].spec.revoked.is_empty(), "a check only");
    let (mut watch, _) = house.watch("root").await;
    let drained = house.drain("root", "n0", false).await.unwrap();
    assert_eq!(drained.jobs, ["accounts/lab/jobs/gang"]);
    let revoked = |all: &[crater_k8s::Allocation]| all.iter().any(|a| a.revoked().len() == 2);
    house.until("both replicas are taken back", revoked).await;
    let of_gang = house.allocations().await.remove(0);
    let word = &of_gang.spec.revoked[0];
    assert_eq!((word.reason.as_str(), of_gang.spec.revoked.len()), ("NodeDrained", 1));
    assert_eq!(word.message, "node n0 is drained by users/root: the fan");
    // while it is in its grace period, another leader carries on
    house.restart().await;
    house.submit(&job("small").gpus(2000)).await;
    house.reason("small", "").await;
    house.back_to_queue("gang").await;
    house.until("small gets the other node", |all| all.iter().any(|a| a.spec.job == "small")).await;
    let small = house.allocations().await.into_iter().find(|a| a.spec.job == "small").unwrap();
    assert!(small.granted().iter().all(|granted| granted.node == "n1"));
    drop(watch);
    let (fresh, nodes) = house.watch("root").await;
    watch = fresh;
    assert!(nodes["n0"].draining && nodes["n0"].cordoned);
    if nodes["n0"].replicas > 0 {
        watch.until("n0 is empty", |node| node.name == "n0" && node.replicas == 0).await;
    }
    house.reason("gang", "").await;
    // the word on the Node is all there is: nothing of it was in the scheduler's memory
    house.restart().await;
    house.submit(&job("tiny").gpus(1000)).await;
    house.reason("tiny", "").await;
    assert!(!house.allocations().await.iter().any(|a| a.spec.job == "tiny"));
    let open = house.uncordon("root", "n0").await.unwrap();
    assert!(open.schedulable && !open.draining);
    // the gang, which came first, waits for both nodes at the head of the line
    house.finish("small").await;
    let again = |all: &[crater_k8s::Allocation]| {
        all.iter().any(|a| a.spec.job == "gang" && a.spec.revoked.is_empty() && a.held().len() == 2)
    };
    house.until("the gang starts again", again).await;
}

#[tokio::test]
async fn only_admins_turn_nodes_and_what_is_wrong_is_named() {
    let house = House::new([NodeSpec::gpu_server("n0", 1, "A100")]).await;
    for refused in [
        house.cordon("ann", "n0", "", false).await.unwrap_err(),
        house.uncordon("ann", "n0").await.unwrap_err(),
        house.drain("ann", "n0", true).await.unwrap_err(),
    ] {
        assert_eq!(refused.code(), tonic::Code::PermissionDenied);
    }
    for (node, check) in [("nil", true), ("nil", false)] {
        assert_eq!(house.cordon("root", node, "", check).await.unwrap_err().code(), tonic::Code::NotFound);
    }
    let field = |status: tonic::Status| crater_api::status::from_status(&status).violations.remove(0).field;
    for name in ["", "N0", "a/b", "..", "a..b", "-a"] {
        assert_eq!(field(house.cordon("root", name, "", false).await.unwrap_err()), "node", "{name:?}");
    }
    for reason in ["a\nb".to_owned(), "x".repeat(257)] {
        assert_eq!(field(house.cordon("root", "n0", &reason, false).await.unwrap_err()), "reason");
    }
}
