//! The scheduler as a process of its own.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Parser;
use crater_auth::{Authority, MeshKey};
use crater_scheduler::{Config, Deps, build};
use crater_service::{Bind, Running, Shutdown, load_config, run_until_signal};
use kube::config::{KubeConfigOptions, Kubeconfig};

/// Who gets which GPUs, when, and why not yet.
#[derive(Parser)]
#[command(name = "crater-scheduler", version)]
struct Args {
    /// The configuration file (TOML); variables CRATER_SCHEDULER__KEY override it
    #[arg(long)]
    config: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    crater_telemetry::init(crater_telemetry::Options::default());
    let args = Args::parse();
    let config: Config = load_config(args.config.as_deref(), "CRATER_SCHEDULER")?;
    run_until_signal(|shutdown| start(config, shutdown)).await
}

async fn start(config: Config, shutdown: Shutdown) -> anyhow::Result<Running> {
    let mesh = MeshKey::load(&config.mesh_key).context("the services of a mesh share one key")?;
    let cluster = cluster(config.kubeconfig.as_deref()).await?;
    let mut deps = Deps::new(Authority::new(mesh), cluster);
    deps.user = Some(config.user.clone().context("user is not set: where is the user service?")?);
    deps.quota = Some(config.quota.clone().context("quota is not set: where is the quota service?")?);
    let bind = Bind::Tcp(config.server.listen);
    Ok(build(config, deps)?.spawn(bind, shutdown).await?)
}

async fn cluster(kubeconfig: Option<&Path>) -> anyhow::Result<kube::Client> {
    let Some(path) = kubeconfig else {
        return kube::Client::try_default().await.context("finding the cluster");
    };
    let read = Kubeconfig::read_from(path).with_context(|| format!("reading {}", path.display()))?;
    let config = kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
    Ok(kube::Client::try_from(config)?)
}
