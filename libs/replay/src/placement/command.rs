//! The placement replay's part of the command line.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::{Order, Orders, Outcome, Policy, World, replay};
use crate::command::{Args, Output};
use crate::input::InputError;

/// Arguments that only the placement replay has.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Placement (openb)")]
pub struct PlacementArgs {
    /// The order in which tasks arrive and the rank of each node, for each seed; drawn from the seed if there is no file.
    #[arg(long, value_name = "FILE.csv.gz")]
    pub order: Option<PathBuf>,
    /// Which of the orders.
    #[arg(long)]
    pub seed: Option<u64>,
}

/// Replays and gives what to print.
pub fn run(args: &Args, _err: &mut dyn Write) -> Result<String, InputError> {
    let policies: Vec<Policy> = args.policies().into_iter().map(str::parse).collect::<Result<_, _>>()?;
    let world = World::read(Path::new(args.nodes()?), args.workload()?)?;
    let seed = args.placement.seed.unwrap_or(42);
    let order = match &args.placement.order {
        None => Order::draw(&world, seed),
        Some(file) => {
            let orders = Orders::read(file, &world)?;
            orders.seed(seed).cloned().ok_or_else(|| {
                InputError::in_file(file, format!("no order for seed {seed}")).in_field("seed")
            })?
        }
    };
    let outcomes: Vec<Outcome> =
        policies.iter().map(|policy| replay(&world, &order, *policy, super::Options::new(seed))).collect();
    Ok(match args.output {
        Output::Json => serde_json::to_string(&outcomes).unwrap_or_default() + "\n",
        Output::Table => outcomes
            .iter()
            .map(|o| format!("{} {} {:.3}s\n", o.policy, o.unallocated(100), o.seconds))
            .collect(),
    })
}
