//! The placement replay's part of the command line.

use std::io::Write;
use std::path::PathBuf;

use crate::command::Args;
use crate::input::InputError;

/// Arguments that only the placement replay has.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Placement (openb)")]
pub struct PlacementArgs {
    /// The order in which tasks arrive and the rank of each node, for each seed.
    #[arg(long, value_name = "FILE.csv.gz")]
    pub order: Option<PathBuf>,
    /// Which of the orders.
    #[arg(long)]
    pub seed: Option<u64>,
}

/// Replays and gives what to print.
pub fn run(_args: &Args, _err: &mut dyn Write) -> Result<String, InputError> {
    Err(InputError::in_option("--format", "openb is not there yet"))
}
