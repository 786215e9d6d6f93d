//! Changing jobs, having them stand aside, and the end of an account.

use crater_api::job::v1 as pb;
use crater_api::job::v1::watch_jobs_response::Event;
use crater_api::user::v1::watch_identities_response::Event as Known;
use serde_json::json;
use tonic::{Code, Status};

use crate::house::{House, LAB, edit, fields, job, name, until};

const REQUEST: &str = "0190a2f4-0000-7000-8000-000000000002";

impl House {
    async fn try_update(&self, id: &str, paths: &[&str], wanted: pb::Job) -> Result<pb::Job, Status> {
        let request = pb::UpdateJobRequest {
            job: Some(pb::Job { name: name(id), ..wanted }),
            update_mask: Some(prost_types::FieldMask {
                paths: paths.iter().map(ToString::to_string).collect(),
            }),
            ..Default::default()
        };
        let answer = self.client().update_job(self.signed("ann", request)).await?;
        Ok(answer.into_inner().job.unwrap())
    }

    async fn try_suspend(&self, id: &str) -> Result<pb::Job, Status> {
        let request = pb::SuspendJobRequest { name: name(id), ..Default::default() };
        Ok(self.client().suspend_job(self.signed("amy", request)).await?.into_inner().job.unwrap())
    }

    async fn try_checkpoint(
        &self,
        user: &str,
        id: &str,
        millis: Option<i64>,
        request_id: &str,
    ) -> Result<pb::Job, Status> {
        let time = millis.map(crater_api::convert::timestamp);
        let request = pb::ReportCheckpointRequest {
            name: name(id),
            time,
            request_id: request_id.into(),
            ..Default::default()
        };
        Ok(self.client().report_checkpoint(self.signed(user, request)).await?.into_inner().job.unwrap())
    }

    async fn try_resume(&self, id: &str) -> Result<pb::Job, Status> {
        let request = pb::ResumeJobRequest { name: name(id), ..Default::default() };
        Ok(self.client().resume_job(self.signed("ann", request)).await?.into_inner().job.unwrap())
    }
}

fn spec(edit: impl FnOnce(&mut pb::JobSpec)) -> pb::Job {
    let mut spec = pb::JobSpec::default();
    edit(&mut spec);
    pb::Job { spec: Some(spec), ..Default::default() }
}

#[tokio::test]
async fn a_waiting_jobs_new_priority_and_class_reach_the_cluster_and_a_running_one_is_left_alone() {
    let house = House::new().await;
    house.create("a").await;
    house.applied("a").await;
    let wanted = spec(|s| {
        s.priority = 7;
        s.set_service_class(pb::ServiceClass::BestEffort);
        s.expected_duration = Some(prost_types::Duration { seconds: 90, nanos: 1 });
    });
    let all = ["spec.priority", "spec.service_class", "spec.expected_duration"];
    let updated = house.try_update("a", &all, wanted.clone()).await.unwrap();
    assert_eq!((updated.revision, updated.spec.as_ref().unwrap().priority), (2, 7));
    let seen = async || Some(house.applied("a").await).filter(|o| o.spec.revision == 2);
    let object = until("the new revision", seen).await;
    assert_eq!((object.spec.priority, object.spec.expected_seconds), (7, Some(91)));
    assert_eq!(object.spec.service_class, crater_k8s::aijob::Class::BestEffort);
    assert_eq!(object.spec.roles.len(), 1, "what is not in the mask stays");
    // the same again changes nothing
    assert_eq!(house.try_update("a", &all, wanted).await.unwrap().revision, 2);
    house.report("a", json!({"phase": "Running"})).await;
    house.in_state("a", pb::JobState::Running).await;
    let refused = house.try_update("a", &["spec.priority"], spec(|s| s.priority = 1)).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    // labels are nobody's business but the owner's
    let labels = [("team".to_owned(), "vision".to_owned())].into();
    let labelled = pb::Job { labels, ..Default::default() };
    assert_eq!(house.try_update("a", &["labels"], labelled.clone()).await.unwrap().labels, labelled.labels);
    assert_eq!(house.get("a").await.revision, 2);
    assert_eq!(house.events("a").await, ["Submitted", "Updated", "Allocated", "Running", "Updated"]);
}

#[tokio::test]
async fn a_wrong_update_is_refused_by_its_field_and_a_limit_binds_as_at_the_creation() {
    let house = House::new().await;
    let best_effort = |mut request: pb::CreateJobRequest| {
        request.job.as_mut().unwrap().spec.as_mut().unwrap().set_service_class(pb::ServiceClass::BestEffort);
        request
    };
    let wide = |id| edit(job(id), |r| r.replicas = 4);
    house.try_create("ann", best_effort(wide("a"))).await.unwrap();
    for (paths, wanted, field) in [
        (&[][..], spec(|_| {}), "update_mask"),
        (&["spec.roles"], spec(|_| {}), "update_mask"),
        (&["spec.priority"], pb::Job::default(), "job.spec"),
        (&["spec.priority"], spec(|s| s.priority = 1001), "job.spec.priority"),
        (&["spec.service_class"], spec(|s| s.service_class = 9), "job.spec.service_class"),
        (
            &["spec.expected_duration"],
            spec(|s| s.expected_duration = Some(prost_types::Duration { seconds: 0, nanos: 0 })),
            "job.spec.expected_duration",
        ),
        (
            &["labels"],
            pb::Job { labels: [("a b".to_owned(), String::new())].into(), ..Default::default() },
            "job.labels",
        ),
    ] {
        let refused = house.try_update("a", paths, wanted).await.unwrap_err();
        assert_eq!((refused.code(), fields(&refused)), (Code::InvalidArgument, vec![field.to_owned()]));
    }
    let stale = pb::Job { etag: "1-0".into(), ..spec(|s| s.priority = 1) };
    assert_eq!(house.try_update("a", &["spec.priority"], stale).await.unwrap_err().code(), Code::Aborted);
    house.limit("accounts/lab/quota", "gpu", 2000, wide("probe")).await;
    let guaranteed = spec(|s| s.set_service_class(pb::ServiceClass::Guaranteed));
    let refused = house.try_update("a", &["spec.service_class"], guaranteed).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert_eq!(house.get("a").await.revision, 1);
    // one name, one deed: a request that comes again is answered as before, whatever holds now
    let request = || pb::UpdateJobRequest {
        job: Some(pb::Job { name: name("a"), ..spec(|s| s.priority = 3) }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["spec.priority".into()] }),
        request_id: REQUEST.into(),
        validate_only: false,
    };
    let check = pb::UpdateJobRequest { validate_only: true, request_id: String::new(), ..request() };
    house.client().update_job(house.signed("ann", check)).await.unwrap();
    assert_eq!(house.get("a").await.revision, 1, "a check writes nothing");
    for _ in 0..2 {
        let answer = house.client().update_job(house.signed("ann", request())).await.unwrap().into_inner();
        assert_eq!(answer.job.unwrap().revision, 2);
    }
    let foreign = house.client().update_job(house.signed("bob", request())).await.unwrap_err();
    assert_eq!(foreign.code(), Code::NotFound);
}

#[tokio::test]
async fn a_suspended_job_waits_aside_until_it_is_resumed_and_both_are_told_once() {
    let house = House::new().await;
    house.create("a").await;
    house.report("a", json!({"phase": "Running", "attempts": 1})).await;
    house.in_state("a", pb::JobState::Running).await;
    let suspended = house.try_suspend("a").await.unwrap();
    assert!(suspended.suspended && suspended.state() == pb::JobState::Running);
    assert_eq!(house.try_suspend("a").await.unwrap().etag, suspended.etag, "twice is no error");
    let seen = async || house.applied("a").await.spec.suspended;
    assert_eq!(until("it to reach the cluster", seen).await.by, "users/amy");
    house.report("a", json!({"phase": "Queued", "reason": "Suspended", "queuedMillis": 5})).await;
    let queued = house.in_state("a", pb::JobState::Queued).await;
    assert_eq!((queued.reason.as_str(), queued.preemptions), ("Suspended", 0));
    assert!(queued.message.starts_with("suspended by users/amy since "), "{}", queued.message);
    let resumed = house.try_resume("a").await.unwrap();
    assert!(!resumed.suspended && resumed.reason == "Resumed");
    assert_eq!(house.try_resume("a").await.unwrap().etag, resumed.etag);
    let back = async || Some(house.applied("a").await).filter(|o| o.spec.suspended.is_none());
    assert_eq!(until("the resumption", back).await.spec.revision, 3);
    // what the cluster last said of it is not true any more
    house.report("a", json!({"scheduling": {"reason": "Suspended", "message": "late"}})).await;
    house.report("a", json!({"phase": "Succeeded"})).await;
    let ended = house.in_state("a", pb::JobState::Succeeded).await;
    assert_ne!(ended.reason, "Suspended");
    for refused in [house.try_suspend("a").await, house.try_resume("a").await] {
        assert_eq!(refused.unwrap_err().code(), Code::FailedPrecondition);
    }
    let expected = ["Submitted", "Allocated", "Running", "Suspended", "Queued", "Resumed", "Succeeded"];
    assert_eq!(house.events("a").await, expected);
}

#[tokio::test]
async fn a_suspension_outlives_a_crash_and_a_cluster_and_a_cancel_ends_it() {
    let mut house = House::new().await;
    house.create("a").await;
    house.applied("a").await;
    house.cluster.set_serving(false);
    house.try_suspend("a").await.unwrap();
    house.stop().await;
    house.cluster.set_serving(true);
    let house = house.restart().await;
    until("it to reach the cluster", async || house.applied("a").await.spec.suspended).await;
    let house = house.restart_on(crate::house::new_cluster().await).await;
    until("the new cluster to know", async || house.applied("a").await.spec.suspended).await;
    let list = async |suspended| {
        let filter = pb::JobFilter { suspended: Some(suspended), ..Default::default() };
        let request = pb::ListJobsRequest { parent: LAB.into(), filter: Some(filter), ..Default::default() };
        house.list("ann", request).await.unwrap().jobs.len()
    };
    assert_eq!((list(true).await, list(false).await), (1, 0));
    house.cancel("a").await;
    assert_eq!(house.try_resume("a").await.unwrap_err().code(), Code::FailedPrecondition);
    house.report("a", json!({"phase": "Cancelled"})).await;
    assert!(!house.in_state("a", pb::JobState::Cancelled).await.suspended);
    assert_eq!((list(true).await, list(false).await), (0, 1));
}

#[tokio::test]
async fn the_jobs_of_a_deleted_account_are_cancelled_and_none_is_accepted_there() {
    let house = House::new().await;
    for i in 0..3 {
        house.create(&format!("j{i}")).await;
    }
    let done = house.ended("done").await;
    house.authority.directory().apply(Known::DeletedAccount(LAB.into()));
    for i in 0..3 {
        let id = format!("j{i}");
        until("the cancel", async || Some(house.applied(&id).await).filter(|o| o.spec.cancelled)).await;
    }
    assert_eq!(house.try_get("root", &name("done")).await.unwrap(), done);
    assert_eq!(house.try_create("ann", job("late")).await.unwrap_err().code(), Code::NotFound);
}

fn filtered(filter: pb::JobFilter) -> pb::WatchJobsRequest {
    pb::WatchJobsRequest { parent: LAB.into(), filter: Some(filter), ..Default::default() }
}

#[tokio::test]
async fn a_filtered_watch_tells_what_comes_and_what_goes_and_skips_what_never_matched() {
    let house = House::new().await;
    house.create("old").await;
    house.ended("done").await;
    let queued = pb::JobFilter {
        states: vec![pb::JobState::Queued.into()],
        creators: vec!["users/ann".into()],
        ..Default::default()
    };
    let mut watching = house.watch("ann", filtered(queued.clone())).await.unwrap();
    let (jobs, token) = watching.snapshot().await;
    assert_eq!(jobs.iter().map(|j| j.name.clone()).collect::<Vec<_>>(), [name("old")]);
    house.try_create("amy", job("hers")).await.unwrap();
    house.create("new").await;
    assert!(matches!(watching.news().await.0, Event::Changed(job) if job.name == name("new")));
    house.report("old", json!({"phase": "Running"})).await;
    assert_eq!(watching.news().await.0, Event::Deleted(name("old")));
    house.report("old", json!({"phase": "Queued"})).await;
    assert!(matches!(watching.news().await.0, Event::Changed(job) if job.name == name("old")));
    // a token is bound to its filter
    let resumed = pb::WatchJobsRequest { resume_token: token.clone(), ..filtered(queued) };
    let mut again = house.watch("ann", resumed).await.unwrap();
    assert!(matches!(again.news().await.0, Event::Changed(job) if job.name == name("new")));
    let other = pb::WatchJobsRequest { resume_token: token, ..filtered(pb::JobFilter::default()) };
    assert_eq!(fields(&house.watch("ann", other).await.map(drop).unwrap_err()), ["resume_token"]);
}

#[tokio::test]
async fn lists_go_by_filter_and_order_and_their_pages_by_token() {
    let house = House::new().await;
    for i in 0..6 {
        let mut request = job(&format!("j{i}"));
        let job = request.job.as_mut().unwrap();
        job.labels = [("parity".to_owned(), (i % 2).to_string())].into();
        job.spec.as_mut().unwrap().priority = [5, -5, 0, 9, 0, 1][i];
        house.try_create(if i < 4 { "ann" } else { "amy" }, request).await.unwrap();
    }
    house.report("j1", json!({"phase": "Failed", "exitCode": 1})).await;
    house.in_state("j1", pb::JobState::Failed).await;
    let ids = async |filter: pb::JobFilter, order_by: &str| {
        let (mut ids, mut token) = (Vec::new(), String::new());
        loop {
            let request = pb::ListJobsRequest {
                parent: "accounts/-".into(),
                page_size: 2,
                page_token: token,
                filter: Some(filter.clone()),
                order_by: order_by.into(),
                ..Default::default()
            };
            let page = house.list("ann", request).await.unwrap();
            ids.extend(page.jobs.iter().map(|j| j.name.rsplit('/').next().unwrap().to_owned()));
            token = page.next_page_token;
            if token.is_empty() {
                return ids.join(" ");
            }
        }
    };
    let all = pb::JobFilter::default();
    assert_eq!(ids(all.clone(), "").await, "j5 j4 j3 j2 j1 j0");
    assert_eq!(ids(all.clone(), "create_time").await, "j0 j1 j2 j3 j4 j5");
    assert_eq!(ids(all.clone(), "priority desc").await, "j3 j0 j5 j4 j2 j1");
    assert_eq!(ids(all.clone(), "end_time desc").await, "j1 j5 j4 j3 j2 j0");
    assert_eq!(ids(all.clone(), "end_time").await, "j0 j2 j3 j4 j5 j1");
    let odd = pb::JobFilter { labels: [("parity".to_owned(), "1".to_owned())].into(), ..all.clone() };
    assert_eq!(ids(odd.clone(), "").await, "j5 j3 j1");
    let failed = pb::JobFilter { states: vec![pb::JobState::Failed.into()], ..odd };
    assert_eq!(ids(failed, "").await, "j1");
    let hers = pb::JobFilter { creators: vec!["users/amy".into()], ..all.clone() };
    assert_eq!(ids(hers, "").await, "j5 j4");
    assert_eq!(ids(pb::JobFilter { id_contains: "4".into(), ..all }, "").await, "j4");
    let bad = pb::ListJobsRequest { parent: LAB.into(), order_by: "id".into(), ..Default::default() };
    assert_eq!(fields(&house.list("ann", bad).await.unwrap_err()), ["order_by"]);
    let token = pb::ListJobsRequest { parent: LAB.into(), page_size: 1, ..Default::default() };
    let token = house.list("ann", token).await.unwrap().next_page_token;
    let other = pb::ListJobsRequest {
        parent: LAB.into(),
        order_by: "priority".into(),
        page_token: token,
        ..Default::default()
    };
    assert_eq!(fields(&house.list("ann", other).await.unwrap_err()), ["page_token"]);
}

#[tokio::test]
async fn a_checkpoint_reaches_the_cluster_and_one_that_cannot_be_is_refused() {
    let house = House::new().await;
    house.create("a").await;
    let early = house.try_checkpoint("ann", "a", None, "").await.unwrap_err();
    assert_eq!(early.code(), Code::FailedPrecondition, "{early:?}");
    assert!(early.message().contains("is queued: it has no work to save before it runs"), "{early:?}");
    let now = || crater_api::convert::to_unix_millis(std::time::SystemTime::now());
    let began = now() - 3_600_000;
    house.report("a", json!({"phase": "Running", "startMillis": began})).await;
    house.in_state("a", pb::JobState::Running).await;
    for (at, why) in
        [(began - 1, "is before the job began to run, at "), (now() + 60_000, "is in the future: it is ")]
    {
        let refused = house.try_checkpoint("ann", "a", Some(at), "").await.unwrap_err();
        assert_eq!(fields(&refused), ["time"], "{refused:?}");
        assert!(format!("{refused:?}").contains(why), "{refused:?}");
    }
    let stranger = house.try_checkpoint("bob", "a", None, "").await.unwrap_err();
    assert_eq!(stranger.code(), Code::NotFound, "{stranger:?}");
    let at = began + 1000;
    let told = |job: &pb::Job| job.checkpoint_time.as_ref().and_then(crater_api::convert::unix_millis);
    assert_eq!(told(&house.try_checkpoint("amy", "a", Some(at), "").await.unwrap()), Some(at));
    let seen = async || Some(house.applied("a").await).filter(|o| o.spec.checkpointed_millis == Some(at));
    until("it is in the cluster", seen).await;
    // an earlier one changes nothing, one without a moment is of now, and a request that is sent again acts once
    let before = house.try_checkpoint("ann", "a", Some(began), "").await.unwrap();
    assert_eq!((told(&before), before.revision), (Some(at), 2));
    let first = house.try_checkpoint("ann", "a", None, REQUEST).await.unwrap();
    assert!(told(&first).is_some_and(|at| (now() - at).abs() < 20_000), "{first:?}");
    let again = house.try_checkpoint("ann", "a", None, REQUEST).await.unwrap();
    assert_eq!((told(&again), again.revision), (told(&first), 3));
    // what its Pods say comes back from the cluster
    let later = now() + 1000;
    house.report("a", json!({"checkpointedMillis": later})).await;
    until("the cluster's is told", async || {
        Some(house.get("a").await).filter(|job| told(job) == Some(later))
    })
    .await;
    // what an earlier start saved says nothing of the next
    house.report("a", json!({"startMillis": later + 1000, "checkpointedMillis": null})).await;
    until("nothing is told", async || Some(house.get("a").await).filter(|job| told(job).is_none())).await;
    house.report("a", json!({"phase": "Succeeded"})).await;
    house.in_state("a", pb::JobState::Succeeded).await;
    let late = house.try_checkpoint("ann", "a", None, "").await.unwrap_err();
    assert_eq!(late.code(), Code::FailedPrecondition);
}
