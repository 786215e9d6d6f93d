//! The scheduler as a process of its own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use crater_auth::{Authority, MeshKey};
use crater_k8s::connect;
use crater_scheduler::{Config, Deps, build};
use crater_service::{
    Bind, Error, Running, Shutdown, leave, load_config, required, run_until_signal, setting,
};
use mimalloc::MiMalloc;
use tokio::net::TcpListener;

/// A cycle makes and drops many small lists: a third less time than with the system's.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Who gets which GPUs, when, and why not yet.
#[derive(Parser)]
#[command(name = "crater-scheduler", version)]
struct Args {
    /// The configuration file (TOML); variables CRATER_SCHEDULER__KEY override it
    #[arg(long)]
    config: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    crater_telemetry::init(crater_telemetry::Options::default());
    leave("crater-scheduler", run(args).await)
}

async fn run(args: Args) -> anyhow::Result<()> {
    let config: Config = load_config(args.config.as_deref(), "CRATER_SCHEDULER")?;
    run_until_signal(|shutdown| start(config, shutdown)).await
}

async fn start(config: Config, shutdown: Shutdown) -> anyhow::Result<Running> {
    let mesh = setting("mesh_key", MeshKey::load(&config.mesh_key))?;
    let user = required("user", "the user service, http://host:port", config.user.clone())?;
    let quota = required("quota", "the quota service, http://host:port", config.quota.clone())?;
    setting("lease_seconds", config.lease())?;
    let mut deps =
        Deps::new(Authority::new(mesh), setting("kubeconfig", connect(config.kubeconfig.as_deref()).await)?);
    deps.user = Some(user);
    deps.quota = Some(quota);
    let addr = config.server.listen;
    let listener = TcpListener::bind(addr).await.map_err(|source| Error::Listen { addr, source })?;
    if let Some(holder) = holder(listener.local_addr()?) {
        deps.holder = holder;
    }
    Ok(build(config, deps)?.spawn(Bind::Listener(listener), shutdown).await?)
}

/// A name that no other living process has, and that the next process in this place has again: it holds the Lease anew at
/// once. An address is one listener's at a time, on a machine (the boot's id) or in a Pod (its host name). None where the
/// system does not tell.
fn holder(listening: SocketAddr) -> Option<String> {
    let read = |file: &str| Some(std::fs::read_to_string(file).ok()?.trim().to_owned());
    let host = read("/proc/sys/kernel/hostname").filter(|host| !host.is_empty())?;
    let boot = read("/proc/sys/kernel/random/boot_id")?.get(..8)?.to_owned();
    Some(format!("{host}/{listening}/{boot}"))
}
