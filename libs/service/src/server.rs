//! Building a server, and the server while it runs.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::Route;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic_types::StatusExt;
use tower::{Layer, Service, ServiceExt};

use crate::descriptors::StreamingMethods;
use crate::guard::{self, GuardLayer};
use crate::health::{self, HealthService};
use crate::net::Listening;
use crate::{Bind, Error, Limits, Readiness, Shutdown, Tls};

/// Connections that shake hands or wait to be served at one time.
const ACCEPTED: usize = 1024;

/// The part of a service's configuration file that says how it listens.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    pub listen: SocketAddr,
    /// HTTP/2 streams on one connection. A service that many users reach through few gateways needs more.
    pub streams_per_connection: u32,
    /// Calls answered at one time.
    pub calls: usize,
    /// Response streams open at one time.
    pub streams: usize,
    /// Seconds that calls may take to finish on shutdown.
    pub drain_seconds: u64,
    pub tls: Option<Tls>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            streams_per_connection: limits.streams_per_connection,
            calls: limits.calls,
            streams: limits.streams,
            drain_seconds: limits.drain.as_secs(),
            tls: None,
        }
    }
}

impl ServerConfig {
    pub fn limits(&self) -> Limits {
        Limits {
            streams_per_connection: self.streams_per_connection,
            calls: self.calls,
            streams: self.streams,
            drain: std::time::Duration::from_secs(self.drain_seconds),
            ..Limits::default()
        }
    }
}

/// A server being put together.
///
/// From the outside in, a call passes: what [`Server::wrap`] adds, what [`Server::edge`] adds, the trace span, the guard
/// (admission, deadline, size, panics, drain), the layers of [`Server::layer`] (the last one added outermost), the service.
pub struct Server {
    name: &'static str,
    api: Router,
    layers: Vec<Adapt>,
    edges: Vec<Adapt>,
    wraps: Vec<Adapt>,
    http: Router,
    fallback: Option<Router>,
    /// Whose readiness is a service's health; `None`: the server's own.
    health: BTreeMap<String, Option<Readiness>>,
    readiness: Readiness,
    descriptors: Vec<&'static [u8]>,
    limits: Limits,
    tls: Option<Tls>,
}

type Adapt = Box<dyn FnOnce(Router) -> Router + Send>;

impl Server {
    /// `name` is what spans, log lines and errors call the service.
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            api: Router::new(),
            layers: Vec::new(),
            edges: Vec::new(),
            wraps: Vec::new(),
            http: Router::new(),
            fallback: None,
            health: BTreeMap::new(),
            readiness: Readiness::new(name),
            descriptors: Vec::new(),
            limits: Limits::default(),
            tls: None,
        }
    }

    /// Adds a generated service, whose health is that of the whole server.
    pub fn add_service<S>(mut self, service: S) -> Self
    where
        S: Service<http::Request<tonic::body::Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Response: IntoResponse,
        S::Future: Send + 'static,
    {
        self.health.insert(S::NAME.to_owned(), None);
        self.add_route(S::NAME, service)
    }

    /// Answers every method of the service called `name` (`package.Service`) with `service`, which gets the requests as
    /// they are. Its health is not reported unless [`Server::health_of`] says whose it is.
    pub fn add_route<S>(mut self, name: &str, service: S) -> Self
    where
        S: Service<http::Request<tonic::body::Body>, Error = Infallible> + Clone + Send + Sync + 'static,
        S::Response: IntoResponse,
        S::Future: Send + 'static,
    {
        let service = service.map_request(|request: Request| request.map(tonic::body::Body::new));
        self.api = self.api.route_service(&format!("/{name}/{{*method}}"), service);
        self
    }

    /// Reports `readiness` as the health of the service called `name`.
    pub fn health_of(mut self, name: &str, readiness: Readiness) -> Self {
        self.health.insert(name.to_owned(), Some(readiness));
        self
    }

    /// The conditions of the whole server, to which it adds its own.
    pub fn readiness(mut self, readiness: Readiness) -> Self {
        self.readiness = readiness;
        self
    }

    /// An encoded `FileDescriptorSet`: offered by reflection, and the source of which methods stream.
    pub fn descriptors(mut self, set: &'static [u8]) -> Self {
        self.descriptors.push(set);
        self
    }

    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Serves TLS on a TCP [`Bind`].
    pub fn tls(mut self, tls: Option<Tls>) -> Self {
        self.tls = tls;
        self
    }

    /// Wraps the services (not health and reflection) inside the guard: authentication belongs here.
    pub fn layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<Route> + Clone + Send + Sync + 'static,
        L::Service: Service<Request> + Clone + Send + Sync + 'static,
        <L::Service as Service<Request>>::Response: IntoResponse + 'static,
        <L::Service as Service<Request>>::Error: Into<Infallible> + 'static,
        <L::Service as Service<Request>>::Future: Send + 'static,
    {
        self.layers.push(Box::new(move |router| router.layer(layer)));
        self
    }

    /// Wraps services, health and reflection outside the guard: translation of the protocol belongs here.
    pub fn edge(mut self, adapt: impl FnOnce(Router) -> Router + Send + 'static) -> Self {
        self.edges.push(Box::new(adapt));
        self
    }

    /// Wraps everything, plain HTTP too.
    pub fn wrap(mut self, adapt: impl FnOnce(Router) -> Router + Send + 'static) -> Self {
        self.wraps.push(Box::new(adapt));
        self
    }

    /// Answers plain HTTP requests that are no gRPC call and that nothing else answers.
    pub fn fallback(mut self, http: Router) -> Self {
        self.fallback = Some(http);
        self
    }

    /// Adds plain HTTP routes.
    pub fn http(mut self, routes: Router) -> Self {
        self.http = self.http.merge(routes);
        self
    }

    /// Binds and serves until `shutdown` is cancelled. On return the server accepts connections.
    pub async fn serve(self, bind: Bind, shutdown: Shutdown) -> Result<Running, Error> {
        let acceptor = self.tls.as_ref().map(Tls::acceptor).transpose()?;
        let in_process = matches!(bind, Bind::InProcess(_));
        let listening_condition = self.readiness.condition("listening");
        let limits = self.limits.clone();
        let name = self.name;
        let router = self.router(&shutdown)?;

        let listening = Listening::bind(bind, acceptor).await?;
        let addr = listening.local_addr();
        let kill = Shutdown::new();
        let (accepted, connections) = mpsc::channel(ACCEPTED);
        let accepting = tokio::spawn(listening.accept(accepted, kill.clone()));

        let per_connection = match in_process {
            true => u32::try_from(limits.calls.saturating_add(limits.streams)).unwrap_or(u32::MAX),
            false => limits.streams_per_connection,
        };
        let serve = tonic::transport::Server::builder()
            .accept_http1(true)
            .max_concurrent_streams(per_connection)
            .http2_max_header_list_size(limits.header_bytes)
            .http2_max_pending_accept_reset_streams(Some(limits.pending_resets))
            .http2_keepalive_interval(Some(limits.keepalive))
            .http2_keepalive_timeout(Some(limits.keepalive_timeout))
            .serve_with_incoming_shutdown(
                Routes::from(router).prepare(),
                ReceiverStream::new(connections),
                shutdown.clone().cancelled_owned(),
            );
        let mut serve = Box::pin(serve);
        listening_condition.ready();
        match addr {
            Some(addr) => tracing::info!(service = name, %addr, "listening"),
            None => tracing::debug!(service = name, "listening in-process"),
        }

        let asked = shutdown.clone();
        let task = tokio::spawn(async move {
            let result = tokio::select! {
                result = &mut serve => result,
                () = async {
                    asked.cancelled().await;
                    listening_condition.not_ready("draining");
                    tokio::time::sleep(limits.drain).await;
                } => {
                    tracing::warn!(service = name, "calls did not end while draining, closing their connections");
                    kill.cancel();
                    serve.await
                }
            };
            listening_condition.not_ready("stopped");
            accepting.await?;
            result.map_err(Error::from)
        });
        Ok(Running { name, addr, shutdown, task })
    }

    fn router(self, shutdown: &Shutdown) -> Result<Router, Error> {
        let streaming = StreamingMethods::of(&self.descriptors)?;
        let guard = GuardLayer::new(self.name, streaming, &self.limits, shutdown.clone());
        let mut api = self.api;
        for adapt in self.layers {
            api = adapt(api);
        }
        api = api.layer(guard).layer(crater_telemetry::ServerTrace::new(self.name));

        let own = || self.readiness.clone();
        let mut health: BTreeMap<_, _> =
            self.health.into_iter().map(|(name, readiness)| (name, readiness.unwrap_or_else(own))).collect();
        health.insert(String::new(), own());
        let mut api = api.merge(grpc(HealthService::server(health, shutdown.clone())));
        if !self.descriptors.is_empty() {
            let v1 = reflection(&self.descriptors).build_v1()?;
            let v1alpha = reflection(&self.descriptors).build_v1alpha()?;
            api = api.merge(grpc(v1)).merge(grpc(v1alpha));
        }
        for adapt in self.edges {
            api = adapt(api);
        }

        let fallback =
            self.fallback.unwrap_or_else(|| Router::new().fallback(|| async { StatusCode::NOT_FOUND }));
        let mut all = api.merge(health::http(self.readiness)).merge(self.http).fallback_service(
            tower::service_fn(move |request: Request| {
                let plain = fallback.clone();
                async move { unanswered(request, plain).await }
            }),
        );
        for adapt in self.wraps {
            all = adapt(all);
        }
        Ok(all)
    }
}

/// What becomes of a request that no service answers: a gRPC call learns so as a gRPC status, the rest is plain HTTP.
async fn unanswered(request: Request, plain: Router) -> Result<Response, Infallible> {
    let content_type = request.headers().get(http::header::CONTENT_TYPE);
    if content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc")) {
        let message = format!("there is no method {}", request.uri().path());
        let details = guard::error_info("NO_SUCH_METHOD", []);
        let status = Status::with_error_details(tonic::Code::Unimplemented, message, details);
        return Ok(status.into_http::<axum::body::Body>());
    }
    plain.oneshot(request).await
}

fn grpc<S>(service: S) -> Router
where
    S: Service<http::Request<tonic::body::Body>, Error = Infallible>
        + NamedService
        + Clone
        + Send
        + Sync
        + 'static,
    S::Response: IntoResponse,
    S::Future: Send + 'static,
{
    let routed = service.map_request(|request: Request| request.map(tonic::body::Body::new));
    Router::new().route_service(&format!("/{}/{{*method}}", S::NAME), routed)
}

fn reflection(sets: &[&'static [u8]]) -> tonic_reflection::server::Builder<'static> {
    let builder = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
    sets.iter().fold(builder, |builder, set| builder.register_encoded_file_descriptor_set(set))
}

/// A server that accepts calls. Dropping it lets it run on until its [`Shutdown`] is cancelled.
#[derive(Debug)]
pub struct Running {
    name: &'static str,
    addr: Option<SocketAddr>,
    shutdown: Shutdown,
    task: JoinHandle<Result<(), Error>>,
}

impl Running {
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The bound TCP address; none in-process.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.addr
    }

    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Waits until the server has drained after its shutdown was asked for.
    pub async fn stopped(self) -> Result<(), Error> {
        self.task.await?
    }

    /// Asks for the shutdown (of everything that shares the token) and waits until the server has drained.
    pub async fn stop(self) -> Result<(), Error> {
        self.shutdown.cancel();
        self.stopped().await
    }
}
