//! Replays for people: a table, charts, and a row for each job.

use std::fmt::Write;

use crater_engine::Millis;

use super::Replayed;
use super::report::{JobRow, seconds};
use crate::plot::{Figure, Line, Panel};

/// A line for each policy.
pub(super) fn table(replayed: &[Replayed]) -> String {
    let mut rows: Vec<Vec<String>> = vec![
        [
            "policy",
            "mean JCT",
            "p50",
            "p99",
            "mean queue",
            "p99 queue",
            "makespan",
            "used",
            "stops",
            "GPU-h lost",
            "unfair",
            "unfinished",
            "to bound",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    for one in replayed {
        let report = &one.report;
        let whole = |x: f64| format!("{x:.0}");
        rows.push(vec![
            report.policy.clone(),
            whole(report.mean_jct_s),
            whole(report.p50_jct_s),
            whole(report.p99_jct_s),
            whole(report.mean_queue_s),
            whole(report.p99_queue_s),
            whole(report.makespan_s),
            format!("{:.3}", report.gpu_utilisation),
            report.preemptions.to_string(),
            format!("{:.1}", report.gpu_hours_lost),
            format!("{:.1} %", report.unfairness.share_over_1_05 * 100.0),
            report.unfinished.to_string(),
            format!("{:.3}", report.ratio),
        ]);
    }
    let mut text = aligned(&rows);
    if let Some(one) = replayed.first() {
        let report = &one.report;
        let _ = writeln!(
            text,
            "{} jobs, {} GPUs; seconds; no schedule of rigid gangs has a mean JCT below {:.0}",
            report.jobs, report.gpus, report.lower_bound_s
        );
        for (why, count) in &report.left_out {
            let _ = writeln!(text, "{count} lines left out: {why}");
        }
    }
    text + &forecasts(replayed)
}

/// How forecasts came out, a line for each policy that makes any.
fn forecasts(replayed: &[Replayed]) -> String {
    let head = ["forecasts", "told", "by p50", "by p90", "wait", "error", "p90 - p50", "p90"];
    let mut rows: Vec<Vec<String>> = vec![head.map(str::to_owned).to_vec()];
    for report in replayed.iter().map(|one| &one.report) {
        let Some(told) = report.forecasts.filter(|told| told.told > 0) else { continue };
        let whole = |x: f64| format!("{x:.0}");
        rows.push(vec![
            report.policy.clone(),
            told.told.to_string(),
            format!("{:.1} %", told.by_p50 * 100.0),
            format!("{:.1} %", told.by_p90 * 100.0),
            whole(told.median_wait_s),
            whole(told.median_error_s),
            whole(told.median_width_s),
            whole(told.median_p90_s),
        ]);
    }
    if rows.len() == 1 {
        return String::new();
    }
    aligned(&rows) + "of jobs that could not start at once; medians in seconds\n"
}

/// The first column to the left, the others to the right.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|c| rows.iter().filter_map(|row| row.get(c)).map(|cell| cell.chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (i, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let _ = if i == 0 { write!(line, "{cell:width$}") } else { write!(line, "  {cell:>width$}") };
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// Jobs that wait, GPUs in use and the distribution of times, a line for each policy.
pub(super) fn figure(replayed: &[Replayed]) -> Figure {
    let panel = |title: &str,
                 x: &str,
                 log_x: bool,
                 steps: bool,
                 of: &dyn Fn(&Replayed) -> Vec<(f64, f64)>| Panel {
        title: title.to_owned(),
        x: x.to_owned(),
        log_x,
        steps,
        lines: replayed.iter().map(|one| Line { name: one.report.policy.clone(), points: of(one) }).collect(),
    };
    let title = replayed
        .first()
        .map_or_else(String::new, |one| format!("{} jobs on {} GPUs", one.report.jobs, one.report.gpus));
    Figure {
        title,
        panels: vec![
            panel("jobs that have not started", "hours", false, true, &waiting),
            panel("GPUs of the jobs that run, in percent of the pool", "hours", false, true, &in_use),
            panel(
                "part of the jobs that took no longer",
                "seconds from submission to end",
                true,
                true,
                &spread,
            ),
        ],
    }
}

fn running_sum(mut changes: Vec<(Millis, i64)>, scale: f64) -> Vec<(f64, f64)> {
    changes.sort_unstable();
    let mut sum = 0;
    let mut points: Vec<(f64, f64)> = Vec::new();
    for (at, by) in changes {
        sum += by;
        let point = (seconds(at) / 3600.0, sum as f64 * scale);
        match points.last_mut() {
            Some(last) if last.0 == point.0 => *last = point,
            _ => points.push(point),
        }
    }
    points
}

fn waiting(one: &Replayed) -> Vec<(f64, f64)> {
    running_sum(one.spans.iter().flat_map(|(came, began, _, _)| [(*came, 1), (*began, -1)]).collect(), 1.0)
}

fn in_use(one: &Replayed) -> Vec<(f64, f64)> {
    running_sum(one.held.clone(), 0.1 / one.report.gpus.max(1) as f64)
}

fn spread(one: &Replayed) -> Vec<(f64, f64)> {
    let mut times: Vec<Millis> = one.spans.iter().map(|(came, _, end, _)| end - came).collect();
    times.sort_unstable();
    let all = times.len().max(1) as f64;
    times.iter().zip(1..).map(|(time, n)| (seconds(*time), f64::from(n) / all)).collect()
}

/// A row for each job, with a header.
pub(super) fn rows_csv(rows: &[JobRow]) -> String {
    let mut text =
        "job,gpus,submit_s,duration_s,start_s,end_s,jct_s,queue_s,preemptions,migrations,paused_s\n"
            .to_owned();
    let time = |time: Option<f64>| time.map_or_else(String::new, |time| format!("{time:.3}"));
    for row in rows {
        let quote = row.job.contains(['"', ',', '\n', '\r']);
        let name = if quote { format!("\"{}\"", row.job.replace('"', "\"\"")) } else { row.job.clone() };
        let _ = writeln!(
            text,
            "{name},{},{:.3},{:.3},{},{},{},{},{},{},{:.3}",
            row.gpus,
            row.submit_s,
            row.duration_s,
            time(row.start_s),
            time(row.end_s),
            time(row.jct_s),
            time(row.queue_s),
            row.preemptions,
            row.migrations,
            row.paused_s
        );
    }
    text
}
