//! Jobs that write down when they start and when they are done, submitted by somebody who asks again while nobody answers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crater_api::common::v1::Resources;
use crater_api::job::v1::{CreateJobRequest, Job, JobSpec, JobState, Role};
use crater_api::scheduling::v1::scheduling_service_client::SchedulingServiceClient;
use crater_api::scheduling::v1::{ExplainJobRequest, ExplainJobResponse};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::harness::{Api, Mesh, PASSWORD, PATIENCE, until};

/// Says when it starts and when it is done, each in one short line that is appended whole.
const PROGRAM: &str = "echo start $0 $RANK $$ >> $1; sleep $2; echo done $0 $RANK $$ >> $1";

/// A job of so many replicas, which write to the journal.
pub fn job(id: &str, journal: &Path, replicas: i32, seconds: f64) -> CreateJobRequest {
    let words = ["sh", "-c", PROGRAM, id, journal.to_str().unwrap(), &seconds.to_string()];
    let role = Role {
        name: "worker".into(),
        replicas,
        resources: Some(Resources {
            cpu_millis: 50,
            memory_bytes: 16 << 20,
            gpu_millis: 1000,
            ..Default::default()
        }),
        command: words.map(str::to_owned).to_vec(),
        ..Default::default()
    };
    CreateJobRequest {
        parent: "accounts/default".into(),
        job_id: id.into(),
        job: Some(Job {
            spec: Some(JobSpec { roles: vec![role], ..Default::default() }),
            ..Default::default()
        }),
        request_id: uuid::Uuid::new_v4().to_string(),
        ..Default::default()
    }
}

/// What the jobs wrote.
pub struct Journal(pub PathBuf);

impl Journal {
    /// How often each replica started and was done, by job and rank.
    pub fn counts(&self) -> BTreeMap<(String, String), (u32, u32)> {
        let mut counts: BTreeMap<_, (u32, u32)> = BTreeMap::new();
        for line in std::fs::read_to_string(&self.0).unwrap_or_default().lines() {
            // a job of one replica has no rank
            let words: Vec<&str> = line.split_whitespace().collect();
            let (what, job, rank) = match words[..] {
                [what, job, rank, _] => (what, job, rank),
                [what, job, _] => (what, job, ""),
                _ => panic!("{line:?}"),
            };
            let count = counts.entry((job.to_owned(), rank.to_owned())).or_default();
            match what {
                "start" => count.0 += 1,
                _ => count.1 += 1,
            }
        }
        counts
    }

    /// How many replicas were done.
    pub fn done(&self) -> usize {
        self.counts().values().filter(|(_, done)| *done > 0).count()
    }
}

/// Whether asking again may help: the service is away, or too slow on a busy machine, or the connection to the one in front of it broke.
pub fn is_away(status: &Status) -> bool {
    let broke = std::error::Error::source(status).is_some();
    [Code::Unavailable, Code::DeadlineExceeded].contains(&status.code())
        || (broke && [Code::Unknown, Code::Internal, Code::Cancelled].contains(&status.code()))
}

/// Asks until there is an answer; counts how often there was none.
pub fn insist<T>(what: &str, away: &AtomicUsize, mut call: impl FnMut() -> Result<T, Status>) -> T {
    until(what, PATIENCE, || match call() {
        Ok(answer) => Some(answer),
        Err(status) => {
            assert!(is_away(&status), "{what}: {status:?}");
            away.fetch_add(1, Ordering::SeqCst);
            None
        }
    })
}

/// Somebody who signed in before anything was killed.
pub struct Submitter<'a> {
    mesh: &'a Mesh,
    api: Api,
    signed_in: Instant,
    away: Arc<AtomicUsize>,
}

impl<'a> Submitter<'a> {
    /// Signs in.
    pub fn new(mesh: &'a Mesh) -> Self {
        Self { mesh, api: mesh.api(), signed_in: Instant::now(), away: Arc::default() }
    }

    /// Why a job waits, or where it is; none while the scheduler has not heard of it.
    pub fn explain(&mut self, id: &str) -> Result<Option<ExplainJobResponse>, Status> {
        let request = ExplainJobRequest { name: format!("accounts/default/jobs/{id}"), ..Default::default() };
        let call =
            |c: Channel, r: Request<_>| async move { SchedulingServiceClient::new(c).explain_job(r).await };
        match self.api().call(request, call) {
            Ok(answer) => Ok(Some(answer)),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(status),
        }
    }

    /// How often nobody answered.
    pub fn away(&self) -> Arc<AtomicUsize> {
        self.away.clone()
    }

    /// The RPCs; a token does not last for ever.
    pub fn api(&mut self) -> &Api {
        if self.signed_in.elapsed() > Duration::from_secs(300) {
            let url = &self.mesh.url;
            self.api = until("a new token", PATIENCE, || {
                std::panic::catch_unwind(|| Api::sign_in(url, "admin", PASSWORD)).ok()
            });
            self.signed_in = Instant::now();
        }
        &self.api
    }

    /// Submits a job, by one request that is sent until it is answered.
    pub fn submit(&mut self, request: &CreateJobRequest) -> Job {
        let away = self.away.clone();
        let api = self.api();
        insist(&format!("submitting {}", request.job_id), &away, || api.create(request.clone()))
    }

    /// All jobs, by id.
    pub fn jobs(&mut self) -> BTreeMap<String, Job> {
        let mut all = BTreeMap::new();
        let mut page_token = String::new();
        loop {
            let request = crater_api::job::v1::ListJobsRequest {
                parent: "accounts/default".into(),
                page_size: 1000,
                page_token: page_token.clone(),
                ..Default::default()
            };
            let away = self.away.clone();
            let api = self.api();
            let (jobs, next) = insist("listing jobs", &away, || api.list(request.clone()));
            all.extend(jobs.into_iter().map(|job| (job.name.rsplit('/').next().unwrap().to_owned(), job)));
            if next.is_empty() {
                return all;
            }
            page_token = next;
        }
    }

    /// Waits until every job has ended.
    pub fn all_ended(&mut self, limit: Duration) -> BTreeMap<String, Job> {
        let ended = [JobState::Succeeded, JobState::Failed, JobState::Cancelled];
        let start = Instant::now();
        loop {
            let jobs = self.jobs();
            let open: Vec<&Job> = jobs.values().filter(|job| !ended.contains(&job.state())).collect();
            if open.is_empty() {
                return jobs;
            }
            assert!(start.elapsed() < limit, "{} jobs have not ended: {:#?}", open.len(), open.first());
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Submits a job after the other on a thread of its own, until it is told to stop.
pub struct Stream<'scope> {
    stop: &'scope AtomicBool,
    thread: Option<std::thread::ScopedJoinHandle<'scope, ()>>,
    accepted: &'scope Mutex<Vec<String>>,
    away: Arc<AtomicUsize>,
}

/// What a [`Stream`] needs to live in.
#[derive(Default)]
pub struct Bed {
    stop: AtomicBool,
    accepted: Mutex<Vec<String>>,
}

impl<'scope> Stream<'scope> {
    /// Starts one; its jobs are `prefix-0` and so on.
    pub fn start<'env>(
        scope: &'scope std::thread::Scope<'scope, 'env>,
        bed: &'scope Bed,
        mesh: &'scope Mesh,
        journal: &'scope Journal,
        prefix: &'static str,
    ) -> Self {
        let Bed { stop, accepted } = bed;
        let mut submitter = Submitter::new(mesh);
        let away = submitter.away();
        let thread = scope.spawn(move || {
            for i in 0.. {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                let id = format!("{prefix}-{i}");
                submitter.submit(&job(&id, &journal.0, 1, 0.1));
                accepted.lock().unwrap().push(id);
                // the processors are for those who are tested
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        Self { stop, thread: Some(thread), accepted, away }
    }

    /// How many were accepted so far.
    pub fn accepted(&self) -> usize {
        self.accepted.lock().unwrap().len()
    }

    /// How often nobody answered so far.
    pub fn away(&self) -> usize {
        self.away.load(Ordering::SeqCst)
    }

    /// Ends it: what was accepted, and how often nobody answered.
    pub fn end(mut self) -> (Vec<String>, usize) {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap();
        (self.accepted.lock().unwrap().clone(), self.away())
    }
}

impl Drop for Stream<'_> {
    fn drop(&mut self) {
        // a test that fails does not wait for it
        self.stop.store(true, Ordering::SeqCst);
    }
}

/// Every accepted job succeeded and ran once, and there is no other.
pub fn each_ran_once(jobs: &BTreeMap<String, Job>, accepted: &[String], journal: &Journal) {
    let counts = journal.counts();
    for id in accepted {
        let job = jobs.get(id).unwrap_or_else(|| panic!("{id} was accepted and is lost"));
        assert_eq!((job.state(), job.attempts), (JobState::Succeeded, 1), "{job:#?}");
        let ranks: Vec<_> = counts.iter().filter(|((job, _), _)| job == id).collect();
        let replicas = usize::try_from(job.spec.as_ref().unwrap().roles[0].replicas).unwrap();
        assert_eq!(ranks.len(), replicas, "replicas of {id} that ran: {ranks:?}");
        for (replica, count) in ranks {
            assert_eq!(*count, (1, 1), "how often {replica:?} started and was done");
        }
    }
    let strangers: Vec<&String> = jobs.keys().filter(|id| !accepted.contains(id)).collect();
    assert!(strangers.is_empty(), "jobs that nobody was told of: {strangers:?}");
}
