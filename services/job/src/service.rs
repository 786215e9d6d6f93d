//! Config → build → spawn. What a service meets from outside is handed in, so that many run side by side in one process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use crater_api::job::v1::job_service_server::JobServiceServer;
use crater_auth::Authority;
use crater_domain::{Error, Result};
use crater_service::{Bind, Condition, Readiness, Running, Server, Shutdown, Target, supervise};
use crater_store::{Db, Location, Service, Tx, job};

use uuid::Uuid;

use crate::app::{App, Clock};
use crate::capture;
use crate::cluster;
use crate::config::Config;
use crate::feasible;
use crate::grpc::Grpc;
use crate::limits;
use crate::log_store::LogStore;
use crate::{clear, tail};

/// What the service meets from outside.
pub struct Deps {
    /// What this process knows of identities.
    pub authority: Authority,
    /// Where the tables are.
    pub location: Location,
    /// The way to the cluster.
    pub client: kube::Client,
    /// Tells the time.
    pub clock: Clock,
    /// The user service to follow; none where somebody else in this process feeds the authority.
    pub user: Option<Target>,
    /// The quota service; without it limits are the scheduler's business alone.
    pub quota: Option<Target>,
}

impl Deps {
    /// The real clock, and nobody to talk to yet.
    pub fn new(authority: Authority, location: Location, client: kube::Client) -> Self {
        Self { authority, location, client, clock: Arc::new(SystemTime::now), user: None, quota: None }
    }
}

/// The service, built and not yet listening.
pub struct JobService {
    app: App,
    authority: Authority,
    user: Option<Target>,
    quota: Option<Target>,
    config: Config,
    readiness: Readiness,
}

/// Who this service is to the others.
const NAME: &str = "job";

/// The tables are asked this often for what other replicas of this service changed.
const ASK_EVERY: Duration = Duration::from_secs(2);

/// Opens the tables.
pub async fn build(config: Config, deps: Deps) -> Result<JobService> {
    let Deps { authority, location, client, clock, user, quota } = deps;
    let db = Db::open(&location, Service::Job).await?;
    let database = db.transaction::<_, Error, _>(Tx::ReadJob, |c| Ok(job::database_id(c)?)).await?;
    while !db.transaction::<_, Error, _>(Tx::ReadJob, |c| Ok(job::fill_in(c)?)).await? {}
    config.logs.check()?;
    // a folder is one process's; of those that share a server, one captures at a time
    let replica = match &location {
        Location::Dir(_) => "local".to_owned(),
        Location::Server(_) => Uuid::new_v4().to_string(),
    };
    let logs = LogStore::new(db.clone(), config.logs.clone());
    let app = App::new(db, database, client, clock, authority.directory().clone(), logs, replica);
    Ok(JobService { app, authority, user, quota, config, readiness: Readiness::new(NAME) })
}

impl JobService {
    /// What is still missing before it serves.
    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// Starts the loops and listens, until the shutdown.
    pub async fn spawn(self, bind: Bind, shutdown: Shutdown) -> Result<Running, crater_service::Error> {
        // loops whose failure must not keep people from submitting: they are told of in the log only
        let aside = Readiness::new("job-loops");
        if let Some(user) = &self.user {
            let identity = self.authority.identity(NAME);
            self.authority.follow(user.channel()?, &identity, &self.readiness, &shutdown);
        }
        if let Some(quota) = &self.quota {
            let channel = self.authority.identity(NAME).channel(quota.channel()?);
            let limits = self.app.limits.clone();
            supervise("limits", &aside, &shutdown, move |condition| {
                limits::follow(channel.clone(), limits.clone(), condition)
            });
        }
        let app = self.app.clone();
        supervise("database", &self.readiness, &shutdown, move |condition| {
            ask_tables(app.clone(), condition)
        });
        let app = self.app.clone();
        supervise("tail", &self.readiness, &shutdown, move |condition| tail::run(app.clone(), condition));
        let app = self.app.clone();
        supervise("accounts", &aside, &shutdown, move |condition| clear::run(app.clone(), condition));
        // ready once the cluster was reached; when it goes away later, submissions are still accepted and wait
        let reached = Reached::new(self.readiness.condition("kubernetes"));
        let (app, config) = (self.app.clone(), self.config.clone());
        supervise("cluster", &aside, &shutdown, move |_| {
            let (app, config, reached) = (app.clone(), config.clone(), reached.clone());
            async move {
                let result = Box::pin(cluster::run(app, config, || reached.now())).await;
                if let Err(trouble) = &result {
                    reached.not_yet(&trouble.to_string());
                }
                result
            }
        });
        let app = self.app.clone();
        supervise("capture", &aside, &shutdown, move |condition| capture::run(app.clone(), condition));
        let (client, nodes) = (self.app.client.clone(), self.app.nodes.clone());
        supervise("nodes", &aside, &shutdown, move |condition| {
            feasible::follow(client.clone(), nodes.clone(), condition)
        });
        Server::new(NAME)
            .add_service(JobServiceServer::new(Grpc(self.app)))
            .descriptors(crater_api::DESCRIPTOR_SET)
            .readiness(self.readiness)
            .limits(self.config.server.limits())
            .tls(self.config.server.tls.clone())
            .layer(self.authority.layer())
            .serve(bind, shutdown)
            .await
    }
}

/// A condition that, once it held, holds.
#[derive(Clone)]
struct Reached {
    condition: Condition,
    held: Arc<AtomicBool>,
}

impl Reached {
    fn new(condition: Condition) -> Self {
        Self { condition, held: Arc::default() }
    }

    fn now(&self) {
        self.held.store(true, Ordering::Relaxed);
        self.condition.ready();
    }

    fn not_yet(&self, why: &str) {
        if !self.held.load(Ordering::Relaxed) {
            self.condition.not_ready(why);
        }
    }
}

/// Wakes those who watch when another replica changed something.
async fn ask_tables(app: App, ready: Condition) -> Result<()> {
    let mut known = None;
    loop {
        let position = app.db.read::<_, Error, _>(Tx::ReadJob, |c| Ok(job::position(c)?)).await?;
        ready.ready();
        if known.is_some_and(|known| known != position) {
            app.tell();
        }
        known = Some(position);
        tokio::time::sleep(ASK_EVERY).await;
    }
}
