//! The policies by name.

use super::Nodes;
use super::clock::{Line, Oracle, Outcome, Watch, Who, run_line, run_packed};
use super::crater::Crater;
use super::las::Las;
use super::pool::Pool;
use super::workload::Workload;

/// What decides the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// By submission, to the end; the first that does not fit blocks those behind it.
    Fifo,
    /// Least attained service in two levels, preemptive.
    Las,
    /// Ours: knows no duration, learns from jobs that ended.
    Crater,
    /// Ours, with what owners say about how long their jobs run.
    CraterTold,
    /// Shortest true duration first, to the end.
    OracleSjf,
    /// Least remaining true service (time × GPUs) first, preemptive.
    OracleSrsf,
    /// Shortest remaining true time first, preemptive.
    OracleSrtf,
}

impl Policy {
    /// All of them, in the order in which tables show them.
    pub const ALL: [Self; 7] = [
        Self::Fifo,
        Self::Las,
        Self::Crater,
        Self::CraterTold,
        Self::OracleSjf,
        Self::OracleSrtf,
        Self::OracleSrsf,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fifo => "fifo",
            Self::Las => "las",
            Self::Crater => "crater",
            Self::CraterTold => "crater-told",
            Self::OracleSjf => "oracle-sjf",
            Self::OracleSrsf => "oracle-srsf",
            Self::OracleSrtf => "oracle-srtf",
        }
    }

    /// The policy of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.name() == name)
    }
}

pub(super) fn run(workload: &Workload, nodes: Nodes, policy: Policy, watch: Watch<'_>) -> Outcome {
    let pool = Pool::new(nodes.count, nodes.gpus_each);
    match policy {
        Policy::Fifo => run_line(workload, pool, Line::Fifo, watch),
        Policy::OracleSjf => run_line(workload, pool, Line::OracleSjf, watch),
        Policy::Las => run_packed(workload, pool, Who::Blind(&mut Las::default()), watch),
        Policy::Crater => run_packed(workload, pool, Who::Blind(&mut Crater::new(false)), watch),
        Policy::CraterTold => run_packed(workload, pool, Who::Blind(&mut Crater::new(true)), watch),
        Policy::OracleSrsf => run_packed(workload, pool, Who::Oracle(Oracle::new(true)), watch),
        Policy::OracleSrtf => run_packed(workload, pool, Who::Oracle(Oracle::new(false)), watch),
    }
}
