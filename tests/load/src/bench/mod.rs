//! Measurements as ratios: each figure of the mesh beside that of a bare server, in turn, so that a noisy machine
//! disturbs both alike.

mod create;
mod gateway;
mod latency;
mod list;
mod load;
mod rounds;
mod watch;

use std::path::PathBuf;

use anyhow::Result;

use crate::tables::Tables;
pub use rounds::Echo;

/// Which measurement.
#[derive(clap::Subcommand, Debug)]
pub enum Which {
    /// CreateJob through the gateway at 64 clients, beside the echo
    Create(Common),
    /// ListJobs: a page of 100 out of a million
    List(list::Args),
    /// The gateway beside the job service called directly
    Gateway(Common),
    /// A thousand open WatchJobs streams
    Watch(watch::Args),
    /// From CreateJob to Running at a fixed rate
    Latency(latency::Args),
}

/// What every measurement takes.
#[derive(clap::Args, Debug, Clone)]
pub struct Common {
    /// Rounds: each has a turn of the mesh and one of the echo
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Seconds of a turn
    #[arg(long, default_value_t = 4.0)]
    pub seconds: f64,
    /// Calls at once
    #[arg(long, default_value_t = 64)]
    pub clients: usize,
    /// Where the tables are
    #[command(flatten)]
    pub tables: Tables,
}

/// Runs one.
pub async fn run(which: Which) -> Result<()> {
    match which {
        Which::Create(common) => create::run(common).await,
        Which::List(args) => list::run(args).await,
        Which::Gateway(common) => gateway::run(common).await,
        Which::Watch(args) => watch::run(args).await,
        Which::Latency(args) => latency::run(args).await,
    }
}

/// A cluster of so many nodes of 64 cores and eight GPUs.
pub(crate) fn cluster(folder: &tempfile::TempDir, nodes: usize) -> Result<PathBuf> {
    let file = folder.path().join("nodes.yaml");
    let node = |i| format!("- {{name: node-{i}, cpu: 64, memory: 512Gi, gpus: 8, gpu_model: A100}}\n");
    std::fs::write(&file, (0..nodes).map(node).collect::<String>())?;
    Ok(file)
}
