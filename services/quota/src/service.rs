//! Config → build → spawn. What a service meets from outside is handed in, so that many run side by side in one process.

use std::sync::Arc;
use std::time::SystemTime;

use crater_api::quota::v1::quota_service_server::QuotaServiceServer;
use crater_auth::Authority;
use crater_domain::{Error, Result};
use crater_service::{Bind, Readiness, Running, Server, Shutdown, Target};
use crater_store::{Db, Location, Service};

use crate::app::{App, Clock};
use crate::config::Config;
use crate::grpc::Grpc;
use crate::usage::UsageOf;

/// What the service meets from outside.
pub struct Deps {
    /// What this process knows of identities.
    pub authority: Authority,
    /// Where the tables are.
    pub location: Location,
    /// Tells the time.
    pub clock: Clock,
    /// The user service to follow; none where somebody else in this process feeds the authority.
    pub user: Option<Target>,
    /// The scheduling service; without it usage is unknown.
    pub scheduling: Option<Target>,
}

impl Deps {
    /// The real clock, and nobody to talk to yet.
    pub fn new(authority: Authority, location: Location) -> Self {
        Self { authority, location, clock: Arc::new(SystemTime::now), user: None, scheduling: None }
    }
}

/// The service, built and not yet listening.
pub struct QuotaService {
    app: App,
    authority: Authority,
    user: Option<Target>,
    config: Config,
    readiness: Readiness,
}

/// Who this service is to the others.
const NAME: &str = "quota";

/// Opens the tables.
pub async fn build(config: Config, deps: Deps) -> Result<QuotaService> {
    let Deps { authority, location, clock, user, scheduling } = deps;
    let db = Db::open(&location, Service::Quota).await?;
    let channel = match scheduling {
        Some(target) => {
            let channel = target.channel().map_err(Error::internal)?;
            Some(authority.identity(NAME).channel(channel))
        }
        None => None,
    };
    let app = App::new(db, UsageOf::new(channel), authority.directory().clone(), clock);
    Ok(QuotaService { app, authority, user, config, readiness: Readiness::new(NAME) })
}

impl QuotaService {
    /// What is still missing before it serves.
    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// Starts the loops and listens, until the shutdown.
    pub async fn spawn(self, bind: Bind, shutdown: Shutdown) -> Result<Running, crater_service::Error> {
        if let Some(user) = &self.user {
            let identity = self.authority.identity(NAME);
            self.authority.follow(user.channel()?, &identity, &self.readiness, &shutdown);
        }
        Server::new(NAME)
            .add_service(QuotaServiceServer::new(Grpc(self.app)))
            .descriptors(crater_api::DESCRIPTOR_SET)
            .readiness(self.readiness)
            .limits(self.config.server.limits())
            .tls(self.config.server.tls.clone())
            .layer(self.authority.layer())
            .serve(bind, shutdown)
            .await
    }
}
