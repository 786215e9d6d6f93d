//! Config → build → spawn. What a service meets from outside is handed in, so that many run side by side in one process.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crater_api::user::v1::auth_service_server::AuthServiceServer;
use crater_api::user::v1::identity_service_server::IdentityServiceServer;
use crater_api::user::v1::user_service_server::UserServiceServer;
use crater_auth::Authority;
use crater_domain::{Error, Result};
use crater_service::{Bind, Condition, Readiness, Running, Server, Shutdown, supervise};
use crater_store::{Db, Location, Service};
use futures::StreamExt;

use crate::app::{App, Clock};
use crate::config::Config;
use crate::grpc::{Grpc, known};

/// The keys are compared with the database this often: another replica may have made one.
const KEYS_EVERY: Duration = Duration::from_secs(30);

/// What the service meets from outside.
pub struct Deps {
    /// What this process knows of identities; this service feeds it from its own tables.
    pub authority: Authority,
    /// Where the tables are.
    pub location: Location,
    /// Tells the time.
    pub clock: Clock,
}

impl Deps {
    /// The real clock.
    pub fn new(authority: Authority, location: Location) -> Self {
        Self { authority, location, clock: Arc::new(SystemTime::now) }
    }
}

/// The service, built and not yet listening.
pub struct UserService {
    app: App,
    authority: Authority,
    config: Config,
    readiness: Readiness,
}

/// Opens the tables and loads the keys.
pub async fn build(config: Config, deps: Deps) -> Result<UserService> {
    let db = Db::open(&deps.location, Service::User).await?;
    let app = App::new(db, config.session_life(), deps.clock).await?;
    Ok(UserService { app, authority: deps.authority, config, readiness: Readiness::new("user") })
}

impl UserService {
    /// The use cases, for the wiring that makes the first user.
    pub fn app(&self) -> &App {
        &self.app
    }

    /// What is still missing before it serves.
    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// Starts the loops and listens, until the shutdown.
    pub async fn spawn(self, bind: Bind, shutdown: Shutdown) -> Result<Running, crater_service::Error> {
        let (app, authority) = (self.app.clone(), self.authority.clone());
        supervise("signing keys", &self.readiness, &shutdown, move |condition| {
            keep_keys(app.clone(), authority.clone(), condition)
        });
        let (app, authority) = (self.app.clone(), self.authority.clone());
        supervise("identities", &self.readiness, &shutdown, move |condition| {
            feed_directory(app.clone(), authority.clone(), condition)
        });
        let grpc = Grpc(self.app);
        Server::new("user")
            .add_service(AuthServiceServer::new(grpc.clone()))
            .add_service(UserServiceServer::new(grpc.clone()))
            .add_service(IdentityServiceServer::new(grpc))
            .descriptors(crater_api::DESCRIPTOR_SET)
            .readiness(self.readiness)
            .limits(self.config.server.limits())
            .tls(self.config.server.tls.clone())
            .layer(self.authority.layer())
            .serve(bind, shutdown)
            .await
    }
}

async fn keep_keys(app: App, authority: Authority, ready: Condition) -> Result<()> {
    loop {
        app.keys.refresh(app.now_ms()).await?;
        let all = app.keys.all();
        let public =
            all.iter().filter_map(|k| Some((k.id.clone(), k.public_key.as_slice().try_into().ok()?)));
        authority.keys().replace(public);
        ready.ready();
        tokio::time::sleep(KEYS_EVERY).await;
    }
}

/// This service knows identities from its own tables, not by calling itself.
async fn feed_directory(app: App, authority: Authority, ready: Condition) -> Result<()> {
    let mut events = std::pin::pin!(app.watch_identities());
    while let Some(event) = events.next().await {
        if authority.directory().apply(known(event?)) {
            ready.ready();
        }
    }
    Err(Error::unavailable("the stream of identities ended"))
}
