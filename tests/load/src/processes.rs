//! The six services as processes of their own, over an in-memory Kubernetes in a seventh.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::process::{Process, program, until};
use crate::session::PASSWORD;

/// In the order in which they are started.
const SERVICES: [&str; 6] = ["user", "quota", "job", "scheduler", "controller", "gateway"];

/// The mesh.
pub struct Processes {
    services: Vec<(Process, Plan)>,
    kubernetes: Process,
    folder: TempDir,
    gateway: u16,
    job: u16,
}

/// How a service is started.
struct Plan {
    name: &'static str,
    variables: Vec<(String, String)>,
}

impl Processes {
    /// Starts all and waits until each serves.
    pub async fn start(nodes: &Path, time_scale: f64, database: Option<&str>) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("crater-load-").tempdir()?;
        let log = |name: &str| folder.path().join(format!("{name}.log"));
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("kubernetes").arg(nodes).arg(time_scale.to_string()).stdout(Stdio::piped());
        let mut kubernetes = Process::start("kubernetes", &mut command, &log("kubernetes"))?;
        let way: String = kubernetes.read_until(|line| serde_json::from_str(line).ok())?;
        let kubeconfig = folder.path().join("kubeconfig");
        std::fs::write(&kubeconfig, way)?;
        let key = folder.path().join("mesh.key");
        crater_auth::MeshKey::load_or_create(&key)?;
        let ports: Vec<u16> = free_ports(SERVICES.len())?;
        let at = |name: &str| {
            let place = SERVICES.iter().position(|s| *s == name).map_or(0, |i| ports[i]);
            format!("http://127.0.0.1:{place}")
        };
        let data = folder.path().join("db");
        let database = database.map_or_else(|| data.display().to_string(), str::to_owned);
        let mut services = Vec::new();
        for (name, port) in SERVICES.into_iter().zip(&ports) {
            let mut set: Vec<(&str, String)> = vec![("SERVER__LISTEN", format!("127.0.0.1:{port}"))];
            let mut uses = |keys: &[&'static str]| {
                for key in keys {
                    let value = match *key {
                        "DATABASE" => database.clone(),
                        "KUBECONFIG" => kubeconfig.display().to_string(),
                        "MESH_KEY" => key_path(&folder),
                        "SCHEDULING" => at("scheduler"),
                        other => at(&other.to_lowercase()),
                    };
                    set.push((key, value));
                }
            };
            match name {
                "user" => uses(&["DATABASE", "MESH_KEY"]),
                "quota" => uses(&["DATABASE", "MESH_KEY", "USER", "SCHEDULING"]),
                "job" => uses(&["DATABASE", "MESH_KEY", "USER", "QUOTA", "KUBECONFIG"]),
                "scheduler" => uses(&["MESH_KEY", "USER", "QUOTA", "KUBECONFIG"]),
                "controller" => uses(&["KUBECONFIG"]),
                _ => uses(&["MESH_KEY", "USER", "QUOTA", "JOB", "SCHEDULING"]),
            }
            let prefix = format!("CRATER_{}__", name.to_uppercase());
            let variables = set.into_iter().map(|(key, value)| (format!("{prefix}{key}"), value)).collect();
            let plan = Plan { name, variables };
            services.push((spawn(&plan, &folder)?, plan));
        }
        let port = |name| SERVICES.iter().position(|s| *s == name).map_or(0, |i| ports[i]);
        let (gateway, job) = (port("gateway"), port("job"));
        for (name, port) in SERVICES.into_iter().zip(&ports) {
            let serves = async || serves(*port).await.then_some(());
            until(&format!("{name} to serve"), Duration::from_secs(60), serves).await?;
        }
        Ok(Self { services, kubernetes, folder, gateway, job })
    }

    /// Where the gateway listens.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.gateway)
    }

    /// Where the job service itself listens.
    pub fn job_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.job)
    }

    /// What kubectl needs.
    pub fn kubeconfig(&self) -> std::path::PathBuf {
        self.folder.path().join("kubeconfig")
    }

    /// Where the tables are, unless they are on a server.
    pub fn store(&self) -> std::path::PathBuf {
        self.folder.path().join("db")
    }

    /// How many services there are.
    pub fn count(&self) -> usize {
        self.services.len()
    }

    /// SIGKILL to one, and a new start in its place; its name.
    pub fn kill_and_restart(&mut self, which: usize) -> Result<String> {
        let (process, plan) = self.services.get_mut(which).context("there are not so many services")?;
        process.kill();
        let next = spawn(plan, &self.folder)?;
        process.succeed(next);
        Ok(plan.name.to_owned())
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Process> {
        self.services.iter().map(|(process, _)| process).chain([&self.kubernetes])
    }
}

/// Whether a service says that all of it is well.
async fn serves(port: u16) -> bool {
    let Ok(endpoint) = Endpoint::from_shared(format!("http://127.0.0.1:{port}")) else { return false };
    let Ok(channel) = endpoint.connect().await else { return false };
    let answer = HealthClient::new(channel).check(HealthCheckRequest::default()).await;
    answer.is_ok_and(|answer| answer.into_inner().status() == ServingStatus::Serving)
}

fn key_path(folder: &TempDir) -> String {
    folder.path().join("mesh.key").display().to_string()
}

fn spawn(plan: &Plan, folder: &TempDir) -> Result<Process> {
    let mut command = Command::new(program(&format!("crater-{}", plan.name))?);
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|n| n.starts_with("CRATER_")) {
            command.env_remove(name);
        }
    }
    command.envs(plan.variables.iter().cloned()).env("CRATER_ADMIN_PASSWORD", PASSWORD).stdout(Stdio::null());
    Process::start(plan.name, &mut command, &folder.path().join(format!("{}.log", plan.name)))
}

/// Ports that were free a moment ago. A service that is killed must come back to the same one, so it cannot choose itself.
fn free_ports(count: usize) -> Result<Vec<u16>> {
    let held: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    held.iter().map(|l| Ok(l.local_addr()?.port())).collect()
}
