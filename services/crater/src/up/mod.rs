//! `crater up`: the whole mesh in one process, by the same wiring as on a cluster. It only mounts: what a service does is
//! the service's business.

mod cluster;
mod data;
mod mesh;
mod nodes;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use crater_service::{Shutdown, stop_on_signal};

use self::mesh::Mesh;

/// Runs the whole of Crater on this machine
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Where the database, keys and logs are kept
    #[arg(long, value_name = "DIR", default_value = "crater-data")]
    pub data: PathBuf,
    /// Where browsers and clients call
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Where kubectl calls the embedded Kubernetes; loopback only
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8001", conflicts_with = "kubeconfig")]
    pub kube_listen: SocketAddr,
    /// Really run commands, as processes of this machine
    #[arg(long, conflicts_with = "kubeconfig")]
    pub run_local: bool,
    /// The nodes: COUNTxGPUS:MODEL (several by comma), or a YAML file. Default: a few pretend GPU nodes; with --run-local this machine
    #[arg(long, value_name = "FILE|COUNTxGPUS:MODEL", conflicts_with = "kubeconfig")]
    pub nodes: Option<String>,
    /// How much faster than real time pretend Pods run
    #[arg(long, value_name = "X", default_value_t = 1.0, conflicts_with_all = ["kubeconfig", "run_local"], value_parser = time_scale)]
    pub time_scale: f64,
    /// Record what the scheduler is given and decides in each cycle, for crater replay --recording
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Use the Kubernetes cluster of this file instead of the embedded one
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Where the tables are: sqlite:///FOLDER, or mysql://USER:PASSWORD@HOST:PORT/PREFIX [default: the data folder]
    #[arg(long, value_name = "URL", env = "CRATER_DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<String>,
    /// A further origin whose pages may call, beside http://localhost:5173 and http://127.0.0.1:5173
    #[arg(long, value_name = "ORIGIN")]
    pub allow_origin: Vec<String>,
    /// The certificate chain for TLS (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The private key for TLS (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
}

fn time_scale(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(x) if x.is_finite() && (0.001..=1_000_000.0).contains(&x) => Ok(x),
        _ => Err("must be a number from 0.001 to 1,000,000".to_owned()),
    }
}

/// Runs until SIGTERM or SIGINT, then drains.
///
/// # Errors
/// What keeps it from starting, by the flag that is to blame.
pub fn run(args: Args) -> Result<ExitCode> {
    // a person reads this terminal: what goes well is not told, unless CRATER_LOG asks for it
    let logs = crater_telemetry::Options { filter: "warn".to_owned(), ..Default::default() };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting")?;
    runtime.block_on(async {
        crater_telemetry::init(logs);
        let result = serve(&args).await;
        crater_telemetry::flush();
        result
    })
}

async fn serve(args: &Args) -> Result<ExitCode> {
    let shutdown = Shutdown::new();
    let signals = stop_on_signal(&shutdown)?;
    let mesh = Box::pin(Mesh::start(args, &shutdown)).await?;
    mesh.announce(&mut std::io::stdout().lock())?;
    mesh.stopped().await?;
    signals.abort();
    Ok(ExitCode::SUCCESS)
}
