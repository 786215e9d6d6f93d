//! From CreateJob to Running, at a fixed rate, timed from the moment at which the call was meant to be sent.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use crater_api::job::v1::job_service_client::JobServiceClient;
use crater_api::job::v1::watch_jobs_response::Event;
use crater_api::job::v1::{JobState, WatchJobsRequest};
use hdrhistogram::Histogram;

use super::cluster;
use crate::process::until;
use crate::session::{Session, retryable};
use crate::system::{Kind, System};
use crate::tables::Tables;
use crate::work::small_job;

/// What can be set.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Jobs a second
    #[arg(long, default_values_t = [10.0, 100.0, 1000.0])]
    rates: Vec<f64>,
    /// Seconds of submitting at each rate
    #[arg(long, default_value_t = 15.0)]
    seconds: f64,
    /// Nodes of 64 cores
    #[arg(long, default_value_t = 200)]
    nodes: usize,
    /// Seconds of the cluster's time in one second: a kubelet takes 0.3 s of it to start a Pod
    #[arg(long, default_value_t = 60.0)]
    time_scale: f64,
    /// Where the tables are
    #[command(flatten)]
    tables: Tables,
}

const CONNECTIONS: usize = 8;
/// Jobs still on their way are waited for this long.
const PATIENCE: Duration = Duration::from_secs(120);

/// Measures each rate on a fresh mesh and prints a table.
pub async fn run(args: Args) -> Result<()> {
    println!(
        "| jobs/s asked | accepted/s | CreateJob p50 / p99, ms | to Running p50 / p99, ms | processor | peak MiB |\n|---|---|---|---|---|---|"
    );
    for rate in &args.rates {
        one(&args, *rate).await?;
    }
    Ok(())
}

type Seen = Arc<Mutex<HashMap<String, Instant>>>;

async fn one(args: &Args, rate: f64) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let system =
        System::start(Kind::Up, &cluster(&folder, args.nodes)?, args.time_scale, args.tables.url()).await?;
    let admin = Session::sign_in(&system.url, "admin", CONNECTIONS).await?;
    let seen: Seen = Arc::default();
    let watching = tokio::spawn(watch(admin.clone(), seen.clone()));
    let count = (rate * args.seconds) as usize;
    let start = Instant::now();
    let mut calls = tokio::task::JoinSet::new();
    for i in 0..count {
        let due = start + Duration::from_secs_f64(i as f64 / rate);
        tokio::time::sleep_until(due.into()).await;
        let admin = admin.clone();
        calls.spawn(async move {
            // so long that every job is seen running
            let request = small_job(100, 120);
            loop {
                let call =
                    JobServiceClient::new(admin.channel()).create_job(admin.request(request.clone())).await;
                match call {
                    Ok(answer) => {
                        return anyhow::Ok((
                            answer.into_inner().job.unwrap_or_default().name,
                            due,
                            due.elapsed(),
                        ));
                    }
                    Err(status) if retryable(&status) => tokio::time::sleep(Duration::from_millis(20)).await,
                    Err(status) => return Err(status.into()),
                }
            }
        });
    }
    let (mut answered, mut due_of) = (Histogram::<u64>::new(3)?, HashMap::new());
    while let Some(call) = calls.join_next().await {
        let (name, due, took) = call??;
        answered.record(u64::try_from(took.as_micros())?)?;
        due_of.insert(name, due);
    }
    let accepted = start.elapsed().as_secs_f64();
    let lock = || seen.lock().unwrap_or_else(PoisonError::into_inner);
    until("every job to run", PATIENCE, async || (lock().len() >= count).then_some(())).await?;
    watching.abort();
    let mut running = Histogram::<u64>::new(3)?;
    for (name, at) in lock().iter() {
        if let Some(due) = due_of.get(name) {
            running.record(u64::try_from(at.saturating_duration_since(*due).as_micros())?)?;
        }
    }
    let ms = |h: &Histogram<u64>, q| h.value_at_quantile(q) as f64 / 1e3;
    println!(
        "| {rate} | {:.0} | {:.1} / {:.1} | {:.0} / {:.0} | {:.0} % of one | {:.0} |",
        count as f64 / accepted,
        ms(&answered, 0.5),
        ms(&answered, 0.99),
        ms(&running, 0.5),
        ms(&running, 0.99),
        system.cpu_seconds() / start.elapsed().as_secs_f64() * 100.0,
        system.used().iter().map(|u| u.2).sum::<f64>()
    );
    Ok(())
}

async fn watch(admin: Session, seen: Seen) -> Result<()> {
    let request = WatchJobsRequest { parent: "accounts/-".to_owned(), ..WatchJobsRequest::default() };
    let mut stream =
        JobServiceClient::new(admin.channel()).watch_jobs(admin.stream(request)).await?.into_inner();
    while let Some(message) = stream.message().await? {
        if let Some(Event::Changed(job)) = message.event
            && matches!(job.state(), JobState::Running | JobState::Succeeded)
        {
            seen.lock().unwrap_or_else(PoisonError::into_inner).entry(job.name).or_insert_with(Instant::now);
        }
    }
    Ok(())
}
