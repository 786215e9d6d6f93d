//! Six bugs, planted one at a time in the real mesh: each is brought out by load and a fault, and the auditor, a process of
//! its own, must catch it and name it. The same drive without the bug must give no violation.
#![allow(clippy::unwrap_used, clippy::panic)]

#[allow(dead_code, unused_imports)]
#[path = "../../system/harness/mod.rs"]
mod harness;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crater_api::common::v1::Resources;
use crater_api::job::v1::job_service_client::JobServiceClient;
use crater_api::job::v1::{CancelJobRequest, CreateJobRequest, Job, JobSpec, JobState, Role};
use crater_k8s::allocation::Placement;
use crater_k8s::{AIJob, Allocation, AllocationSpec, names};
use crater_plant::Bug;
use kube::api::PostParams;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tonic::Code;
use uuid::Uuid;

use harness::{Api, Mesh, PASSWORD, PATIENCE, until};

/// The auditor beside a mesh.
struct Audit {
    child: Child,
    acks: PathBuf,
    verdict: PathBuf,
    log: PathBuf,
}

impl Audit {
    /// Starts it, and waits until it follows every source.
    fn start(mesh: &Mesh, hunts: bool) -> Self {
        let own = std::env::current_exe().unwrap();
        let program = own.parent().and_then(Path::parent).unwrap().join("crater-audit");
        assert!(program.is_file(), "run `cargo build --workspace --bins` first");
        let (acks, verdict, log) = (mesh.file("acks"), mesh.file("verdict"), mesh.file("audit.log"));
        let mut command = Command::new(program);
        command.args(["--server", &mesh.url, "--output", "json", "--expect-jobs", "1"]);
        command.args(["--settle", "6", "--orphan", "6", "--lag", "2"]);
        command.arg("--kubeconfig").arg(&mesh.kubeconfig).arg("--store").arg(mesh.data().join("db"));
        command.arg("--acks").arg(&acks);
        if hunts {
            command.arg("--fail-fast");
        }
        command.env("CRATER_PASSWORD", PASSWORD).stdin(Stdio::null());
        command.stdout(File::create(&verdict).unwrap()).stderr(File::create(&log).unwrap());
        let audit = Self { child: command.spawn().unwrap(), acks, verdict, log };
        let log = audit.log.clone();
        until("the auditor to follow", PATIENCE, || {
            std::fs::read_to_string(&log).unwrap().contains("following").then_some(())
        });
        audit
    }

    /// Writes down what a caller was answered.
    fn answered(&self, job: &Job, request_id: &str) {
        let line = json!({"name": job.name, "uid": job.uid, "request_id": request_id});
        let mut file = OpenOptions::new().create(true).append(true).open(&self.acks).unwrap();
        file.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    fn ended(&mut self, what: &str) -> (Option<i32>, Value) {
        let status = until(what, PATIENCE, || self.child.try_wait().unwrap());
        let text = std::fs::read_to_string(&self.verdict).unwrap();
        (status.code(), serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}")))
    }

    /// The bug must be found and named; without it nothing must be.
    fn verdict(mut self, planted: Option<Bug>) {
        let Some(bug) = planted else {
            kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), Signal::SIGTERM).unwrap();
            let (code, verdict) = self.ended("the verdict");
            assert_eq!((code, &verdict["ok"]), (Some(0), &json!(true)), "{verdict:#}");
            assert!(verdict["seen"]["judgements"].as_u64().unwrap() > 20, "{verdict:#}");
            return;
        };
        let (code, verdict) = self.ended("the bug to be found");
        assert_eq!(code, Some(1), "{verdict:#}");
        let causes: Vec<&Value> =
            verdict["violations"].as_array().unwrap().iter().map(|v| &v["cause"]["id"]).collect();
        assert!(causes.contains(&&json!(bug.name())), "{verdict:#}");
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        // it may have ended by itself
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!(
                "---- the auditor's log\n{}\n----",
                std::fs::read_to_string(&self.log).unwrap_or_default()
            );
        }
    }
}

fn mesh(planted: Option<Bug>, args: &[&str], fault: &[(&str, &str)]) -> Mesh {
    let plant = planted.map(|bug| ("CRATER_PLANT", bug.name()));
    let environment: Vec<(&str, &str)> = fault.iter().copied().chain(plant).collect();
    Mesh::up_with(args, &environment)
}

/// A job of one GPU that is played for so long; without an id the server makes one.
fn job(id: &str, lasting: &str) -> CreateJobRequest {
    let role = Role {
        name: "worker".into(),
        replicas: 1,
        resources: Some(Resources {
            cpu_millis: 100,
            memory_bytes: 1 << 20,
            gpu_millis: 1000,
            ..Default::default()
        }),
        command: vec!["true".into()],
        ..Default::default()
    };
    let labels = [(names::PLAY_DURATION.to_owned(), lasting.to_owned())];
    CreateJobRequest {
        parent: "accounts/default".into(),
        job_id: id.into(),
        job: Some(Job {
            spec: Some(JobSpec { roles: vec![role], ..Default::default() }),
            labels: labels.into(),
            ..Default::default()
        }),
        request_id: Uuid::new_v4().to_string(),
        ..Default::default()
    }
}

fn submit(api: &Api, audit: &Audit, request: &CreateJobRequest) -> Job {
    let job = api.create(request.clone()).unwrap();
    audit.answered(&job, &request.request_id);
    job
}

/// Two ports that are free, so that a mesh is found again after a restart.
fn ports() -> [String; 2] {
    let both = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    both.map(|listener| listener.local_addr().unwrap().to_string())
}

fn no_lock(planted: Option<Bug>) {
    let mesh = mesh(planted, &["--nodes", "1x1:A100"], &[]);
    let api = mesh.api();
    mesh.cli().ok(&["quota", "set", "-A", "default", "--limit", "jobs.waiting=3"]);
    api.create(job("runs", "10m")).unwrap();
    api.reaches("runs", JobState::Running);
    let waiting = ["first", "second", "third"];
    for id in waiting {
        api.create(job(id, "1s")).unwrap();
    }
    until("the job service has heard of the limit", PATIENCE, || {
        let refused = api.create(CreateJobRequest { validate_only: true, ..job("no", "1s") });
        refused.is_err_and(|status| status.code() == Code::ResourceExhausted).then_some(())
    });
    for id in waiting {
        let request =
            CancelJobRequest { name: format!("accounts/default/jobs/{id}"), ..CancelJobRequest::default() };
        api.call(request, |c, r| async move { JobServiceClient::new(c).cancel_job(r).await }).unwrap();
        api.reaches(id, JobState::Cancelled);
    }
    let audit = Audit::start(&mesh, planted.is_some());
    let requests: Vec<_> = (0..32).map(|i| job(&format!("burst-{i}"), "1s")).collect();
    let calls = requests.iter().map(|request| {
        let (mut client, request) = (JobServiceClient::new(api.channel()), api.request(request.clone()));
        async move { client.create_job(request).await }
    });
    let answers = api.block_on(futures::future::join_all(calls));
    let mut accepted = 0;
    for (answer, request) in answers.into_iter().zip(&requests) {
        match answer {
            Ok(answer) => {
                accepted += 1;
                audit.answered(&answer.into_inner().job.unwrap(), &request.request_id);
            }
            Err(status) => assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}"),
        }
    }
    assert_eq!(accepted > 3, planted.is_some(), "{accepted} were accepted");
    audit.verdict(planted);
}

fn no_epoch_check(planted: Option<Bug>) {
    let mesh = mesh(planted, &["--nodes", "1x1:A100"], &[]);
    let api = mesh.api();
    let audit = Audit::start(&mesh, planted.is_some());
    submit(&api, &audit, &job("runs", "10m"));
    api.reaches("runs", JobState::Running);
    submit(&api, &audit, &job("waits", "1s"));
    let placements = api.explain("runs").placements;
    // a scheduler that slept through its successor's election gives away what it still thinks is free
    let decided = api.block_on(async {
        let client = crater_audit::edge::cluster::client(&mesh.kubeconfig).await.unwrap();
        let jobs = kube::Api::<AIJob>::namespaced(client.clone(), "crater-default");
        let waits = loop {
            if let Some(waits) = jobs.get_opt("waits").await.unwrap() {
                break waits;
            }
            tokio::task::yield_now().await;
        };
        let spec = AllocationSpec {
            job: "waits".into(),
            job_uid: waits.spec.job_uid.clone(),
            epoch: 0,
            granted_millis: waits.spec.submitted_millis + 1,
            placements: vec![Placement {
                node: placements[0].node.clone(),
                role: "worker".into(),
                first_replica: 0,
                count: 1,
                gpus: vec![vec![0]],
                gpu_millis: 1000,
            }],
            revoked: Vec::new(),
        };
        let mut stale = Allocation::new("waits-0-0", spec);
        let labels = [(names::JOB_UID, waits.spec.job_uid.clone()), (names::JOB, "waits".to_owned())];
        stale.metadata.labels = Some(labels.map(|(k, v)| (k.to_owned(), v)).into());
        let allocations = kube::Api::<Allocation>::namespaced(client, "crater-default");
        allocations.create(&PostParams::default(), &stale).await.unwrap();
        loop {
            // what is refused, and holds nothing, is soon taken away
            let Some(seen) = allocations.get_opt("waits-0-0").await.unwrap() else { break false };
            match seen.status {
                Some(status) if status.accepted.is_some() => break true,
                Some(status) if status.refused.is_some() => break false,
                _ => tokio::task::yield_now().await,
            }
        }
    });
    assert_eq!(decided, planted.is_some(), "whether it was accepted");
    audit.verdict(planted);
}

fn answer_before_commit(planted: Option<Bug>) {
    let [gateway, kubernetes] = ports();
    let args = ["--nodes", "1x4:A100", "--listen", &gateway, "--kube-listen", &kubernetes];
    let mut mesh = mesh(planted, &args, &[]);
    let api = mesh.api();
    let audit = Audit::start(&mesh, false);
    let ids = ["one", "two", "three"];
    for id in ids {
        submit(&api, &audit, &job(id, "1s"));
    }
    mesh.kill();
    mesh.start();
    let mut audit = audit;
    if planted.is_none() {
        let api = mesh.api();
        for id in ids {
            api.reaches(id, JobState::Succeeded);
        }
    } else {
        let log = audit.log.clone();
        until("the loss to be found", PATIENCE, || {
            std::fs::read_to_string(&log).unwrap().contains("likely cause").then_some(())
        });
        kill(Pid::from_raw(i32::try_from(audit.child.id()).unwrap()), Signal::SIGTERM).unwrap();
        let (_, verdict) = audit.ended("the verdict");
        let lost = verdict["violations"].as_array().unwrap().iter().filter(|v| v["law"] == "I5");
        assert!(lost.count() >= 1, "{verdict:#}");
    }
    audit.verdict(planted);
}

fn missed_release(planted: Option<Bug>) {
    let mesh = mesh(planted, &["--nodes", "1x2:A100"], &[]);
    let api = mesh.api();
    let audit = Audit::start(&mesh, planted.is_some());
    for id in ["one", "two"] {
        submit(&api, &audit, &job(id, "500ms"));
        api.reaches(id, JobState::Succeeded);
    }
    audit.verdict(planted);
}

fn double_consumption(planted: Option<Bug>) {
    let mesh = mesh(planted, &["--nodes", "1x2:A100"], &[]);
    let api = mesh.api();
    let audit = Audit::start(&mesh, planted.is_some());
    let request = job("", "500ms");
    let names: BTreeMap<String, Job> = (0..2)
        .map(|_| {
            let job = submit(&api, &audit, &request);
            (job.name.clone(), job)
        })
        .collect();
    assert_eq!(names.len() > 1, planted.is_some(), "{names:?}");
    audit.verdict(planted);
}

fn ignored_410(planted: Option<Bug>) {
    let deaf = [("CRATER_DEAF_WATCH", "aijobs.crater.dev:1000:900")];
    let mesh = mesh(planted, &["--nodes", "1x8:A100"], &deaf);
    let api = mesh.api();
    let audit = Audit::start(&mesh, planted.is_some());
    let ids: Vec<String> = (0..24).map(|i| format!("j{i}")).collect();
    for (i, id) in ids.iter().enumerate() {
        submit(&api, &audit, &job(id, &format!("{}ms", 100 + 100 * i)));
    }
    if planted.is_none() {
        for id in &ids {
            api.reaches(id, JobState::Succeeded);
        }
    }
    audit.verdict(planted);
}

macro_rules! both {
    ($($name:ident, $drive:ident, $bug:expr;)*) => {$(
        mod $name {
            use super::*;

            #[test]
            fn is_caught_and_named() {
                $drive(Some($bug));
            }

            #[test]
            fn is_not_seen_where_it_is_not() {
                $drive(None);
            }
        }
    )*};
}

both! {
    a_limit_without_its_lock, no_lock, Bug::NoLock;
    an_allocation_of_a_past_epoch, no_epoch_check, Bug::NoEpochCheck;
    an_answer_before_the_commit, answer_before_commit, Bug::AnswerBeforeCommit;
    a_release_that_is_missed, missed_release, Bug::MissedRelease;
    a_request_consumed_twice, double_consumption, Bug::DoubleConsumption;
    a_410_that_is_ignored, ignored_410, Bug::Ignored410;
}
