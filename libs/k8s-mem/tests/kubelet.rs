//! Kubelets that play Pods, on a clock that only the test moves.
#![allow(clippy::unwrap_used, clippy::panic)] // the helpers of tests are tests too

mod common;

use std::time::Duration;

use common::{cluster, code, create, gone, phase, pod, pods, terminated, until};
use crater_k8s_mem::NodeSpec;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, DeleteParams, LogParams, Patch, PatchParams};
use kube::runtime::wait::Condition as _;
use serde_json::json;

const SECOND: Duration = Duration::from_secs(1);

fn server(name: &str) -> NodeSpec {
    NodeSpec::gpu_server(name, 2, "A100")
}

fn with_gpus(name: &str, gpus: u32, choice: Option<&str>) -> Pod {
    let mut pod = pod(name, "a", "");
    if gpus > 0 {
        let limits = json!({"limits": {"nvidia.com/gpu": gpus.to_string()}});
        let container = &mut pod.spec.as_mut().unwrap().containers[0];
        container.resources = serde_json::from_value(limits).unwrap();
    }
    if let Some(choice) = choice {
        pod.metadata.annotations.get_or_insert_default().insert("crater.dev/gpus".into(), choice.into());
    }
    pod
}

#[tokio::test]
async fn a_pod_runs_for_its_declared_time_and_ends_with_its_declared_code() {
    let (cluster, clock) = cluster([server("a")]).await;
    let client = cluster.client();
    create(&client, &pod("good", "a", "5s")).await;
    let mut bad = pod("bad", "a", "250ms");
    bad.metadata.annotations.get_or_insert_default().insert("play.crater.dev/exit-code".into(), "3".into());
    create(&client, &bad).await;
    create(&client, &pod("endless", "a", "")).await;
    let running = until(&client, "good", phase("Running")).await.unwrap().status.unwrap();
    assert_eq!(running.pod_ip.as_deref().map(|ip| ip.starts_with("10.")), Some(true));
    let ready = running.conditions.unwrap().into_iter().find(|c| c.type_ == "Ready").unwrap();
    assert_eq!(ready.status, "True");
    clock.advance(4 * SECOND);
    let failed = until(&client, "bad", phase("Failed")).await.unwrap();
    assert_eq!(terminated(&failed).exit_code, 3);
    assert!(phase("Running").matches_object(pods(&client).get_opt("good").await.unwrap().as_ref()));
    clock.advance(SECOND);
    let ended = until(&client, "good", phase("Succeeded")).await.unwrap();
    let container = terminated(&ended);
    let played = container.finished_at.unwrap().0.duration_since(container.started_at.unwrap().0);
    assert_eq!((container.exit_code, played.as_secs()), (0, 5));
    let log = pods(&client).logs("good", &LogParams::default()).await.unwrap();
    assert_eq!(log.lines().collect::<Vec<_>>(), ["playing for 5s on a", "ended with exit code 0"]);
    clock.advance(3600 * SECOND);
    let endless = pods(&client).get("endless").await.unwrap();
    assert_eq!(endless.status.unwrap().phase.as_deref(), Some("Running"));
}

#[tokio::test]
async fn a_deletion_is_finished_by_the_kubelet_and_an_unassigned_pod_goes_at_once() {
    let (cluster, clock) = cluster([server("a")]).await;
    let client = cluster.client();
    create(&client, &pod("waiting", "", "")).await;
    pods(&client).delete("waiting", &DeleteParams::default()).await.unwrap();
    assert_eq!(code(&pods(&client).get("waiting").await.unwrap_err()), 404);

    let mut slow = pod("slow", "a", "");
    let notes = slow.metadata.annotations.get_or_insert_default();
    notes.insert("play.crater.dev/stop-after".into(), "10s".into());
    create(&client, &slow).await;
    until(&client, "slow", phase("Running")).await;
    let marked = pods(&client).delete("slow", &DeleteParams::default()).await.unwrap().left().unwrap();
    assert_eq!(marked.metadata.deletion_grace_period_seconds, Some(30));
    clock.advance(9 * SECOND);
    // another pod played to its end proves that the kubelet has seen the nine seconds
    create(&client, &pod("probe", "a", "0s")).await;
    until(&client, "probe", phase("Succeeded")).await;
    assert!(pods(&client).get("slow").await.is_ok());
    clock.advance(SECOND);
    until(&client, "slow", gone()).await;
}

#[tokio::test]
async fn a_kubelet_refuses_what_its_node_does_not_have() {
    let (cluster, clock) = cluster([server("a")]).await;
    let client = cluster.client();
    let refused = async |pod: Pod| {
        create(&client, &pod).await;
        let name = pod.metadata.name.as_deref().unwrap();
        let status = until(&client, name, phase("Failed")).await.unwrap().status.unwrap();
        (status.reason.unwrap(), status.message.unwrap())
    };
    create(&client, &with_gpus("one", 1, Some(r#"[{"index": 1, "milli": 1000}]"#))).await;
    until(&client, "one", phase("Running")).await;
    assert_eq!(refused(with_gpus("two", 2, None)).await.0, "OutOfnvidia.com/gpu");
    let taken = with_gpus("taken", 1, Some(r#"[{"index": 1, "milli": 1000}]"#));
    assert_eq!(refused(taken).await.0, "UnexpectedAdmissionError");
    create(&client, &with_gpus("half", 0, Some(r#"[{"index": 0, "milli": 500}]"#))).await;
    until(&client, "half", phase("Running")).await;
    let (reason, message) = refused(with_gpus("whole", 1, None)).await;
    assert_eq!(reason, "OutOfnvidia.com/gpu", "a device that is shared is no whole device: {message}");
    let mut greedy = pod("greedy", "a", "");
    greedy.spec.as_mut().unwrap().containers[0].resources =
        serde_json::from_value(json!({"requests": {"cpu": "33"}})).unwrap();
    assert_eq!(refused(greedy).await.0, "OutOfcpu");
    assert_eq!(refused(pod("odd", "a", "soon")).await.0, "InvalidAnnotation");
    // what ends gives back what it held
    pods(&client).delete("one", &DeleteParams::default()).await.unwrap();
    pods(&client).delete("half", &DeleteParams::default()).await.unwrap();
    clock.advance(SECOND);
    until(&client, "one", gone()).await;
    until(&client, "half", gone()).await;
    create(&client, &with_gpus("both", 2, None)).await;
    until(&client, "both", phase("Running")).await;
}

#[tokio::test]
async fn a_failed_node_says_nothing_until_it_is_back() {
    let (cluster, clock) = cluster([server("a"), server("b")]).await;
    let client = cluster.client();
    for name in ["ends", "goes", "forced"] {
        create(&client, &pod(name, "a", if name == "ends" { "5s" } else { "" })).await;
        until(&client, name, phase("Running")).await;
    }
    cluster.fail_node("a").await.unwrap();
    assert!(cluster.fail_node("nowhere").await.is_err());
    let nodes: Api<Node> = Api::all(client.clone());
    let node = nodes.get("a").await.unwrap();
    let ready = node.status.unwrap().conditions.unwrap().into_iter().find(|c| c.type_ == "Ready").unwrap();
    assert_eq!(ready.status, "Unknown");
    clock.advance(60 * SECOND);
    pods(&client).delete("goes", &DeleteParams::default()).await.unwrap();
    pods(&client).delete("forced", &DeleteParams::default().grace_period(0)).await.unwrap();
    create(&client, &with_gpus("late", 2, None)).await;
    // the other node's kubelet has gone on meanwhile
    create(&client, &pod("probe", "b", "0s")).await;
    until(&client, "probe", phase("Succeeded")).await;
    let ends = pods(&client).get("ends").await.unwrap();
    assert_eq!(ends.status.unwrap().phase.as_deref(), Some("Running"), "nobody reported its end");
    assert!(pods(&client).get("goes").await.unwrap().metadata.deletion_timestamp.is_some());
    cluster.recover_node("a").await.unwrap();
    let ended = until(&client, "ends", phase("Succeeded")).await.unwrap();
    let container = terminated(&ended);
    let played = container.finished_at.unwrap().0.duration_since(container.started_at.unwrap().0);
    assert_eq!(played.as_secs(), 5, "it ended when it ended, not when it was reported");
    until(&client, "goes", gone()).await;
    until(&client, "late", phase("Running")).await;
    let node = nodes.get("a").await.unwrap();
    let taints = node.spec.unwrap().taints.unwrap();
    assert_eq!(taints.iter().map(|t| t.key.as_str()).collect::<Vec<_>>(), ["nvidia.com/gpu"]);
}

#[tokio::test]
async fn a_pod_over_its_deadline_fails_and_a_finalizer_outlasts_the_kubelet() {
    let (cluster, clock) = cluster([server("a")]).await;
    let client = cluster.client();
    let mut late = pod("late", "a", "1h");
    late.spec.as_mut().unwrap().active_deadline_seconds = Some(60);
    create(&client, &late).await;
    until(&client, "late", phase("Running")).await;
    clock.advance(61 * SECOND);
    let failed = until(&client, "late", phase("Failed")).await.unwrap();
    assert_eq!(failed.status.unwrap().reason.as_deref(), Some("DeadlineExceeded"));

    let mut held = pod("held", "a", "");
    held.metadata.finalizers = Some(vec!["x.dev/hold".into()]);
    create(&client, &held).await;
    until(&client, "held", phase("Running")).await;
    pods(&client).delete("held", &DeleteParams::default()).await.unwrap();
    let stopped = until(&client, "held", phase("Failed")).await.unwrap();
    assert_eq!(terminated(&stopped).exit_code, 143);
    let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    pods(&client).patch("held", &PatchParams::default(), &free).await.unwrap();
    until(&client, "held", gone()).await;
}

#[tokio::test]
async fn a_cordon_outlasts_what_the_kubelet_reports() {
    let (cluster, _clock) = cluster([server("a")]).await;
    let client = cluster.client();
    let nodes: Api<Node> = Api::all(client.clone());
    let patch = json!({"metadata": {"annotations": {"x.dev/why": "disk"}}, "spec": {"unschedulable": true}});
    nodes.patch("a", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    create(&client, &pod("runs", "a", "")).await;
    // as with a real kubelet: it keeps schedulers away, not Pods that have their node already
    until(&client, "runs", phase("Running")).await;
    cluster.fail_node("a").await.unwrap();
    cluster.recover_node("a").await.unwrap();
    let node = nodes.get("a").await.unwrap();
    assert_eq!(node.spec.unwrap().unschedulable, Some(true));
    assert_eq!(node.metadata.annotations.unwrap()["x.dev/why"], "disk");
}
