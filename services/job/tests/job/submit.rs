//! Accepting and refusing jobs.

use std::collections::HashSet;
use std::time::Duration;

use crater_api::job::v1 as pb;
use crater_api::status::from_status;
use futures::future::join_all;
use serde_json::json;
use tonic::Code;

use crate::house::{House, edit, fields, job, name, until};

const REQUEST: &str = "0190a2f4-0000-7000-8000-000000000001";

#[tokio::test]
async fn an_accepted_job_reaches_the_cluster_and_its_status_comes_back_to_watchers() {
    let house = House::new().await;
    let created = house.create("train").await;
    assert_eq!((created.state(), created.creator.as_str()), (pb::JobState::Queued, "users/ann"));
    let request = pb::WatchJobsRequest { parent: "accounts/lab".into(), ..Default::default() };
    let mut watching = house.watch("amy", request).await.unwrap();
    assert_eq!(watching.snapshot().await.0.len(), 1);
    let object = house.applied("train").await;
    assert_eq!((object.spec.job_uid, object.spec.revision), (created.uid, 1));
    assert_eq!(object.metadata.finalizers.unwrap(), ["crater.dev/record"]);
    let status = json!({"phase": "Running", "attempts": 1, "startMillis": 1_700_000_000_123_i64,
        "nodes": ["a"], "roles": [{"role": "worker", "running": 1}]});
    house.report("train", status).await;
    let pb::watch_jobs_response::Event::Changed(running) = watching.news().await.0 else { panic!() };
    assert_eq!(
        (running.state(), running.nodes.as_slice()),
        (pb::JobState::Running, ["a".to_owned()].as_slice())
    );
    assert_eq!((running.attempts, running.roles[0].running), (1, 1));
    assert_eq!(running.start_time.unwrap().nanos, 123_000_000);
    house.report("train", json!({"phase": "Failed", "exitCode": 3, "reason": "ExitCode"})).await;
    let failed = house.in_state("train", pb::JobState::Failed).await;
    assert_eq!((failed.exit_code, failed.reason.as_str()), (Some(3), "ExitCode"));
    // its end is recorded: nothing of ours keeps the object any more
    let free = async || house.applied("train").await.metadata.finalizers.unwrap_or_default().is_empty();
    until("the finalizer to go", async || free().await.then_some(())).await;
}

#[tokio::test]
async fn twenty_identical_requests_make_one_job() {
    let house = House::new().await;
    let request = pb::CreateJobRequest { request_id: REQUEST.into(), ..job("") };
    let answers = join_all((0..20).map(|_| house.try_create("ann", request.clone()))).await;
    let uids: HashSet<String> = answers.into_iter().map(|a| a.unwrap().uid).collect();
    assert_eq!(uids.len(), 1);
    let list = pb::ListJobsRequest { parent: "accounts/-".into(), ..Default::default() };
    assert_eq!(house.list("ann", list).await.unwrap().jobs.len(), 1);
}

#[tokio::test]
async fn a_used_request_id_with_another_body_is_refused_and_equal_bodies_are_equal() {
    let house = House::new().await;
    let labelled = |order: &[&str]| {
        let mut request = pb::CreateJobRequest { request_id: REQUEST.into(), ..job("a") };
        let labels = order.iter().map(|k| ((*k).to_owned(), format!("of-{k}"))).collect();
        request.job.as_mut().unwrap().labels = labels;
        request
    };
    let keys = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let first = house.try_create("ann", labelled(&keys)).await.unwrap();
    // a map's order on the wire is chance: many tries would find a difference
    for _ in 0..10 {
        assert_eq!(house.try_create("ann", labelled(&keys)).await.unwrap().uid, first.uid);
    }
    let refused = house.try_create("ann", labelled(&keys[1..])).await.unwrap_err();
    assert_eq!((refused.code(), fields(&refused)), (Code::InvalidArgument, vec!["request_id".to_owned()]));
    // another caller's request of the same id is another request
    let mine = pb::CreateJobRequest { request_id: REQUEST.into(), ..job("b") };
    assert_ne!(house.try_create("amy", mine).await.unwrap().uid, first.uid);
}

#[tokio::test]
async fn a_check_only_request_checks_everything_and_writes_nothing() {
    let house = House::new().await;
    let check = pb::CreateJobRequest { request_id: REQUEST.into(), validate_only: true, ..job("a") };
    house.try_create("ann", check.clone()).await.unwrap();
    assert_eq!(house.try_get("ann", &name("a")).await.unwrap_err().code(), Code::NotFound);
    let unknown = edit(check.clone(), |r| r.gpu_models = vec!["H100".into()]);
    until("the nodes to be known", async || house.try_create("ann", unknown.clone()).await.err()).await;
    // the id of the request is still free, for another body even
    house.try_create("ann", pb::CreateJobRequest { request_id: REQUEST.into(), ..job("b") }).await.unwrap();
    let taken = pb::CreateJobRequest { validate_only: true, ..job("b") };
    assert_eq!(house.try_create("ann", taken).await.unwrap_err().code(), Code::AlreadyExists);
    let cancel = pb::CancelJobRequest { name: name("b"), validate_only: true, ..Default::default() };
    let would =
        house.client().cancel_job(house.signed("ann", cancel)).await.unwrap().into_inner().job.unwrap();
    assert!(would.cancelling && !house.get("b").await.cancelling);
    assert_eq!(house.events("b").await, ["Submitted"]);
}

#[tokio::test]
async fn the_waiting_limit_is_never_exceeded_however_many_come_at_once() {
    let house = House::new().await;
    let other = pb::CreateJobRequest { parent: "accounts/den".into(), ..job("other") };
    house.try_create("bob", other).await.unwrap();
    house.create("first").await;
    // the limit of the account above counts what waits in all below it: two do
    house.limit("accounts/top/quota", "jobs.waiting", 2, job("probe")).await;
    house.limits.send_modify(|all| all[0].resources[0].limit = Some(12));
    let probe = pb::CreateJobRequest { validate_only: true, ..job("probe") };
    until("the new limit", async || house.try_create("ann", probe.clone()).await.ok()).await;
    let ids: Vec<String> = (0..64).map(|i| format!("j{i}")).collect();
    let answers = join_all(ids.iter().map(|id| house.try_create("ann", job(id)))).await;
    let refused: Vec<_> = answers.iter().filter_map(|a| a.as_ref().err()).collect();
    assert_eq!(refused.len(), 54);
    for status in refused {
        assert_eq!(status.code(), Code::ResourceExhausted);
        let error = from_status(status);
        assert_eq!(error.quota[0].subject, "accounts/top");
        assert!(error.retry_after.is_some_and(|d| d > Duration::ZERO));
    }
    // what no longer waits makes room
    house.report("first", json!({"phase": "Running"})).await;
    house.in_state("first", pb::JobState::Running).await;
    house.create("late").await;
    assert!(house.try_create("ann", job("later")).await.is_err());
}

#[tokio::test]
async fn what_no_node_has_is_refused_by_its_field() {
    let house = House::new().await;
    let unknown = edit(job("a"), |r| r.gpu_models = vec!["A100".into(), "H100".into()]);
    let refused =
        async || house.try_create("ann", pb::CreateJobRequest { validate_only: true, ..unknown.clone() });
    let refused = until("the nodes to be known", async || refused().await.await.err()).await;
    assert_eq!(fields(&refused), ["job.spec.roles[0].gpu_models[1]"]);
    assert!(refused.message().contains("A100, V100"), "{}", refused.message());
    let gpus = |n: i64, models: &[&str]| {
        edit(job("a"), |r| {
            r.resources.as_mut().unwrap().gpu_millis = n * 1000;
            r.gpu_models = models.iter().map(ToString::to_string).collect();
        })
    };
    for (request, field) in [
        (gpus(9, &[]), "job.spec.roles[0].resources.gpu_millis"),
        (gpus(8, &["V100"]), "job.spec.roles[0].resources.gpu_millis"),
        (gpus(-1, &[]), "job.spec.roles[0].resources.gpu_millis"),
        (gpus(i64::MAX / 1000, &[]), "job.spec.roles[0].resources.gpu_millis"),
        (edit(job("a"), |r| r.replicas = -1), "job.spec.roles[0].replicas"),
        (
            edit(job("a"), |r| r.resources.as_mut().unwrap().cpu_millis = 200_000),
            "job.spec.roles[0].resources.cpu_millis",
        ),
        (job("Bad_Name"), "job_id"),
        (pb::CreateJobRequest { parent: "lab".into(), ..job("a") }, "parent"),
        (pb::CreateJobRequest { job: None, ..job("a") }, "job"),
        (pb::CreateJobRequest { request_id: "1".into(), ..job("a") }, "request_id"),
    ] {
        let refused = house.try_create("ann", request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
        assert!(fields(&refused).iter().any(|f| f == field), "{field}: {refused:?}");
    }
    house.try_create("ann", gpus(8, &["A100"])).await.unwrap();
}

#[tokio::test]
async fn a_gang_above_a_limit_is_refused_with_the_limit_that_binds() {
    let house = House::new().await;
    let gang = |replicas: i32| edit(job(""), |r| r.replicas = replicas);
    house.limit("accounts/top/quota", "gpu", 4000, gang(5)).await;
    let refused = house.try_create("ann", gang(5)).await.unwrap_err();
    assert_eq!(
        (refused.code(), fields(&refused)),
        (Code::FailedPrecondition, vec!["job.spec.roles[0].replicas".to_owned()])
    );
    let said = &from_status(&refused).quota[0];
    assert_eq!(said.subject, "accounts/top/quota");
    assert!(
        said.description.contains("needs 5 of gpu") && said.description.contains("limit of 4"),
        "{said:?}"
    );
    house.try_create("ann", gang(4)).await.unwrap();
    // what need not start together may be more; best effort is not held to limits
    house.try_create("ann", edit(gang(9), |r| r.min_replicas = 4)).await.unwrap();
    let mut free = gang(9);
    free.job.as_mut().unwrap().spec.as_mut().unwrap().service_class = pb::ServiceClass::BestEffort.into();
    house.try_create("ann", free).await.unwrap();
    house.limit("accounts/lab/users/ann/quota", "gpu", 2000, gang(3)).await;
    house.try_create("ann", gang(3)).await.unwrap_err();
    house.try_create("amy", gang(3)).await.unwrap();
}

#[tokio::test]
async fn a_job_without_an_id_is_named_after_its_command() {
    let house = House::new().await;
    let made = [house.create("").await, house.create("").await];
    assert_ne!(made[0].name, made[1].name);
    for job in made {
        let id = job.name.strip_prefix("accounts/lab/jobs/train-").unwrap();
        assert_eq!(id.len(), 5, "{id}");
    }
}

#[tokio::test]
async fn a_strangers_job_is_as_absent_in_every_method() {
    let house = House::new().await;
    house.create("secret").await;
    let alike = |strangers: tonic::Status, absent: tonic::Status| {
        assert_eq!((strangers.code(), absent.code()), (Code::NotFound, Code::NotFound));
        assert_eq!(strangers.message().replace("secret", "nil").replace("lab", "void"), absent.message());
    };
    let theirs = ("accounts/lab/jobs/secret".to_owned(), "accounts/lab".to_owned());
    let nowhere = ("accounts/void/jobs/nil".to_owned(), "accounts/void".to_owned());
    macro_rules! both {
        ($method:ident, |$name:ident, $parent:ident| $request:expr) => {{
            let mut said = Vec::new();
            for ($name, $parent) in [theirs.clone(), nowhere.clone()] {
                let _ = (&$name, &$parent);
                said.push(house.client().$method(house.signed("bob", $request)).await.map(drop).unwrap_err());
            }
            let absent = said.pop().unwrap();
            alike(said.pop().unwrap(), absent);
        }};
    }
    both!(get_job, |name, parent| pb::GetJobRequest { name });
    both!(cancel_job, |name, parent| pb::CancelJobRequest { name, ..Default::default() });
    both!(delete_job, |name, parent| pb::DeleteJobRequest { name, ..Default::default() });
    both!(stream_logs, |name, parent| pb::StreamLogsRequest { name, ..Default::default() });
    both!(list_events, |name, parent| pb::ListEventsRequest { parent: name, ..Default::default() });
    both!(list_jobs, |name, parent| pb::ListJobsRequest { parent, ..Default::default() });
    both!(watch_jobs, |name, parent| pb::WatchJobsRequest { parent, ..Default::default() });
    both!(create_job, |name, parent| pb::CreateJobRequest { parent, ..job("x") });
    // to members, an absent job reads the same
    let absent = house.try_get("ann", "accounts/lab/jobs/nil").await.unwrap_err();
    let strangers = house.try_get("bob", "accounts/lab/jobs/secret").await.unwrap_err();
    assert_eq!(absent.message(), strangers.message().replace("secret", "nil"));
    // an account that is not there is not there for admins either
    let refused =
        house.try_create("root", pb::CreateJobRequest { parent: "accounts/void".into(), ..job("x") });
    assert_eq!(refused.await.unwrap_err().code(), Code::NotFound);
}
