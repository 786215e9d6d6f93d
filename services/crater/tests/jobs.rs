//! The `crater` program against a server of the tests: submitting, waiting, logs, and exit codes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so by failing")]

mod common;

use common::{Fake, Step, TOKEN, changed, ended, job_in, lines};
use crater_api::job::v1::{Job, JobState};
use crater_api::scheduling::v1::SimulateResponse;
use crater_api::scheduling::v1::simulate_response::Outcome;
use crater_domain::{Code, Error};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, BufReader};
use tonic::Status;

#[tokio::test(flavor = "multi_thread")]
async fn submit_prints_the_id_and_nothing_else() {
    let fake = Fake::start().await;
    let done = fake.crater(&["submit", "--name", "train", "--gpu", "1", "--", "python", "a.py"]).await;
    assert_eq!((done.code, done.stdout.as_str(), done.stderr.as_str()), (Some(0), "train\n", ""));
    let state = fake.state();
    assert_eq!(state.jobs.len(), 1);
    assert_eq!(
        state.jobs[0].name, "accounts/lab/jobs/train",
        "the first account is taken when none is named"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_makes_no_second_job() {
    let fake = Fake::start().await;
    fake.state().lose_answers = 2;
    let done = fake.crater(&["submit", "-A", "lab", "--", "true"]).await;
    assert_eq!((done.code, done.stdout.as_str()), (Some(0), "made-up\n"), "{}", done.stderr);
    let state = fake.state();
    assert_eq!(state.creates.len(), 3);
    assert!(!state.creates[0].request_id.is_empty());
    assert!(state.creates.iter().all(|c| c.request_id == state.creates[0].request_id));
    assert_eq!(state.jobs.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_submits_nothing_and_tells_what_would_come_of_it() {
    let fake = Fake::start().await;
    let dry = ["submit", "-A", "lab", "--name", "a", "--gpu", "2", "--dry-run"];
    let run = |more: &'static [&str]| fake.crater(Box::leak([&dry[..], more].concat().into_boxed_slice()));
    // the scheduler's silence is no refusal
    let done = run(&["--", "true"]).await;
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(done.stdout.starts_with("would be accepted: a in account lab"), "{}", done.stdout);
    assert!(done.stderr.contains("where and when it would start cannot be told"), "{}", done.stderr);
    let outcome = Outcome { message: "It would wait: no room.".into(), ..Default::default() };
    fake.state().simulated = Some(SimulateResponse { job: Some(outcome), ..Default::default() });
    let done = run(&["--", "true"]).await;
    assert!(done.stdout.ends_with("\nIt would wait: no room.\n"), "{}", done.stdout);
    let done = run(&["-o", "json", "--", "true"]).await;
    let said: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(said["simulation"]["job"]["message"], "It would wait: no room.");
    assert_eq!(said["name"], "accounts/lab/jobs/a");
    let state = fake.state();
    assert_eq!((state.jobs.len(), state.simulations.len()), (0, 3));
    let asked = &state.simulations[0];
    assert_eq!((&*asked.parent, asked.with_remedies), ("accounts/lab", true));
    let roles = &asked.job.as_ref().unwrap().roles;
    assert_eq!(roles[0].resources.as_ref().unwrap().gpu_millis, 2000, "as the server read it");
}

#[tokio::test(flavor = "multi_thread")]
async fn wait_leaves_with_the_jobs_exit_code_over_breaks_of_the_stream() {
    let fake = Fake::start().await;
    let stale = crater_api::status::to_status(Error::field("resume_token", "is too old"));
    fake.state().watches.extend([
        vec![changed(job_in(JobState::Queued, None), "t1"), Step::Break(Status::unavailable("gone"))],
        vec![changed(job_in(JobState::Running, None), "t2")],
        vec![Step::Break(stale)],
        vec![
            changed(job_in(JobState::Running, None), "t3"),
            changed(job_in(JobState::Failed, Some(42)), "t4"),
        ],
    ]);
    let done = fake.crater(&["submit", "-A", "lab", "--name", "train", "--wait", "--", "true"]).await;
    assert_eq!((done.code, done.stdout.as_str()), (Some(42), "train\n"), "{}", done.stderr);
    let told: Vec<&str> = done.stderr.lines().collect();
    assert_eq!(told, ["train: queued", "train: running", "train: failed: exit code 42"]);
    let state = fake.state();
    let tokens: Vec<&str> = state.watch_requests.iter().map(|r| r.resume_token.as_str()).collect();
    assert_eq!(tokens, ["", "t1", "t2", ""]);
    assert!(
        state.watch_requests.iter().all(|r| r.job == "accounts/lab/jobs/train" && r.parent == "accounts/lab")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_end_of_a_job_has_its_exit_code() {
    for (state, code, exit) in
        [(JobState::Succeeded, Some(0), 0), (JobState::Failed, None, 1), (JobState::Cancelled, Some(143), 3)]
    {
        let fake = Fake::start().await;
        fake.state().watches.push_back(vec![changed(job_in(state, code), "")]);
        let done = fake.crater(&["submit", "-A", "lab", "--name", "train", "--wait", "--", "true"]).await;
        assert_eq!(done.code, Some(exit), "{state:?}: {}", done.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn interrupting_a_wait_leaves_the_job_alone() {
    let fake = Fake::start().await;
    fake.state().watches.push_back(vec![changed(job_in(JobState::Running, None), "t"), Step::Hang]);
    let config = tempfile::tempdir().unwrap();
    let args = ["submit", "-A", "lab", "--name", "train", "--wait", "--", "true"];
    let mut child = fake.signed_out(config.path(), &args).env("CRATER_TOKEN", TOKEN).spawn().unwrap();
    let mut told = BufReader::new(child.stderr.take().unwrap()).lines();
    assert_eq!(told.next_line().await.unwrap().as_deref(), Some("train: running"));
    kill(Pid::from_raw(child.id().unwrap().try_into().unwrap()), Signal::SIGINT).unwrap();
    let last = told.next_line().await.unwrap().unwrap();
    assert!(last.starts_with("detached: train goes on"), "{last}");
    assert_eq!(child.wait().await.unwrap().code(), Some(130));
    assert!(!fake.state().jobs[0].cancelling);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_field_is_told_by_its_flag_in_one_line() {
    let fake = Fake::start().await;
    let refusal = Error::field("job.spec.roles[0].resources.gpu_millis", "no node has 64 GPUs");
    fake.state().refuse_create = Some(crater_api::status::to_status(refusal));
    let done = fake.crater(&["submit", "-A", "lab", "--gpu", "64", "--", "true"]).await;
    assert_eq!(done.code, Some(2));
    assert_eq!(done.stderr, "crater: submit: --gpu: no node has 64 GPUs\n");
    assert_eq!(done.stdout, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_refusal_has_its_exit_code() {
    let cases = [
        (Code::PermissionDenied, 6),
        (Code::ResourceExhausted, 7),
        (Code::AlreadyExists, 9),
        (Code::Internal, 5),
    ];
    let fake = Fake::start().await;
    for (code, exit) in cases {
        fake.state().refuse_create = Some(crater_api::status::to_status(Error::new(code, "X", "because")));
        let done = fake.crater(&["submit", "-A", "lab", "--", "true"]).await;
        assert_eq!((done.code, done.stderr.as_str()), (Some(exit), "crater: submit: because\n"));
    }
    assert_eq!(fake.crater(&["get", "nobody"]).await.code, Some(8));
    assert_eq!(fake.crater(&["frobnicate"]).await.code, Some(2));
    let config = tempfile::tempdir().unwrap();
    assert_eq!(ended(&mut fake.signed_out(config.path(), &["ls"])).await.code, Some(6));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_given_is_kept() {
    let fake = Fake::start().await;
    let done = fake.crater(&["submit", "-A", "lab", "--wait", "--timeout", "300ms", "--", "true"]).await;
    assert_eq!(done.code, Some(124));
    assert_eq!(done.stderr, "crater: submit: not done after 300ms\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_printed_whole_and_once_over_breaks() {
    let fake = Fake::start().await;
    {
        let mut state = fake.state();
        state.jobs.push(job_in(JobState::Succeeded, Some(0)));
        state.logs.extend([
            vec![lines(&[(10, "a"), (11, "  b\t")]), Step::Break(Status::unavailable("gone"))],
            vec![lines(&[(11, "  b\t"), (11, ""), (12, "c")])],
        ]);
    }
    let done = fake.crater(&["logs", "-f", "train"]).await;
    assert_eq!((done.code, done.stdout.as_str()), (Some(0), "a\n  b\t\n\nc\n"), "{}", done.stderr);
    let state = fake.state();
    assert_eq!(state.log_requests[0].since_time, None);
    assert_eq!(state.log_requests[1].since_time.map(|t| t.seconds), Some(10));
    assert!(state.log_requests.iter().all(|r| r.name == "accounts/lab/jobs/train" && r.follow));
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_read_page_by_page_up_to_the_limit() {
    let fake = Fake::start().await;
    let name = |i: usize| format!("accounts/lab/jobs/j{i}");
    fake.state().jobs = (0..5).map(|i| Job { name: name(i), ..Default::default() }).collect();
    let all = fake.crater(&["ls", "-o", "name"]).await;
    assert_eq!(all.stdout, (0..5).map(|i| name(i) + "\n").collect::<String>());
    let some = fake.crater(&["ls", "-o", "name", "--limit", "3"]).await;
    assert_eq!(some.stdout.lines().count(), 3);
    let table = fake.crater(&["ls", "--limit", "1"]).await;
    assert!(table.stdout.starts_with("NAME  ACCOUNT  CLASS "), "{}", table.stdout);
    assert!(table.stderr.contains("there are more"), "{}", table.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_job_that_is_not_there_does_not_keep_the_others_from_their_end() {
    let fake = Fake::start().await;
    fake.state().jobs.push(job_in(JobState::Running, None));
    let done = fake.crater(&["cancel", "absent", "train"]).await;
    assert_eq!((done.code, done.stdout.as_str()), (Some(8), "train is being cancelled\n"), "{}", done.stderr);
    assert!(fake.state().jobs[0].cancelling);
}
