//! The quota service as a process of its own.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use crater_auth::{Authority, MeshKey};
use crater_domain::Error;
use crater_quota::{Config, Deps, build};
use crater_service::{
    Bind, Running, Shutdown, leave, load_config, patiently, required, run_until_signal, setting,
};
use crater_store::Location;

/// What every account, and every user in it, may use.
#[derive(Parser)]
#[command(name = "crater-quota", version)]
struct Args {
    /// The configuration file (TOML); variables CRATER_QUOTA__KEY override it
    #[arg(long)]
    config: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    crater_telemetry::init(crater_telemetry::Options::default());
    leave("crater-quota", run(args).await)
}

async fn run(args: Args) -> anyhow::Result<()> {
    let config: Config = load_config(args.config.as_deref(), "CRATER_QUOTA")?;
    run_until_signal(|shutdown| start(config, shutdown)).await
}

async fn start(config: Config, shutdown: Shutdown) -> anyhow::Result<Running> {
    let mesh = setting("mesh_key", MeshKey::load(&config.mesh_key))?;
    let location: Location = setting("database", config.database.parse())?;
    let user = required("user", "the user service, http://host:port", config.user.clone())?;
    let bind = Bind::Tcp(config.server.listen);
    let service = patiently("the database", Error::is_away, async || {
        let mut deps = Deps::new(Authority::new(mesh.clone()), location.clone());
        deps.user = Some(user.clone());
        deps.scheduling = config.scheduling.clone();
        build(config.clone(), deps).await
    });
    let service = setting("database", service.await.map_err(|error| error.for_operators()))?;
    Ok(service.spawn(bind, shutdown).await?)
}
