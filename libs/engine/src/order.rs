//! In which order the jobs of one account are served: from what is known of each, a [`Rank`]; the smaller goes first.
//!
//! Pure and without state, so that a scheduler and a replay use the same. Who holds GPUs has a rank too: a scheduler that may
//! stop work compares it with those who wait.

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};

use crate::model::Millis;
use crate::predict::Prediction;

/// The policies by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// By submission.
    Fifo,
    /// By priority, then by submission.
    #[default]
    Priority,
    /// By priority, then by the least GPU-time that is expected for an end (see [`Prediction::cost`]), with ageing: nobody
    /// is passed by work submitted later than [`Tuning::patience`] × its own GPU-time spread over the whole pool.
    Sjf,
    /// By priority, then by least attained service in two levels (Gu et al., "Tiresias", NSDI '19): before those that have had
    /// their quantum come those that have not.
    Las,
    /// By priority, then in two levels like `Las`. In the first, who runs goes before who waits, and those expected to end
    /// soonest go first, as in `Sjf`. In the second, jobs keep the place that they had after the last decision, runners before
    /// others, and who falls into it goes behind all: so what was stopped for a newcomer resumes when that had its quantum.
    Crater,
}

/// What may be turned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tuning {
    /// How many times its own work, spread over the whole pool, a job lets others pass that were submitted later.
    pub patience: i64,
    /// What a job is served before it falls to the second level: what the whole pool does in so long.
    pub quantum_ms: Millis,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { patience: 1000, quantum_ms: 500_000 }
    }
}

/// What is known of a job that waits or runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing<'a> {
    /// Greater goes first.
    pub priority: i32,
    /// When it was submitted.
    pub submitted: Millis,
    /// Its place in line after the last decision, runners of its level before others; [`i64::MAX`] for one that is new there
    /// or has changed its [`Rank::level`]. Only [`Order::Crater`] asks.
    pub place: i64,
    /// Does it hold what it needs?
    pub running: bool,
    /// For how long it has held it in all.
    pub served: Millis,
    /// What starting costs it: 0 for one that never ran.
    pub restart: Millis,
    /// Milli-GPU of all its replicas (work without GPUs counts as one thousandth).
    pub gpu: i64,
    /// How long it may run.
    pub prediction: Option<&'a Prediction>,
    /// How much longer it is expected to run, where that is known already and not to be asked of a prediction.
    pub remaining: Option<Millis>,
}

/// Where a job stands in line; the smaller goes first. What is equal goes by ordinal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    priority: Reverse<i32>,
    level: u8,
    waits: bool,
    within: i64,
    submitted: Millis,
}

impl Rank {
    /// 0: it has not had its quantum. 1: it has.
    pub fn level(&self) -> u8 {
        self.level
    }
}

/// The rank of a job, in a pool of `pool_gpu` milli-GPU that it may run in.
pub fn rank(order: Order, tuning: &Tuning, pool_gpu: i64, job: &Standing<'_>) -> Rank {
    let mut rank = Rank {
        priority: Reverse(if order == Order::Fifo { 0 } else { job.priority }),
        level: 0,
        waits: false,
        within: 0,
        submitted: job.submitted,
    };
    match order {
        Order::Fifo | Order::Priority => {}
        Order::Sjf => rank.within = aged(tuning, pool_gpu, job),
        Order::Las => rank.level = level(tuning, pool_gpu, job),
        Order::Crater => {
            rank.level = level(tuning, pool_gpu, job);
            if rank.level == 0 {
                rank.waits = !job.running;
                rank.within = aged(tuning, pool_gpu, job);
            } else {
                rank.within = job.place;
            }
        }
    }
    rank
}

/// Has it had its quantum?
fn level(tuning: &Tuning, pool_gpu: i64, job: &Standing<'_>) -> u8 {
    let quantum = i128::from(tuning.quantum_ms) * i128::from(pool_gpu);
    u8::from(i128::from(job.served) * i128::from(job.gpu.max(1)) >= quantum)
}

/// When a job that was submitted then is due: the later, the more work it is expected to be.
fn aged(tuning: &Tuning, pool_gpu: i64, job: &Standing<'_>) -> i64 {
    let known = job.remaining.map(|remaining| remaining.max(1));
    let cost = known.or_else(|| job.prediction.map(|prediction| prediction.cost(job.served)));
    let cost = cost.unwrap_or(job.served);
    // who runs has its pause behind it
    let pause = if job.running { 0 } else { job.restart };
    let work = i128::from(cost.saturating_add(pause)) * i128::from(job.gpu.max(1));
    let due = i128::from(job.submitted) + work * i128::from(tuning.patience) / i128::from(pool_gpu.max(1));
    i64::try_from(due).unwrap_or(i64::MAX)
}

/// When a running job's rank may change by itself: it has had its quantum, or is less likely to end soon.
pub fn next_change(
    order: Order,
    tuning: &Tuning,
    pool_gpu: i64,
    now: Millis,
    job: &Standing<'_>,
) -> Option<Millis> {
    if !job.running {
        return None;
    }
    let gpu = i128::from(job.gpu.max(1));
    let quantum = (i128::from(tuning.quantum_ms) * i128::from(pool_gpu) + gpu - 1) / gpu;
    let quantum = i64::try_from(quantum).unwrap_or(Millis::MAX);
    let served = match order {
        Order::Fifo | Order::Priority => None,
        Order::Las | Order::Crater => Some(quantum).filter(|quantum| *quantum > job.served),
        Order::Sjf => job.prediction.and_then(|prediction| prediction.next_step(job.served)),
    };
    served.map(|served| now.saturating_add(served - job.served))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::predict::{Predictor, Traits};

    const POOL: i64 = 64_000;

    fn first<'a>(order: Order, jobs: &[(&'a str, Standing<'_>)]) -> Vec<&'a str> {
        let ranked = jobs.iter().map(|(name, job)| (rank(order, &Tuning::default(), POOL, job), *name));
        let mut sorted: Vec<(Rank, &str)> = ranked.collect();
        sorted.sort();
        sorted.into_iter().map(|(_, name)| name).collect()
    }

    fn job(submitted: Millis, gpu: i64) -> Standing<'static> {
        Standing { submitted, gpu, ..Standing::default() }
    }

    #[test]
    fn submission_and_priority_order_as_they_say() {
        let urgent = Standing { priority: 5, ..job(9, 1000) };
        let jobs = [("urgent", urgent), ("late", job(8, 1000)), ("early", job(7, 1000))];
        assert_eq!(first(Order::Fifo, &jobs), ["early", "late", "urgent"]);
        for order in [Order::Priority, Order::Sjf, Order::Las, Order::Crater] {
            assert_eq!(first(order, &jobs)[0], "urgent", "{order:?}");
        }
    }

    #[test]
    fn the_shortest_goes_first_but_not_for_ever() {
        let mut predictor = Predictor::default();
        let traits = |gpu| Traits { gpu, ..Traits::default() };
        for _ in 0..50 {
            predictor.learn(&traits(1000), 60_000);
            predictor.learn(&traits(8000), 36_000_000);
        }
        let (short, long) = (predictor.predict(&traits(1000)), predictor.predict(&traits(8000)));
        let long = Standing { prediction: Some(&long), ..job(0, 8000) };
        let passes = |submitted| {
            let short = Standing { prediction: Some(&short), ..job(submitted, 1000) };
            first(Order::Sjf, &[("long", long), ("short", short)])[0] == "short"
        };
        assert!(passes(1000) && passes(86_400_000));
        // 10 hours on an eighth of the pool, a thousand times
        assert!(!passes(86_400_000 * 90));
    }

    #[test]
    fn who_had_its_quantum_stands_back() {
        let served = |served, running, place| Standing { served, running, place, ..job(0, 8000) };
        // 500 s of 64 GPUs are 4000 s of 8
        let fresh = served(3_999_999, false, i64::MAX);
        let jobs = [
            ("just fallen", served(4_000_000, true, i64::MAX)),
            ("stopped", served(5_000_000, false, 6)),
            ("running", served(4_000_000, true, 5)),
            ("fresh", fresh),
        ];
        assert_eq!(first(Order::Crater, &jobs), ["fresh", "running", "stopped", "just fallen"]);
        assert_eq!(first(Order::Las, &jobs)[0], "fresh");
        let running = Standing { running: true, ..fresh };
        let change = |order, job| next_change(order, &Tuning::default(), POOL, 100, job);
        assert_eq!(change(Order::Crater, &running), Some(101));
        assert_eq!((change(Order::Crater, &fresh), change(Order::Fifo, &running)), (None, None));
    }
}
