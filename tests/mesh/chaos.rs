//! Parts of the mesh are killed at random, at random moments, while several people submit, and cancel now and then. The seed is printed
//! and may be given: `CRATER_CHAOS_SEED`; so may the number of kills, `CRATER_CHAOS_KILLS`, which many jobs go with.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crater_api::job::v1::job_service_client::JobServiceClient;
use crater_api::job::v1::{CancelJobRequest, Job, JobState};
use crater_k8s::Allocation;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api as Kube, ResourceExt};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::harness::{Mesh, NAMES, PATIENCE, until};
use crate::load::{Journal, Submitter, insist, job};

/// From its start until a service says that it serves.
const READY: Duration = Duration::from_secs(5);
/// Jobs between two kills.
const JOBS_A_KILL: usize = 20;
/// People who submit.
const PEOPLE: usize = 4;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

/// Submits jobs until there are enough, some of them gangs; cancels some. Returns which were cancelled.
fn person(
    mut submitter: Submitter<'_>,
    journal: &Journal,
    seed: u64,
    next: &AtomicUsize,
    all: usize,
) -> (BTreeSet<String>, usize) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut cancelled = BTreeSet::new();
    loop {
        let i = next.fetch_add(1, Ordering::SeqCst);
        if i >= all {
            return (cancelled, submitter.away().load(Ordering::SeqCst));
        }
        let id = format!("job-{i}");
        let replicas = if random.random_bool(0.2) { random.random_range(2..=4) } else { 1 };
        submitter.submit(&job(&id, &journal.0, replicas, random.random_range(0.0..0.4)));
        if random.random_bool(0.1) {
            let request = CancelJobRequest {
                name: format!("accounts/default/jobs/{id}"),
                request_id: uuid::Uuid::new_v4().to_string(),
                ..Default::default()
            };
            let away = submitter.away();
            let api = submitter.api();
            insist("cancelling", &away, || {
                api.call(request.clone(), |c, r| async move { JobServiceClient::new(c).cancel_job(r).await })
            });
            cancelled.insert(id);
        }
    }
}

/// Kills a part and starts it again; returns how long it took to be ready.
fn strike(mesh: &Mesh, victim: &str, down: Duration) -> Duration {
    match victim {
        "kubernetes" => {
            mesh.kubernetes.cut();
            std::thread::sleep(down);
            mesh.kubernetes.serve();
            Duration::ZERO
        }
        "database" => {
            let server = mesh.database.server().unwrap();
            server.kill();
            std::thread::sleep(down);
            let start = Instant::now();
            server.restart();
            start.elapsed()
        }
        name => {
            mesh.service(name).kill();
            std::thread::sleep(down);
            mesh.service(name).start();
            mesh.service(name).ready(READY)
        }
    }
}

/// Nothing was lost, nothing ran twice, nothing is left in the cluster.
fn judge(
    mesh: &Mesh,
    jobs: &BTreeMap<String, Job>,
    all: usize,
    cancelled: &BTreeSet<String>,
    journal: &Journal,
) {
    let accepted: BTreeSet<String> = (0..all).map(|i| format!("job-{i}")).collect();
    assert_eq!(jobs.keys().cloned().collect::<BTreeSet<_>>(), accepted, "lost, or of nobody");
    let counts = journal.counts();
    for ((id, rank), (started, done)) in &counts {
        assert_eq!(*started, 1, "replica {rank:?} of {id} was started {started} times");
        assert!(*done <= 1, "replica {rank:?} of {id} was done {done} times");
    }
    for (id, job) in jobs {
        assert!(job.attempts <= 1, "{job:#?}");
        let ran = counts.iter().filter(|((of, _), (_, done))| of == id && *done == 1).count();
        let replicas = usize::try_from(job.spec.as_ref().unwrap().roles[0].replicas).unwrap();
        match job.state() {
            JobState::Succeeded => assert_eq!(ran, replicas, "{id} succeeded, and not all of it ran"),
            JobState::Cancelled => assert!(cancelled.contains(id), "nobody cancelled {id}"),
            other => panic!("{id} ended as {other:?}: {job:#?}"),
        }
    }
    until("every grant is given back", PATIENCE, || {
        mesh.kubernetes.block_on(async {
            let client = mesh.kubernetes.client();
            let pods = Kube::<Pod>::all(client.clone()).list(&ListParams::default()).await.unwrap();
            let running = pods
                .iter()
                .filter(|p| p.status.as_ref().is_some_and(|s| s.phase.as_deref() == Some("Running")));
            let grants = Kube::<Allocation>::all(client).list(&ListParams::default()).await.unwrap();
            let held: Vec<String> = grants.iter().map(ResourceExt::name_any).collect();
            (running.count() == 0 && held.is_empty()).then_some(())
        })
    });
}

fn chaos(kills: usize) {
    let seed = number("CRATER_CHAOS_SEED").unwrap_or_else(|| u64::from(rand::random::<u32>()));
    eprintln!("CRATER_CHAOS_SEED={seed} CRATER_CHAOS_KILLS={kills}");
    let mut random = StdRng::seed_from_u64(seed);
    let mesh = Mesh::up_on_its_own_database(&["--nodes", "2x8:A100"]);
    let journal = Journal(mesh.file("journal"));
    let (all, next) = (kills * JOBS_A_KILL, AtomicUsize::new(0));
    let cancelled = Mutex::new(BTreeSet::new());
    let start = Instant::now();
    let mut victims: Vec<&str> = NAMES.to_vec();
    victims.push("kubernetes");
    if mesh.database.server().is_some() {
        victims.push("database");
    }
    let mut slowest = Duration::ZERO;
    let submitters: Vec<_> = (0..PEOPLE).map(|_| Submitter::new(&mesh)).collect();
    let away = std::thread::scope(|scope| {
        let people: Vec<_> = submitters
            .into_iter()
            .map(|submitter| {
                let (seed, journal, next) = (random.random(), &journal, &next);
                scope.spawn(move || person(submitter, journal, seed, next, all))
            })
            .collect();
        for i in 0..kills {
            // the moment is a number of submitted jobs and then some
            let moment = i * JOBS_A_KILL + random.random_range(1..JOBS_A_KILL);
            until("the next moment", PATIENCE, || (next.load(Ordering::SeqCst) >= moment).then_some(()));
            std::thread::sleep(Duration::from_millis(random.random_range(0..50)));
            let victim = victims[random.random_range(0..victims.len())];
            let down = Duration::from_millis(random.random_range(0..400));
            let ready = strike(&mesh, victim, down);
            slowest = slowest.max(ready);
            eprintln!(
                "{:6.1} s: {victim} was away for {down:?}, ready after {ready:?}",
                start.elapsed().as_secs_f64()
            );
        }
        people.into_iter().map(|p| p.join().unwrap()).fold(0, |sum, (ids, away)| {
            cancelled.lock().unwrap().extend(ids);
            sum + away
        })
    });
    let submitted = start.elapsed();
    let jobs = Submitter::new(&mesh).all_ended(PATIENCE);
    let ended = start.elapsed();
    judge(&mesh, &jobs, all, &cancelled.into_inner().unwrap(), &journal);
    eprintln!(
        "{kills} kills, {all} jobs submitted in {submitted:.1?} and ended after {ended:.1?}; {away} calls were not answered; \
         ready again within {slowest:.1?}"
    );
}

#[test]
fn ten_random_kills_lose_nothing_and_start_nothing_twice() {
    chaos(number("CRATER_CHAOS_KILLS").map_or(10, |n| usize::try_from(n).unwrap()));
}

/// For an evening: `cargo test --test mesh two_hundred -- --ignored --nocapture`.
#[test]
#[ignore = "takes many minutes"]
fn two_hundred_random_kills_lose_nothing_and_start_nothing_twice() {
    chaos(200);
}
