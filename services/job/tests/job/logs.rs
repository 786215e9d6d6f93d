//! The output of replicas.

use std::sync::Arc;
use std::time::Duration;

use crater_api::job::v1 as pb;
use crater_job::Config;
use crater_k8s_mem::ManualClock;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;
use tempfile::TempDir;
use tonic::{Code, Streaming};

use crate::house::{DEADLINE, House, cluster_on, edit, fields, job, name, until};

fn pods(house: &House) -> Api<Pod> {
    Api::namespaced(house.cluster.client(), "crater-lab")
}

/// What the controller would make for a replica; `seconds` none: it runs until it is deleted.
async fn start(house: &House, id: &str, replica: i32, seconds: Option<u32>) {
    attempt(house, id, replica, seconds, 1, false).await;
}

/// The same for a start of the job; `held`: it goes only when its output is kept.
async fn attempt(house: &House, id: &str, replica: i32, seconds: Option<u32>, attempt: i32, held: bool) {
    let uid = house.get(id).await.uid;
    house.applied(id).await;
    let mut pod = json!({
        "metadata": {"name": format!("{id}-worker-{replica}"), "annotations": {}, "labels": {
            "crater.dev/job-uid": uid, "crater.dev/role": "worker", "crater.dev/replica": replica.to_string()}},
        "spec": {"restartPolicy": "Never", "nodeName": "a", "containers": [{"name": "main", "image": "none"}]},
    });
    pod["metadata"]["labels"]["crater.dev/attempt"] = attempt.to_string().into();
    if held {
        pod["metadata"]["finalizers"] = json!(["crater.dev/log"]);
    }
    if let Some(seconds) = seconds {
        pod["metadata"]["annotations"]["play.crater.dev/duration"] = format!("{seconds}s").into();
    }
    let pod: Pod = serde_json::from_value(pod).unwrap();
    pods(house).create(&PostParams::default(), &pod).await.unwrap();
}

async fn phase(house: &House, pod: &str, wanted: &str) {
    until("a pod's phase", async || {
        let pod = pods(house).get_opt(pod).await.unwrap()?;
        (pod.status?.phase? == wanted).then_some(())
    })
    .await;
}

struct Output(Streaming<pb::StreamLogsResponse>, Vec<pb::LogLine>);

impl Output {
    async fn open(house: &House, request: pb::StreamLogsRequest) -> Self {
        let stream = house.client().stream_logs(house.signed("ann", request)).await.unwrap().into_inner();
        Self(stream, Vec::new())
    }

    /// The next line of the replica; none at the end.
    async fn line(&mut self) -> Option<pb::LogLine> {
        while self.1.is_empty() {
            let message = tokio::time::timeout(DEADLINE, self.0.message()).await.expect("no output in time");
            self.1 = message.unwrap()?.lines;
        }
        Some(self.1.remove(0))
    }

    async fn rest(mut self) -> Vec<(i32, String)> {
        let mut all = Vec::new();
        while let Some(line) = self.line().await {
            all.push((line.replica, line.text));
        }
        all.sort();
        all
    }
}

fn of(id: &str) -> pb::StreamLogsRequest {
    pb::StreamLogsRequest { name: name(id), ..Default::default() }
}

fn following(id: &str) -> pb::StreamLogsRequest {
    pb::StreamLogsRequest { follow: true, ..of(id) }
}

#[tokio::test]
async fn following_waits_for_replicas_goes_on_over_restarts_and_ends_with_the_job() {
    let house = House::new().await;
    house.try_create("ann", edit(job("a"), |r| r.replicas = 2)).await.unwrap();
    let mut output = Output::open(&house, following("a")).await;
    start(&house, "a", 0, None).await;
    let line = output.line().await.unwrap();
    assert_eq!(
        (line.role.as_str(), line.replica, line.text.as_str()),
        ("worker", 0, "playing until deleted on a")
    );
    start(&house, "a", 1, Some(0)).await;
    let texts = [output.line().await.unwrap().text, output.line().await.unwrap().text];
    assert_eq!(texts, ["playing for 0ns on a", "ended with exit code 0"]);
    // preempted: the pod goes, and a new one of the same name comes
    pods(&house).delete("a-worker-0", &DeleteParams::default().grace_period(0)).await.unwrap();
    until("the pod to go", async || {
        pods(&house).get_opt("a-worker-0").await.unwrap().is_none().then_some(())
    })
    .await;
    start(&house, "a", 0, Some(0)).await;
    loop {
        let line = output.line().await.unwrap();
        if line.text == "playing for 0ns on a" {
            assert_eq!(line.replica, 0);
            break;
        }
    }
    house.report("a", json!({"phase": "Succeeded"})).await;
    assert_eq!(output.rest().await, [(0, "ended with exit code 0".to_owned())]);
}

#[tokio::test]
async fn without_following_it_gives_what_is_there_and_ends() {
    let house = House::new().await;
    house.try_create("ann", edit(job("a"), |r| r.replicas = 2)).await.unwrap();
    assert!(Output::open(&house, of("a")).await.rest().await.is_empty());
    start(&house, "a", 0, Some(0)).await;
    start(&house, "a", 1, None).await;
    phase(&house, "a-worker-0", "Succeeded").await;
    phase(&house, "a-worker-1", "Running").await;
    let all = Output::open(&house, of("a")).await.rest().await;
    let text = |t: &str| t.to_owned();
    let first = [(0, text("ended with exit code 0")), (0, text("playing for 0ns on a"))];
    assert_eq!(all, [first.as_slice(), &[(1, text("playing until deleted on a"))]].concat());
    let one = pb::StreamLogsRequest { role: "worker".into(), replica: Some(1), ..of("a") };
    assert_eq!(Output::open(&house, one).await.rest().await.len(), 1);
    let tailed =
        pb::StreamLogsRequest { tail_lines: Some(1), role: "worker".into(), replica: Some(0), ..of("a") };
    assert_eq!(Output::open(&house, tailed).await.rest().await, [(0, text("ended with exit code 0"))]);
    // since is exact: what was written at that very moment is not after it
    let mut output =
        Output::open(&house, pb::StreamLogsRequest { role: "worker".into(), replica: Some(0), ..of("a") })
            .await;
    let begun = output.line().await.unwrap();
    let since = pb::StreamLogsRequest { since_time: begun.time, ..of("a") };
    let after = Output::open(&house, since).await.rest().await;
    assert!(!after.contains(&(0, text("playing for 0ns on a"))), "{after:?}");
    assert!(
        after.contains(&(0, text("ended with exit code 0")))
            || output.line().await.unwrap().time == begun.time
    );
}

#[tokio::test]
async fn an_outage_of_the_cluster_while_following_neither_loses_nor_doubles_a_line() {
    let clock = ManualClock::default();
    let cluster = cluster_on(Arc::new(clock.clone())).await;
    let house = House::on(TempDir::new().unwrap(), cluster, Config::default()).await;
    house.create("a").await;
    let mut output = Output::open(&house, following("a")).await;
    start(&house, "a", 0, Some(1)).await;
    assert_eq!(output.line().await.unwrap().text, "playing for 1s on a");
    house.cluster.set_serving(false);
    // the kubelet goes on and writes while nobody can read
    clock.advance(Duration::from_secs(1));
    house.cluster.set_serving(true);
    phase(&house, "a-worker-0", "Succeeded").await;
    house.report("a", json!({"phase": "Succeeded"})).await;
    assert_eq!(output.rest().await, [(0, "ended with exit code 0".to_owned())]);
}

#[tokio::test]
async fn following_a_job_that_ended_without_output_ends() {
    let house = House::new().await;
    house.ended("a").await;
    assert!(Output::open(&house, following("a")).await.rest().await.is_empty());
}

#[tokio::test]
async fn what_the_job_does_not_have_is_refused_by_its_field() {
    let house = House::new().await;
    house.create("a").await;
    for (request, field) in [
        (pb::StreamLogsRequest { role: "master".into(), ..of("a") }, "role"),
        (pb::StreamLogsRequest { role: "worker".into(), replica: Some(1), ..of("a") }, "replica"),
        (pb::StreamLogsRequest { replica: Some(0), ..of("a") }, "role"),
        (pb::StreamLogsRequest { tail_lines: Some(-1), ..of("a") }, "tail_lines"),
    ] {
        let refused = house.client().stream_logs(house.signed("ann", request)).await.map(drop).unwrap_err();
        assert_eq!((refused.code(), fields(&refused)), (Code::InvalidArgument, vec![field.to_owned()]));
    }
}

async fn delete_and_wait(house: &House, pod: &str) {
    pods(house).delete(pod, &DeleteParams::default().grace_period(0)).await.unwrap();
    until("the pod to go", async || pods(house).get_opt(pod).await.unwrap().is_none().then_some(())).await;
}

fn start_of(id: &str, attempt: i32) -> pb::StreamLogsRequest {
    pb::StreamLogsRequest { attempt, ..of(id) }
}

fn texts(lines: &[&str]) -> Vec<(i32, String)> {
    lines.iter().map(|l| (0, (*l).to_owned())).collect()
}

const FIRST: [&str; 2] = ["ended with exit code 143", "playing until deleted on a"];
const SECOND: [&str; 2] = ["ended with exit code 0", "playing for 0ns on a"];

#[tokio::test]
async fn what_was_written_outlives_the_pods_of_every_start_and_goes_with_the_job() {
    let house = House::new().await;
    house.create("a").await;
    attempt(&house, "a", 0, None, 1, true).await;
    phase(&house, "a-worker-0", "Running").await;
    delete_and_wait(&house, "a-worker-0").await;
    attempt(&house, "a", 0, Some(0), 2, true).await;
    phase(&house, "a-worker-0", "Succeeded").await;
    delete_and_wait(&house, "a-worker-0").await;
    house.report("a", json!({"phase": "Succeeded", "attempts": 2})).await;
    house.in_state("a", pb::JobState::Succeeded).await;

    let house = house.restart().await;
    assert_eq!(Output::open(&house, start_of("a", 1)).await.rest().await, texts(&FIRST));
    for request in [of("a"), start_of("a", 2), following("a")] {
        assert_eq!(Output::open(&house, request).await.rest().await, texts(&SECOND));
    }
    let tailed = pb::StreamLogsRequest { tail_lines: Some(1), ..of("a") };
    assert_eq!(Output::open(&house, tailed).await.rest().await, texts(&SECOND[..1]));
    let begun = Output::open(&house, start_of("a", 1)).await.line().await.unwrap();
    let since = pb::StreamLogsRequest { since_time: begun.time, ..start_of("a", 1) };
    assert_eq!(Output::open(&house, since).await.rest().await, texts(&FIRST[..1]));
    for n in [3, -1] {
        let refused =
            house.client().stream_logs(house.signed("ann", start_of("a", n))).await.map(drop).unwrap_err();
        assert_eq!((refused.code(), fields(&refused)), (Code::InvalidArgument, vec!["attempt".to_owned()]));
    }
    let foreign = house.client().stream_logs(house.signed("bob", of("a"))).await.map(drop).unwrap_err();
    assert_eq!(foreign.code(), Code::NotFound);

    house.try_delete("a").await.unwrap();
    until("the name to be free", async || house.try_create("ann", job("a")).await.ok()).await;
    assert!(Output::open(&house, of("a")).await.rest().await.is_empty());
}

#[tokio::test]
async fn a_restart_in_the_middle_of_a_log_doubles_and_loses_no_line() {
    let house = House::new().await;
    house.create("a").await;
    attempt(&house, "a", 0, None, 1, true).await;
    phase(&house, "a-worker-0", "Running").await;
    let mut output = Output::open(&house, following("a")).await;
    assert_eq!(output.line().await.unwrap().text, FIRST[1]);
    let mut house = house.restart().await;
    let mut output = Output::open(&house, following("a")).await;
    assert_eq!(output.line().await.unwrap().text, FIRST[1]);
    house.stop().await;
    // told to end while nobody is there to read
    pods(&house).delete("a-worker-0", &DeleteParams::default().grace_period(0)).await.unwrap();
    let house = house.restart().await;
    until("the pod to go", async || {
        pods(&house).get_opt("a-worker-0").await.unwrap().is_none().then_some(())
    })
    .await;
    assert_eq!(Output::open(&house, of("a")).await.rest().await, texts(&FIRST));
}

#[tokio::test]
async fn of_a_pod_that_vanished_it_is_said_that_its_end_may_be_missing() {
    let house = House::new().await;
    house.create("a").await;
    start(&house, "a", 0, None).await;
    phase(&house, "a-worker-0", "Running").await;
    delete_and_wait(&house, "a-worker-0").await;
    let gap = until("a gap", async || {
        let mut stream = house.client().stream_logs(house.signed("ann", of("a"))).await.unwrap().into_inner();
        while let Some(message) = stream.message().await.unwrap() {
            if !message.gap.is_empty() {
                return Some(message.gap);
            }
        }
        None
    })
    .await;
    assert!(gap.starts_with("worker/0: its Pod was gone"), "{gap}");
}

#[tokio::test]
async fn replicas_are_merged_in_the_order_of_time() {
    let house = House::new().await;
    house.try_create("ann", edit(job("a"), |r| r.replicas = 3)).await.unwrap();
    for replica in 0..3 {
        start(&house, "a", replica, Some(0)).await;
        phase(&house, &format!("a-worker-{replica}"), "Succeeded").await;
    }
    let mut output = Output::open(&house, of("a")).await;
    let mut times = Vec::new();
    while let Some(line) = output.line().await {
        let time = line.time.unwrap();
        times.push((time.seconds, time.nanos));
    }
    assert_eq!(times.len(), 6);
    assert!(times.is_sorted(), "{times:?}");
}
