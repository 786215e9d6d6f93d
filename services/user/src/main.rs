//! The user service as a process of its own.

use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use crater_auth::{Authority, MeshKey};
use crater_service::{Bind, Running, Shutdown, load_config, run_until_signal};
use crater_user::{Config, Deps, build};

/// Who is who, and who is in which account.
#[derive(Parser)]
#[command(name = "crater-user", version)]
struct Args {
    /// The configuration file (TOML); variables CRATER_USER__KEY override it
    #[arg(long)]
    config: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    crater_telemetry::init(crater_telemetry::Options::default());
    let args = Args::parse();
    let config: Config = load_config(args.config.as_deref(), "CRATER_USER")?;
    run_until_signal(|shutdown| start(config, shutdown)).await
}

async fn start(config: Config, shutdown: Shutdown) -> anyhow::Result<Running> {
    let mesh = MeshKey::load(&config.mesh_key).context("the services of a mesh share one key")?;
    let bind = Bind::Tcp(config.server.listen);
    let deps = Deps::new(Authority::new(mesh), config.database.parse()?);
    let service = build(config, deps).await?;
    // no password of ours is ever built in: without one given, the first user is made by the next start that has it
    match std::env::var("CRATER_ADMIN_PASSWORD") {
        Ok(password) => {
            service.app().bootstrap_admin(password).await?;
        }
        Err(_) => tracing::info!("CRATER_ADMIN_PASSWORD is not set: no first user is made"),
    }
    Ok(service.spawn(bind, shutdown).await?)
}
