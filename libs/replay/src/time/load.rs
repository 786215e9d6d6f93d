//! The recorded lists that can be replayed: Muri's, ElasticFlow's, and an excerpt of Helios.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crater_engine::Millis;

use super::workload::{Asked, Workload};
use crate::input::{InputError, Row, Table, read_text};

/// How a list is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListFormat {
    /// `job_id, num_gpu, submit_time` (ms)`, iterations, model_name, iteration_time` (ms) and more.
    Muri,
    /// `job_id, submission_time` (s)`, duration` (s)`, num_gpu`.
    Elasticflow,
    /// `job_id, user, tenant, submit_time` (µs)`, num_chips, duration_s` and more.
    Helios,
}

/// Pause before a stopped job computes again, where neither the list nor the caller says one.
pub const RESTART: Millis = 30_000;
/// The same for a model that Muri's table of pauses leaves out.
const MURI_RESTART: Millis = 10_000;
/// More milliseconds than any list has (35,000 years), and far from overflow in every sum.
const MOST: i64 = 1 << 50;
/// Later than this (1973) a time is one of the calendar, and the replay's clock begins with the first job.
const CALENDAR: Millis = 100_000_000_000;

/// Reads a list. `vc`: only the jobs of this virtual cluster. `restart`: the pause before a stopped job computes again; left
/// out, it is what stands in `start_pause_s.json` beside a Muri list, else [`RESTART`].
///
/// # Errors
/// The first thing that makes no sense, by file, line and field.
pub fn load(
    format: ListFormat,
    path: &Path,
    vc: Option<&str>,
    restart: Option<Millis>,
) -> Result<Workload, InputError> {
    if vc.is_some() && format != ListFormat::Helios {
        return Err(InputError::in_option("--vc", "only helios lists have virtual clusters"));
    }
    let mut workload = match format {
        ListFormat::Muri => muri(path, restart)?,
        ListFormat::Elasticflow => elasticflow(path, restart.unwrap_or(RESTART))?,
        ListFormat::Helios => helios(path, vc, restart.unwrap_or(RESTART))?,
    };
    if workload.is_empty() {
        return Err(match vc {
            Some(vc) => {
                InputError::in_file(path, format!("no job is of {vc:?}")).at_line(1).in_field("tenant")
            }
            None => InputError::in_file(path, "there is no job in it").at_line(1),
        });
    }
    let first = workload.asked.first().map_or(0, |job| job.submitted);
    if first > CALENDAR {
        workload.asked.iter_mut().for_each(|job| job.submitted -= first);
    }
    Ok(workload)
}

/// Checks what all lists have in common, and adds the jobs.
struct Adder {
    workload: Workload,
    names: BTreeSet<String>,
    last: Millis,
    time_column: &'static str,
}

impl Adder {
    fn new(time_column: &'static str) -> Self {
        Self { workload: Workload::default(), names: BTreeSet::new(), last: 0, time_column }
    }

    /// What every line must be, lines that are no job of ours included; gives the job's name.
    fn check(&mut self, row: Row<'_>, submitted: Millis) -> Result<String, InputError> {
        let name = row.name("job_id")?.to_owned();
        if !self.names.insert(name.clone()) {
            return Err(row.fault("job_id", format!("{name} is there twice")));
        }
        if submitted < self.last {
            return Err(row.fault(self.time_column, "is before the line above: times go back"));
        }
        self.last = submitted;
        Ok(name)
    }

    fn add(&mut self, asked: Asked, runs: Millis) {
        if asked.gpus == 0 {
            self.workload.leave_out("no GPU");
        } else if runs == 0 {
            self.workload.leave_out("no run time");
        } else {
            self.workload.push(asked, runs);
        }
    }
}

fn gpus(row: Row<'_>, column: &str) -> Result<u32, InputError> {
    let gpus = row.number(column, 1 << 20)?;
    u32::try_from(gpus).map_err(|_| row.fault(column, "is negative"))
}

/// A decimal number that is not negative, in thousandths.
fn decimal(row: Row<'_>, column: &str) -> Result<i64, InputError> {
    thousandths(row.name(column)?).map_err(|what| row.fault(column, what))
}

fn muri(path: &Path, restart: Option<Millis>) -> Result<Workload, InputError> {
    let table = Table::read(
        path,
        &["job_id", "num_gpu", "submit_time", "iterations", "model_name", "iteration_time"],
        &[
            "batch_size",
            "duration",
            "interval",
            "resource_time_0",
            "resource_time_1",
            "resource_time_2",
            "priority",
        ],
    )?;
    let pauses = match restart {
        Some(_) => Pauses::new(),
        None => pauses(&path.with_file_name("start_pause_s.json"))?,
    };
    let mut adder = Adder::new("submit_time");
    for row in table.rows() {
        let submitted = decimal(row, "submit_time")? / 1000;
        let name = adder.check(row, submitted)?;
        // thousandths of a millisecond, so that lists with parts of one lose nothing
        let runs = row
            .number("iterations", MOST)?
            .checked_mul(decimal(row, "iteration_time")?)
            .map(|micros| micros / 1000)
            .filter(|runs| *runs < MOST)
            .ok_or_else(|| row.fault("iterations", "the run time is too large"))?;
        let gpus = gpus(row, "num_gpu")?;
        let model = row.name("model_name")?;
        let known = pauses.get(&gpus).and_then(|of| of.get(model)).copied();
        let restart = restart.or(known).unwrap_or(MURI_RESTART);
        let stem = Some(model.to_owned());
        adder.add(Asked { name, submitted, gpus, stem, restart, ..Asked::default() }, runs);
    }
    Ok(adder.workload)
}

/// Milliseconds by GPUs and model.
type Pauses = BTreeMap<u32, BTreeMap<String, Millis>>;

/// Muri's table of pauses, in seconds; empty where there is none beside the list.
fn pauses(path: &Path) -> Result<Pauses, InputError> {
    if !path.is_file() {
        return Ok(Pauses::new());
    }
    let table: BTreeMap<u32, BTreeMap<String, u32>> = serde_json::from_str(&read_text(path)?)
        .map_err(|error| InputError::in_file(path, error.to_string()).at_line(error.line() as u64))?;
    let in_millis = |of: BTreeMap<String, u32>| of.into_iter().map(|(m, s)| (m, Millis::from(s) * 1000));
    Ok(table.into_iter().map(|(gpus, of)| (gpus, in_millis(of).collect())).collect())
}

fn elasticflow(path: &Path, restart: Millis) -> Result<Workload, InputError> {
    let table = Table::read(path, &["job_id", "submission_time", "duration", "num_gpu"], &[])?;
    let mut adder = Adder::new("submission_time");
    for row in table.rows() {
        let submitted = decimal(row, "submission_time")?;
        let name = adder.check(row, submitted)?;
        let gpus = gpus(row, "num_gpu")?;
        adder.add(Asked { name, submitted, gpus, restart, ..Asked::default() }, decimal(row, "duration")?);
    }
    Ok(adder.workload)
}

fn helios(path: &Path, vc: Option<&str>, restart: Millis) -> Result<Workload, InputError> {
    let table = Table::read(
        path,
        &["job_id", "user", "tenant", "submit_time", "num_chips", "duration_s"],
        &["class", "chip_type", "num_nodes", "walltime_limit_s", "final_status"],
    )?;
    let mut adder = Adder::new("submit_time");
    for row in table.rows() {
        let submitted = (row.number("submit_time", MOST * 1000)? + 500) / 1000;
        let name = adder.check(row, submitted)?;
        let asked = Asked {
            name,
            submitted,
            gpus: gpus(row, "num_chips")?,
            user: Some(row.name("user")?.to_owned()),
            kind: Some(row.text("class")).filter(|kind| !kind.is_empty()).map(str::to_owned),
            restart,
            ..Asked::default()
        };
        let runs = decimal(row, "duration_s")?;
        if vc.is_none_or(|vc| row.text("tenant") == vc) {
            adder.add(asked, runs);
        } else {
            adder.workload.leave_out("another virtual cluster");
        }
    }
    Ok(adder.workload)
}

/// A decimal number that is not negative, in thousandths, rounded to the nearest: "1.2345" is 1235.
pub(super) fn thousandths(text: &str) -> Result<i64, String> {
    if text.starts_with('-') {
        return Err(format!("{text} is negative"));
    }
    let not_a_number = || format!("{text:?} is not a number");
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(part) || (whole.is_empty() && part.is_empty()) {
        return Err(not_a_number());
    }
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| not_a_number())? };
    let place = |n: usize| part.as_bytes().get(n).map_or(0, |b| i64::from(b - b'0'));
    let behind = place(0) * 100 + place(1) * 10 + place(2) + i64::from(place(3) >= 5);
    whole
        .checked_mul(1000)
        .and_then(|whole| whole.checked_add(behind))
        .filter(|sum| *sum < MOST)
        .ok_or_else(|| format!("{text} is too large"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_read_without_floats() {
        for (text, is) in [("0", 0), ("383.0", 383_000), ("1.2345", 1235), (".5", 500), ("7.", 7000)] {
            assert_eq!(thousandths(text), Ok(is), "{text}");
        }
        for text in ["", ".", "1e3", "-1", "0x1", "1.2.3", "9999999999999999", "nan"] {
            assert!(thousandths(text).is_err(), "{text}");
        }
    }
}
