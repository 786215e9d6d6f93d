//! What a replay says about itself.

use crater_engine::Millis;
use crater_engine::forecast::Forecast;
use serde::Serialize;

use super::bounds::bounds;
use super::clock::Fate;
use super::workload::Workload;

/// The results of one replay, as they are printed by `--output json`. Times in seconds.
///
/// The q-th quantile of n sorted values is the one at index ⌊q·n⌋. Queueing is what a job's time from submission to end has
/// beyond its run time, pauses included.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The policy.
    pub policy: String,
    /// Jobs replayed.
    pub jobs: usize,
    /// GPUs of the pool.
    pub gpus: u64,
    /// Mean time from submission to end.
    pub mean_jct_s: f64,
    /// Half of the jobs take no longer.
    pub p50_jct_s: f64,
    /// 99 of 100 jobs take no longer.
    pub p99_jct_s: f64,
    /// Mean queueing.
    pub mean_queue_s: f64,
    /// Median of queueing.
    pub p50_queue_s: f64,
    /// 99 of 100 jobs queue no longer.
    pub p99_queue_s: f64,
    /// When the last job ends, on the list's clock.
    pub makespan_s: f64,
    /// GPU-time of useful work, of what the pool has from the first arrival to the last end.
    pub gpu_utilisation: f64,
    /// Times a job was stopped.
    pub preemptions: u64,
    /// Times a job that ran had to leave its nodes for others.
    pub migrations: u64,
    /// GPU-hours held in pauses.
    pub gpu_hours_lost: f64,
    /// Against an equal share of the pool.
    pub unfairness: Unfairness,
    /// Jobs that the pool could never hold, or that did not end.
    pub unfinished: usize,
    /// Lines that are no job, by reason.
    pub left_out: Vec<(&'static str, usize)>,
    /// No schedule of rigid gangs has a lower mean (see [`super::bounds`]).
    pub lower_bound_s: f64,
    /// `mean_jct_s` by `lower_bound_s`.
    pub ratio: f64,
    /// Jobs by gang size.
    pub by_gpus: Vec<SizeClass>,
    /// Forecasts of starts; oracles make none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forecasts: Option<Forecasts>,
    /// What the replay took.
    pub seconds: f64,
}

/// A job's time by what it would have had with an equal share: its run time × max(1, jobs × its GPUs / GPUs of the pool), with
/// the mean number of jobs while it was there (finish-time fairness; Mahajan et al., "Themis", NSDI '20).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Unfairness {
    /// The worst of all.
    pub worst: f64,
    /// The part of the jobs above 1.05.
    pub share_over_1_05: f64,
}

/// Jobs of like size.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SizeClass {
    /// Up to so many GPUs (a power of two), and more than half of it.
    pub gpus: u32,
    /// How many.
    pub jobs: usize,
    /// Mean time from submission to end.
    pub mean_jct_s: f64,
    /// Mean queueing.
    pub mean_queue_s: f64,
}

/// How first starts came against what jobs were told when they came and could not start at once. Of those that started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Forecasts {
    /// Jobs that were told.
    pub told: usize,
    /// The part of them that started by their p50.
    pub by_p50: f64,
    /// The part of them that started by their p90.
    pub by_p90: f64,
    /// Half of them waited no longer.
    pub median_wait_s: f64,
    /// Half of the starts were no further from their p50.
    pub median_error_s: f64,
    /// Half of them had no more time between p50 and p90.
    pub median_width_s: f64,
    /// Half of them were told, by p90, to wait no longer.
    pub median_p90_s: f64,
}

pub(super) fn forecasts(fates: &[Fate], told: &[Option<Forecast>]) -> Option<Forecasts> {
    let pairs: Vec<(Millis, Forecast)> =
        fates.iter().zip(told).filter_map(|(fate, told)| Some((fate.first?, (*told)?))).collect();
    if told.is_empty() {
        return None;
    }
    let part = |by: &dyn Fn(&Forecast) -> Millis| {
        let there = pairs.iter().filter(|(start, told)| *start <= by(told)).count();
        there as f64 / pairs.len().max(1) as f64
    };
    let median = |of: &dyn Fn(Millis, &Forecast) -> Millis| {
        let mut all: Vec<Millis> = pairs.iter().map(|(start, told)| of(*start, told)).collect();
        all.sort_unstable();
        quantile(&all, 50)
    };
    Some(Forecasts {
        told: pairs.len(),
        by_p50: part(&|told| told.p50),
        by_p90: part(&|told| told.p90),
        median_wait_s: median(&|start, told| start - told.at),
        median_error_s: median(&|start, told| (start - told.p50).abs()),
        median_width_s: median(&|_, told| told.p90 - told.p50),
        median_p90_s: median(&|_, told| told.p90 - told.at),
    })
}

/// One job of the per-job table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct JobRow {
    /// Its name in the list.
    pub job: String,
    /// Whole GPUs.
    pub gpus: u32,
    /// Submission, on the list's clock.
    pub submit_s: f64,
    /// Run time.
    pub duration_s: f64,
    /// First start.
    pub start_s: Option<f64>,
    /// End.
    pub end_s: Option<f64>,
    /// From submission to end.
    pub jct_s: Option<f64>,
    /// What it has beyond its run time.
    pub queue_s: Option<f64>,
    /// Times it was stopped.
    pub preemptions: u32,
    /// Times it moved.
    pub migrations: u32,
    /// Time in pauses.
    pub paused_s: f64,
}

pub(super) fn seconds(millis: Millis) -> f64 {
    millis as f64 / 1000.0
}

/// The element at ⌊q·n⌋ of sorted values.
pub(super) fn quantile(sorted: &[Millis], per_cent: usize) -> f64 {
    let at = (sorted.len() * per_cent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).map_or(0.0, |value| seconds(*value))
}

fn mean(values: impl Iterator<Item = Millis>) -> f64 {
    let (sum, n) = values.fold((0i128, 0i64), |(sum, n), v| (sum + i128::from(v), n + 1));
    if n == 0 { 0.0 } else { sum as f64 / 1000.0 / n as f64 }
}

pub(super) fn rows(workload: &Workload, fates: &[Fate]) -> Vec<JobRow> {
    let jobs = workload.asked.iter().zip(&workload.truth).zip(fates);
    jobs.map(|((asked, truth), fate)| JobRow {
        job: asked.name.clone(),
        gpus: asked.gpus,
        submit_s: seconds(asked.submitted),
        duration_s: seconds(truth.0),
        start_s: fate.first.map(seconds),
        end_s: fate.end.map(seconds),
        jct_s: fate.end.map(|end| seconds(end - asked.submitted)),
        queue_s: fate.end.map(|end| seconds(end - asked.submitted - truth.0)),
        preemptions: fate.stopped,
        migrations: fate.moved,
        paused_s: seconds(fate.lost),
    })
    .collect()
}

pub(super) fn report(workload: &Workload, fates: &[Fate], policy: &str, gpus: u64) -> Report {
    let ended: Vec<(usize, Millis)> =
        fates.iter().enumerate().filter_map(|(job, fate)| Some((job, fate.end?))).collect();
    let jct = |(job, end): &(usize, Millis)| end - workload.asked[*job].submitted;
    let queue = |ended: &(usize, Millis)| jct(ended) - workload.truth[ended.0].0;
    let mut jcts: Vec<Millis> = ended.iter().map(jct).collect();
    let mut queues: Vec<Millis> = ended.iter().map(queue).collect();
    jcts.sort_unstable();
    queues.sort_unstable();
    let makespan = ended.iter().map(|(_, end)| *end).max().unwrap_or(0);
    let first = workload.asked.iter().map(|asked| asked.submitted).min().unwrap_or(0);
    let service = |(job, _): &(usize, Millis)| {
        i128::from(workload.truth[*job].0) * i128::from(workload.asked[*job].gpus)
    };
    let busy: i128 = ended.iter().map(service).sum();
    let had = (gpus as f64) * (makespan - first) as f64;
    let jobs: Vec<usize> = ended.iter().map(|(job, _)| *job).collect();
    let lower_bound_s = bounds(workload, &jobs, gpus).mean_jct_s();
    let mean_jct_s = mean(jcts.iter().copied());
    let lost: i128 = fates
        .iter()
        .zip(&workload.asked)
        .map(|(fate, asked)| i128::from(fate.lost) * i128::from(asked.gpus))
        .sum();
    let mut classes: Vec<u32> =
        jobs.iter().map(|job| workload.asked[*job].gpus.next_power_of_two()).collect();
    classes.sort_unstable();
    classes.dedup();
    let by_gpus = classes.into_iter().map(|gpus| {
        let of: Vec<(usize, Millis)> = ended
            .iter()
            .copied()
            .filter(|(job, _)| workload.asked[*job].gpus.next_power_of_two() == gpus)
            .collect();
        SizeClass {
            gpus,
            jobs: of.len(),
            mean_jct_s: mean(of.iter().map(jct)),
            mean_queue_s: mean(of.iter().map(queue)),
        }
    });
    Report {
        policy: policy.to_owned(),
        jobs: workload.len(),
        gpus,
        mean_jct_s,
        p50_jct_s: quantile(&jcts, 50),
        p99_jct_s: quantile(&jcts, 99),
        mean_queue_s: mean(queues.iter().copied()),
        p50_queue_s: quantile(&queues, 50),
        p99_queue_s: quantile(&queues, 99),
        makespan_s: seconds(makespan),
        gpu_utilisation: if had > 0.0 { busy as f64 / had } else { 0.0 },
        preemptions: fates.iter().map(|fate| u64::from(fate.stopped)).sum(),
        migrations: fates.iter().map(|fate| u64::from(fate.moved)).sum(),
        gpu_hours_lost: lost as f64 / 3_600_000.0,
        unfairness: unfairness(workload, &ended, gpus),
        unfinished: workload.len() - ended.len(),
        left_out: workload.left_out.clone(),
        lower_bound_s,
        ratio: if lower_bound_s > 0.0 { mean_jct_s / lower_bound_s } else { 0.0 },
        by_gpus: by_gpus.collect(),
        forecasts: None,
        seconds: 0.0,
    }
}

/// The number of jobs that are there, as a function of time.
#[derive(Debug)]
pub(super) struct Crowd {
    /// (instant, jobs from then on, job-milliseconds until then)
    steps: Vec<(Millis, i64, i128)>,
}

impl Crowd {
    pub fn new(spans: impl Iterator<Item = (Millis, Millis)>) -> Self {
        let mut changes: Vec<(Millis, i64)> = spans.flat_map(|(from, to)| [(from, 1), (to, -1)]).collect();
        changes.sort_unstable();
        let mut steps: Vec<(Millis, i64, i128)> = Vec::with_capacity(changes.len());
        for (at, by) in changes {
            let (before, jobs, sum) = steps.last().copied().unwrap_or((at, 0, 0));
            steps.push((at, jobs + by, sum + i128::from(at - before) * i128::from(jobs)));
        }
        Self { steps }
    }

    fn until(&self, at: Millis) -> i128 {
        let next = self.steps.partition_point(|step| step.0 <= at);
        let Some(step) = next.checked_sub(1).and_then(|last| self.steps.get(last)) else { return 0 };
        step.2 + i128::from(at - step.0) * i128::from(step.1)
    }

    /// The mean number of jobs in a span.
    pub fn mean(&self, from: Millis, to: Millis) -> f64 {
        if to <= from { 0.0 } else { (self.until(to) - self.until(from)) as f64 / (to - from) as f64 }
    }
}

fn unfairness(workload: &Workload, ended: &[(usize, Millis)], gpus: u64) -> Unfairness {
    let crowd = Crowd::new(ended.iter().map(|(job, end)| (workload.asked[*job].submitted, *end)));
    let ratios: Vec<f64> = ended
        .iter()
        .map(|(job, end)| {
            let asked = &workload.asked[*job];
            let demand = crowd.mean(asked.submitted, *end) * f64::from(asked.gpus) / gpus as f64;
            let fair = seconds(workload.truth[*job].0) * demand.max(1.0);
            seconds(end - asked.submitted) / fair
        })
        .collect();
    let over = ratios.iter().filter(|ratio| **ratio > 1.05).count();
    Unfairness {
        worst: ratios.iter().copied().fold(0.0, f64::max),
        share_over_1_05: over as f64 / ratios.len().max(1) as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_number_of_jobs_is_an_integral() {
        let crowd = Crowd::new([(0, 10), (5, 15), (5, 6)].into_iter());
        assert_eq!(crowd.mean(0, 5), 1.0);
        assert_eq!(crowd.mean(5, 6), 3.0);
        assert_eq!(crowd.mean(0, 15), 21.0 / 15.0);
        assert_eq!(crowd.mean(3, 3), 0.0);
    }
}
