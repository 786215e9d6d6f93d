//! A signed-in caller that keeps its token fresh and spreads its calls over a few connections.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use crater_api::user::v1::LoginRequest;
use crater_api::user::v1::auth_service_client::AuthServiceClient;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

/// The password of every user that the measurements make.
pub const PASSWORD: &str = "correct horse battery staple";
/// Access tokens last ten minutes.
const RENEW: Duration = Duration::from_secs(240);
/// No call hangs longer than this.
const DEADLINE: Duration = Duration::from_secs(10);

/// Clones share the connections and the token.
#[derive(Clone)]
pub struct Session {
    channels: Arc<Vec<Channel>>,
    next: Arc<AtomicUsize>,
    user: Arc<str>,
    token: Arc<RwLock<(MetadataValue<Ascii>, Instant)>>,
}

impl Session {
    /// Signs in over the first of `connections` connections; repeated until the server is there.
    pub async fn sign_in(url: &str, user: &str, connections: usize) -> Result<Self> {
        let channels = connect(url, connections)?;
        let start = Instant::now();
        let token = loop {
            match login(&channels[0], user).await {
                Ok(token) => break token,
                Err(status) if retryable(&status) && start.elapsed() < Duration::from_secs(60) => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err(status) => return Err(status).context(format!("signing in as {user}")),
            }
        };
        Ok(Self {
            channels: Arc::new(channels),
            next: Arc::default(),
            user: user.into(),
            token: Arc::new(RwLock::new((token, Instant::now()))),
        })
    }

    /// The same caller at another server of the mesh.
    pub fn at(&self, url: &str, connections: usize) -> Result<Self> {
        Ok(Self { channels: Arc::new(connect(url, connections)?), ..self.clone() })
    }

    /// The next connection in turn.
    pub fn channel(&self) -> Channel {
        self.channels[self.next.fetch_add(1, Ordering::Relaxed) % self.channels.len()].clone()
    }

    /// A request in the caller's name, with a deadline.
    pub fn request<M>(&self, message: M) -> Request<M> {
        let mut request = self.stream(message);
        request.set_timeout(DEADLINE);
        request
    }

    /// A request for a stream: without a deadline.
    pub fn stream<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        let token = self.token.read().unwrap_or_else(std::sync::PoisonError::into_inner).0.clone();
        request.metadata_mut().insert("authorization", token);
        request
    }

    /// Signs in again if the token is getting old, or if it `must`.
    pub async fn renew(&self, must: bool) -> Result<(), Status> {
        let since = self.token.read().unwrap_or_else(std::sync::PoisonError::into_inner).1;
        if !must && since.elapsed() < RENEW {
            return Ok(());
        }
        let token = login(&self.channels[0], &self.user).await?;
        *self.token.write().unwrap_or_else(std::sync::PoisonError::into_inner) = (token, Instant::now());
        Ok(())
    }
}

fn connect(url: &str, connections: usize) -> Result<Vec<Channel>> {
    let endpoint =
        Endpoint::from_shared(url.to_owned())?.tcp_nodelay(true).connect_timeout(Duration::from_secs(2));
    Ok((0..connections.max(1)).map(|_| endpoint.connect_lazy()).collect())
}

async fn login(channel: &Channel, user: &str) -> Result<MetadataValue<Ascii>, Status> {
    let mut request = Request::new(LoginRequest { user_id: user.to_owned(), password: PASSWORD.to_owned() });
    request.set_timeout(DEADLINE);
    let answer = AuthServiceClient::new(channel.clone()).login(request).await?.into_inner();
    let token = answer.tokens.unwrap_or_default().access_token;
    format!("Bearer {token}").parse().map_err(|_| Status::internal("the token is no header"))
}

/// Whether the same request may be sent again: it names itself, so that it acts once.
pub fn retryable(status: &Status) -> bool {
    use tonic::Code;
    // a channel whose server was killed says Unknown or Cancelled of what was on its way
    matches!(
        status.code(),
        Code::Unavailable
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
            | Code::Unknown
            | Code::Cancelled
    )
}
