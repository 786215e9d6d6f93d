//! Each part of the mesh is killed while jobs run and are submitted, and started again.

use std::time::{Duration, Instant};

use crater_api::job::v1::{JobState, ListJobsRequest};
use crater_api::quota::v1::GetQuotaRequest;
use crater_api::quota::v1::quota_service_client::QuotaServiceClient;
use crater_api::user::v1::LoginRequest;
use crater_api::user::v1::auth_service_client::AuthServiceClient;
use tonic::{Code, Status};

use crate::harness::{Api, Cli, Follower, Mesh, PASSWORD, PATIENCE, promised, until};
use crate::load::{Bed, Journal, Stream, Submitter, each_ran_once, is_away, job};

/// From its start until a service says that it serves.
const READY: Duration = Duration::from_secs(5);

/// Counts until a file is there.
const COUNT: &str = "i=0; while [ ! -e $0 ]; do echo $i; i=$((i+1)); sleep 0.03; done; echo end; exit 7";

/// A person who waits for a job, and one who reads its log, over all that happens.
struct People {
    waits: Follower,
    reads: Follower,
    go: std::path::PathBuf,
}

impl People {
    fn of(mesh: &Mesh, cli: &Cli, name: &str) -> Self {
        let go = mesh.file(&format!("go-{name}"));
        let small = ["--cpu", "0.05", "--memory", "16Mi"];
        let submit = ["submit", "--wait", "--name", name];
        let command = ["--", "sh", "-c", COUNT, go.to_str().unwrap()];
        let waits = cli.follow(&[&submit[..], &small, &command].concat());
        until("the job is accepted", PATIENCE, || cli.run(&["get", name]).out.contains(name).then_some(()));
        let mut reads = cli.follow(&["logs", "-f", name]);
        reads.until("the first lines", PATIENCE, |line| line == "3");
        Self { waits, reads, go }
    }

    fn has_read_more(&mut self) {
        let next = self.reads.seen.len();
        self.reads.until("news after the restart", PATIENCE, |line| {
            line.parse::<usize>().is_ok_and(|n| n > next + 5)
        });
    }

    fn are_told_all(self) {
        std::fs::write(&self.go, "").unwrap();
        let ended = self.waits.end(PATIENCE);
        assert_eq!(ended.code, 7, "{ended:#?}");
        let lines = self.reads.end(PATIENCE).lines();
        let numbers = &lines[..lines.len() - 1];
        let wanted: Vec<String> = (0..numbers.len()).map(|i| i.to_string()).collect();
        assert_eq!(numbers, wanted, "a gap, or a double line");
        assert_eq!(lines.last().map(String::as_str), Some("end"));
    }
}

fn login(mesh: &Mesh) -> Result<(), Status> {
    let request = LoginRequest { user_id: "admin".into(), password: PASSWORD.into() };
    let api = Api::signed_out(&mesh.url);
    api.call(request, |c, r| async move { AuthServiceClient::new(c).login(r).await }).map(drop)
}

fn all_jobs() -> ListJobsRequest {
    ListJobsRequest { parent: "accounts/-".into(), ..Default::default() }
}

fn quota(api: &Api) -> Result<(), Status> {
    let request = GetQuotaRequest { name: "accounts/default/quota".into() };
    api.call(request, |c, r| async move { QuotaServiceClient::new(c).get_quota(r).await }).map(drop)
}

/// What a caller meets while a service is away.
fn meets(what: &str, mut call: impl FnMut() -> Result<(), Status>) {
    let status = until(what, PATIENCE, || call().err());
    assert_eq!(status.code(), Code::Unavailable, "{what}: {status:?}");
}

/// Kills a service, lets `meanwhile` look, and starts it again.
fn kill(name: &'static str, meanwhile: impl FnOnce(&Mesh, &Journal)) {
    let mesh = Mesh::up(&["--nodes", "1x8:A100"]);
    let cli = mesh.cli();
    let journal = Journal(mesh.file("journal"));
    let bed = Bed::default();
    let mut people = People::of(&mesh, &cli, "followed");
    let (mut accepted, away) = std::thread::scope(|scope| {
        let stream = Stream::start(scope, &bed, &mesh, &journal, "job");
        until("some jobs", PATIENCE, || (journal.done() >= 3).then_some(()));
        mesh.service(name).kill();
        meanwhile(&mesh, &journal);
        if needed_to_submit(name) {
            until("the submitter meets the outage", PATIENCE, || (stream.away() > 0).then_some(()));
        }
        mesh.service(name).start();
        let took = mesh.service(name).ready(READY);
        eprintln!("{name} was ready again after {took:?}");
        let before = stream.accepted();
        until("more jobs", PATIENCE, || (stream.accepted() >= before + 5).then_some(()));
        let all_again = mesh.all_ready(READY);
        eprintln!("all were after another {all_again:?}");
        people.has_read_more();
        stream.end()
    });
    eprintln!("{name}: {} jobs were accepted; {away} calls were not answered", accepted.len());
    people.are_told_all();
    let mut submitter = Submitter::new(&mesh);
    let mut jobs = submitter.all_ended(PATIENCE);
    let followed = jobs.remove("followed").unwrap();
    assert_eq!((followed.state(), followed.exit_code, followed.attempts), (JobState::Failed, Some(7), 1));
    let extra: Vec<String> = jobs.keys().filter(|id| id.starts_with("meanwhile")).cloned().collect();
    accepted.extend(extra);
    each_ran_once(&jobs, &accepted, &journal);
    if !needed_to_submit(name) {
        assert_eq!(away, 0, "submitting does not need {name}");
    }
}

fn needed_to_submit(name: &str) -> bool {
    ["job", "gateway"].contains(&name)
}

#[test]
fn without_the_user_service_nobody_signs_in_and_who_is_in_goes_on() {
    kill("user", |mesh, journal| {
        meets("signing in", || login(mesh));
        let done = journal.done();
        until("jobs are accepted and run", PATIENCE, || (journal.done() >= done + 3).then_some(()));
    });
}

#[test]
fn without_the_quota_service_the_last_limits_stay_in_force() {
    kill("quota", |mesh, journal| {
        let api = mesh.api();
        meets("asking for a quota", || quota(&api));
        let done = journal.done();
        until("jobs are accepted and run", PATIENCE, || (journal.done() >= done + 3).then_some(()));
    });
}

#[test]
fn without_the_job_service_callers_are_told_and_ask_again() {
    kill("job", |mesh, _| {
        let api = mesh.api();
        meets("getting a job", || api.list(all_jobs()).map(drop));
    });
}

#[test]
fn without_a_scheduler_jobs_are_accepted_and_wait() {
    kill("scheduler", |mesh, journal| {
        let mut submitter = Submitter::new(mesh);
        submitter.submit(&job("meanwhile", &journal.0, 1, 0.1));
        meets("asking why", || submitter.explain("meanwhile").map(drop));
        assert_eq!(submitter.api().job("meanwhile").state(), JobState::Queued);
    });
}

#[test]
fn without_a_controller_what_is_allocated_starts_later() {
    kill("controller", |mesh, journal| {
        let mut submitter = Submitter::new(mesh);
        submitter.submit(&job("meanwhile", &journal.0, 1, 0.1));
        until("it is allocated", PATIENCE, || {
            submitter.explain("meanwhile").unwrap().filter(|why| !why.placements.is_empty())
        });
        assert!(!journal.counts().keys().any(|(id, _)| id == "meanwhile"), "nobody is there to start it");
    });
}

#[test]
fn without_the_gateway_clients_come_back_by_themselves() {
    kill("gateway", |mesh, _| {
        let status = until("the door is closed", PATIENCE, || login(mesh).err());
        assert!(is_away(&status), "{status:?}");
    });
}

#[test]
fn without_the_kubernetes_api_jobs_are_accepted_and_those_that_run_run_on() {
    let mesh = Mesh::up(&["--nodes", "1x8:A100"]);
    let cli = mesh.cli();
    let journal = Journal(mesh.file("journal"));
    let bed = Bed::default();
    let mut people = People::of(&mesh, &cli, "followed");
    let (accepted, away) = std::thread::scope(|scope| {
        let stream = Stream::start(scope, &bed, &mesh, &journal, "job");
        until("some jobs", PATIENCE, || (journal.done() >= 3).then_some(()));
        mesh.kubernetes.cut();
        let before = stream.accepted();
        until("jobs are accepted", PATIENCE, || (stream.accepted() >= before + 10).then_some(()));
        // watches that come back are too old
        mesh.kubernetes.forget_history();
        mesh.kubernetes.serve();
        let done = journal.done();
        until("they run", PATIENCE, || (journal.done() >= done + 10).then_some(()));
        mesh.all_ready(READY);
        people.has_read_more();
        stream.end()
    });
    assert_eq!(away, 0, "submitting does not need the cluster");
    people.are_told_all();
    let mut jobs = Submitter::new(&mesh).all_ended(PATIENCE);
    assert_eq!(jobs.remove("followed").unwrap().attempts, 1);
    each_ran_once(&jobs, &accepted, &journal);
}

#[test]
fn without_the_database_jobs_run_on_and_nothing_that_was_accepted_is_lost() {
    let mesh = Mesh::up_on_its_own_database(&["--nodes", "1x8:A100"]);
    let Some(server) = mesh.database.server() else { return eprintln!("SQLite's dies with its service") };
    let cli = mesh.cli();
    let journal = Journal(mesh.file("journal"));
    let bed = Bed::default();
    let mut people = People::of(&mesh, &cli, "followed");
    let api = mesh.api();
    let (accepted, _) = std::thread::scope(|scope| {
        let stream = Stream::start(scope, &bed, &mesh, &journal, "job");
        until("some jobs", PATIENCE, || (journal.done() >= 3).then_some(()));
        server.kill();
        meets("getting a job", || api.list(all_jobs()).map(drop));
        meets("signing in", || login(&mesh));
        let all = stream.accepted();
        until("what was accepted has run", PATIENCE, || (journal.done() >= all).then_some(()));
        until("the submitter meets the outage", PATIENCE, || (stream.away() > 0).then_some(()));
        server.restart();
        let back = Instant::now();
        let before = stream.accepted();
        until("more jobs", PATIENCE, || (stream.accepted() > before).then_some(()));
        eprintln!("jobs are accepted again after {:?}", back.elapsed());
        assert!(back.elapsed() < promised(READY), "{:?}", back.elapsed());
        mesh.all_ready(READY);
        people.has_read_more();
        stream.end()
    });
    people.are_told_all();
    let mut jobs = Submitter::new(&mesh).all_ended(PATIENCE);
    assert_eq!(jobs.remove("followed").unwrap().attempts, 1);
    each_ran_once(&jobs, &accepted, &journal);
}
