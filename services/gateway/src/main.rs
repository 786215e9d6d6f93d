//! `crater-gateway`: the gateway as a process of its own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use crater_auth::MeshKey;
use crater_gateway::{Backends, Config, Error, Gateway};
use crater_service::{Bind, Target, Tls, leave, load_config, required, run_until_signal, setting};

/// The door of a Crater mesh: gRPC, gRPC-Web and the console on one port.
///
/// Flags override the environment (CRATER_GATEWAY__KEY), which overrides the configuration file.
#[derive(Parser)]
#[command(version)]
struct Flags {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address and port to listen on
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// The key that the services of the mesh share
    #[arg(long, value_name = "FILE")]
    mesh_key: Option<PathBuf>,
    /// The user service: http://host:port
    #[arg(long, value_name = "URL")]
    user: Option<Target>,
    /// The quota service: http://host:port
    #[arg(long, value_name = "URL")]
    quota: Option<Target>,
    /// The job service: http://host:port
    #[arg(long, value_name = "URL")]
    job: Option<Target>,
    /// The scheduler: http://host:port
    #[arg(long, value_name = "URL")]
    scheduling: Option<Target>,
    /// An origin whose pages may call from a browser; may be repeated
    #[arg(long = "allow-origin", value_name = "ORIGIN")]
    allowed_origins: Vec<String>,
    /// TLS certificate chain (PEM); needs --tls-key
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// TLS key (PEM); needs --tls-certificate
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
}

impl Flags {
    fn config(self) -> Result<Config, Error> {
        let mut config: Config = load_config(self.config.as_deref(), "CRATER_GATEWAY")?;
        config.server.listen = self.listen.unwrap_or(config.server.listen);
        config.mesh_key = self.mesh_key.or(config.mesh_key);
        config.user = self.user.or(config.user);
        config.quota = self.quota.or(config.quota);
        config.job = self.job.or(config.job);
        config.scheduling = self.scheduling.or(config.scheduling);
        config.allowed_origins.extend(self.allowed_origins);
        if let (Some(certificate), Some(key)) = (self.tls_certificate, self.tls_key) {
            config.server.tls = Some(Tls { certificate, key });
        }
        Ok(config)
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let flags = Flags::parse();
    crater_telemetry::init(crater_telemetry::Options::default());
    leave("crater-gateway", run(flags).await)
}

async fn run(flags: Flags) -> anyhow::Result<()> {
    let config = flags.config().map_err(plain)?;
    let backends = Backends::try_from(&config).map_err(plain)?;
    let key = required(
        "mesh_key",
        "the file of the key, by flag --mesh-key or configuration",
        config.mesh_key.clone(),
    )?;
    let mesh = setting("mesh_key", MeshKey::load(&key))?;
    let listen = Bind::Tcp(config.server.listen);
    run_until_signal(|shutdown| async move {
        Gateway::build(config, backends, mesh)?.spawn(listen, shutdown).await
    })
    .await
    .map_err(plain)
}

/// What the service crate said is passed on as such: how a program leaves goes by it.
fn plain(error: Error) -> anyhow::Error {
    match error {
        Error::Service(error) => error.into(),
        error => error.into(),
    }
}
