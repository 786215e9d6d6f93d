//! Bad input: a refusal names the field or the flag, and nothing is half-written.

use std::process::Command;

use crater_api::job::v1::job_service_client::JobServiceClient;
use crater_api::job::v1::{
    CancelJobRequest, CreateJobRequest, EnvVar, GetJobRequest, JobSpec, JobState, ListEventsRequest,
    ListJobsRequest, Mount, Role, StreamLogsRequest,
};
use crater_api::status::from_status;
use tonic::{Code, Status};

use crate::harness::{Api, Cli, Mesh, simple_job};
use crate::raw;

const NODES: [&str; 2] = ["--nodes", "2x8:A100"];

/// A name, what is done to a sound request, and the field that the refusal must name.
type Case = (&'static str, fn(&mut CreateJobRequest), &'static str);

fn spec(r: &mut CreateJobRequest) -> &mut JobSpec {
    r.job.as_mut().unwrap().spec.as_mut().unwrap()
}

fn role(r: &mut CreateJobRequest) -> &mut Role {
    &mut spec(r).roles[0]
}

fn amounts(r: &mut CreateJobRequest, cpu: i64, memory: i64, gpu: i64) {
    let resources = role(r).resources.as_mut().unwrap();
    (resources.cpu_millis, resources.memory_bytes, resources.gpu_millis) = (cpu, memory, gpu);
}

fn cases() -> Vec<Case> {
    vec![
        ("nothing of anything", |r| amounts(r, 0, 0, 0), "roles[0].resources"),
        ("no resources", |r| role(r).resources = None, "roles[0].resources"),
        ("negative cpu", |r| amounts(r, -1, 1, 0), "resources.cpu_millis"),
        ("too much cpu", |r| amounts(r, i64::MAX, 1, 0), "resources.cpu_millis"),
        ("negative memory", |r| amounts(r, 1, i64::MIN, 0), "resources.memory_bytes"),
        ("too much memory", |r| amounts(r, 1, i64::MAX, 0), "resources.memory_bytes"),
        ("negative gpus", |r| amounts(r, 1, 1, -1000), "resources.gpu_millis"),
        ("a GPU and a half", |r| amounts(r, 1, 1, 1500), "resources.gpu_millis"),
        ("overflowing gpus", |r| amounts(r, 1, 1, i64::MAX / 1000 * 1000), "resources.gpu_millis"),
        ("more GPUs than any node has", |r| amounts(r, 1, 1, 9000), "resources.gpu_millis"),
        ("more memory than any node has", |r| amounts(r, 1, 1 << 49, 0), "resources.memory_bytes"),
        (
            "an unknown GPU model",
            |r| {
                amounts(r, 1, 1, 1000);
                role(r).gpu_models = vec!["H9000".into()]
            },
            "gpu_models",
        ),
        (
            "a GPU model with blanks",
            |r| {
                amounts(r, 1, 1, 1000);
                role(r).gpu_models = vec!["A 100".into()]
            },
            "gpu_models[0]",
        ),
        ("a model without a GPU", |r| role(r).gpu_models = vec!["A100".into()], "gpu_models"),
        ("negative replicas", |r| role(r).replicas = -1, "roles[0].replicas"),
        ("too many replicas", |r| role(r).replicas = 10_001, "replicas"),
        ("all replicas there can be", |r| role(r).replicas = i32::MAX, "replicas"),
        (
            "a gang larger than its role",
            |r| {
                role(r).replicas = 2;
                role(r).min_replicas = 3
            },
            "roles[0].min_replicas",
        ),
        ("a negative gang", |r| role(r).min_replicas = -1, "roles[0].min_replicas"),
        ("no role", |r| spec(r).roles.clear(), "job.spec.roles"),
        ("no spec", |r| r.job.as_mut().unwrap().spec = None, "job.spec"),
        ("no job", |r| r.job = None, "job"),
        (
            "a role twice",
            |r| {
                let twin = role(r).clone();
                spec(r).roles.push(twin)
            },
            "roles[1].name",
        ),
        ("a bad role name", |r| role(r).name = "Worker 1".into(), "roles[0].name"),
        ("no command and no image", |r| role(r).command.clear(), "roles[0].image"),
        ("an empty command", |r| role(r).command[0].clear(), "roles[0].command"),
        ("a NUL in the command", |r| role(r).command.push("a\0b".into()), "roles[0].command"),
        ("a relative folder", |r| role(r).working_dir = "here".into(), "roles[0].working_dir"),
        (
            "a bad variable",
            |r| role(r).env.push(EnvVar { name: "1X".into(), value: String::new() }),
            "env[0].name",
        ),
        (
            "a variable of Crater's",
            |r| role(r).env.push(EnvVar { name: "RANK".into(), value: "7".into() }),
            "env[0].name",
        ),
        (
            "a climbing mount",
            |r| {
                role(r).mounts.push(Mount {
                    claim: "c".into(),
                    sub_path: "../x".into(),
                    mount_path: "/d".into(),
                    read_only: false,
                })
            },
            "mounts[0].sub_path",
        ),
        ("a priority too high", |r| spec(r).priority = 1001, "job.spec.priority"),
        ("a priority too low", |r| spec(r).priority = i32::MIN, "job.spec.priority"),
        ("too many retries", |r| spec(r).max_retries = 101, "job.spec.max_retries"),
        ("an unknown class", |r| spec(r).service_class = 77, "job.spec.service_class"),
        (
            "no duration",
            |r| spec(r).expected_duration = Some(prost_types::Duration { seconds: 0, nanos: 0 }),
            "job.spec.expected_duration",
        ),
        (
            "an overflowing duration",
            |r| {
                spec(r).expected_duration = Some(prost_types::Duration { seconds: i64::MAX, nanos: i32::MAX })
            },
            "job.spec.expected_duration",
        ),
        (
            "a negative grace period",
            |r| spec(r).grace_period = Some(prost_types::Duration { seconds: -1, nanos: 0 }),
            "job.spec.grace_period",
        ),
        ("a bad job id", |r| r.job_id = "Bad_Name".into(), "job_id"),
        ("a job id too long", |r| r.job_id = "a".repeat(41), "job_id"),
        ("no parent", |r| r.parent.clear(), "parent"),
        ("a parent of another kind", |r| r.parent = "users/admin".into(), "parent"),
        ("every account", |r| r.parent = "accounts/-".into(), "parent"),
        ("a request id that is no UUID", |r| r.request_id = "again".into(), "request_id"),
        (
            "a label's bad key",
            |r| {
                r.job.as_mut().unwrap().labels.insert("no blank here".into(), "x".into());
            },
            "labels",
        ),
        (
            "too many labels",
            |r| r.job.as_mut().unwrap().labels = (0..65).map(|i| (format!("l{i}"), String::new())).collect(),
            "labels",
        ),
    ]
}

#[test]
fn a_bad_job_is_refused_by_the_name_of_its_field_and_nothing_is_written() {
    let mesh = Mesh::up(&NODES);
    let api = mesh.api();
    let mut wrong = Vec::new();
    for (case, spoil, field) in cases() {
        for validate_only in [true, false] {
            let mut request = simple_job("bad");
            request.validate_only = validate_only;
            spoil(&mut request);
            match api.create(request) {
                Ok(job) => {
                    wrong.push(format!("{case}: accepted as {}", job.name));
                    break;
                }
                Err(status) => {
                    let error = from_status(&status);
                    let named =
                        error.violations.iter().any(|v| v.field.contains(field) && !v.description.is_empty());
                    if status.code() != Code::InvalidArgument || !named {
                        wrong.push(format!(
                            "{case} (validate_only {validate_only}): no word of {field}: {error:?}"
                        ));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {} wrong:\n{}", wrong.len(), cases().len(), wrong.join("\n"));
    assert_eq!(api.names(), Vec::<String>::new(), "nothing is half-written");
    api.create(simple_job("good")).unwrap();
    api.reaches("good", JobState::Succeeded);
}

fn list(
    api: &Api,
    page_size: i32,
    token: &str,
    states: &[JobState],
) -> Result<(Vec<String>, String), Status> {
    let request = ListJobsRequest {
        parent: "accounts/default".into(),
        page_size,
        page_token: token.into(),
        states: states.iter().map(|&s| s.into()).collect(),
        ..Default::default()
    };
    api.list(request).map(|(jobs, next)| (jobs.into_iter().map(|j| j.name).collect(), next))
}

fn names_field(status: &Status, field: &str) {
    let error = from_status(status);
    assert_eq!(status.code(), Code::InvalidArgument, "{error:?}");
    assert!(error.violations.iter().any(|v| v.field == field), "{field} is not named: {error:?}");
}

#[test]
fn a_page_token_serves_its_own_query_alone() {
    let mesh = Mesh::up(&NODES);
    let api = mesh.api();
    for i in 0..5 {
        api.create(simple_job(&format!("job-{i}"))).unwrap();
    }
    let (first, token) = list(&api, 2, "", &[]).unwrap();
    assert_eq!(first, ["accounts/default/jobs/job-4", "accounts/default/jobs/job-3"]);
    // rows that are added do not move the pages
    api.create(simple_job("job-5")).unwrap();
    let (second, last) = list(&api, 2, &token, &[]).unwrap();
    assert_eq!(second, ["accounts/default/jobs/job-2", "accounts/default/jobs/job-1"]);
    let (third, end) = list(&api, 2, &last, &[]).unwrap();
    assert_eq!((third, end.as_str()), (vec!["accounts/default/jobs/job-0".to_owned()], ""));

    names_field(&list(&api, 2, &token, &[JobState::Running]).unwrap_err(), "page_token");
    for forged in ["nonsense", "AAAA", &"a".repeat(5000), &token[..token.len() - 2]] {
        names_field(&list(&api, 2, forged, &[]).unwrap_err(), "page_token");
    }
    for page_size in [-1, i32::MIN] {
        names_field(&list(&api, page_size, "", &[]).unwrap_err(), "page_size");
    }
    let events =
        ListEventsRequest { parent: "accounts/default/jobs/job-0".into(), page_size: 1, page_token: token };
    let answer = api.call(events, |c, r| async move { JobServiceClient::new(c).list_events(r).await });
    names_field(&answer.unwrap_err(), "page_token");
}

#[test]
fn a_request_id_acts_once_and_not_for_another_body() {
    let mesh = Mesh::up(&NODES);
    let api = mesh.api();
    let mut request = simple_job("once");
    request.request_id = uuid::Uuid::new_v4().to_string();
    let first = api.create(request.clone()).unwrap();
    let again = api.create(request.clone()).unwrap();
    assert_eq!(first.uid, again.uid);
    request.job_id = "other".into();
    let status = api.create(request).unwrap_err();
    let error = from_status(&status);
    assert!(
        [Code::InvalidArgument, Code::AlreadyExists, Code::FailedPrecondition].contains(&status.code()),
        "{error:?}"
    );
    let told =
        error.violations.iter().any(|v| v.field == "request_id") || error.message.contains("request_id");
    assert!(told, "{error:?}");
    assert_eq!(api.names(), ["accounts/default/jobs/once"]);
    let status = api.create(simple_job("once")).unwrap_err();
    assert_eq!(status.code(), Code::AlreadyExists);
    assert!(status.message().contains("once"), "{status:?}");
}

#[test]
fn names_that_are_no_names_are_refused_by_every_method() {
    let mesh = Mesh::up(&NODES);
    let api = mesh.api();
    for name in [
        "",
        "train",
        "accounts/default",
        "accounts/default/jobs/",
        "accounts/default/jobs/A B",
        "accounts/a/jobs/b/c",
    ] {
        let get = GetJobRequest { name: name.into() };
        let answer = api.call(get, |c, r| async move { JobServiceClient::new(c).get_job(r).await });
        names_field(&answer.unwrap_err(), "name");
        let cancel = CancelJobRequest { name: name.into(), ..Default::default() };
        let answer = api.call(cancel, |c, r| async move { JobServiceClient::new(c).cancel_job(r).await });
        names_field(&answer.unwrap_err(), "name");
        let logs = StreamLogsRequest { name: name.into(), ..Default::default() };
        let answer = api.call(logs, |c, r| async move { JobServiceClient::new(c).stream_logs(r).await });
        names_field(&answer.unwrap_err(), "name");
    }
}

#[test]
fn a_body_over_one_mebibyte_is_refused_and_the_connection_lives() {
    let mesh = Mesh::up(&NODES);
    let api = mesh.api();
    let mut large = simple_job("large");
    role(&mut large).args = vec!["x".repeat(1 << 20)];
    let status = api.create(large).unwrap_err();
    assert!(
        [Code::ResourceExhausted, Code::OutOfRange, Code::InvalidArgument].contains(&status.code()),
        "{status:?}"
    );
    assert!(status.message().contains("1048576") || status.message().contains("MiB"), "{status:?}");
    let mut below = simple_job("below");
    role(&mut below).args = vec!["x".repeat(1 << 19)];
    let status = api.create(below).unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "texts of a role have their own bound: {status:?}");
    assert_eq!(api.names(), Vec::<String>::new());
    api.create(simple_job("after")).unwrap();
}

#[test]
fn messages_that_are_no_messages_are_refused_and_the_server_lives() {
    let mesh = Mesh::up(&NODES);
    let api = mesh.api();
    let cases = [
        ("10,000 levels", raw::nested(10_000)),
        ("100,000 levels", raw::nested(100_000)),
        ("a length beyond the end", vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]),
        ("an endless number", vec![0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        ("a text that is not UTF-8", vec![0x0a, 0x02, 0xc3, 0x28]),
    ];
    for (case, body) in cases {
        let status = raw::call(&api, "/crater.job.v1.JobService/CreateJob", body).unwrap_err();
        assert_ne!(status.code(), Code::Ok, "{case}");
        assert!(!status.message().contains("panicked"), "{case}: {status:?}");
    }
    assert_eq!(api.names(), Vec::<String>::new());
    api.create(simple_job("after")).unwrap();
}

/// Flags, and the flag that the refusal must name.
const FLAGS: [(&[&str], &str); 36] = [
    (&["--cpu", "0", "--memory", "0"], "--cpu"),
    (&["--cpu", "-1"], "--cpu"),
    (&["--cpu", "many"], "--cpu"),
    (&["--cpu", "99999999999999999999"], "--cpu"),
    (&["--cpu", "0.00001"], "--cpu"),
    (&["--memory", "-1Gi"], "--memory"),
    (&["--memory", "16XB"], "--memory"),
    (&["--memory", "9999999999Ei"], "--memory"),
    (&["--memory", "900Ti"], "--memory"),
    (&["--gpu", "-1"], "--gpu"),
    (&["--gpu", "1.5"], "--gpu"),
    (&["--gpu", "9"], "--gpu"),
    (&["--gpu", "9223372036854775807"], "--gpu"),
    (&["--gpu", "1e3"], "--gpu"),
    (&["--gpu", "NaN"], "--gpu"),
    (&["--gpu", "1", "--gpu-model", "H9000"], "--gpu-model"),
    (&["--gpu", "1", "--gpu-model", ""], "--gpu-model"),
    (&["--gpu-model", "A100"], "--gpu-model"),
    (&["--replicas", "0"], "--replicas"),
    (&["--replicas", "-4"], "--replicas"),
    (&["--replicas", "10001"], "--replicas"),
    (&["--replicas", "99999999999"], "--replicas"),
    (&["--min-replicas", "2"], "--min-replicas"),
    (&["--replicas", "2", "--min-replicas", "0"], "--min-replicas"),
    (&["--priority", "1001"], "--priority"),
    (&["--priority", "high"], "--priority"),
    (&["--class", "gold"], "--class"),
    (&["--name", "Bad_Name"], "--name"),
    (&["--name", ""], "--name"),
    (&["--account", "No Such"], "--account"),
    (&["--env", "novalue"], "--env"),
    (&["--env", "RANK=1"], "--env"),
    (&["--env", "1X=1"], "--env"),
    (&["--label", "novalue"], "--label"),
    (&["--duration", "-5s"], "--duration"),
    (&["--duration", "0s"], "--duration"),
];

#[test]
fn the_command_line_names_the_flag_in_one_line_and_nothing_is_written() {
    let mesh = Mesh::up(&NODES);
    let (cli, api) = (mesh.cli(), mesh.api());
    let mut wrong = Vec::new();
    for (flags, flag) in FLAGS {
        for dry_run in [&["--dry-run"][..], &[]] {
            let args: Vec<&str> =
                ["submit"].iter().chain(flags).chain(dry_run).chain(&["--", "true"]).copied().collect();
            let ended = cli.run(&args);
            if ended.code != 2 || !ended.err.contains(flag) || !ended.out.is_empty() {
                wrong.push(format!("{args:?}: {ended:?}"));
            }
        }
    }
    let nowhere = cli.run(&["submit", "--account", "nowhere", "--", "true"]);
    if ![6, 8].contains(&nowhere.code) || !nowhere.err.contains("nowhere") {
        wrong.push(format!("an absent account: {nowhere:?}"));
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(cli.run(&["submit"]).code, 2, "nothing to run");
    assert_eq!(api.names(), Vec::<String>::new());
}

fn submit_file(mesh: &Mesh, cli: &Cli, text: &str) -> crate::harness::Ended {
    let path = mesh.write("job.yaml", text);
    let mut command: Command = cli.command(&["submit", "-f", &path]);
    crate::harness::run(&mut command, "", crate::harness::PATIENCE)
}

#[test]
fn a_file_says_what_is_wrong_with_it() {
    let mesh = Mesh::up(&NODES);
    let (cli, api) = (mesh.cli(), mesh.api());
    let deep = |open: &str, close: &str| format!("env: {}{}\n", open.repeat(10_000), close.repeat(10_000));
    let bomb = (1..25).fold("a0: &a0 [x, x]\n".to_owned(), |text, i| {
        format!("{text}a{i}: &a{i} [*a{}, *a{}]\n", i - 1, i - 1)
    });
    let table = [
        ("10,000 lists in each other", deep("[", "]"), ""),
        ("10,000 maps in each other", deep("{a: ", "}"), ""),
        ("a file of aliases", bomb, ""),
        ("no YAML", "command: [true".to_owned(), ""),
        ("another type", "command: 7\nreplicas: [1]\n".to_owned(), ""),
        ("an unknown key", "comand: [\"true\"]\n".to_owned(), "comand"),
        ("a bad amount", "command: [\"true\"]\ncpu: -1\n".to_owned(), "cpu"),
        ("bytes", "\u{0}\u{1}".to_owned(), ""),
        ("nothing", String::new(), ""),
    ];
    let mut wrong = Vec::new();
    for (case, text, word) in table {
        let ended = submit_file(&mesh, &cli, &text);
        if ended.code != 2
            || !ended.err.contains(word)
            || ended.err.lines().count() > 3
            || ended.err.len() > 2000
        {
            wrong.push(format!(
                "{case}: code {}, {:?}",
                ended.code,
                &ended.err.chars().take(500).collect::<String>()
            ));
        }
    }
    let absent = cli.run(&["submit", "-f", "no/such/file.yaml"]);
    if absent.code == 0 || !absent.err.contains("no/such/file.yaml") {
        wrong.push(format!("an absent file: {absent:?}"));
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(api.names(), Vec::<String>::new());
}
