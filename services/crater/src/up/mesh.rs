//! Every service, mounted in one process: each with its own view of identities, each reached over gRPC, as on a cluster.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use crater_auth::{Authority, MeshKey};
use crater_gateway::{Backends, Gateway};
use crater_service::{Bind, InProcess, Readiness, Running, Shutdown, Target, Tls};
use crater_store::Location;
use rand::RngExt as _;
use tokio::net::TcpListener;

use super::Args;
use super::cluster::{self, Kubernetes};
use super::data::DataDir;

/// Where a frontend under development is served from.
const DEVELOPMENT_ORIGINS: [&str; 2] = ["http://localhost:5173", "http://127.0.0.1:5173"];
/// How long the services may take until all are ready.
const PATIENCE: Duration = Duration::from_secs(30);
/// Characters of a password that we make: none that are mistaken for another.
const ALPHABET: &[u8] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// The mesh, running.
pub struct Mesh {
    running: Vec<Running>,
    kubernetes: Kubernetes,
    data: DataDir,
    address: SocketAddr,
    tls: bool,
    /// The password of the first user, if this start made it up.
    password: Option<String>,
    _controller: InProcess,
}

/// What the services are mounted with, and those that are mounted.
struct Mount<'a> {
    mesh_key: MeshKey,
    location: Location,
    client: kube::Client,
    shutdown: &'a Shutdown,
    user: InProcess,
    quota: InProcess,
    job: InProcess,
    scheduling: InProcess,
    controller: InProcess,
    running: Vec<Running>,
    wanted: Vec<Readiness>,
}

impl Mesh {
    /// Starts everything and returns once all is ready.
    ///
    /// # Errors
    /// What keeps it from starting.
    pub async fn start(args: &Args, shutdown: &Shutdown) -> Result<Self> {
        let data = DataDir::take(&args.data)?;
        let listener = tokio::net::TcpListener::bind(args.listen)
            .await
            .with_context(|| format!("--listen {}: binding", args.listen))?;
        let address = listener.local_addr()?;
        let kubernetes = cluster::start(args, &data, shutdown).await?;
        let mut mount = Mount {
            mesh_key: data.mesh_key()?,
            location: location(args, &data)?,
            client: kubernetes.client.clone(),
            shutdown,
            user: InProcess::new("user"),
            quota: InProcess::new("quota"),
            job: InProcess::new("job"),
            scheduling: InProcess::new("scheduling"),
            controller: InProcess::new("controller"),
            running: Vec::new(),
            wanted: Vec::new(),
        };
        let password = mount.user().await.context("the user service")?;
        mount.quota().await.context("the quota service")?;
        mount.job().await.context("the job service")?;
        mount.scheduler(args.record.clone()).await.context("the scheduler")?;
        mount.controller().await.context("the controller")?;
        mount.gateway(args, listener).await.context("the gateway")?;
        all_ready(&mount.wanted, shutdown).await?;
        let tls = args.tls_cert.is_some();
        // a place without anybody who could dial it closes; nobody dials the controller
        let controller = mount.controller;
        Ok(Self { running: mount.running, kubernetes, data, address, tls, password, _controller: controller })
    }

    /// Tells the person who started it where everything is.
    ///
    /// # Errors
    /// The writer's.
    pub fn announce(&self, out: &mut impl Write) -> io::Result<()> {
        let url = format!("{}://{}", if self.tls { "https" } else { "http" }, self.address);
        writeln!(out, "Crater is up.")?;
        writeln!(out, "  console   {url}/")?;
        match &self.password {
            Some(password) => {
                writeln!(out, "  sign in   user admin, password {password}   (shown this once: keep it)")?;
            }
            None => writeln!(out, "  sign in   user admin")?,
        }
        writeln!(out, "  command   crater login --server {url} --user admin --password-stdin")?;
        writeln!(out, "  cluster   {}", self.kubernetes.description)?;
        if self.kubernetes.embedded.is_some() {
            writeln!(
                out,
                "  kubectl   kubectl --kubeconfig {} get aijobs -A",
                self.data.join("kubeconfig").display()
            )?;
        }
        out.flush()
    }

    /// Waits until every service has drained after the shutdown, then ends what the embedded cluster runs.
    ///
    /// # Errors
    /// A service that ended by itself.
    pub async fn stopped(self) -> Result<()> {
        for running in self.running {
            let name = running.name();
            running.stopped().await.with_context(|| format!("the {name} service"))?;
        }
        if let Some((cluster, _)) = self.kubernetes.embedded {
            cluster.shutdown().await;
        }
        Ok(())
    }
}

fn location(args: &Args, data: &DataDir) -> Result<Location> {
    match &args.database_url {
        Some(url) => url.parse().map_err(|e| anyhow::anyhow!("--database-url: {e}")),
        None => Ok(Location::from(data.join("db"))),
    }
}

impl Mount<'_> {
    /// What a service knows of identities: each its own, as in a process of its own.
    fn authority(&self) -> Authority {
        Authority::new(self.mesh_key.clone())
    }

    /// The password of user `admin`, if it was made up now.
    async fn user(&mut self) -> Result<Option<String>> {
        let deps = crater_user::Deps::new(self.authority(), self.location.clone());
        let service = crater_user::build(crater_user::Config::default(), deps).await?;
        let given = std::env::var("CRATER_ADMIN_PASSWORD").ok().filter(|p| !p.is_empty());
        let made_up = given.is_none().then(new_password);
        let password = given.or_else(|| made_up.clone()).unwrap_or_default();
        let first = service.app().bootstrap_admin(password).await.context("CRATER_ADMIN_PASSWORD")?;
        self.wanted.push(service.readiness().clone());
        self.running.push(service.spawn(Bind::InProcess(self.user.clone()), self.shutdown.clone()).await?);
        Ok(made_up.filter(|_| first))
    }

    async fn quota(&mut self) -> Result<()> {
        let mut deps = crater_quota::Deps::new(self.authority(), self.location.clone());
        deps.user = Some(Target::InProcess(self.user.clone()));
        deps.scheduling = Some(Target::InProcess(self.scheduling.clone()));
        let service = crater_quota::build(crater_quota::Config::default(), deps).await?;
        self.wanted.push(service.readiness().clone());
        self.running.push(service.spawn(Bind::InProcess(self.quota.clone()), self.shutdown.clone()).await?);
        Ok(())
    }

    async fn job(&mut self) -> Result<()> {
        let mut deps = crater_job::Deps::new(self.authority(), self.location.clone(), self.client.clone());
        deps.user = Some(Target::InProcess(self.user.clone()));
        deps.quota = Some(Target::InProcess(self.quota.clone()));
        let service = crater_job::build(crater_job::Config::default(), deps).await?;
        self.wanted.push(service.readiness().clone());
        self.running.push(service.spawn(Bind::InProcess(self.job.clone()), self.shutdown.clone()).await?);
        Ok(())
    }

    async fn scheduler(&mut self, record: Option<PathBuf>) -> Result<()> {
        let mut deps = crater_scheduler::Deps::new(self.authority(), self.client.clone());
        deps.user = Some(Target::InProcess(self.user.clone()));
        deps.quota = Some(Target::InProcess(self.quota.clone()));
        let config = crater_scheduler::Config { record, ..crater_scheduler::Config::default() };
        let service = crater_scheduler::build(config, deps)?;
        self.wanted.push(service.readiness().clone());
        self.running
            .push(service.spawn(Bind::InProcess(self.scheduling.clone()), self.shutdown.clone()).await?);
        Ok(())
    }

    async fn controller(&mut self) -> Result<()> {
        let deps = crater_controller::Deps { client: self.client.clone() };
        let service = crater_controller::build(crater_controller::Config::default(), deps);
        self.wanted.push(service.readiness().clone());
        self.running
            .push(service.spawn(Bind::InProcess(self.controller.clone()), self.shutdown.clone()).await?);
        Ok(())
    }

    async fn gateway(&mut self, args: &Args, listener: TcpListener) -> Result<()> {
        let mut config = crater_gateway::Config::default();
        config.allowed_origins.extend(DEVELOPMENT_ORIGINS.map(str::to_owned));
        config.allowed_origins.extend(args.allow_origin.iter().cloned());
        if let (Some(certificate), Some(key)) = (&args.tls_cert, &args.tls_key) {
            config.server.tls = Some(Tls { certificate: certificate.clone(), key: key.clone() });
        }
        let backends = Backends {
            user: Target::InProcess(self.user.clone()),
            quota: Target::InProcess(self.quota.clone()),
            job: Target::InProcess(self.job.clone()),
            scheduling: Target::InProcess(self.scheduling.clone()),
        };
        let gateway = Gateway::build(config, backends, self.mesh_key.clone())?;
        self.wanted.push(gateway.readiness().clone());
        self.running.push(gateway.spawn(Bind::Listener(listener), self.shutdown.clone()).await?);
        Ok(())
    }
}

/// Waits until every condition of every service holds.
async fn all_ready(wanted: &[Readiness], shutdown: &Shutdown) -> Result<()> {
    let all = futures::future::join_all(wanted.iter().map(Readiness::ready));
    tokio::select! {
        _ = all => Ok(()),
        () = shutdown.cancelled() => bail!("stopped before all services were ready"),
        () = tokio::time::sleep(PATIENCE) => {
            let missing = wanted.iter().flat_map(Readiness::missing).map(|m| m.to_string());
            bail!("not ready after {} s: {}", PATIENCE.as_secs(), missing.collect::<Vec<_>>().join("; "))
        }
    }
}

fn new_password() -> String {
    let mut random = rand::rng();
    let mut group = || (0..5).map(|_| char::from(ALPHABET[random.random_range(0..ALPHABET.len())])).collect();
    let groups: [String; 4] = [group(), group(), group(), group()];
    groups.join("-")
}
