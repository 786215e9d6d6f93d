//! A closed loop: so many callers, each with one call at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;
use tonic::Status;

/// What a turn came to.
pub struct Turn {
    /// Calls a second that were answered well.
    pub per_second: f64,
    /// Microseconds.
    pub latency: Histogram<u64>,
    /// Calls that were not.
    pub failed: u64,
}

/// Calls for `seconds`, `clients` at once. A call that fails is counted and not repeated.
pub async fn closed<F>(
    clients: usize,
    seconds: f64,
    call: impl Fn() -> F + Send + Sync + 'static,
) -> Result<Turn>
where
    F: Future<Output = Result<(), Status>> + Send + 'static,
{
    let (call, stop, failed) =
        (Arc::new(call), Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let begun = Instant::now();
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..clients {
        let (call, stop, failed) = (call.clone(), stop.clone(), failed.clone());
        callers.spawn(async move {
            let mut took = Histogram::<u64>::new(3)?;
            while !stop.load(Ordering::Relaxed) {
                let start = Instant::now();
                match call().await {
                    Ok(()) => took.record(u64::try_from(start.elapsed().as_micros())?)?,
                    Err(_) => {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
            anyhow::Ok(took)
        });
    }
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    stop.store(true, Ordering::Relaxed);
    let mut latency = Histogram::new(3)?;
    while let Some(took) = callers.join_next().await {
        latency.add(took??)?;
    }
    let per_second = latency.len() as f64 / begun.elapsed().as_secs_f64();
    Ok(Turn { per_second, latency, failed: failed.load(Ordering::Relaxed) })
}
