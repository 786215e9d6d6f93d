//! The in-memory Kubernetes as a process of its own, so that its work is counted apart.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use crater_domain::{parse_bytes, parse_cpu};
use crater_k8s_mem::{Cluster, KubeletMode, NodeSpec, RealClock, kubeconfig};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

/// What can be set.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The nodes, as `crater up --nodes` reads them
    nodes: PathBuf,
    /// Seconds of its time in one second
    time_scale: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    name: String,
    cpu: serde_yaml_ng::Value,
    memory: String,
    #[serde(default)]
    gpus: u32,
    #[serde(default)]
    gpu_model: String,
}

impl Row {
    fn spec(self) -> Result<NodeSpec> {
        let cpu = match &self.cpu {
            serde_yaml_ng::Value::Number(n) => n.to_string(),
            other => other.as_str().unwrap_or_default().to_owned(),
        };
        Ok(NodeSpec {
            cpu_millis: parse_cpu(&cpu).with_context(|| format!("cpu of {}", self.name))?.unsigned_abs(),
            memory_bytes: parse_bytes(&self.memory)
                .with_context(|| format!("memory of {}", self.name))?
                .unsigned_abs(),
            name: self.name,
            gpus: self.gpus,
            gpu_model: self.gpu_model,
            devices: Default::default(),
            labels: Default::default(),
        })
    }
}

/// Serves until it is killed; prints the way to it first, as one line of JSON text.
pub async fn serve(args: Args) -> Result<()> {
    let rows: Vec<Row> = serde_yaml_ng::from_str(&std::fs::read_to_string(&args.nodes)?)?;
    let nodes: Vec<NodeSpec> = rows.into_iter().map(Row::spec).collect::<Result<_>>()?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let way = kubeconfig(listener.local_addr()?);
    let cluster = Cluster::builder()
        .clock(RealClock::shared(args.time_scale))
        .nodes(nodes)
        .kubelet(KubeletMode::Play { start_latency: Duration::from_millis(300) })
        .build()
        .await?;
    crater_k8s::build::install(&cluster.client()).await?;
    println!("{}", serde_json::to_string(&way)?);
    std::io::stdout().flush()?;
    cluster.serve(listener, CancellationToken::new()).await;
    Ok(())
}
