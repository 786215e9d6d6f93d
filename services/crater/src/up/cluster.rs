//! The Kubernetes under the mesh: the embedded one, or somebody's own.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use crater_k8s_mem::{Cluster, KubeletMode, RealClock, kubeconfig};
use crater_service::Shutdown;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio::net::TcpListener;

use super::data::DataDir;
use super::{Args, nodes};

/// A cluster to work on.
pub struct Kubernetes {
    /// The way to its API.
    pub client: kube::Client,
    /// The embedded cluster, if it is that, and where kubectl finds it.
    pub embedded: Option<(Cluster, SocketAddr)>,
    /// What it is, for people.
    pub description: String,
}

/// Starts the embedded cluster, or reads the way to another; then installs the custom resources.
pub async fn start(args: &Args, data: &DataDir, shutdown: &Shutdown) -> Result<Kubernetes> {
    let kubernetes = match &args.kubeconfig {
        Some(file) => {
            let config =
                Kubeconfig::read_from(file).with_context(|| format!("--kubeconfig {}", file.display()))?;
            let config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default())
                .await
                .with_context(|| format!("--kubeconfig {}", file.display()))?;
            let description = format!("the cluster at {}", config.cluster_url);
            Kubernetes { client: kube::Client::try_from(config)?, embedded: None, description }
        }
        None => embedded(args, data, shutdown).await?,
    };
    crater_k8s::build::install(&kubernetes.client).await.context("installing the custom resources")?;
    Ok(kubernetes)
}

async fn embedded(args: &Args, data: &DataDir, shutdown: &Shutdown) -> Result<Kubernetes> {
    let listener = TcpListener::bind(args.kube_listen)
        .await
        .with_context(|| format!("--kube-listen {}: binding", args.kube_listen))?;
    let address = listener.local_addr()?;
    let nodes = nodes::parse(args.nodes.as_deref(), args.run_local)?;
    let gpus: u32 = nodes.iter().map(|n| n.gpus).sum();
    let kind = match (args.run_local, &args.nodes) {
        (true, None) => "this machine",
        (true, Some(_)) => "pretend nodes, commands run on this machine",
        (false, _) => "pretend nodes, nothing really runs (see --run-local)",
    };
    let description = format!("{} node(s) with {gpus} GPU(s): {kind}", nodes.len());
    let mode = if args.run_local {
        let shim = std::env::current_exe().context("finding this program")?;
        KubeletMode::RunLocal { data_dir: data.join("run"), shim }
    } else {
        KubeletMode::Play { start_latency: Duration::from_millis(300) }
    };
    let cluster = Cluster::builder()
        .clock(RealClock::shared(args.time_scale))
        .nodes(nodes)
        .kubelet(mode)
        .build()
        .await
        .context("starting the embedded Kubernetes")?;
    std::fs::write(data.join("kubeconfig"), kubeconfig(address)).context("writing the kubeconfig")?;
    let (served, stop) = (cluster.clone(), shutdown.clone());
    tokio::spawn(async move { served.serve(listener, stop).await });
    Ok(Kubernetes { client: cluster.client(), embedded: Some((cluster, address)), description })
}
