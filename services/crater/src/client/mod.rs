//! Calls to the server: the connection, the caller's token, and what is tried again.

mod patience;
pub mod session;
mod token;

use std::path::Path;
use std::time::{Duration, Instant};

use crater_api::job::v1::job_service_client::JobServiceClient;
use crater_api::quota::v1::quota_service_client::QuotaServiceClient;
use crater_api::scheduling::v1::scheduling_service_client::SchedulingServiceClient;
use crater_api::user::v1::auth_service_client::AuthServiceClient;
use crater_api::user::v1::user_service_client::UserServiceClient;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Response, Status, Streaming};

pub use patience::Patience;
use session::Store;
use token::Tokens;
pub use token::session_of;

use crate::cli::Global;
use crate::error::Error;

/// Where `crater up` listens when nobody says otherwise.
const DEFAULT_SERVER: &str = "http://127.0.0.1:8080";
/// How long one call may take.
const CALL_DEADLINE: Duration = Duration::from_secs(30);
/// How long a call is tried again while the server is away.
const RETRY_FOR: Duration = Duration::from_secs(10);
/// The largest answer: thousands of nodes or jobs in one.
const MAX_ANSWER: usize = 64 << 20;

/// A server, and whom to call it as.
#[derive(Debug, Clone)]
pub struct Api {
    server: String,
    channel: Channel,
    tokens: Tokens,
}

impl Api {
    /// By flags, environment and the last login. Opens no connection yet.
    pub fn new(global: &Global) -> Result<Self, Error> {
        let store = Store::of_environment()?;
        let server = match &global.server {
            Some(text) => session::server_address(text)?,
            None => store.read()?.current.unwrap_or_else(|| DEFAULT_SERVER.to_owned()),
        };
        let channel = channel(&server, global.ca.as_deref())?;
        let given = std::env::var("CRATER_TOKEN").ok().filter(|t| !t.trim().is_empty());
        let tokens = match given {
            Some(token) => Tokens::Given(token.trim().to_owned()),
            None => Tokens::Saved { store, server: server.clone(), channel: channel.clone() },
        };
        Ok(Self { server, channel, tokens })
    }

    /// The server's address.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The same server, called as nobody.
    pub fn anonymous(&self) -> Self {
        Self { tokens: Tokens::Nobody, ..self.clone() }
    }

    /// A call and its answer. While the server is away it is tried again, so mutations carry a `request_id`.
    pub async fn call<Q, A, F>(&self, request: Q, method: F) -> Result<A, Error>
    where
        Q: Clone,
        F: AsyncFn(Channel, Request<Q>) -> Result<Response<A>, Status>,
    {
        self.call_explained(request, method, |status| Error::refused(&status)).await
    }

    /// Like [`Api::call`]; `explain` puts a refusal into the command's words.
    pub async fn call_explained<Q, A, F>(
        &self,
        request: Q,
        method: F,
        explain: impl FnOnce(Status) -> Error,
    ) -> Result<A, Error>
    where
        Q: Clone,
        F: AsyncFn(Channel, Request<Q>) -> Result<Response<A>, Status>,
    {
        let start = Instant::now();
        let mut stale = None;
        let mut attempt = 0;
        loop {
            let token = match self.tokens.bearer(stale.as_deref()).await {
                Err(error) if error.is_unavailable() && start.elapsed() < RETRY_FOR => {
                    tokio::time::sleep(patience::backoff(attempt)).await;
                    attempt += 1;
                    continue;
                }
                token => token?,
            };
            let mut attached = authorized(request.clone(), &token)?;
            attached.set_timeout(CALL_DEADLINE);
            let status = match method(self.channel.clone(), attached).await {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) => status,
            };
            if status.code() == Code::Unauthenticated && stale.is_none() && self.tokens.renewable() {
                stale = Some(token);
                continue;
            }
            let pause = patience::pause(attempt, &status);
            if !patience::is_away(&status) {
                return Err(explain(status));
            }
            let why = patience::why_away(&status);
            if start.elapsed() + pause > RETRY_FOR {
                return Err(Error::Away(format!("{} does not answer: {why}", self.server)));
            }
            if attempt == 0 {
                eprintln!("crater: {} does not answer ({why}); trying again", self.server);
            }
            attempt += 1;
            tokio::time::sleep(pause).await;
        }
    }

    /// Opens a stream once. The token it was opened with comes back, to name it as stale if it is refused.
    pub async fn open<Q, A, F>(
        &self,
        request: Q,
        stale: Option<&str>,
        method: F,
    ) -> Result<(Result<Streaming<A>, Status>, String), Error>
    where
        F: AsyncFn(Channel, Request<Q>) -> Result<Response<Streaming<A>>, Status>,
    {
        let token = self.tokens.bearer(stale).await?;
        let attached = authorized(request, &token)?;
        let stream = method(self.channel.clone(), attached).await.map(Response::into_inner);
        Ok((stream, token))
    }

    /// Whether a refused token can be traded for a new one.
    pub fn renewable(&self) -> bool {
        self.tokens.renewable()
    }
}

fn authorized<Q>(request: Q, token: &str) -> Result<Request<Q>, Error> {
    let mut request = Request::new(request);
    if token.is_empty() {
        return Ok(request);
    }
    let value = format!("Bearer {token}")
        .parse()
        .map_err(|_| Error::flag("CRATER_TOKEN", "must be a token: printable ASCII without blanks"))?;
    request.metadata_mut().insert("authorization", value);
    Ok(request)
}

fn channel(server: &str, ca: Option<&Path>) -> Result<Channel, Error> {
    let refused = |e: tonic::transport::Error| Error::flag("--server", format!("{server}: {e}"));
    let mut endpoint = Endpoint::from_shared(server.to_owned())
        .and_then(|e| e.user_agent(concat!("crater-cli/", env!("CARGO_PKG_VERSION"))))
        .map_err(refused)?
        .connect_timeout(Duration::from_secs(5))
        .http2_keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10))
        .tcp_nodelay(true);
    if server.starts_with("https://") {
        let tls = match ca {
            None => ClientTlsConfig::new().with_native_roots(),
            Some(path) => {
                let pem = std::fs::read(path)
                    .map_err(|e| Error::flag("--ca", format!("reading {}: {e}", path.display())))?;
                ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem))
            }
        };
        endpoint = endpoint.tls_config(tls).map_err(refused)?;
    }
    Ok(endpoint.connect_lazy())
}

/// Jobs.
pub fn jobs(channel: Channel) -> JobServiceClient<Channel> {
    JobServiceClient::new(channel).max_decoding_message_size(MAX_ANSWER)
}

/// The cluster and its queue.
pub fn scheduling(channel: Channel) -> SchedulingServiceClient<Channel> {
    SchedulingServiceClient::new(channel).max_decoding_message_size(MAX_ANSWER)
}

/// Limits.
pub fn quotas(channel: Channel) -> QuotaServiceClient<Channel> {
    QuotaServiceClient::new(channel).max_decoding_message_size(MAX_ANSWER)
}

/// Signing in and out.
pub fn auth(channel: Channel) -> AuthServiceClient<Channel> {
    AuthServiceClient::new(channel)
}

/// Users and accounts.
pub fn users(channel: Channel) -> UserServiceClient<Channel> {
    UserServiceClient::new(channel)
}

/// A new `request_id`, for one invocation of a command.
pub fn request_id() -> String {
    uuid::Uuid::new_v4().to_string()
}
