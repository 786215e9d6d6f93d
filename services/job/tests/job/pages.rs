//! Names, lists, etags, deletion.

use crater_api::job::v1 as pb;
use crater_api::status::from_status;
use serde_json::json;
use tonic::Code;

use crate::house::{House, LAB, fields, job, name};

fn page(size: i32, token: &str) -> pb::ListJobsRequest {
    pb::ListJobsRequest {
        parent: LAB.into(),
        page_size: size,
        page_token: token.into(),
        ..Default::default()
    }
}

#[tokio::test]
async fn pages_neither_repeat_nor_hide_a_job_while_jobs_are_added() {
    let house = House::new().await;
    for i in 0..7 {
        house.create(&format!("old-{i}")).await;
    }
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let answer = house.list("ann", page(2, &token)).await.unwrap();
        assert!(answer.jobs.len() <= 2);
        seen.extend(answer.jobs.into_iter().map(|j| j.name));
        house.create(&format!("new-{}", seen.len())).await;
        token = answer.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    let newest_first: Vec<String> = (0..7).rev().map(|i| name(&format!("old-{i}"))).collect();
    assert_eq!(seen, newest_first);
}

#[tokio::test]
async fn a_token_of_another_query_is_refused_by_its_field() {
    let house = House::new().await;
    house.create("a").await;
    house.create("b").await;
    let token = house.list("ann", page(1, "")).await.unwrap().next_page_token;
    assert!(!token.is_empty());
    let queued = vec![pb::JobState::Queued.into()];
    let everywhere = pb::ListJobsRequest { parent: "accounts/-".into(), ..page(1, &token) };
    let filtered = pb::ListJobsRequest { states: queued, ..page(1, &token) };
    for request in [everywhere, filtered, page(1, "garbage"), page(1, "AAAAAAAAAAAAAAAA")] {
        let refused = house.list("ann", request).await.unwrap_err();
        assert_eq!(
            (refused.code(), fields(&refused)),
            (Code::InvalidArgument, vec!["page_token".to_owned()])
        );
    }
    assert_eq!(house.list("ann", page(-1, "")).await.unwrap_err().code(), Code::InvalidArgument);
    house.list("ann", page(5, &token)).await.unwrap();
}

#[tokio::test]
async fn a_list_holds_the_callers_accounts_and_the_states_asked_for() {
    let house = House::new().await;
    house.create("mine").await;
    house.ended("done").await;
    house
        .try_create("bob", pb::CreateJobRequest { parent: "accounts/den".into(), ..job("his") })
        .await
        .unwrap();
    let all = pb::ListJobsRequest { parent: "accounts/-".into(), ..Default::default() };
    let names = async |user: &str, request: pb::ListJobsRequest| {
        let mut names: Vec<String> =
            house.list(user, request).await.unwrap().jobs.into_iter().map(|j| j.name).collect();
        names.sort();
        names
    };
    assert_eq!(names("ann", all.clone()).await, [name("done"), name("mine")]);
    assert_eq!(names("bob", all.clone()).await, ["accounts/den/jobs/his"]);
    assert_eq!(names("root", all.clone()).await.len(), 3);
    let ended = pb::ListJobsRequest { states: vec![pb::JobState::Succeeded.into()], ..all };
    assert_eq!(names("root", ended).await, [name("done")]);
}

#[tokio::test]
async fn a_page_of_large_jobs_stays_below_the_largest_message() {
    let house = House::new().await;
    for i in 0..20 {
        let large = crate::house::edit(job(&format!("large-{i}")), |r| r.args = vec!["x".repeat(200_000)]);
        house.try_create("ann", large).await.unwrap();
    }
    let (mut seen, mut token) = (0, String::new());
    loop {
        let mut client = house.client().max_decoding_message_size(4 << 20);
        let answer = client.list_jobs(house.signed("ann", page(1000, &token))).await.unwrap().into_inner();
        seen += answer.jobs.len();
        token = answer.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, 20);
}

#[tokio::test]
async fn a_wildcard_finds_the_one_job_and_names_the_candidates_otherwise() {
    let house = House::new().await;
    house.create("same").await;
    let anywhere = "accounts/-/jobs/same";
    assert_eq!(house.try_get("root", anywhere).await.unwrap().name, name("same"));
    house
        .try_create("bob", pb::CreateJobRequest { parent: "accounts/den".into(), ..job("same") })
        .await
        .unwrap();
    assert_eq!(house.try_get("ann", anywhere).await.unwrap().name, name("same"));
    let ambiguous = house.try_get("root", anywhere).await.unwrap_err();
    assert_eq!(ambiguous.code(), Code::FailedPrecondition);
    let candidates = from_status(&ambiguous).metadata.remove("candidates").unwrap();
    assert_eq!(candidates, "accounts/den/jobs/same,accounts/lab/jobs/same");
    assert_eq!(house.try_get("ann", "accounts/-/jobs/none").await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn only_an_ended_job_is_deleted_and_its_name_is_free_again() {
    let house = House::new().await;
    let first = house.create("a").await;
    assert_eq!(house.try_delete("a").await.unwrap_err().code(), Code::FailedPrecondition);
    let taken = house.try_create("ann", job("a")).await.unwrap_err();
    assert_eq!(taken.code(), Code::AlreadyExists);
    house.report("a", json!({"phase": "Succeeded"})).await;
    house.in_state("a", pb::JobState::Succeeded).await;
    house.try_delete("a").await.unwrap();
    assert_eq!(house.try_delete("a").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(house.try_get("ann", &name("a")).await.unwrap_err().code(), Code::NotFound);
    let second = house.create("a").await;
    assert_ne!(first.uid, second.uid);
    assert_eq!(house.events("a").await, ["Submitted"]);
    // the new one reaches the cluster once the old one's AIJob is gone
    let uid = second.uid;
    crate::house::until("the second AIJob", async || {
        house.aijobs("lab").get_opt("a").await.unwrap().filter(|o| o.spec.job_uid == uid)
    })
    .await;
}

#[tokio::test]
async fn a_stale_etag_is_refused_and_a_cancel_twice_is_none() {
    let house = House::new().await;
    let created = house.create("a").await;
    let cancel =
        |etag: &str| pb::CancelJobRequest { name: name("a"), etag: etag.into(), ..Default::default() };
    let refused = house.client().cancel_job(house.signed("ann", cancel("1-0"))).await.unwrap_err();
    assert_eq!(refused.code(), Code::Aborted);
    let first =
        house.client().cancel_job(house.signed("ann", cancel(&created.etag))).await.unwrap().into_inner();
    assert!(first.job.as_ref().unwrap().cancelling);
    assert_eq!(house.cancel("a").await.etag, first.job.unwrap().etag);
    house.report("a", json!({"phase": "Cancelled"})).await;
    let ended = house.in_state("a", pb::JobState::Cancelled).await;
    assert_eq!(house.cancel("a").await, ended);
    assert_eq!(house.events("a").await, ["Submitted", "CancelRequested", "Cancelled"]);
}
