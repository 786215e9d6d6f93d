//! A thousand open WatchJobs streams while jobs come and go.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use crater_api::job::v1::job_service_client::JobServiceClient;
use crater_api::job::v1::watch_jobs_response::Event;
use crater_api::job::v1::{JobState, WatchJobsRequest};
use hdrhistogram::Histogram;

use super::cluster;
use crate::process::until;
use crate::session::Session;
use crate::system::{Kind, System};
use crate::tables::Tables;
use crate::work::small_job;

/// What can be set.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Streams that are open at once
    #[arg(long, default_value_t = 1000)]
    streams: usize,
    /// Jobs that are submitted each second; each makes about four changes
    #[arg(long, default_value_t = 10.0)]
    rate: f64,
    /// Seconds of submitting
    #[arg(long, default_value_t = 20.0)]
    seconds: f64,
    /// Where the tables are
    #[command(flatten)]
    tables: Tables,
}

/// A connection carries at most 128 streams.
const PER_CONNECTION: usize = 100;

/// Opens them, submits, and tells what they heard, how late, and what it cost.
pub async fn run(args: Args) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let system = System::start(Kind::Up, &cluster(&folder, 50)?, 60.0, args.tables.url()).await?;
    for streams in [1, args.streams] {
        let admin = Session::sign_in(&system.url, "admin", streams.div_ceil(PER_CONNECTION) + 1).await?;
        let (open, heard) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let late = Arc::new(std::sync::Mutex::new(Histogram::<u64>::new(3)?));
        let mut watchers = tokio::task::JoinSet::new();
        for _ in 0..streams {
            let (admin, open, heard, late) = (admin.clone(), open.clone(), heard.clone(), late.clone());
            watchers.spawn(async move {
                let request =
                    WatchJobsRequest { parent: "accounts/-".to_owned(), ..WatchJobsRequest::default() };
                let answer = JobServiceClient::new(admin.channel()).watch_jobs(admin.stream(request)).await?;
                let mut stream = answer.into_inner();
                let mut whole = false;
                while let Some(message) = stream.message().await? {
                    match message.event {
                        Some(Event::Bookmark(_)) if !whole => {
                            whole = true;
                            open.fetch_add(1, Ordering::Relaxed);
                        }
                        Some(Event::Changed(job)) if whole => {
                            heard.fetch_add(1, Ordering::Relaxed);
                            // one moment that both sides know: the acceptance
                            if job.state() == JobState::Queued && job.reason == "Submitted" {
                                let made = job
                                    .create_time
                                    .map_or(0, |t| t.seconds * 1000 + i64::from(t.nanos) / 1_000_000);
                                let now = std::time::SystemTime::now()
                                    .duration_since(std::time::UNIX_EPOCH)?
                                    .as_millis();
                                let took = u64::try_from(i64::try_from(now)? - made).unwrap_or(0);
                                late.lock()
                                    .unwrap_or_else(std::sync::PoisonError::into_inner)
                                    .record(took)?;
                            }
                        }
                        _ => {}
                    }
                }
                anyhow::Ok(())
            });
        }
        let begun = Instant::now();
        let all = u64::try_from(streams)?;
        until("every stream's snapshot", Duration::from_secs(120), async || {
            (open.load(Ordering::Relaxed) == all).then_some(())
        })
        .await?;
        let opened = begun.elapsed().as_secs_f64();
        let (before, start) = (system.cpu_seconds(), Instant::now());
        let jobs = (args.rate * args.seconds) as u32;
        for i in 0..jobs {
            tokio::time::sleep_until((start + Duration::from_secs_f64(f64::from(i) / args.rate)).into())
                .await;
            JobServiceClient::new(admin.channel()).create_job(admin.request(small_job(1000, 1))).await?;
        }
        let mut last = 0;
        until("the last change", Duration::from_secs(60), async || {
            tokio::time::sleep(Duration::from_secs(2)).await;
            let now = heard.load(Ordering::Relaxed);
            let quiet = now == last && now > 0;
            last = now;
            quiet.then_some(())
        })
        .await?;
        let used = system.cpu_seconds() - before;
        watchers.abort_all();
        let late = late.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        println!(
            "{streams} stream(s), opened in {opened:.2} s; {jobs} jobs at {}/s: {} messages ({:.1} a job and stream); heard after p50 {} ms, p99 {} ms; \
             the mesh used {used:.1} s of processor, {:.0} µs a message; peak {:.0} MiB",
            args.rate,
            last,
            last as f64 / f64::from(jobs) / streams as f64,
            late.value_at_quantile(0.5),
            late.value_at_quantile(0.99),
            used * 1e6 / last as f64,
            system.used().iter().map(|u| u.2).sum::<f64>()
        );
    }
    Ok(())
}
