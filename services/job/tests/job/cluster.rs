//! The outbox and the watch: what was accepted is applied, what ended has ended, whatever dies when.

use crater_api::job::v1 as pb;
use crater_job::Config;
use crater_k8s::AIJob;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::house::{House, new_cluster, until};

#[tokio::test]
async fn what_was_accepted_while_the_cluster_was_away_is_applied_after_a_crash() {
    let mut house = House::new().await;
    house.cluster.set_serving(false);
    let created = house.create("a").await;
    house.stop().await;
    house.cluster.set_serving(true);
    assert!(house.aijobs("lab").get_opt("a").await.unwrap().is_none());
    let house = house.restart().await;
    assert_eq!(house.applied("a").await.spec.job_uid, created.uid);
}

#[tokio::test]
async fn what_is_accepted_while_the_cluster_is_away_is_applied_when_it_is_back() {
    let house = House::new().await;
    house.cluster.set_serving(false);
    for i in 0..20 {
        house.create(&format!("j{i}")).await;
    }
    house.cluster.set_serving(true);
    for i in 0..20 {
        house.applied(&format!("j{i}")).await;
    }
}

#[tokio::test]
async fn a_job_whose_aijob_was_made_just_before_a_crash_is_adopted_and_not_made_twice() {
    let mut house = House::new().await;
    house.cluster.set_serving(false);
    let created = house.create("a").await;
    house.stop().await;
    house.cluster.set_serving(true);
    // what the applier would have sent; its death kept the answer from being recorded
    let other = House::new().await;
    other.create("a").await;
    let mut object = other.applied("a").await;
    object.spec.job_uid = created.uid.clone();
    object.metadata.resource_version = None;
    object.metadata.uid = None;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "crater-lab"}});
    let namespaces = kube::Api::all(house.cluster.client());
    let namespace: k8s_openapi::api::core::v1::Namespace = serde_json::from_value(namespace).unwrap();
    namespaces.create(&PostParams::default(), &namespace).await.unwrap();
    let made: AIJob = house.aijobs("lab").create(&PostParams::default(), &object).await.unwrap();
    let house = house.restart().await;
    house.report("a", json!({"phase": "Running"})).await;
    house.in_state("a", pb::JobState::Running).await;
    assert_eq!(house.applied("a").await.metadata.uid, made.metadata.uid);
}

#[tokio::test]
async fn a_cancel_reaches_the_cluster_and_is_never_undone() {
    let house = House::new().await;
    house.create("a").await;
    house.report("a", json!({"phase": "Running"})).await;
    house.in_state("a", pb::JobState::Running).await;
    let before = house.applied("a").await;
    house.cluster.set_serving(false);
    assert!(house.cancel("a").await.cancelling);
    house.cluster.set_serving(true);
    let cancelled = async || Some(house.applied("a").await).filter(|o| o.spec.cancelled);
    let after = until("the cancel", cancelled).await;
    assert_eq!((after.spec.revision, after.metadata.uid.clone()), (2, before.metadata.uid.clone()));
    // a worker that slept since before the cancel is refused by the API server
    let late = house.aijobs("lab").replace("a", &PostParams::default(), &before).await.unwrap_err();
    assert!(matches!(late, kube::Error::Api(status) if status.code == 409));
    house.report("a", json!({"phase": "Cancelled"})).await;
    let ended = house.in_state("a", pb::JobState::Cancelled).await;
    // nor does a late status bring it back
    house.report("a", json!({"phase": "Running", "attempts": 9})).await;
    let marker = house.ended("marker").await;
    assert_eq!(marker.state(), pb::JobState::Succeeded);
    assert_eq!(house.get("a").await, ended);
    let house = house.restart().await;
    house.ended("marker2").await;
    assert_eq!(house.get("a").await, ended);
}

#[tokio::test]
async fn a_deleted_jobs_late_aijob_is_taken_away() {
    let house = House::new().await;
    house.ended("a").await;
    let mut object = house.applied("a").await;
    house.try_delete("a").await.unwrap();
    until("the AIJob to go", async || {
        house.aijobs("lab").get_opt("a").await.unwrap().is_none().then_some(())
    })
    .await;
    // a worker that slept through all of it creates the object now
    object.metadata.resource_version = None;
    object.metadata.uid = None;
    object.metadata.finalizers = Some(vec!["crater.dev/record".to_owned()]);
    house.aijobs("lab").create(&PostParams::default(), &object).await.unwrap();
    until("it to go again", async || house.aijobs("lab").get_opt("a").await.unwrap().is_none().then_some(()))
        .await;
}

#[tokio::test]
async fn a_delete_in_the_cluster_means_cancel() {
    let house = House::new().await;
    house.create("a").await;
    house.report("a", json!({"phase": "Running"})).await;
    house.in_state("a", pb::JobState::Running).await;
    house.aijobs("lab").delete("a", &DeleteParams::default()).await.unwrap();
    until("the cancel", async || Some(house.applied("a").await).filter(|o| o.spec.cancelled)).await;
    assert!(house.get("a").await.cancelling);
    house.report("a", json!({"phase": "Cancelled"})).await;
    house.in_state("a", pb::JobState::Cancelled).await;
    until("the AIJob to go", async || {
        house.aijobs("lab").get_opt("a").await.unwrap().is_none().then_some(())
    })
    .await;
    assert_eq!(
        house.events("a").await,
        ["Submitted", "Allocated", "Running", "CancelRequested", "Cancelled"]
    );
}

#[tokio::test]
async fn an_aijob_that_is_torn_out_ends_its_job_and_is_not_made_anew() {
    let mut house = House::new().await;
    let tear_out = async |house: &House, id: &str| {
        house.applied(id).await;
        let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        house.aijobs("lab").patch(id, &PatchParams::default(), &patch).await.unwrap();
        house.aijobs("lab").delete(id, &DeleteParams::default()).await.unwrap();
    };
    house.create("seen").await;
    tear_out(&house, "seen").await;
    house.in_state("seen", pb::JobState::Cancelled).await;
    // and while nobody watched
    house.create("unseen").await;
    house.report("unseen", json!({"phase": "Running"})).await;
    house.in_state("unseen", pb::JobState::Running).await;
    house.stop().await;
    tear_out(&house, "unseen").await;
    let house = house.restart().await;
    let ended = house.in_state("unseen", pb::JobState::Cancelled).await;
    assert_eq!(ended.reason, "DeletedInCluster");
    assert!(house.aijobs("lab").list(&Default::default()).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn in_a_new_cluster_unfinished_jobs_start_over_and_ended_ones_stay() {
    let house = House::new().await;
    let ended = house.ended("ended").await;
    house.create("running").await;
    house.report("running", json!({"phase": "Running", "nodes": ["a"]})).await;
    house.in_state("running", pb::JobState::Running).await;
    house.create("leaving").await;
    house.applied("leaving").await;
    house.cancel("leaving").await;
    let house = house.restart_on(new_cluster().await).await;
    let again = house.applied("running").await;
    assert_eq!(again.spec.revision, 2);
    let queued = house.get("running").await;
    assert_eq!((queued.state(), queued.nodes.len()), (pb::JobState::Queued, 0));
    assert_eq!(house.events("running").await.last().unwrap(), "Restarted");
    house.in_state("leaving", pb::JobState::Cancelled).await;
    assert_eq!(house.get("ended").await, ended);
    let names: Vec<_> = house.aijobs("lab").list(&Default::default()).await.unwrap().items;
    assert_eq!(names.len(), 1, "only the unfinished job is applied");
    // the same cluster a second time is no new one
    let house = house.restart().await;
    house.report("running", json!({"phase": "Succeeded"})).await;
    house.in_state("running", pb::JobState::Succeeded).await;
    assert_eq!(house.events("running").await.iter().filter(|e| *e == "Restarted").count(), 1);
}

#[tokio::test]
async fn an_ended_jobs_aijob_goes_after_its_time_and_the_job_stays() {
    let house = House::with(Config { ended_ttl_seconds: 0, ..Config::default() }).await;
    house.create("a").await;
    house.report("a", json!({"phase": "Succeeded"})).await;
    house.in_state("a", pb::JobState::Succeeded).await;
    until("the AIJob to go", async || {
        house.aijobs("lab").get_opt("a").await.unwrap().is_none().then_some(())
    })
    .await;
    assert_eq!(house.get("a").await.state(), pb::JobState::Succeeded);
    house.try_delete("a").await.unwrap();
}

#[tokio::test]
async fn a_job_waits_with_a_reason_while_an_older_aijob_of_its_name_lingers() {
    let house = House::new().await;
    house.ended("a").await;
    let hold = |finalizers: serde_json::Value| Patch::Merge(json!({"metadata": {"finalizers": finalizers}}));
    let aijobs = house.aijobs("lab");
    until("our finalizer to go", async || {
        house.applied("a").await.metadata.finalizers.unwrap_or_default().is_empty().then_some(())
    })
    .await;
    aijobs.patch("a", &PatchParams::default(), &hold(json!(["example.com/slow"]))).await.unwrap();
    house.try_delete("a").await.unwrap();
    let second = house.create("a").await;
    until("the reason", async || Some(house.get("a").await).filter(|j| j.reason == "NameTaken")).await;
    aijobs.patch("a", &PatchParams::default(), &hold(json!(null))).await.unwrap();
    let uid = second.uid;
    until("the second AIJob", async || aijobs.get_opt("a").await.unwrap().filter(|o| o.spec.job_uid == uid))
        .await;
}

#[tokio::test]
async fn an_orphan_that_no_job_knows_is_let_go() {
    let house = House::new().await;
    house.create("a").await;
    let mut object = house.applied("a").await;
    object.metadata.name = Some("orphan".to_owned());
    object.metadata.resource_version = None;
    object.metadata.uid = None;
    object.spec.job_uid = uuid::Uuid::now_v7().to_string();
    house.aijobs("lab").create(&PostParams::default(), &object).await.unwrap();
    let free = async || house.applied("orphan").await.metadata.finalizers.unwrap_or_default().is_empty();
    until("its finalizer to go", async || free().await.then_some(())).await;
}

#[tokio::test]
async fn the_log_of_events_tells_a_jobs_life_and_the_reason_why_it_waits() {
    let house = House::new().await;
    house.create("a").await;
    let waits = json!({"scheduling": {"reason": "AccountLimit", "message": "2 GPUs short", "position": 1}});
    house.report("a", waits).await;
    let told = async || Some(house.get("a").await).filter(|j| j.reason == "AccountLimit");
    assert_eq!(until("the reason", told).await.message, "2 GPUs short");
    // a flood of reasons is no flood of events
    for reason in ["Fragmented", "AccountLimit", "Fragmented"] {
        house.report("a", json!({"scheduling": {"reason": reason, "message": "", "position": 1}})).await;
        until("the reason", async || Some(house.get("a").await).filter(|j| j.reason == reason)).await;
    }
    house.report("a", json!({"phase": "Starting", "attempts": 1, "nodes": ["a"], "scheduling": null})).await;
    house.in_state("a", pb::JobState::Starting).await;
    house.report("a", json!({"phase": "Running"})).await;
    house.in_state("a", pb::JobState::Running).await;
    house
        .report("a", json!({"phase": "Queued", "preemptions": 1, "queuedMillis": 1_700_000_000_000_i64}))
        .await;
    let queued = house.in_state("a", pb::JobState::Queued).await;
    assert_eq!((queued.preemptions, queued.queue_time.unwrap().seconds), (1, 1_700_000_000));
    house.report("a", json!({"phase": "Running", "attempts": 2})).await;
    house.in_state("a", pb::JobState::Running).await;
    house.report("a", json!({"phase": "Queued", "failures": 1})).await;
    house.in_state("a", pb::JobState::Queued).await;
    house.report("a", json!({"phase": "Succeeded", "exitCode": 0, "attempts": 3})).await;
    house.in_state("a", pb::JobState::Succeeded).await;
    let expected = [
        "Submitted",
        "Waiting",
        "Allocated",
        "Running",
        "Preempted",
        "Allocated",
        "Running",
        "Retrying",
        "Succeeded",
    ];
    assert_eq!(house.events("a").await, expected);
    // by pages, too
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let parent = crate::house::name("a");
        let request = pb::ListEventsRequest { parent, page_size: 2, page_token: token };
        let answer = house.client().list_events(house.signed("ann", request)).await.unwrap().into_inner();
        seen.extend(answer.events.into_iter().map(|e| e.sequence));
        token = answer.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, (1..=9).collect::<Vec<i64>>());
}

#[tokio::test]
async fn every_accepted_job_is_in_the_cluster_once_whatever_was_down_meanwhile() {
    let mut house = House::new().await;
    let mut accepted = Vec::new();
    for round in 0..4 {
        for i in 0..6 {
            house.cluster.set_serving((i + round) % 3 != 0);
            let id = format!("j{round}-{i}");
            accepted.push((house.create(&id).await.uid, id.clone()));
            if i % 2 == 1 {
                house.cancel(&id).await;
            }
        }
        house.cluster.set_serving(true);
        // wherever the loops are, they stop
        house = house.restart().await;
    }
    for (uid, id) in &accepted {
        let wanted = house.get(id).await;
        let object = until("the current revision", async || {
            Some(house.applied(id).await).filter(|o| o.spec.revision == wanted.revision)
        });
        let object = object.await;
        assert_eq!((&object.spec.job_uid, object.spec.cancelled), (uid, wanted.cancelling));
    }
    let objects = house.aijobs("lab").list(&Default::default()).await.unwrap().items;
    assert_eq!(objects.len(), accepted.len());
}
