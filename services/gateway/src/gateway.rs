//! Putting the door together.

use std::collections::BTreeSet;

use crater_api::access::METHODS;
use crater_auth::{Authority, MeshKey};
use crater_service::{Bind, Readiness, Running, Server, Shutdown};
use tonic_web::GrpcWebLayer;
use tower_http::cors::CorsLayer;

use crate::backends::follow_health;
use crate::forward::Forward;
use crate::pool::Pool;
use crate::{Backends, Config, Error, console, cors};

/// A gateway that is ready to be spawned.
pub struct Gateway {
    config: Config,
    backends: Backends,
    authority: Authority,
    cors: CorsLayer,
    readiness: Readiness,
}

impl Gateway {
    /// Checks the configuration. Of `config` only `server` and `allowed_origins` are read.
    pub fn build(config: Config, backends: Backends, mesh: MeshKey) -> Result<Self, Error> {
        let cors = cors::layer(&config.allowed_origins)?;
        let authority = Authority::new(mesh);
        Ok(Self { config, backends, authority, cors, readiness: Readiness::new("gateway") })
    }

    /// Ready once it knows who may call. Whether a backend serves is told by its own services' names in the health
    /// service: one that is away does not close the door to the others.
    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// Binds and serves until `shutdown`.
    pub async fn spawn(self, bind: Bind, shutdown: Shutdown) -> Result<Running, Error> {
        let identity = self.authority.identity("gateway");
        self.authority.follow(self.backends.user.channel()?, &identity, &self.readiness, &shutdown);

        let mut server = Server::new("gateway")
            .readiness(self.readiness)
            .descriptors(crater_api::DESCRIPTOR_SET)
            .limits(self.config.server.limits())
            .tls(self.config.server.tls.clone());
        let services: BTreeSet<_> =
            METHODS.iter().filter_map(|method| Some((service(method.path)?, method.path))).collect();
        let mut routed = BTreeSet::new();
        for (package, target) in self.backends.by_package() {
            let backend = package.trim_start_matches("crater.").trim_end_matches(".v1.");
            let pool = Pool::new(target.clone())?;
            let health = follow_health(backend, target, &shutdown)?;
            for (name, _) in services.iter().filter(|(name, _)| name.starts_with(package)) {
                if routed.insert(*name) {
                    server = server
                        .add_route(name, Forward::new(backend, pool.clone()))
                        .health_of(name, health.clone());
                }
            }
        }
        if let Some((_, path)) = services.iter().find(|(name, _)| !routed.contains(name)) {
            return Err(Error::NoBackend { path });
        }
        let cors = self.cors;
        let server = server
            .layer(self.authority.edge_layer())
            .edge(|api| api.layer(GrpcWebLayer::new()))
            .fallback(console::routes())
            .wrap(move |all| all.layer(cors));
        Ok(server.serve(bind, shutdown).await?)
    }
}

/// `/package.Service/Method` → `package.Service`.
fn service(path: &'static str) -> Option<&'static str> {
    Some(path.strip_prefix('/')?.split_once('/')?.0)
}
