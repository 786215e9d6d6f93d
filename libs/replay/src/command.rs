//! `crater replay`: its arguments and what it prints. The program mounts [`Args`] and calls [`run`].

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use crate::input::InputError;
use crate::placement::command as placement;
use crate::time::{ListFormat, command as time};

/// Which kind of recorded workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Placement: tasks arrive one by one and stay, until the cluster is full.
    Openb,
    /// Time: a list of jobs as Muri's simulator reads it.
    Muri,
    /// Time: a list of jobs of ElasticFlow.
    Elasticflow,
    /// Time: a list of jobs of Helios.
    Helios,
    /// Time: a cluster and jobs of one's own (YAML or CSV), through the engine itself.
    Jobs,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Table,
    /// One document; with `--compare` a list of them.
    Json,
}

/// Replay a recorded workload under a policy.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// What was recorded.
    #[arg(long, value_enum, required_unless_present = "recording")]
    pub format: Option<Kind>,
    /// Decide a scheduler's recorded cycles again, and say where a plan differs. With `--policy SETTING=VALUE,…`: under other
    /// settings, such as order=sjf,placement=crater.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["format", "workload", "nodes", "compare", "plot"])]
    pub recording: Option<PathBuf>,
    /// The nodes: a table (openb, jobs), or how many (all but openb). YAML of jobs may have them itself.
    #[arg(long, value_name = "FILE|N")]
    pub nodes: Option<String>,
    /// The list of tasks or jobs.
    #[arg(long, value_name = "FILE")]
    pub workload: Option<PathBuf>,
    /// The policy to replay. For jobs: crater, or settings such as order=sjf,placement=crater.
    #[arg(long, default_value = "crater")]
    pub policy: String,
    /// Replay each of these policies and print them side by side. Settings of one policy of jobs are joined by +.
    #[arg(long, value_delimiter = ',', value_name = "P1,P2,…", conflicts_with = "policy")]
    pub compare: Vec<String>,
    /// How to print; the program that mounts this has a flag of its own for it.
    #[arg(skip)]
    pub output: Output,
    /// Draw to this file.
    #[arg(long, value_name = "FILE.svg")]
    pub plot: Option<PathBuf>,
    /// Of `openb`.
    #[command(flatten)]
    pub placement: placement::PlacementArgs,
    /// Of the others.
    #[command(flatten)]
    pub time: time::TimeArgs,
}

impl Args {
    /// The policies to run, in the order they were named.
    pub fn policies(&self) -> Vec<&str> {
        if self.compare.is_empty() {
            vec![&self.policy]
        } else {
            self.compare.iter().map(String::as_str).collect()
        }
    }

    /// The workload, which every format needs.
    pub fn workload(&self) -> Result<&PathBuf, InputError> {
        self.workload.as_ref().ok_or_else(|| InputError::in_option("--workload", "needed"))
    }

    /// `--nodes` as it was given.
    pub fn nodes(&self) -> Result<&str, InputError> {
        self.nodes.as_deref().ok_or_else(|| InputError::in_option("--nodes", "needed"))
    }
}

/// Runs the command: results to `out`, faults and progress to `err`. The exit code is 0, or 2 for bad input, after
/// which nothing was printed to `out` and no file was changed.
pub fn run(args: &Args, out: &mut dyn Write, err: &mut dyn Write) -> std::io::Result<u8> {
    if let Some(file) = &args.recording {
        return run_recording(args, file, out, err);
    }
    let outcome = match args.format {
        None => Err(InputError::in_option("--format", "needed")),
        Some(Kind::Openb) => placement::run(args, err),
        Some(Kind::Jobs) => time::run_jobs(args, err),
        Some(Kind::Muri) => time::run(args, ListFormat::Muri, err),
        Some(Kind::Elasticflow) => time::run(args, ListFormat::Elasticflow, err),
        Some(Kind::Helios) => time::run(args, ListFormat::Helios, err),
    };
    match outcome {
        Ok(text) => {
            out.write_all(text.as_bytes())?;
            out.flush()?;
            Ok(0)
        }
        Err(error) => {
            writeln!(err, "{error}")?;
            Ok(2)
        }
    }
}

/// Exit code 0 when every plan came out as recorded, 1 when one did not.
fn run_recording(args: &Args, file: &Path, out: &mut dyn Write, err: &mut dyn Write) -> std::io::Result<u8> {
    let settings = Some(args.policy.as_str()).filter(|policy| *policy != "crater");
    match crate::recording::run(file, settings, args.output == Output::Json) {
        Ok((text, same)) => {
            out.write_all(text.as_bytes())?;
            out.flush()?;
            // other settings are meant to decide otherwise
            Ok(u8::from(!same && settings.is_none()))
        }
        Err(error) => {
            writeln!(err, "{error}")?;
            Ok(2)
        }
    }
}
