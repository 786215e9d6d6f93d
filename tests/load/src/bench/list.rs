//! A page of 100 jobs out of a million.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use crater_api::job::v1::job_service_client::JobServiceClient;
use crater_api::job::v1::{JobFilter, JobState, ListJobsRequest};
use crater_domain::{JobName, JobSpec, JobState as State, JobUid, Resources, Role};
use crater_store::job::{self, NewJob};
use crater_store::{Db, Error, Location, Service, Tx};

use super::load::closed;
use super::rounds::{HEAD, Side};
use super::{Common, Echo, cluster};
use crate::session::Session;
use crate::system::System;

/// What can be set.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// Jobs in the tables
    #[arg(long, default_value_t = 1_000_000)]
    jobs: usize,
}

const CONNECTIONS: usize = 4;
/// Rows of one transaction while the tables are filled.
const BATCH: usize = 10_000;
/// Accounts that the jobs are spread over, `default` among them.
const ACCOUNTS: usize = 100;

/// Fills the tables, then measures several queries and prints a table.
pub async fn run(args: Args) -> Result<()> {
    let common = &args.common;
    let folder = tempfile::Builder::new().prefix("crater-load-").tempdir()?;
    let db = folder.path().join("data").join("db");
    std::fs::create_dir_all(&db)?;
    let location = match common.tables.url() {
        Some(url) => url.parse()?,
        None => Location::from(db.clone()),
    };
    let begun = Instant::now();
    fill(&location, args.jobs).await?;
    println!("{} jobs made in {:.0} s{}", args.jobs, begun.elapsed().as_secs_f64(), size(&db));
    let system = System::resume(folder, |folder| cluster(folder, 1), 1.0, common.tables.url()).await?;
    let admin = Session::sign_in(&system.url, "admin", CONNECTIONS).await?;
    let echo = Echo::start(CONNECTIONS)?;
    let everything =
        ListJobsRequest { parent: "accounts/-".to_owned(), page_size: 100, ..ListJobsRequest::default() };
    let of = |filter: JobFilter| ListJobsRequest { filter: Some(filter), ..everything.clone() };
    let queries = [
        ("newest of all", everything.clone()),
        (
            "newest of one account",
            ListJobsRequest { parent: "accounts/default".to_owned(), ..everything.clone() },
        ),
        ("failed ones", of(JobFilter { states: vec![JobState::Failed.into()], ..JobFilter::default() })),
        (
            "of one creator",
            of(JobFilter { creators: vec!["users/user-7".to_owned()], ..JobFilter::default() }),
        ),
        (
            "with a label",
            of(JobFilter { labels: [("run".to_owned(), "7".to_owned())].into(), ..JobFilter::default() }),
        ),
    ];
    println!("ListJobs, 100 of {}, {} clients, {}", args.jobs, common.clients, common.tables.name());
    println!("{HEAD}");
    for (name, request) in queries {
        let (mut mesh, mut alone, mut bare) = (Side::default(), Side::default(), Side::default());
        for _ in 0..common.rounds {
            for (clients, side) in [(common.clients, &mut mesh), (1, &mut alone)] {
                let (caller, request) = (admin.clone(), request.clone());
                let turn = closed(clients, common.seconds, move || {
                    let (caller, request) = (caller.clone(), request.clone());
                    async move {
                        let answer = JobServiceClient::new(caller.channel())
                            .list_jobs(caller.request(request))
                            .await?;
                        match answer.into_inner().jobs.len() {
                            100 => Ok(()),
                            other => Err(tonic::Status::internal(format!("a page of {other}"))),
                        }
                    }
                });
                side.add(&turn.await?);
            }
            bare.add(&echo.turn(common.clients, common.seconds).await?);
            admin.renew(false).await?;
        }
        println!(
            "{}\n{}\n{}",
            mesh.row(name),
            alone.row(&format!("{name}, one client")),
            bare.row("bare echo")
        );
        println!("| {name} / echo | {} | | |", mesh.ratio(&bare));
    }
    Ok(())
}

/// Ended jobs, as years of use leave them behind.
async fn fill(location: &Location, jobs: usize) -> Result<()> {
    let db = Db::open(location, Service::Job).await?;
    for first in (0..jobs).step_by(BATCH) {
        let last = (first + BATCH).min(jobs);
        db.transaction::<_, Error, _>(Tx::CreateJob, move |c| {
            for i in first..last {
                let mut made = job::create(c, &new(i)?)?;
                made.state = if i % 50 == 0 { State::Failed } else { State::Succeeded };
                made.ended_ms = Some(made.created_ms + 60_000);
                made.dirty = false;
                job::save(c, &mut made)?;
            }
            Ok(())
        })
        .await?;
    }
    Ok(())
}

fn new(i: usize) -> Result<NewJob, Error> {
    let refuse = |e: &dyn std::fmt::Display| Error::Open(format!("job {i}: {e}"));
    let account =
        if i.is_multiple_of(ACCOUNTS) { "default".to_owned() } else { format!("lab-{}", i % ACCOUNTS) };
    let name: JobName = format!("accounts/{account}/jobs/job-{i}").parse().map_err(|e| refuse(&e))?;
    let role = Role {
        name: "worker".parse().map_err(|e| refuse(&e))?,
        replicas: 1,
        min_replicas: 1,
        resources: Resources { cpu_millis: 4000, memory_bytes: 16 << 30, gpu_millis: 1000 },
        devices: Default::default(),
        gpu_models: vec!["A100".to_owned()],
        image: "registry.example/team/train:2026-11".to_owned(),
        command: vec!["python".to_owned(), "train.py".to_owned()],
        args: vec!["--epochs".to_owned(), "3".to_owned()],
        env: Vec::new(),
        working_dir: String::new(),
        mounts: Vec::new(),
    };
    let spec = JobSpec {
        class: crater_domain::ServiceClass::Guaranteed,
        priority: 0,
        roles: vec![role],
        expected_seconds: None,
        max_retries: 0,
        grace_seconds: 30,
        place: crater_domain::Place::default(),
    };
    Ok(NewJob {
        uid: JobUid(uuid::Uuid::now_v7()),
        name,
        creator: format!("user-{}", i % 1000).parse().map_err(|e| refuse(&e))?,
        spec,
        labels: [("run".to_owned(), (i % 5000).to_string())].into(),
        created_ms: 1_700_000_000_000 + i64::try_from(i).unwrap_or(0) * 1000,
        trace: None,
    })
}

fn size(db: &Path) -> String {
    let bytes: u64 = std::fs::read_dir(db)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|f| Some(f.metadata().ok()?.len()))
        .sum();
    if bytes == 0 { String::new() } else { format!(", {} MiB on disk", bytes >> 20) }
}
