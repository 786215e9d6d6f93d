//! A day's load: every task of a recorded cluster as a job, through the gateway, onto its machines, in compressed time.

mod follow;
mod report;
mod trace;

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use crater_api::job::v1::job_service_client::JobServiceClient;
use crater_api::job::v1::{CreateJobRequest, Job, ListJobsRequest};
use crater_api::user::v1::user_service_client::UserServiceClient;
use crater_api::user::v1::{Account, CreateAccountRequest};
use futures::StreamExt;
use futures::stream;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::Mutex;

use crate::process::until;
use crate::session::{Session, retryable};
use crate::system::{Kind, System};
use crate::tables::Tables;
use follow::Followed;
use trace::Recording;

/// What can be set.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Folder of the recording; where it is not there, a seeded generator of the same mix
    #[arg(long, default_value = "../shared/traces/openb")]
    trace: PathBuf,
    /// Seed of the generator, of the accounts and of the kills
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How the mesh runs
    #[arg(long, value_enum, default_value = "up")]
    mesh: Kind,
    /// Where the tables are
    #[command(flatten)]
    tables: Tables,
    /// Only the first so many tasks
    #[arg(long)]
    tasks: Option<usize>,
    /// Seconds within which all arrive
    #[arg(long, default_value_t = 30.0)]
    arrive_within: f64,
    /// The longest that a job runs, in seconds of the recording
    #[arg(long, default_value_t = 7200)]
    longest: i64,
    /// Seconds of the recording that pass in one second
    #[arg(long, default_value_t = 60.0)]
    time_scale: f64,
    /// Accounts that the jobs are spread over
    #[arg(long, default_value_t = 20)]
    accounts: usize,
    /// Kill a service and start it again, every so many seconds
    #[arg(long)]
    kill_every: Option<f64>,
    /// Run the auditor beside it
    #[arg(long)]
    audit: bool,
    /// Give up after so many seconds
    #[arg(long, default_value_t = 1800)]
    give_up: u64,
    /// Also write the report as JSON
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Calls on their way at once.
const IN_FLIGHT: usize = 64;
/// Arrivals before this part of the recording come at once: hardly any do.
const QUIET: f64 = 0.7;

/// Runs it.
pub async fn run(args: Args) -> Result<()> {
    let mut recording = Recording::read(&args.trace, args.seed)?;
    recording.tasks.truncate(args.tasks.unwrap_or(usize::MAX));
    let folder = tempfile::Builder::new().prefix("crater-load-").tempdir()?;
    let nodes = folder.path().join("nodes.yaml");
    std::fs::write(&nodes, &recording.nodes)?;
    let acks = folder.path().join("acks.jsonl");
    println!(
        "{} tasks of {} on {} machines; arriving within {} s; time × {}; at most {} s each; kill every {:?} s",
        recording.tasks.len(),
        recording.source,
        recording.machines,
        args.arrive_within,
        args.time_scale,
        args.longest,
        args.kill_every
    );
    let system = System::start(args.mesh, &nodes, args.time_scale, args.tables.url()).await?;
    let url = system.url.clone();
    let admin = Session::sign_in(&url, "admin", 4).await?;
    let accounts: Vec<String> = (0..args.accounts.max(1)).map(|i| format!("lab-{i:02}")).collect();
    for account in &accounts {
        make_account(&admin, account).await?;
    }
    std::fs::File::create(&acks)?;
    let auditor = args.audit.then(|| system.audit(&acks, args.tables.url())).transpose()?;
    let system = Arc::new(Mutex::new(system));
    let followed = Arc::new(Followed::default());
    let watching = tokio::spawn(follow::follow(admin.clone(), followed.clone()));
    let sampling = tokio::spawn(follow::sample(followed.clone()));
    let killing = args.kill_every.map(|every| tokio::spawn(kill(system.clone(), every, args.seed)));

    let start = Instant::now();
    let mut random = StdRng::seed_from_u64(args.seed);
    let requests: Vec<(f64, CreateJobRequest)> = arrivals(&recording, args.arrive_within)
        .into_iter()
        .zip(&recording.tasks)
        .map(|(at, task)| {
            let account = &accounts[random.random_range(0..accounts.len())];
            (at, task.request(account, args.longest))
        })
        .collect();
    let wanted: Vec<String> =
        requests.iter().map(|(_, r)| format!("{}/jobs/{}", r.parent, r.job_id)).collect();
    let log = Arc::new(std::sync::Mutex::new(std::fs::File::create(&acks)?));
    let submitted: Vec<Result<Duration>> = stream::iter(requests)
        .map(|(at, request)| {
            let (admin, log) = (admin.clone(), log.clone());
            async move {
                tokio::time::sleep_until((start + Duration::from_secs_f64(at)).into()).await;
                submit(&admin, request, &log).await
            }
        })
        .buffer_unordered(IN_FLIGHT)
        .collect()
        .await;
    let accepted_in = start.elapsed();
    let mut answers: Vec<Duration> = submitted.into_iter().collect::<Result<_>>()?;
    println!("all {} accepted after {:.1} s", answers.len(), accepted_in.as_secs_f64());

    let most = Duration::from_secs(args.give_up);
    let all = wanted.len();
    let mut told = Instant::now();
    until("all jobs in a final state", most, async || {
        let ended = followed.ended();
        if told.elapsed() > Duration::from_secs(10) {
            told = Instant::now();
            println!(
                "{:4.0} s: {ended} of {all} ended, {} wait",
                start.elapsed().as_secs_f64(),
                followed.waiting()
            );
        }
        (ended >= all).then_some(())
    })
    .await?;
    let took = start.elapsed();
    if let Some(killing) = killing {
        killing.abort();
        let _ = killing.await;
    }
    sampling.abort();
    watching.abort();
    let jobs = list(&admin).await?;
    let system = system.lock().await;
    let measured = report::Measured { args: &args, took, accepted_in, followed: &followed, system: &system };
    let good = report::print(&measured, &wanted, &jobs, &mut answers)?;
    let clean = match auditor {
        Some(mut auditor) => auditor.verdict().await?,
        None => true,
    };
    if !good || !clean {
        bail!("the run broke a law: see above");
    }
    Ok(())
}

async fn make_account(admin: &Session, id: &str) -> Result<()> {
    let request = CreateAccountRequest {
        account_id: id.to_owned(),
        account: Some(Account::default()),
        ..CreateAccountRequest::default()
    };
    UserServiceClient::new(admin.channel())
        .create_account(admin.request(request))
        .await
        .context("making an account")?;
    Ok(())
}

/// When each task arrives, in seconds from the start.
fn arrivals(recording: &Recording, within: f64) -> Vec<f64> {
    let last = recording.tasks.last().map_or(1.0, |t| t.arrives as f64);
    let begin = last * QUIET;
    recording
        .tasks
        .iter()
        .map(|t| ((t.arrives as f64 - begin) / (last - begin)).clamp(0.0, 1.0) * within)
        .collect()
}

/// Submits until it is accepted; how long that took from the first try.
async fn submit(
    admin: &Session,
    request: CreateJobRequest,
    log: &std::sync::Mutex<std::fs::File>,
) -> Result<Duration> {
    let begun = Instant::now();
    loop {
        if admin.renew(false).await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        }
        let answer = JobServiceClient::new(admin.channel()).create_job(admin.request(request.clone())).await;
        match answer {
            Ok(answer) => {
                let job = answer.into_inner().job.unwrap_or_default();
                let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis();
                let line = serde_json::json!({"job": job.name, "uid": job.uid, "request_id": request.request_id, "time_ms": now});
                let mut log = log.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                writeln!(log, "{line}")?;
                return Ok(begun.elapsed());
            }
            Err(status) if retryable(&status) || status.code() == tonic::Code::Unauthenticated => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(status) => return Err(status).with_context(|| format!("submitting {}", request.job_id)),
        }
    }
}

/// Every job there is.
async fn list(admin: &Session) -> Result<Vec<Job>> {
    let mut jobs = Vec::new();
    let mut token = String::new();
    loop {
        let request = ListJobsRequest {
            parent: "accounts/-".to_owned(),
            page_size: 1000,
            page_token: token.clone(),
            ..ListJobsRequest::default()
        };
        let _ = admin.renew(false).await;
        let answer = JobServiceClient::new(admin.channel()).list_jobs(admin.request(request)).await;
        match answer {
            Ok(page) => {
                let page = page.into_inner();
                jobs.extend(page.jobs);
                token = page.next_page_token;
                if token.is_empty() {
                    return Ok(jobs);
                }
            }
            Err(status) if retryable(&status) => tokio::time::sleep(Duration::from_millis(200)).await,
            Err(status) => return Err(status).context("listing the jobs"),
        }
    }
}

/// Kills one service after the other and starts it again at once.
async fn kill(system: Arc<Mutex<System>>, every: f64, seed: u64) -> Result<()> {
    let mut random = StdRng::seed_from_u64(seed ^ 0x6b69_6c6c);
    loop {
        tokio::time::sleep(Duration::from_secs_f64(every)).await;
        let mut system = system.lock().await;
        let which = random.random_range(0..system.services());
        let name = system.kill_and_restart(which)?;
        println!("      killed {name}");
    }
}
