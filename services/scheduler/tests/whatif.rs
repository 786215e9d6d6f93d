//! What would come of a job, of nodes, of limits, and what would start a job that waits.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so by failing")]

#[allow(dead_code, reason = "each suite uses its own part")]
mod house;

use crater_api::common::v1::Resources;
use crater_api::job::v1::{JobSpec, Role, ServiceClass};
use crater_api::quota::v1::Quota;
use crater_api::scheduling::v1 as pb;
use crater_api::scheduling::v1::remedy::Change;
use crater_k8s::aijob::Class;
use house::{House, job, node, row};

fn spec(replicas: i32, gpu_millis: i64) -> JobSpec {
    JobSpec {
        roles: vec![Role {
            replicas,
            resources: Some(Resources {
                cpu_millis: 100,
                memory_bytes: 1 << 20,
                gpu_millis,
                ..Default::default()
            }),
            image: "none".into(),
            ..Role::default()
        }],
        ..JobSpec::default()
    }
}

fn ask(spec: JobSpec) -> pb::SimulateRequest {
    pb::SimulateRequest { parent: "accounts/lab".into(), job: Some(spec), ..Default::default() }
}

fn change(target: &str, field: &str, value: &str) -> Change {
    Change { target: target.into(), field: field.into(), value: value.into() }
}

#[tokio::test]
async fn a_job_is_told_where_it_would_start_and_nothing_is_changed() {
    let house = House::new([node("n0", 8), node("n1", 4)]).await;
    house.submit(&job("runs").gpus(8000)).await;
    house.until("it is allocated", |all| all.len() == 1).await;
    let answer = house.simulate("ann", ask(spec(2, 2000))).await.unwrap();
    let outcome = answer.job.unwrap();
    assert!(outcome.starts && outcome.at_once && outcome.blockers.is_empty(), "{outcome:?}");
    assert_eq!((outcome.placements.len(), &*outcome.placements[0].node), (1, "n1"));
    assert_eq!((outcome.placements[0].first_replica, outcome.placements[0].count), (0, 2));
    assert_eq!(outcome.message, "It would start at once.");
    // a second time it is the same: nothing was kept for it
    let again = house.simulate("ann", ask(spec(2, 2000))).await.unwrap().job.unwrap();
    assert_eq!(again.placements, outcome.placements);
    assert_eq!(house.allocations().await.len(), 1);
}

#[tokio::test]
async fn a_job_that_would_wait_is_told_why_and_what_would_start_it() {
    let house = House::new([node("n0", 8), node("n1", 8)]).await;
    house.submit(&job("runs").gpus(8000)).await;
    house.until("it is allocated", |all| all.len() == 1).await;
    let request = pb::SimulateRequest { with_remedies: true, ..ask(spec(2, 8000)) };
    let outcome = house.simulate("ann", request).await.unwrap().job.unwrap();
    assert!(!outcome.starts && outcome.placements.is_empty(), "{outcome:?}");
    assert_eq!(outcome.blockers[0].reason, "NotEnoughGpus");
    assert!(outcome.message.starts_with("It would wait: room for 1 of 2 replicas"), "{}", outcome.message);
    let told: Vec<(&str, bool)> =
        outcome.remedies.iter().map(|remedy| (&*remedy.message, remedy.needs_admin)).collect();
    let expected = [
        ("with 1 replica of worker instead of 2", false),
        ("with 4 GPUs instead of 8 for each worker", false),
        ("with 1 more node like n0 (by an administrator)", true),
    ];
    assert_eq!(told, expected);
    assert_eq!(outcome.remedies[0].changes, [change("", "spec.roles[0].replicas", "1")]);
    assert_eq!(outcome.remedies[2].changes, [change("nodes/n0", "count", "1")]);
    // the same of a job that was submitted
    house.submit(&job("waits").replicas(2).gpus(8000)).await;
    house.explained("ann", "accounts/lab/jobs/waits").await;
    assert_eq!(house.remedies("ann", "accounts/lab/jobs/waits").await, outcome.remedies);
}

#[tokio::test]
async fn a_limit_is_named_with_what_it_would_have_to_be() {
    let house = House::new([node("n0", 8)]).await;
    house.limit("accounts/lab/quota", vec![row("gpu", None, Some(4000))]);
    house.limit("accounts/top/quota", vec![row("gpu/A100", None, Some(5000))]);
    house.kept("\"limit\":5000").await;
    house.submit(&job("runs").gpus(3000)).await;
    house.until("it is allocated", |all| all.len() == 1).await;
    let request = pb::SimulateRequest { with_remedies: true, ..ask(spec(1, 3000)) };
    let outcome = house.simulate("ann", request).await.unwrap().job.unwrap();
    let reasons: Vec<&str> = outcome.blockers.iter().map(|blocker| &*blocker.reason).collect();
    assert_eq!(reasons, ["AccountLimit", "AccountLimit"], "both are named: {outcome:?}");
    let raised = outcome.remedies.iter().find(|remedy| remedy.needs_admin).unwrap();
    let expected = [
        change("accounts/lab/quota", "resources[gpu].limit", "6000"),
        change("accounts/top/quota", "resources[gpu/A100].limit", "6000"),
    ];
    assert_eq!(raised.changes, expected);
    assert_eq!(
        raised.message,
        "with the limit of account lab raised to 6 GPUs and the limit of account top raised to 6 A100 \
         (by an administrator)"
    );
    // and so it is when these limits are thought of
    let quota = |name: &str, row| Quota { name: name.into(), resources: vec![row], ..Default::default() };
    let mut request = ask(spec(1, 3000));
    request.quotas = vec![
        quota("accounts/lab/quota", row("gpu", None, Some(6000))),
        quota("accounts/top/quota", row("gpu/A100", None, Some(6000))),
    ];
    let raised = house.simulate("root", request.clone()).await.unwrap().job.unwrap();
    assert!(raised.at_once, "{raised:?}");
    request.quotas[1].resources[0].limit = Some(5999);
    assert!(!house.simulate("root", request).await.unwrap().job.unwrap().starts);
}

#[tokio::test]
async fn what_it_would_cost_others_is_told_and_only_the_own_are_named() {
    let house = House::new([node("n0", 8)]).await;
    house.submit(&job("theirs").account("den", "bob").class(Class::BestEffort).gpus(4000)).await;
    house.submit(&job("mine").class(Class::BestEffort).gpus(4000)).await;
    house.until("both are allocated", |all| all.len() == 2).await;
    let mut job = spec(1, 8000);
    job.service_class = ServiceClass::Guaranteed.into();
    let answer = house.simulate("ann", ask(job.clone())).await.unwrap();
    let outcome = answer.job.unwrap();
    assert!(outcome.starts && !outcome.at_once, "{outcome:?}");
    assert_eq!(outcome.message, "It would start once 2 jobs that are preempted for it have gone.");
    assert_eq!((answer.preempted_jobs, answer.preempted), (2, vec!["accounts/lab/jobs/mine".to_owned()]));
    // none of them is
    assert!(house.allocations().await.iter().all(|all| all.spec.revoked.is_empty()));
}

#[tokio::test]
async fn nodes_that_are_thought_of_start_those_that_wait() {
    let house = House::new([node("n0", 4)]).await;
    house.submit(&job("runs").gpus(4000)).await;
    house.until("it is allocated", |all| all.len() == 1).await;
    house.submit(&job("mine").gpus(4000)).await;
    house.submit(&job("theirs").account("den", "bob").gpus(4000)).await;
    house.explained("ann", "accounts/lab/jobs/mine").await;
    house.explained("bob", "accounts/den/jobs/theirs").await;
    let more = |count, like: &str| pb::SimulateRequest {
        nodes: vec![pb::NodeGroup { count, like: like.into(), ..Default::default() }],
        ..Default::default()
    };
    let answer = house.simulate("ann", more(2, "n0")).await.unwrap();
    assert_eq!((answer.starting_jobs, answer.starting), (2, vec!["accounts/lab/jobs/mine".to_owned()]));
    assert!(answer.job.is_none());
    let mut other = more(1, "");
    other.nodes[0].allocatable = Some(Resources {
        cpu_millis: 64_000,
        memory_bytes: 1 << 40,
        gpu_millis: 16_000,
        ..Default::default()
    });
    other.nodes[0].gpu_model = "H100".into();
    assert_eq!(house.simulate("ann", other).await.unwrap().starting_jobs, 2);
}

#[tokio::test]
async fn a_question_that_makes_no_sense_is_refused_by_its_field() {
    let house = House::new([node("n0", 4)]).await;
    let nodes = |group: pb::NodeGroup| pb::SimulateRequest { nodes: vec![group], ..Default::default() };
    let quota = |name: &str| Quota { name: name.into(), ..Default::default() };
    let has = |change: fn(&mut Resources)| {
        let mut all = Resources::default();
        change(&mut all);
        pb::NodeGroup { count: 1, allocatable: Some(all), ..Default::default() }
    };
    // so many quotas, each with so many rows of its own
    let of_quotas = |which: std::ops::Range<usize>, rows: usize| {
        let rows =
            |of: usize| (0..rows).map(move |n| row(&format!("gpu/M{of}-{n}"), None, Some(1))).collect();
        let quotas = which.map(|of| Quota { resources: rows(of), ..quota("accounts/lab/quota") });
        pb::SimulateRequest { quotas: quotas.collect(), ..Default::default() }
    };
    let large = Resources { gpu_millis: 1500, ..Default::default() };
    let mut no_model = nodes(pb::NodeGroup { count: 1, allocatable: Some(large), ..Default::default() });
    let cases = [
        (pb::SimulateRequest::default(), "job: must be set, or nodes or quotas"),
        (
            pb::SimulateRequest { parent: "accounts/lab".into(), ..Default::default() },
            "job: must be set where parent is",
        ),
        (pb::SimulateRequest { parent: "lab".into(), ..ask(spec(1, 0)) }, "parent: "),
        (ask(spec(1, 1500)), "job.roles[0].resources.gpu_millis: "),
        (
            nodes(pb::NodeGroup { like: "n0".into(), ..Default::default() }),
            "nodes[0].count: must be from 1 to 10,000",
        ),
        (
            nodes(pb::NodeGroup { count: 1, ..Default::default() }),
            "nodes[0].allocatable: must be set, or like",
        ),
        (
            nodes(pb::NodeGroup { count: 1, like: "n9".into(), ..Default::default() }),
            "nodes[0].like: there is no node n9",
        ),
        (no_model.clone(), "nodes[0].allocatable.gpu_millis: must be whole GPUs"),
        (pb::SimulateRequest { quotas: vec![quota("lab")], ..Default::default() }, "quotas[0].name: "),
        (
            pb::SimulateRequest { nodes: vec![pb::NodeGroup::default(); 101], ..Default::default() },
            "nodes: must be at most 100 groups",
        ),
        (
            nodes(has(|all| all.memory_bytes = (1 << 46) + 1)),
            "nodes[0].allocatable.memory_bytes: must be at most 70368744177664, not 70368744177665",
        ),
        (
            nodes(has(|all| all.cpu_millis = i64::MAX)),
            "nodes[0].allocatable.cpu_millis: must be at most 10000000, not ",
        ),
        (
            nodes(has(|all| all.devices = [("rdma/hca".to_owned(), 100_001)].into())),
            "nodes[0].allocatable.devices[rdma/hca]: must be from 0 to 100000, not 100001",
        ),
        (
            nodes(has(|all| all.devices = (100..201).map(|n| (format!("rdma/d{n}"), 1)).collect())),
            "nodes[0].allocatable.devices[rdma/d200]: is one of more than 100 devices and models",
        ),
        (
            nodes(pb::NodeGroup { gpu_model: "H 100".into(), ..has(|_| {}) }),
            "nodes[0].gpu_model: must be the name of a model",
        ),
        (of_quotas(0..101, 1), "quotas: must be at most 100"),
        (of_quotas(0..1, 101), "quotas[0].resources: must have at most 100 rows"),
        (of_quotas(0..2, 51), "quotas[1].resources[49].resource: is one of more than 100 devices and models"),
        (
            pb::SimulateRequest {
                quotas: vec![Quota {
                    resources: vec![row("memory", None, Some(i64::MAX))],
                    ..quota("accounts/lab/quota")
                }],
                ..Default::default()
            },
            "quotas[0].resources[0].limit: must be at most 72057594037927936, not 9223372036854775807",
        ),
    ];
    for (request, why) in cases {
        let refused = house.simulate("ann", request).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{refused:?}");
        assert!(refused.message().contains(why), "{why:?}, came {:?}", refused.message());
    }
    no_model.nodes[0].allocatable = Some(Resources { gpu_millis: 8000, ..Default::default() });
    let refused = house.simulate("ann", no_model).await.unwrap_err();
    assert!(refused.message().contains("nodes[0].gpu_model: must be set for nodes with GPUs"), "{refused:?}");
    // a stranger's account, and one that is not there, read alike
    for account in ["den", "nowhere"] {
        let parent = format!("accounts/{account}");
        let refused =
            house.simulate("ann", pb::SimulateRequest { parent, ..ask(spec(1, 0)) }).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::NotFound, "{refused:?}");
        let quotas = vec![quota(&format!("accounts/{account}/quota"))];
        let request = pb::SimulateRequest { quotas, ..Default::default() };
        assert_eq!(house.simulate("ann", request).await.unwrap_err().code(), tonic::Code::NotFound);
    }
}

#[tokio::test]
async fn who_waits_is_told_when_it_is_likely_to_start_by_what_ran_before() {
    let house = House::new([node("n0", 1)]).await;
    // twelve jobs of one name stem that each ran for a minute
    for n in 0..12 {
        let name = format!("train-{n}");
        house.submit(&job(&name).gpus(1000)).await;
        house.until("it is allocated", |all| all.iter().any(|a| a.spec.job == name)).await;
        house.ran(&name, 60).await;
        house.until("it is gone", |all| all.is_empty()).await;
    }
    house.submit(&job("train-12").gpus(1000)).await;
    house.until("it is allocated", |all| all.len() == 1).await;
    house.submit(&job("train-13").gpus(1000)).await;
    house.explained("ann", "accounts/lab/jobs/train-13").await;
    let told = house.explain("ann", "accounts/lab/jobs/train-13").await.unwrap();
    let forecast = told.forecast.unwrap();
    let (p50, p90) = (forecast.p50_time.unwrap(), forecast.p90_time.unwrap());
    let now = i64::try_from(std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap();
    // train-12 has a minute or so to go
    assert!((now..now + 300).contains(&p50.seconds), "{} s", p50.seconds - now);
    assert!(p90.seconds >= p50.seconds, "{forecast:?}");
    // one that is thought of comes behind it
    let thought = house.simulate("ann", ask(spec(1, 1000))).await.unwrap().job.unwrap();
    assert!(thought.forecast.unwrap().p50_time.unwrap().seconds >= p50.seconds - 60);
    // and who has what it needs is told nothing of the kind
    assert!(house.explain("ann", "accounts/lab/jobs/train-12").await.unwrap().forecast.is_none());
    // nor who could never run
    house.submit(&job("never").gpus(2000)).await;
    house.explained("ann", "accounts/lab/jobs/never").await;
    assert!(house.explain("ann", "accounts/lab/jobs/never").await.unwrap().forecast.is_none());
}
