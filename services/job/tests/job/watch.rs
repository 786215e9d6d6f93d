//! The stream of jobs.

use std::collections::{BTreeMap, HashSet};

use crater_api::job::v1 as pb;
use crater_api::job::v1::watch_jobs_response::Event;
use crater_job::Config;
use futures::future::join_all;
use serde_json::json;
use tonic::Code;

use crate::house::{House, LAB, edit, fields, job, name, tell_identity, until};

fn lab(resume_token: &str) -> pb::WatchJobsRequest {
    pb::WatchJobsRequest { parent: LAB.into(), resume_token: resume_token.into(), ..Default::default() }
}

#[tokio::test]
async fn a_watch_that_breaks_again_and_again_loses_nothing_and_doubles_nothing() {
    let house = House::new().await;
    for i in 0..5 {
        house.create(&format!("before-{i}")).await;
    }
    let change = async {
        for i in 0..40 {
            house.create(&format!("j{i}")).await;
            if i % 3 == 0 {
                house.cancel(&format!("j{i}")).await;
            }
        }
        house.create("last").await;
    };
    let follow = async {
        let mut seen: BTreeMap<String, String> = BTreeMap::new();
        let mut once = HashSet::new();
        let mut token = String::new();
        'broken: for length in 1.. {
            let mut watching = house.watch("ann", lab(&token)).await.unwrap();
            let mut snapshot = token.is_empty();
            let mut heard = 0;
            while snapshot || heard < length {
                let (event, at) = watching.next().await.unwrap();
                snapshot &= at.is_empty();
                if !at.is_empty() {
                    token = at;
                }
                let Event::Changed(job) = event else { continue };
                heard += 1;
                assert!(once.insert(job.etag.clone()), "{} came twice", job.name);
                let last = job.name == name("last");
                seen.insert(job.name, job.etag);
                if last {
                    break 'broken;
                }
            }
        }
        seen
    };
    let ((), seen) = tokio::join!(change, follow);
    let all = pb::ListJobsRequest { parent: LAB.into(), page_size: 1000, ..Default::default() };
    let listed = house.list("ann", all).await.unwrap().jobs;
    let listed: BTreeMap<String, String> = listed.into_iter().map(|j| (j.name, j.etag)).collect();
    assert_eq!(seen, listed);
}

#[tokio::test]
async fn what_changes_while_a_slow_watcher_takes_its_snapshot_comes_once() {
    let house = House::new().await;
    // more than the connection holds for somebody who does not read
    let ids: Vec<String> = (0..240).map(|i| format!("j{i}")).collect();
    let large = |id: &String| edit(job(id), |r| r.args = vec!["x".repeat(4000)]);
    for some in ids.chunks(60) {
        for created in join_all(some.iter().map(|id| house.try_create("ann", large(id)))).await {
            created.unwrap();
        }
    }
    let mut watching = house.watch("ann", lab("")).await.unwrap();
    assert!(matches!(watching.next().await.unwrap().0, Event::Changed(_)));
    for some in ids.chunks(60) {
        join_all(some.iter().map(|id| house.cancel(id))).await;
    }
    let (mut seen, mut once, mut bookmarked) = (BTreeMap::new(), HashSet::new(), false);
    while seen.len() < ids.len() || seen.values().any(|cancelling| !cancelling) {
        match watching.next().await.unwrap().0 {
            Event::Changed(job) => {
                assert!(once.insert(job.etag), "{} came twice", job.name);
                assert!(!job.cancelling || bookmarked, "{} changed after the snapshot was begun", job.name);
                seen.insert(job.name, job.cancelling);
            }
            Event::Bookmark(_) => bookmarked = true,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_deletion_is_told_and_one_forgotten_meanwhile_is_a_resync() {
    let house = House::with(Config { deleted_ttl_seconds: 3600, ..Config::default() }).await;
    house.ended("a").await;
    let mut watching = house.watch("ann", lab("")).await.unwrap();
    let (_, token) = watching.snapshot().await;
    house.try_delete("a").await.unwrap();
    let (event, after) = watching.news().await;
    assert_eq!(event, Event::Deleted(name("a")));
    // who was away hears it, too
    let mut later = house.watch("ann", lab(&token)).await.unwrap();
    assert_eq!(later.news().await.0, Event::Deleted(name("a")));
    let mut house = house;
    house.stop().await;
    let dir = house.dir;
    let house =
        House::on(dir, house.cluster.clone(), Config { deleted_ttl_seconds: 0, ..Config::default() }).await;
    house.create("b").await;
    let resync = async || {
        let mut watching = house.watch("ann", lab(&token)).await.unwrap();
        matches!(watching.next().await.unwrap().0, Event::Resync(_)).then_some(watching)
    };
    let mut watching = until("the deletion to be forgotten", resync).await;
    let (jobs, _) = watching.snapshot().await;
    assert_eq!(jobs.iter().map(|j| &j.name).collect::<Vec<_>>(), [&name("b")]);
    // who had heard of it has missed nothing
    let mut watching = house.watch("ann", lab(&after)).await.unwrap();
    assert!(matches!(watching.next().await.unwrap().0, Event::Changed(job) if job.name == name("b")));
}

#[tokio::test]
async fn a_token_of_another_database_is_a_resync_and_one_of_another_query_is_refused() {
    let house = House::new().await;
    house.create("a").await;
    let (_, token) = house.watch("ann", lab("")).await.unwrap().snapshot().await;
    let other = House::new().await;
    let mut watching = other.watch("ann", lab(&token)).await.unwrap();
    assert!(matches!(watching.next().await.unwrap().0, Event::Resync(_)));
    assert!(watching.snapshot().await.0.is_empty());
    let everywhere = pb::WatchJobsRequest { parent: "accounts/-".into(), ..lab(&token) };
    let one = pb::WatchJobsRequest { job: name("a"), ..lab(&token) };
    for request in [everywhere, one, lab("garbage")] {
        let refused = house.watch("ann", request).await.map(drop).unwrap_err();
        assert_eq!(
            (refused.code(), fields(&refused)),
            (Code::InvalidArgument, vec!["resume_token".to_owned()])
        );
    }
}

#[tokio::test]
async fn one_job_is_watched_alone() {
    let house = House::new().await;
    house.create("a").await;
    house.create("b").await;
    let request = pb::WatchJobsRequest { job: name("a"), ..lab("") };
    let mut watching = house.watch("ann", request.clone()).await.unwrap();
    assert_eq!(watching.snapshot().await.0.len(), 1);
    house.cancel("b").await;
    house.cancel("a").await;
    assert!(
        matches!(watching.news().await.0, Event::Changed(job) if job.name == name("a") && job.cancelling)
    );
    house.report("a", json!({"phase": "Cancelled"})).await;
    let ended = |e: &Event| matches!(e, Event::Changed(job) if job.state() == pb::JobState::Cancelled);
    while !ended(&watching.news().await.0) {}
    let absent = pb::WatchJobsRequest { job: name("none"), ..request.clone() };
    assert_eq!(house.watch("ann", absent).await.map(drop).unwrap_err().code(), Code::NotFound);
    let elsewhere = pb::WatchJobsRequest { job: "accounts/den/jobs/a".into(), ..request };
    assert_eq!(fields(&house.watch("ann", elsewhere).await.map(drop).unwrap_err()), ["job"]);
}

#[tokio::test]
async fn who_leaves_an_account_hears_no_more_of_it_and_who_joins_hears_all() {
    let house = House::new().await;
    house.create("ours").await;
    house
        .try_create("bob", pb::CreateJobRequest { parent: "accounts/den".into(), ..job("his") })
        .await
        .unwrap();
    let mut alone = house.watch("ann", lab("")).await.unwrap();
    alone.snapshot().await;
    let everywhere = pb::WatchJobsRequest { parent: "accounts/-".into(), ..lab("") };
    let mut all = house.watch("ann", everywhere.clone()).await.unwrap();
    let (jobs, token) = all.snapshot().await;
    assert_eq!(jobs.len(), 1);
    tell_identity(&house.authority, "ann", &["den"], false);
    assert_eq!(until("the end", async || alone.next().await.err()).await.code(), Code::NotFound);
    assert!(matches!(all.news().await.0, Event::Resync(_)));
    let (jobs, _) = all.snapshot().await;
    assert_eq!(jobs.iter().map(|j| j.name.as_str()).collect::<Vec<_>>(), ["accounts/den/jobs/his"]);
    // nor does an old token hide the jobs of an account that was joined
    let mut resumed =
        house.watch("ann", pb::WatchJobsRequest { resume_token: token, ..everywhere }).await.unwrap();
    assert!(matches!(resumed.next().await.unwrap().0, Event::Resync(_)));
}
