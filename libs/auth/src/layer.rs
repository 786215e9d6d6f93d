//! The guard in front of a server's methods.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use crater_api::access::{Level, METHODS, Method};
use crater_api::status::{DOMAIN, to_status};
use crater_service::CutBody;
use http::{Request, Response};
use http_body::Body;
use tonic::Status;
use tonic_types::{ErrorDetails, StatusExt};
use tower::{Layer, Service};

use crate::authority::allowed;
use crate::{Authority, Caller, Error};

/// Where a service puts its own token, so that `authorization` stays free for the user it acts for.
pub const SERVICE_TOKEN_HEADER: &str = "x-crater-service";

static BY_PATH: LazyLock<HashMap<&'static str, &'static Method>> =
    LazyLock::new(|| METHODS.iter().map(|method| (method.path, method)).collect());

/// Layer that lets a call through only if its caller may make it, puts a [`Caller`] into the request, and ends response
/// streams whose caller may no longer have them. Paths outside the contract go through untouched: what serves them says
/// that there is no such method.
///
/// A stream ends when its user is suspended, its session is revoked or nothing is heard of users any more; it outlives
/// the expiry of the token that opened it, which bounds only how long a token can open new ones.
#[derive(Clone)]
pub struct AuthLayer {
    authority: Authority,
    edge: bool,
}

impl AuthLayer {
    pub(crate) fn new(authority: Authority, edge: bool) -> Self {
        Self { authority, edge }
    }
}

impl<S> Layer<S> for AuthLayer {
    type Service = AuthService<S>;

    fn layer(&self, inner: S) -> AuthService<S> {
        AuthService { inner, layer: Arc::new(self.clone()) }
    }
}

/// A server behind an [`AuthLayer`].
#[derive(Clone)]
pub struct AuthService<S> {
    inner: S,
    layer: Arc<AuthLayer>,
}

impl<S, B, R> Service<Request<B>> for AuthService<S>
where
    S: Service<Request<B>, Response = Response<R>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
    R: Body<Data = Bytes> + Send + 'static,
    R::Error: Into<tonic::codegen::StdError>,
{
    type Response = Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // The clone that was polled ready is the one to call.
        let fresh = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, fresh);
        let AuthLayer { authority, edge } = AuthLayer::clone(&self.layer);
        Box::pin(async move {
            // Nobody but this layer says who calls.
            request.extensions_mut().remove::<Caller>();
            if edge {
                request.headers_mut().remove(SERVICE_TOKEN_HEADER);
            }
            let Some(method) = BY_PATH.get(request.uri().path()).copied() else {
                return Ok(inner.call(request).await?.map(tonic::body::Body::new));
            };
            if edge && method.level == Level::Service {
                return Ok(no_such_method(method.path).into_http());
            }
            let admitted = match authority.judge(request.headers(), method.level, edge).await {
                Ok(admitted) => admitted,
                Err(error) => return Ok(refusal(error).into_http()),
            };
            let claims = admitted.and_then(|admitted| {
                request.extensions_mut().insert(admitted.caller);
                admitted.claims
            });
            let response = inner.call(request).await?;
            Ok(match claims {
                Some(claims) if method.server_streaming => response.map(|body| {
                    let level = method.level;
                    let cut = async move {
                        let allowed = |entry: &_| allowed(level, entry);
                        refusal(authority.directory().refused(&claims, allowed).await)
                    };
                    tonic::body::Body::new(CutBody::new(body, cut))
                }),
                _ => response.map(tonic::body::Body::new),
            })
        })
    }
}

/// The words of a server that has no such method.
fn no_such_method(path: &str) -> Status {
    let details = ErrorDetails::with_error_info("NO_SUCH_METHOD", DOMAIN, HashMap::new());
    Status::with_error_details(tonic::Code::Unimplemented, format!("there is no method {path}"), details)
}

fn refusal(error: Error) -> Status {
    to_status(error.into())
}
