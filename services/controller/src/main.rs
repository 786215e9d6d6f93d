//! The controller as a process of its own.

use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use crater_controller::{Config, Deps, build};
use crater_service::{Bind, Running, Shutdown, load_config, run_until_signal};
use kube::config::{KubeConfigOptions, Kubeconfig};

/// Turns Allocations into Pods and follows them.
#[derive(Parser)]
#[command(name = "crater-controller", version)]
struct Args {
    /// The configuration file (TOML); variables CRATER_CONTROLLER__KEY override it
    #[arg(long)]
    config: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    crater_telemetry::init(crater_telemetry::Options::default());
    let args = Args::parse();
    let config: Config = load_config(args.config.as_deref(), "CRATER_CONTROLLER")?;
    run_until_signal(|shutdown| start(config, shutdown)).await
}

async fn start(config: Config, shutdown: Shutdown) -> anyhow::Result<Running> {
    let cluster = match &config.kubeconfig {
        Some(file) => {
            let file = Kubeconfig::read_from(file).context("kubeconfig")?;
            kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?
        }
        None => kube::Config::infer().await.context("kubeconfig is not set, and there is none around")?,
    };
    let client = kube::Client::try_from(cluster)?;
    let bind = Bind::Tcp(config.server.listen);
    Ok(build(config, Deps { client }).spawn(bind, shutdown).await?)
}
