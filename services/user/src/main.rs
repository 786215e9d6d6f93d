//! The user service as a process of its own.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use crater_auth::{Authority, MeshKey};
use crater_domain::Error;
use crater_service::{Bind, Running, Shutdown, leave, load_config, patiently, run_until_signal, setting};
use crater_store::Location;
use crater_user::{Config, Deps, UserService, build};

/// The variable with the password of the first user, `admin`.
const PASSWORD: &str = "CRATER_ADMIN_PASSWORD";

/// Who is who, and who is in which account.
#[derive(Parser)]
#[command(name = "crater-user", version)]
struct Args {
    /// The configuration file (TOML); variables CRATER_USER__KEY override it
    #[arg(long)]
    config: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    crater_telemetry::init(crater_telemetry::Options::default());
    leave("crater-user", run(args).await)
}

async fn run(args: Args) -> anyhow::Result<()> {
    let config: Config = load_config(args.config.as_deref(), "CRATER_USER")?;
    run_until_signal(|shutdown| start(config, shutdown)).await
}

async fn start(config: Config, shutdown: Shutdown) -> anyhow::Result<Running> {
    let mesh = setting("mesh_key", MeshKey::load(&config.mesh_key))?;
    let location: Location = setting("database", config.database.parse())?;
    let bind = Bind::Tcp(config.server.listen);
    let service = patiently("the database", Error::is_away, async || {
        build(config.clone(), Deps::new(Authority::new(mesh.clone()), location.clone())).await
    });
    let service = setting("database", service.await.map_err(|error| error.for_operators()))?;
    first_user(&service).await?;
    Ok(service.spawn(bind, shutdown).await?)
}

/// No password of ours is ever built in: without one given, the first user is made by the next start that has it.
async fn first_user(service: &UserService) -> anyhow::Result<()> {
    let password = std::env::var(PASSWORD).unwrap_or_default();
    if password.is_empty() {
        tracing::info!("{PASSWORD} is not set: no first user is made");
        return Ok(());
    }
    let made = patiently("the first user", Error::is_away, async || {
        service.app().bootstrap_admin(password.clone()).await
    });
    if setting(PASSWORD, made.await)? {
        tracing::info!("made the first user, admin");
    }
    Ok(())
}
