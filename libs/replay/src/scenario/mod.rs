//! Small worlds with a known right answer: load, run until nothing changes, judge.
//!
//! `format`: how they are written, with `quantity` for amounts. `build`, `accounts` and `submit` make a `world` of that,
//! `check` finds what cannot be meant, `run` plays it with `events`, `judge` and `laws` look at what came.

mod accounts;
pub(crate) mod build;
mod check;
mod events;
pub(crate) mod fault;
pub(crate) mod format;
mod judge;
mod laws;
mod names;
pub(crate) mod quantity;
mod roles;
mod run;
mod submit;
pub(crate) mod world;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::document::Document;
use crate::input::InputError;
use fault::Fault;
pub use format::Scenario;

/// What came of one scenario; serialized as it is printed by `--format json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// The scenario's name.
    pub name: String,
    /// Is everything as expected?
    pub pass: bool,
    /// Cycles run in all.
    pub cycles: u64,
    /// The nodes of each job that runs.
    pub placements: BTreeMap<String, Vec<String>>,
    /// Jobs that lost a replica.
    pub evictions: Vec<String>,
    /// Why each waiting job waits.
    pub pending: BTreeMap<String, String>,
    /// What was expected and what came.
    pub failures: Vec<String>,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `pass NAME` or `fail NAME: …`, one line a file.
    #[default]
    Text,
    /// One JSON object a file, one a line.
    Json,
}

/// The files that a path stands for: itself, or a folder's `.yaml` and `.yml` files in order of name.
///
/// # Errors
/// A folder that cannot be read, or has none.
pub fn files(path: &Path) -> Result<Vec<PathBuf>, InputError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let reading = |error: std::io::Error| InputError::in_file(path, format!("reading: {error}"));
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(reading)? {
        let file = entry.map_err(reading)?.path();
        if file.extension().is_some_and(|ext| ext == "yaml" || ext == "yml") {
            files.push(file);
        }
    }
    if files.is_empty() {
        return Err(InputError::in_file(path, "there are no .yaml files in it"));
    }
    files.sort();
    Ok(files)
}

/// Reads one file.
///
/// # Errors
/// When it cannot be read, or is not a scenario, by line and field.
pub fn load(file: &Path) -> Result<Scenario, InputError> {
    Document::read(file)?.decode()
}

/// Loads and runs one file.
///
/// # Errors
/// What cannot be run, by line and field.
pub fn run_scenario(file: &Path) -> Result<Outcome, InputError> {
    let document = Document::read(file)?;
    let scenario: Scenario = document.decode()?;
    run::run(&scenario).map_err(|Fault { field, why }| document.fault(&field, why))
}

/// What the command `crater scenario` does: runs files and folders in order, prints results to `out`, and what is wrong with a file to
/// `err`, and goes on with the next. Returns the exit code: 2 when one cannot be run, else 1 when one does not pass, else 0.
///
/// # Errors
/// When the output cannot be written.
pub fn scenario_main(
    paths: &[PathBuf],
    format: Format,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> std::io::Result<i32> {
    let mut code = 0;
    for path in paths {
        let files = match files(path) {
            Ok(files) => files,
            Err(error) => {
                writeln!(err, "error: {error}")?;
                code = 2;
                continue;
            }
        };
        for file in files {
            code = code.max(match run_scenario(&file) {
                Ok(outcome) => {
                    print(&outcome, format, out)?;
                    i32::from(!outcome.pass)
                }
                Err(error) => {
                    writeln!(err, "error: {error}")?;
                    2
                }
            });
        }
    }
    Ok(code)
}

fn print(outcome: &Outcome, format: Format, out: &mut dyn Write) -> std::io::Result<()> {
    match format {
        Format::Json => writeln!(out, "{}", serde_json::to_string(outcome)?),
        Format::Text if outcome.pass => writeln!(out, "pass {}", outcome.name),
        Format::Text => writeln!(out, "fail {}: {}", outcome.name, outcome.failures.join("; ")),
    }
}
