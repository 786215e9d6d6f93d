//! The client's half: calls of a service carry its own token.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use http::{HeaderValue, Request};
use tower::{Layer, Service};

use crate::{MeshKey, SERVICE_TOKEN_HEADER};

const LIFE: Duration = Duration::from_secs(120);
const RENEW_BEFORE: Duration = Duration::from_secs(60);

/// Who a service is to others. As a tower layer it makes a channel send that service's token; a user whom the service
/// acts for is added per request ([`crate::Caller::forward`]). Clones share the cached token.
#[derive(Clone)]
pub struct ServiceIdentity {
    shared: Arc<Shared>,
}

struct Shared {
    mesh: MeshKey,
    name: String,
    cached: Mutex<Option<(HeaderValue, SystemTime)>>,
}

impl ServiceIdentity {
    pub(crate) fn new(mesh: MeshKey, name: &str) -> Self {
        Self { shared: Arc::new(Shared { mesh, name: name.to_owned(), cached: Mutex::new(None) }) }
    }

    /// A channel whose calls carry this identity: `UserServiceClient::new(identity.channel(target.channel()?))`.
    pub fn channel<S>(&self, channel: S) -> Authenticated<S> {
        self.layer(channel)
    }

    /// The `Bearer` header value, made anew when less than half of its life is left.
    fn header(&self, now: SystemTime) -> Option<HeaderValue> {
        let mut cached = self.shared.cached.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((value, made)) = &*cached
            // A clock that was set back gives an error here, and a fresh token.
            && now.duration_since(*made).is_ok_and(|age| age < LIFE - RENEW_BEFORE)
        {
            return Some(value.clone());
        }
        let token = self.shared.mesh.signer().service_token(&self.shared.name, now, LIFE);
        let value = token.ok().and_then(|token| HeaderValue::try_from(format!("Bearer {token}")).ok());
        let Some(mut value) = value else {
            tracing::error!(service = self.shared.name, "the mesh key does not sign");
            return None;
        };
        value.set_sensitive(true);
        *cached = Some((value.clone(), now));
        Some(value)
    }
}

impl<S> Layer<S> for ServiceIdentity {
    type Service = Authenticated<S>;

    fn layer(&self, inner: S) -> Authenticated<S> {
        Authenticated { inner, identity: self.clone() }
    }
}

/// A client whose calls carry a service's token.
#[derive(Clone)]
pub struct Authenticated<S> {
    inner: S,
    identity: ServiceIdentity,
}

impl<S, B> Service<Request<B>> for Authenticated<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        if let Some(value) = self.identity.header(SystemTime::now()) {
            request.headers_mut().insert(SERVICE_TOKEN_HEADER, value);
        }
        self.inner.call(request)
    }
}
