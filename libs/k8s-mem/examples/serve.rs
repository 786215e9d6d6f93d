//! A Kubernetes in memory on a loopback port, by itself: for services that run as processes of their own.
//!
//! `cargo run -p crater-k8s-mem --example serve -- 127.0.0.1:8001 2 8 A100 > kubeconfig` serves two pretend nodes of eight
//! A100s until it is interrupted, and prints the way to it.

use std::io::Write as _;
use std::time::Duration;

use crater_k8s_mem::{Cluster, KubeletMode, NodeSpec, kubeconfig};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let mut next = |default: &str| args.next().unwrap_or_else(|| default.to_owned());
    let listener = tokio::net::TcpListener::bind(next("127.0.0.1:8001")).await?;
    let (count, gpus, model): (u32, u32, String) = (next("2").parse()?, next("8").parse()?, next("A100"));
    let cluster = Cluster::builder()
        .nodes((0..count).map(|i| NodeSpec::gpu_server(format!("node-{i}"), gpus, model.clone())))
        .kubelet(KubeletMode::Play { start_latency: Duration::from_millis(300) })
        .build()
        .await?;
    print!("{}", kubeconfig(listener.local_addr()?));
    std::io::stdout().flush()?;
    let stop = CancellationToken::new();
    let serving = cluster.serve(listener, stop.clone());
    tokio::select! {
        () = serving => {}
        _ = tokio::signal::ctrl_c() => stop.cancel(),
    }
    cluster.shutdown().await;
    Ok(())
}
