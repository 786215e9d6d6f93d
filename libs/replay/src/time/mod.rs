//! Time replay: a recorded list of jobs runs on a pool of identical nodes under a policy, by simulated time.
//!
//! Every policy meets the same pool, placement and cost of restarts, so that only the order differs. What `fifo`, `las` and
//! `oracle-*` do is told at each; `crater` knows no duration before a job ends, and `crater-told` what its owner said.

mod bounds;
mod clock;
pub mod command;
mod crater;
mod foretell;
mod jobs;
mod las;
mod load;
mod policy;
mod pool;
mod report;
mod show;
mod workload;

use crater_engine::Millis;

pub use bounds::{Bounds, bounds};
use load::thousandths;
pub use load::{ListFormat, RESTART, load};
pub use policy::Policy;
pub use report::{Forecasts, JobRow, Report, SizeClass, Unfairness};
pub use workload::{Asked, Truth, Workload};

/// A pool of identical nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nodes {
    /// How many.
    pub count: u32,
    /// GPUs of each.
    pub gpus_each: u32,
}

impl Nodes {
    /// GPUs in all.
    pub fn gpus(self) -> u64 {
        u64::from(self.count) * u64::from(self.gpus_each)
    }
}

/// A replay and what became of each job.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// In all.
    pub report: Report,
    /// Each job, in order of submission.
    pub jobs: Vec<JobRow>,
    /// (submission, first start, end) of each job that ended, in milliseconds, and its GPUs.
    pub spans: Vec<(Millis, Millis, Millis, u32)>,
    /// (instant, milli-GPU taken or given back), in any order.
    pub held: Vec<(Millis, i64)>,
}

/// Replays a workload; `watch` is called now and then with (jobs ended, jobs in all).
pub fn replay(
    workload: &Workload,
    nodes: Nodes,
    policy: Policy,
    watch: &mut dyn FnMut(usize, usize),
) -> Replayed {
    let outcome = policy::run(workload, nodes, policy, watch);
    judged(workload, outcome, policy.name(), nodes.gpus())
}

fn judged(workload: &Workload, outcome: clock::Outcome, policy: &str, gpus: u64) -> Replayed {
    let clock::Outcome { fates, held, told } = outcome;
    let mut report = report::report(workload, &fates, policy, gpus);
    report.forecasts = report::forecasts(&fates, &told);
    let span =
        |(asked, fate): (&Asked, &clock::Fate)| Some((asked.submitted, fate.first?, fate.end?, asked.gpus));
    Replayed {
        report,
        jobs: report::rows(workload, &fates),
        spans: workload.asked.iter().zip(&fates).filter_map(span).collect(),
        held,
    }
}
