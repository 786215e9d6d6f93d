//! What jobs held.

use crater_api::common::v1::Resources;
use crater_api::job::v1 as pb;
use serde_json::json;
use tonic::Code;

use crate::house::{House, name};

async fn usage(house: &House, id: &str, page_size: i32, page_token: &str) -> pb::ListJobUsageResponse {
    let request = pb::ListJobUsageRequest { parent: name(id), page_size, page_token: page_token.to_owned() };
    house.client().list_job_usage(house.signed("ann", request)).await.unwrap().into_inner()
}

fn span(number: i64, attempt: i32, from: i64, until: Option<i64>, outcome: &str) -> serde_json::Value {
    let mut span = json!({"number": number, "attempt": attempt, "fromMillis": from, "replicas": 2,
        "cpuMillis": 4000, "memoryBytes": 1 << 30, "gpuMillis": 2000, "nodes": ["a", "b"], "outcome": outcome});
    if let Some(until) = until {
        span["untilMillis"] = until.into();
    }
    span
}

#[tokio::test]
async fn spans_are_recorded_as_the_cluster_tells_them_and_none_stays_open_after_the_end() {
    let house = House::new().await;
    house.create("a").await;
    assert_eq!(usage(&house, "a", 0, "").await, pb::ListJobUsageResponse::default());
    let first = |until, outcome| span(1, 1, 1000, until, outcome);
    house.report("a", json!({"phase": "Running", "attempts": 1, "usage": [first(None, "")]})).await;
    house.in_state("a", pb::JobState::Running).await;
    let open = usage(&house, "a", 0, "").await;
    assert_eq!((open.spans.len(), open.spans[0].end_time, open.spans[0].outcome.as_str()), (1, None, ""));
    assert!(open.total_gpu_milli_seconds > 0, "what goes on counts until now");

    // a preemption and the next start are told at once: nothing is missed; the end closes what is open
    let told = [first(Some(11_000), "Preempted"), span(2, 2, 20_000, None, "")];
    let status = json!({"phase": "Failed", "attempts": 2, "endMillis": 25_000, "usage": told});
    house.report("a", status).await;
    house.in_state("a", pb::JobState::Failed).await;
    let page = usage(&house, "a", 1, "").await;
    assert_eq!(page.total_gpu_milli_seconds, 2000 * 10 + 2000 * 5);
    assert_eq!((page.spans.len(), page.spans[0].outcome.as_str()), (1, "Preempted"));
    let rest = usage(&house, "a", 1, &page.next_page_token).await;
    assert_eq!(rest.next_page_token, "");
    let last = &rest.spans[0];
    assert_eq!((last.attempt, last.replicas, last.outcome.as_str()), (2, 2, "Failed"));
    assert_eq!(last.end_time.map(|t| t.seconds), Some(25));
    assert_eq!(last.nodes, ["a", "b"]);
    assert_eq!(
        last.resources,
        Some(Resources { cpu_millis: 4000, memory_bytes: 1 << 30, gpu_millis: 2000, ..Default::default() })
    );

    let request = pb::ListJobUsageRequest { parent: name("a"), ..Default::default() };
    let foreign = house.client().list_job_usage(house.signed("bob", request)).await.unwrap_err();
    assert_eq!(foreign.code(), Code::NotFound);
}
