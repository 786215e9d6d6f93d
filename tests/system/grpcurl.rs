//! Any gRPC client: services by reflection, a call with a token, a stream.

use std::time::Duration;

use crater_api::job::v1::WatchJobsRequest;
use crater_api::job::v1::job_service_client::JobServiceClient;
use crater_api::job::v1::watch_jobs_response::Event;

use crate::harness::{Follower, Mesh, PATIENCE, run, simple_job, tools};

#[test]
fn a_plain_grpc_client_finds_the_services_calls_them_and_follows_a_stream() {
    let mesh = Mesh::up(&[]);
    let (cli, api) = (mesh.cli(), mesh.api());
    let token = api.tokens.access_token.clone();
    let call = |token: Option<&str>, args: &[&str]| run(&mut tools::grpcurl(token, args), "", PATIENCE);

    let services = call(None, &[mesh.address(), "list"]).lines();
    for wanted in [
        "crater.job.v1.JobService",
        "crater.quota.v1.QuotaService",
        "crater.scheduling.v1.SchedulingService",
        "crater.user.v1.AuthService",
        "crater.user.v1.UserService",
        "grpc.health.v1.Health",
    ] {
        assert!(services.iter().any(|s| s == wanted), "{wanted} is missing in {services:?}");
    }
    let method = call(None, &[mesh.address(), "describe", "crater.job.v1.JobService.CreateJob"]).ok();
    assert!(method.contains("CreateJobRequest"), "{method}");

    let who = call(Some(&token), &[mesh.address(), "crater.user.v1.AuthService/WhoAmI"]).ok();
    assert!(who.contains("\"users/admin\"") && who.contains("\"accounts/default\""), "{who}");
    let refused = call(None, &[mesh.address(), "crater.user.v1.AuthService/WhoAmI"]);
    assert!(refused.code != 0 && refused.err.contains("Unauthenticated"), "{refused:?}");
    let health = call(None, &[mesh.address(), "grpc.health.v1.Health/Check"]).ok();
    assert!(health.contains("SERVING"), "{health}");

    let parent = "{\"parent\": \"accounts/default\"}";
    let method = "crater.job.v1.JobService/WatchJobs";
    let mut watch =
        Follower::start(&mut tools::grpcurl(Some(&token), &["-d", parent, mesh.address(), method]));
    watch.until("the first bookmark", PATIENCE, |line| line.contains("\"bookmark\""));
    cli.submit(&["--name", "streamed"], &["sleep", "1"]);
    for state in ["JOB_STATE_QUEUED", "JOB_STATE_RUNNING", "JOB_STATE_SUCCEEDED"] {
        watch.until(state, Duration::from_secs(30), |line| line.contains(state));
    }
}

#[test]
fn what_only_services_may_call_is_not_reachable_from_outside() {
    let mesh = Mesh::up(&[]);
    let token = mesh.api().tokens.access_token;
    for method in
        ["crater.user.v1.IdentityService/WatchIdentities", "crater.quota.v1.QuotaService/WatchQuotas"]
    {
        let args = ["-max-time", "10", mesh.address(), method];
        let ended = run(&mut tools::grpcurl(Some(&token), &args), "", PATIENCE);
        let refused =
            ["PermissionDenied", "Unimplemented", "not expose service", "does not include a method"];
        assert!(ended.code != 0 && refused.iter().any(|r| ended.err.contains(r)), "{method}: {ended:?}");
    }
}

#[test]
fn an_open_stream_outlives_hundreds_of_calls_beside_it() {
    let mesh = Mesh::up(&[]);
    let api = mesh.api();
    let watch = WatchJobsRequest { parent: "accounts/default".into(), ..Default::default() };
    let mut stream =
        api.call(watch, |c, r| async move { JobServiceClient::new(c).watch_jobs(r).await }).unwrap();
    for i in 0..300 {
        api.list(Default::default()).expect_err("a list without a parent");
        let all = crater_api::job::v1::ListJobsRequest { parent: "accounts/-".into(), ..Default::default() };
        api.list(all).unwrap_or_else(|status| panic!("call {i}: {status:?}"));
    }
    api.create(simple_job("late")).unwrap();
    api.block_on(async {
        loop {
            let message = stream.message().await.unwrap().expect("the stream goes on");
            if matches!(message.event, Some(Event::Changed(job)) if job.name.ends_with("/late")) {
                break;
            }
        }
    });
}
