//! The job service as a process of its own.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Parser;
use crater_auth::{Authority, MeshKey};
use crater_job::{Config, Deps, build};
use crater_service::{Bind, Running, Shutdown, load_config, run_until_signal};
use kube::config::{KubeConfigOptions, Kubeconfig};

/// What people submit, from the accepted request to the recorded end.
#[derive(Parser)]
#[command(name = "crater-job", version)]
struct Args {
    /// The configuration file (TOML); variables CRATER_JOB__KEY override it
    #[arg(long)]
    config: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    crater_telemetry::init(crater_telemetry::Options::default());
    let args = Args::parse();
    let config: Config = load_config(args.config.as_deref(), "CRATER_JOB")?;
    run_until_signal(|shutdown| start(config, shutdown)).await
}

async fn start(config: Config, shutdown: Shutdown) -> anyhow::Result<Running> {
    let mesh = MeshKey::load(&config.mesh_key).context("the services of a mesh share one key")?;
    let client = client(&config.kubeconfig).await.context("reading the way to Kubernetes")?;
    let mut deps = Deps::new(Authority::new(mesh), config.database.parse()?, client);
    deps.user = Some(config.user.clone().context("user is not set: where is the user service?")?);
    deps.quota = config.quota.clone();
    let bind = Bind::Tcp(config.server.listen);
    Ok(build(config, deps).await?.spawn(bind, shutdown).await?)
}

async fn client(kubeconfig: &Path) -> anyhow::Result<kube::Client> {
    if kubeconfig.as_os_str().is_empty() {
        return Ok(kube::Client::try_default().await?);
    }
    let read = Kubeconfig::read_from(kubeconfig)?;
    let config = kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
    Ok(kube::Client::try_from(config)?)
}
