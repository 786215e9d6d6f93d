//! `crater replay`: its arguments and what it prints. The program mounts [`Args`] and calls [`run`].

use std::io::Write;
use std::path::PathBuf;

use clap::ValueEnum;

use crate::input::InputError;
use crate::placement::command as placement;

/// Which kind of recorded workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Placement: tasks arrive one by one and stay, until the cluster is full.
    Openb,
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
    #[arg(long, value_enum)]
    pub format: Kind,
    /// The nodes: a file (openb), or how many (the others).
    #[arg(long, value_name = "FILE|N")]
    pub nodes: Option<String>,
    /// The list of tasks or jobs.
    #[arg(long, value_name = "FILE")]
    pub workload: Option<PathBuf>,
    /// The policy to replay.
    #[arg(long, default_value = "crater")]
    pub policy: String,
    /// Replay each of these policies and print them side by side.
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
    let outcome = match args.format {
        Kind::Openb => placement::run(args, err),
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
