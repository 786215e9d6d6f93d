//! Config → build → spawn. What a service meets from outside is handed in, so that many run side by side in one process.

use std::sync::Arc;
use std::time::Duration;

use crater_service::{Bind, Readiness, Running, Server, Shutdown};
use kube::Client;

use crate::config::Config;
use crate::run::Controller;

/// What the service meets from outside.
pub struct Deps {
    /// The cluster.
    pub client: Client,
}

/// The service, built and not yet running.
pub struct ControllerService {
    controller: Arc<Controller>,
    config: Config,
    readiness: Readiness,
}

/// Puts it together.
pub fn build(config: Config, deps: Deps) -> ControllerService {
    ControllerService {
        controller: Controller::new(deps.client, Duration::from_secs(config.log_patience_seconds)),
        config,
        readiness: Readiness::new("controller"),
    }
}

impl ControllerService {
    /// What is still missing before it works.
    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// Starts the loops and serves health, until the shutdown.
    ///
    /// # Errors
    /// It cannot listen.
    pub async fn spawn(self, bind: Bind, shutdown: Shutdown) -> Result<Running, crater_service::Error> {
        self.controller.spawn(self.config.workers, &self.readiness, &shutdown);
        Server::new("controller")
            .readiness(self.readiness)
            .limits(self.config.server.limits())
            .tls(self.config.server.tls.clone())
            .serve(bind, shutdown)
            .await
    }
}
