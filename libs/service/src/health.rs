//! Health over gRPC, and over plain HTTP where there is room to say what is missing.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use futures::Stream;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::{Readiness, Shutdown};

/// The health of every service name that a server answers for; the empty name is the server itself.
#[derive(Clone)]
pub(crate) struct HealthService {
    services: Arc<BTreeMap<String, Readiness>>,
    shutdown: Shutdown,
}

impl HealthService {
    pub(crate) fn server(services: BTreeMap<String, Readiness>, shutdown: Shutdown) -> HealthServer<Self> {
        HealthServer::new(Self { services: Arc::new(services), shutdown })
    }

    fn readiness(&self, request: &HealthCheckRequest) -> Result<Readiness, Status> {
        let found = self.services.get(&request.service).cloned();
        found.ok_or_else(|| Status::not_found(format!("service {:?} is not served here", request.service)))
    }
}

fn answer(readiness: &Readiness) -> HealthCheckResponse {
    let status = if readiness.is_ready() { ServingStatus::Serving } else { ServingStatus::NotServing };
    HealthCheckResponse { status: status.into() }
}

#[tonic::async_trait]
impl Health for HealthService {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        Ok(Response::new(answer(&self.readiness(request.get_ref())?)))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let readiness = self.readiness(request.get_ref())?;
        let shutdown = self.shutdown.clone();
        // Subscribed before the first answer, so no change between the two is lost.
        let changes = readiness.changes();
        let stream =
            futures::stream::unfold((readiness, changes, None), move |(readiness, mut changes, last)| {
                let shutdown = shutdown.clone();
                async move {
                    loop {
                        let now = answer(&readiness);
                        if last != Some(now) {
                            return Some((Ok(now), (readiness, changes, Some(now))));
                        }
                        tokio::select! {
                            biased;
                            changed = changes.changed() => if !changed { return None },
                            () = shutdown.cancelled() => return None,
                        }
                    }
                }
            });
        Ok(Response::new(Box::pin(stream)))
    }
}

/// `/livez` says that the process answers, `/readyz` what it lacks, one line a condition.
pub(crate) fn http(readiness: Readiness) -> Router {
    let ready = move || {
        let missing = readiness.missing();
        async move {
            if missing.is_empty() {
                return (StatusCode::OK, "ready\n".to_owned());
            }
            let lines = missing.iter().map(|missing| format!("{missing}\n")).collect();
            (StatusCode::SERVICE_UNAVAILABLE, lines)
        }
    };
    Router::new().route("/livez", get(|| async { "alive\n" })).route("/readyz", get(ready))
}
