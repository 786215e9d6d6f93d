//! The weight that Crater is put under, and what it did: loads and measurements over the real programs, from outside.
//!
//! This is a tool of the project's own; nothing of it is shipped. `docs/benchmarks.md` has its figures.

mod bench;
mod echo;
mod kubernetes;
mod openb;
mod process;
mod processes;
mod session;
mod system;
mod tables;
mod up;
mod work;

use clap::{Parser, Subcommand};

/// Loads and measurements.
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// A day's load: every task of a recorded cluster as a job
    Openb(openb::Args),
    /// One measurement, as a table
    #[command(subcommand)]
    Bench(bench::Which),
    /// The bare server that measurements are held against
    #[command(hide = true)]
    Echo,
    /// The in-memory Kubernetes by itself
    #[command(hide = true)]
    Kubernetes(kubernetes::Args),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Args::parse().command {
        Command::Openb(args) => openb::run(args).await,
        Command::Bench(which) => bench::run(which).await,
        Command::Echo => echo::serve().await,
        Command::Kubernetes(args) => kubernetes::serve(args).await,
    }
}
