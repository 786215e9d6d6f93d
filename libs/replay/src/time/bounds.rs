//! Lower bounds on the mean time from submission to end of rigid gangs, for every schedule, clairvoyant or not.
//!
//! The largest of three holds: the mean run time; shortest remaining service first on one machine as fast as all GPUs together;
//! and on the same machine least service first (a fixed order, with preemption), by mean busy times plus half of each run
//! time (Goemans et al., SIAM J. Discrete Math. 15, 2002).

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::workload::Workload;

/// What no schedule beats, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// The mean run time.
    pub run_time: f64,
    /// One fast machine, shortest remaining service first.
    pub one_machine: f64,
    /// One fast machine, mean busy times.
    pub mean_busy: f64,
}

impl Bounds {
    /// The one that counts.
    pub fn mean_jct_s(&self) -> f64 {
        self.run_time.max(self.one_machine).max(self.mean_busy)
    }
}

/// A number that orders as floats do; no NaN comes up.
#[derive(Clone, Copy, PartialEq)]
struct Key(f64);
impl Eq for Key {}
impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Key {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// The bounds for `jobs` of a workload on so many GPUs.
pub fn bounds(workload: &Workload, jobs: &[usize], gpus: u64) -> Bounds {
    let mut rows: Vec<(f64, usize, f64)> = jobs
        .iter()
        .map(|job| {
            let asked = &workload.asked[*job];
            let service = seconds(workload.truth[*job].0) * f64::from(asked.gpus) / gpus as f64;
            (seconds(asked.submitted), *job, service)
        })
        .collect();
    rows.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let n = rows.len().max(1) as f64;
    let runs: f64 = jobs.iter().map(|job| seconds(workload.truth[*job].0)).sum();
    let came: f64 = rows.iter().map(|row| row.0).sum();
    let (flow, _) = fluid(&rows, true);
    let (_, busy) = fluid(&rows, false);
    Bounds { run_time: runs / n, one_machine: flow / n, mean_busy: (busy + 0.5 * runs - came) / n }
}

fn seconds(millis: i64) -> f64 {
    millis as f64 / 1000.0
}

/// One machine: the sums of flow times and of mean busy times. Rows are (arrival, id, service), sorted.
fn fluid(rows: &[(f64, usize, f64)], by_remaining: bool) -> (f64, f64) {
    let mut heap: BinaryHeap<Reverse<(Key, usize)>> = BinaryHeap::new();
    let mut left: Vec<f64> = rows.iter().map(|row| row.2).collect();
    let (mut next, mut now, mut flow, mut busy) = (0, 0.0f64, 0.0, 0.0);
    while next < rows.len() || !heap.is_empty() {
        if heap.is_empty() {
            now = now.max(rows[next].0);
        }
        while next < rows.len() && rows[next].0 <= now {
            heap.push(Reverse((Key(rows[next].2), next)));
            next += 1;
        }
        let Some(Reverse((key, at))) = heap.pop() else { break };
        let until = rows.get(next).map_or(f64::INFINITY, |row| row.0 - now);
        let step = left[at].min(until);
        if step > 0.0 {
            busy += (now + step / 2.0) * step / rows[at].2;
            left[at] -= step;
            now += step;
        }
        if left[at] <= 1e-9 * rows[at].2.max(1.0) {
            flow += now - rows[at].0;
        } else {
            heap.push(Reverse((if by_remaining { Key(left[at]) } else { key }, at)));
        }
    }
    (flow, busy)
}
