//! The placement replay's part of the command line.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::summary::{figure, table};
use super::{Options, Order, Orders, Outcome, Policy, World, replay};
use crate::command::{Args, Output};
use crate::input::{InputError, write_whole};

/// The order that is taken if nothing is said.
const SEED: u64 = 42;
/// Progress is told if a run of several takes longer.
const PATIENCE: Duration = Duration::from_secs(2);

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
    /// All orders of the file: means and deviations, and with `--compare` paired differences.
    #[arg(long, conflicts_with = "seed", requires = "order")]
    pub all_seeds: bool,
    /// Moves allowed for each hundred tasks placed, of the policy crater-migrating [default: 5].
    #[arg(long, value_name = "PERCENT")]
    pub migrate: Option<usize>,
}

/// The orders to replay, by seed.
fn orders(args: &PlacementArgs, world: &World) -> Result<Vec<(u64, Order)>, InputError> {
    let seed = args.seed.unwrap_or(SEED);
    let Some(file) = &args.order else {
        return Ok(vec![(seed, Order::draw(world, seed))]);
    };
    let orders = Orders::read(file, world)?;
    let seeds = if args.all_seeds { orders.seeds().collect() } else { vec![seed] };
    let chosen = seeds.into_iter().map(|seed| match orders.seed(seed) {
        Some(order) => Ok((seed, order.clone())),
        None => {
            Err(InputError::in_file(file, format!("no order for seed {seed}")).at_line(1).in_field("seed"))
        }
    });
    chosen.collect()
}

/// Replays and gives what to print.
pub fn run(args: &Args, err: &mut dyn Write) -> Result<String, InputError> {
    let policies: Vec<Policy> = args.policies().into_iter().map(str::parse).collect::<Result<_, _>>()?;
    let own = &args.placement;
    if own.migrate.is_some() && !policies.contains(&Policy::CraterMigrating) {
        let what = format!("only {} moves tasks", Policy::CraterMigrating);
        return Err(InputError::in_option("--migrate", what));
    }
    let world = World::read(Path::new(args.nodes()?), args.workload()?)?;
    let orders = orders(own, &world)?;
    let migrate_percent = own.migrate.unwrap_or(Options::MIGRATE_PERCENT);
    let all = policies.len() * orders.len();
    let (started, mut told, mut done) = (Instant::now(), Duration::ZERO, 0);
    let mut outcomes: Vec<Vec<Outcome>> = Vec::with_capacity(policies.len());
    for policy in policies {
        let mut runs = Vec::with_capacity(orders.len());
        for (seed, order) in &orders {
            runs.push(replay(&world, order, policy, Options { seed: *seed, migrate_percent }));
            done += 1;
            if done < all && started.elapsed() > told + PATIENCE {
                told = started.elapsed();
                // progress is a courtesy: a closed pipe is no reason to stop
                let _ = writeln!(err, "{done} of {all} replays");
            }
        }
        outcomes.push(runs);
    }
    if let Some(file) = &args.plot {
        let name = args.workload()?.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        write_whole(file, figure(&outcomes, &name).svg().as_bytes())?;
    }
    let text = match (args.output, outcomes.as_slice()) {
        (Output::Table, _) => return Ok(table(&outcomes)),
        (Output::Json, [runs]) if args.compare.is_empty() && !own.all_seeds => {
            serde_json::to_string(&runs.first())
        }
        (Output::Json, _) => serde_json::to_string(&outcomes.iter().flatten().collect::<Vec<_>>()),
    };
    text.map(|text| text + "\n").map_err(|error| InputError::in_option("--output", error.to_string()))
}
