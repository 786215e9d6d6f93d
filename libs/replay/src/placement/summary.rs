//! Means over orders, and policies compared order by order.

use std::fmt::Write;

use super::run::Outcome;
use crate::plot::{Figure, Line, Panel};

/// Columns of the table, percent arrived.
const SHOWN: [usize; 4] = [100, 110, 120, 130];
/// Two-sided 95 % quantiles of Student's t for 1 to 30 degrees of freedom.
const T95: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
];

/// A mean, the standard deviation of what it is of, and the half-width of its 95 % confidence interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mean {
    /// The mean.
    pub mean: f64,
    /// 0 of fewer than two.
    pub deviation: f64,
    /// Infinite of fewer than two.
    pub half_width: f64,
}

impl Mean {
    /// Of some values, by Student's t.
    #[allow(clippy::cast_precision_loss)] // a handful of values
    pub fn of(values: &[f64]) -> Self {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count.max(1.0);
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let Some(degrees) = values.len().checked_sub(1).filter(|degrees| *degrees > 0) else {
            return Self { mean, deviation: 0.0, half_width: f64::INFINITY };
        };
        let deviation = (squares / degrees as f64).sqrt();
        let t = T95.get(degrees - 1).copied().unwrap_or(1.96);
        Self { mean, deviation, half_width: t * deviation / count.sqrt() }
    }
}

/// All orders under one policy.
pub type Runs<'a> = &'a [Outcome];

/// A line for each policy: GPU not allocated when so much has arrived, and how it compares with the first policy, order by order.
pub fn table(policies: &[Vec<Outcome>]) -> String {
    let mut header = vec!["policy".to_owned()];
    header.extend(SHOWN.iter().map(|arrived| format!("{arrived} %")));
    header.extend(["fragmented", "placed", "dropped", "moved", "seconds"].map(str::to_owned));
    if policies.len() > 1 {
        header.push("against the first at 100 %".to_owned());
    }
    let mut rows = vec![header];
    let mean =
        |runs: Runs<'_>, of: &dyn Fn(&Outcome) -> f64| Mean::of(&runs.iter().map(of).collect::<Vec<f64>>());
    for runs in policies {
        let Some(first) = runs.first() else { continue };
        let mut row = vec![first.policy.to_string()];
        for arrived in SHOWN {
            let unallocated = mean(runs, &|run| run.unallocated(arrived));
            row.push(if runs.len() > 1 {
                format!("{:.2} ± {:.2}", unallocated.mean, unallocated.deviation)
            } else {
                format!("{:.2}", unallocated.mean)
            });
        }
        row.push(format!(
            "{:.2}",
            mean(runs, &|run| run.fragmented_percent.get(100).copied().unwrap_or(0.0)).mean
        ));
        for of in [&(|run: &Outcome| run.placed) as &dyn Fn(&Outcome) -> usize, &|run| run.dropped, &|run| {
            run.moved
        }] {
            #[allow(clippy::cast_precision_loss)] // counts of tasks
            let count = mean(runs, &|run| of(run) as f64).mean;
            row.push(format!("{count:.0}"));
        }
        row.push(format!("{:.3}", mean(runs, &|run| run.seconds).mean));
        if let Some(base) = policies.first().filter(|_| policies.len() > 1) {
            row.push(against(base, runs));
        }
        rows.push(row);
    }
    let orders = policies.first().map_or(0, Vec::len);
    let spread = if orders > 1 { " ± standard deviation" } else { "" };
    let mut text = aligned(&rows);
    let _ = writeln!(
        text,
        "GPU that is not allocated when so much has arrived, percent of capacity{spread}; fragmented at 100 %; \
         {orders} {}",
        if orders == 1 { "order" } else { "orders" }
    );
    text
}

/// The paired difference at 100 % arrived with its confidence interval, as part of the first policy's mean too.
fn against(base: Runs<'_>, runs: Runs<'_>) -> String {
    let pairs: Vec<f64> =
        base.iter().zip(runs).map(|(base, run)| run.unallocated(100) - base.unallocated(100)).collect();
    let (difference, whole) =
        (Mean::of(&pairs), Mean::of(&base.iter().map(|run| run.unallocated(100)).collect::<Vec<_>>()));
    let part = if whole.mean > 0.0 { difference.mean / whole.mean * 100.0 } else { 0.0 };
    if difference.half_width.is_finite() {
        format!("{:+.2} ± {:.2} ({part:+.1} %)", difference.mean, difference.half_width)
    } else {
        format!("{:+.2} ({part:+.1} %)", difference.mean)
    }
}

/// The first column to the left, the others to the right.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let _ =
                if column == 0 { write!(line, "{cell:width$}") } else { write!(line, "  {cell:>width$}") };
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// Allocation, what has arrived in vain, and fragmentation, over what has arrived: the mean of the orders, a line for each policy.
pub fn figure(policies: &[Vec<Outcome>], title: &str) -> Figure {
    let lines = |of: &dyn Fn(&Outcome, usize) -> f64| -> Vec<Line> {
        let line = |runs: &Vec<Outcome>| {
            let points = (0..super::COLUMNS).map(|arrived| {
                let values: Vec<f64> = runs.iter().map(|run| of(run, arrived)).collect();
                (percent(arrived), Mean::of(&values).mean)
            });
            runs.first().map(|run| Line { name: run.policy.to_string(), points: points.collect() })
        };
        policies.iter().filter_map(line).collect()
    };
    let panel = |title: &str, lines: Vec<Line>| Panel {
        title: title.to_owned(),
        x: "GPU arrived, percent of capacity".to_owned(),
        log_x: false,
        steps: false,
        lines,
    };
    let in_vain = |run: &Outcome, arrived: usize| {
        let allocated = run.allocated_percent.get(arrived).copied().unwrap_or(0.0);
        // the columns are means over half a percent to either side
        (percent(arrived.min(100)) - allocated).max(0.0)
    };
    Figure {
        title: title.to_owned(),
        panels: vec![
            panel(
                "GPU allocated, percent of capacity",
                lines(&|run, at| run.allocated_percent.get(at).copied().unwrap_or(0.0)),
            ),
            panel("GPU free although as much has arrived, percent of capacity", lines(&in_vain)),
            panel(
                "free GPU that an average task cannot use, percent of capacity",
                lines(&|run, at| run.fragmented_percent.get(at).copied().unwrap_or(0.0)),
            ),
        ],
    }
}

#[allow(clippy::cast_precision_loss)] // up to 130
fn percent(arrived: usize) -> f64 {
    arrived as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_confidence_interval_is_as_in_the_books() {
        let mean = Mean::of(&[1.0, 2.0, 3.0, 4.0, 5.0]);
        assert!((mean.mean - 3.0).abs() < 1e-12);
        assert!((mean.deviation - 1.581_138_8).abs() < 1e-6);
        assert!((mean.half_width - 2.776 * 1.581_138_8 / 5.0_f64.sqrt()).abs() < 1e-6);
        assert!(Mean::of(&[1.0]).half_width.is_infinite());
    }
}
