//! The time replay's part of the command line.

use std::io::Write;
use std::path::PathBuf;

use crater_engine::Settings;

use super::jobs::Cluster;
use super::{ListFormat, Nodes, Policy, Replayed, Workload, load, replay, show};
use crate::command::{Args, Output};
use crate::input::{InputError, write_whole};

/// Arguments that only the time replay has.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Time (muri, elasticflow, helios, jobs)")]
pub struct TimeArgs {
    /// Only the jobs of this virtual cluster (helios).
    #[arg(long, value_name = "NAME")]
    pub vc: Option<String>,
    /// GPUs of each node.
    #[arg(long, value_name = "K")]
    pub gpus_per_node: Option<u32>,
    /// Seconds before a job that was stopped computes again [default: muri's table of pauses, else 30].
    #[arg(long, value_name = "SECONDS")]
    pub restart_cost: Option<String>,
    /// What crater-told is told is wrong by up to this factor, either way.
    #[arg(long, value_name = "FACTOR")]
    pub estimate_error: Option<String>,
    /// Which errors.
    #[arg(long, default_value_t = 1, value_name = "SEED")]
    pub estimate_seed: u64,
    /// Write a row for each job to this file.
    #[arg(long, value_name = "FILE.csv")]
    pub jobs_out: Option<PathBuf>,
}

/// A decimal option in thousandths.
fn decimal(option: &'static str, text: Option<&String>) -> Result<Option<i64>, InputError> {
    let parse = |text: &String| super::thousandths(text).map_err(|what| InputError::in_option(option, what));
    text.map(parse).transpose()
}

fn nodes(args: &Args) -> Result<Nodes, InputError> {
    let text = args.nodes()?;
    let positive = |text: &str| text.parse::<u32>().ok().filter(|n| (1..=1_000_000).contains(n));
    let count = positive(text)
        .ok_or_else(|| InputError::in_option("--nodes", format!("{text:?} is not a number of nodes")))?;
    let gpus_each = args.time.gpus_per_node.unwrap_or(8);
    if !(1..=1024).contains(&gpus_each) {
        return Err(InputError::in_option("--gpus-per-node", format!("{gpus_each} is not from 1 to 1024")));
    }
    Ok(Nodes { count, gpus_each })
}

fn policies(args: &Args) -> Result<Vec<Policy>, InputError> {
    let named = |name: &&str| {
        Policy::named(name).ok_or_else(|| {
            let all: Vec<&str> = Policy::ALL.into_iter().map(Policy::name).collect();
            InputError::in_option("--policy", format!("{name:?} is none of {}", all.join(", ")))
        })
    };
    args.policies().iter().map(named).collect()
}

fn workload(args: &Args, format: ListFormat) -> Result<Workload, InputError> {
    let restart = decimal("--restart-cost", args.time.restart_cost.as_ref())?;
    let error = decimal("--estimate-error", args.time.estimate_error.as_ref())?.unwrap_or(1000);
    if !(1000..=1_000_000).contains(&error) {
        return Err(InputError::in_option("--estimate-error", "is not from 1 to 1000"));
    }
    let mut workload = load(format, args.workload()?, args.time.vc.as_deref(), restart)?;
    workload.tell_estimates(error, args.time.estimate_seed);
    Ok(workload)
}

/// Replays and gives what to print.
pub fn run(args: &Args, format: ListFormat, err: &mut dyn Write) -> Result<String, InputError> {
    let (nodes, policies) = (nodes(args)?, policies(args)?);
    let workload = workload(args, format)?;
    if args.time.jobs_out.is_some() && policies.len() > 1 {
        return Err(InputError::in_option("--jobs-out", "takes one policy"));
    }
    let mut replayed = Vec::new();
    for policy in policies {
        let began = std::time::Instant::now();
        let mut progress = Progress::new(policy.name(), err);
        let mut one = replay(&workload, nodes, policy, &mut |done, all| progress.at(done, all));
        progress.end();
        one.report.seconds = began.elapsed().as_secs_f64();
        replayed.push(one);
    }
    finish(args, &replayed)
}

/// Settings by name: `crater` for those that a scheduler begins with, or SETTING=VALUE, several joined by commas or, where policies
/// are listed, by plus signs.
fn settings(policy: &str) -> Result<Settings, InputError> {
    if policy == "crater" {
        return Ok(Settings::default());
    }
    if !policy.contains('=') {
        let what =
            format!("{policy:?} is neither crater nor SETTING=VALUE, such as order=sjf+placement=crater");
        return Err(InputError::in_option("--policy", what));
    }
    crate::recording::changed(Settings::default(), &policy.replace('+', ","))
}

fn cluster(args: &Args) -> Result<Cluster, InputError> {
    match args.nodes.as_deref() {
        None if args.time.gpus_per_node.is_some() => {
            Err(InputError::in_option("--gpus-per-node", "needs --nodes N"))
        }
        None => Ok(Cluster::Within),
        Some(text) if text.bytes().all(|b| b.is_ascii_digit()) => {
            let Nodes { count, gpus_each } = nodes(args)?;
            Ok(Cluster::Of(count, u16::try_from(gpus_each).unwrap_or(u16::MAX)))
        }
        Some(_) if args.time.gpus_per_node.is_some() => {
            Err(InputError::in_option("--gpus-per-node", "stands in the table of nodes"))
        }
        Some(file) => Ok(Cluster::Table(file.into())),
    }
}

/// Runs a cluster and jobs of one's own through the engine, and gives what to print.
pub fn run_jobs(args: &Args, err: &mut dyn Write) -> Result<String, InputError> {
    let policies: Vec<(&str, Settings)> = args
        .policies()
        .into_iter()
        .map(|name| Ok((name, settings(name)?)))
        .collect::<Result<_, InputError>>()?;
    if args.time.jobs_out.is_some() && policies.len() > 1 {
        return Err(InputError::in_option("--jobs-out", "takes one policy"));
    }
    let restart = decimal("--restart-cost", args.time.restart_cost.as_ref())?.unwrap_or(super::RESTART);
    let loaded = super::jobs::load(args.workload()?, &cluster(args)?, restart)?;
    let mut replayed = Vec::new();
    for (name, settings) in policies {
        let began = std::time::Instant::now();
        let mut progress = Progress::new(name, err);
        let watch = &mut |done, all| progress.at(done, all);
        let (workload, outcome) = super::jobs::run(loaded.clone(), settings, watch)?;
        progress.end();
        let mut one = super::judged(&workload, outcome, name, loaded.gpus);
        one.report.seconds = began.elapsed().as_secs_f64();
        replayed.push(one);
    }
    finish(args, &replayed)
}

/// Writes the files that were asked for, and gives what to print.
pub(super) fn finish(args: &Args, replayed: &[Replayed]) -> Result<String, InputError> {
    if let (Some(file), Some(one)) = (&args.time.jobs_out, replayed.first()) {
        write_whole(file, show::rows_csv(&one.jobs).as_bytes())?;
    }
    if let Some(file) = &args.plot {
        write_whole(file, show::figure(replayed).svg().as_bytes())?;
    }
    match (args.output, replayed) {
        (Output::Table, _) => Ok(show::table(replayed)),
        (Output::Json, [one]) if args.compare.is_empty() => json(&one.report),
        (Output::Json, all) => json(&all.iter().map(|one| &one.report).collect::<Vec<_>>()),
    }
}

fn json(what: &impl serde::Serialize) -> Result<String, InputError> {
    let text = serde_json::to_string_pretty(what)
        .map_err(|error| InputError::in_option("--output", error.to_string()))?;
    Ok(text + "\n")
}

/// Says every few seconds how far a long replay is.
pub(super) struct Progress<'a> {
    name: &'a str,
    err: &'a mut dyn Write,
    last: std::time::Instant,
    shown: bool,
}

impl<'a> Progress<'a> {
    const EVERY: std::time::Duration = std::time::Duration::from_secs(2);

    pub fn new(name: &'a str, err: &'a mut dyn Write) -> Self {
        Self { name, err, last: std::time::Instant::now(), shown: false }
    }

    pub fn at(&mut self, done: usize, all: usize) {
        if self.last.elapsed() >= Self::EVERY {
            self.last = std::time::Instant::now();
            self.shown = true;
            // a closed stderr is no reason to stop
            let _ = write!(self.err, "\r{}: {done} of {all} jobs have ended", self.name);
            let _ = self.err.flush();
        }
    }

    pub fn end(self) {
        if self.shown {
            let _ = writeln!(self.err);
        }
    }
}
