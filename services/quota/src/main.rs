//! The quota service as a process of its own.

use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use crater_auth::{Authority, MeshKey};
use crater_quota::{Config, Deps, build};
use crater_service::{Bind, Running, Shutdown, load_config, run_until_signal};

/// What every account, and every user in it, may use.
#[derive(Parser)]
#[command(name = "crater-quota", version)]
struct Args {
    /// The configuration file (TOML); variables CRATER_QUOTA__KEY override it
    #[arg(long)]
    config: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    crater_telemetry::init(crater_telemetry::Options::default());
    let args = Args::parse();
    let config: Config = load_config(args.config.as_deref(), "CRATER_QUOTA")?;
    run_until_signal(|shutdown| start(config, shutdown)).await
}

async fn start(config: Config, shutdown: Shutdown) -> anyhow::Result<Running> {
    let mesh = MeshKey::load(&config.mesh_key).context("the services of a mesh share one key")?;
    let mut deps = Deps::new(Authority::new(mesh), config.database.parse()?);
    deps.user = Some(config.user.clone().context("user is not set: where is the user service?")?);
    deps.scheduling = config.scheduling.clone();
    let bind = Bind::Tcp(config.server.listen);
    Ok(build(config, deps).await?.spawn(bind, shutdown).await?)
}
