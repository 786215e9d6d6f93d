//! The controller as a process of its own.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use crater_controller::{Config, Deps, build};
use crater_k8s::connect;
use crater_service::{Bind, Running, Shutdown, leave, load_config, run_until_signal, setting};

/// Turns Allocations into Pods and follows them.
#[derive(Parser)]
#[command(name = "crater-controller", version)]
struct Args {
    /// The configuration file (TOML); variables CRATER_CONTROLLER__KEY override it
    #[arg(long)]
    config: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    crater_telemetry::init(crater_telemetry::Options::default());
    leave("crater-controller", run(args).await)
}

async fn run(args: Args) -> anyhow::Result<()> {
    let config: Config = load_config(args.config.as_deref(), "CRATER_CONTROLLER")?;
    run_until_signal(|shutdown| start(config, shutdown)).await
}

async fn start(config: Config, shutdown: Shutdown) -> anyhow::Result<Running> {
    let client = setting("kubeconfig", connect(config.kubeconfig.as_deref()).await)?;
    let bind = Bind::Tcp(config.server.listen);
    Ok(build(config, Deps { client }).spawn(bind, shutdown).await?)
}
