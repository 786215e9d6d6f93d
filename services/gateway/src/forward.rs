//! Passing a call on to the service that owns its method.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use crater_service::CutBody;
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode, Uri, Version, header};
use http_body::Frame;
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};
use tower::{Service, ServiceExt};

use crate::pool::Pool;

/// The headers of a call that reach a backend. Others stay here, so that none of them can pose as something that the
/// mesh says about a caller.
const PASSED: [HeaderName; 9] = [
    header::AUTHORIZATION,
    header::CONTENT_TYPE,
    header::TE,
    header::USER_AGENT,
    HeaderName::from_static("grpc-accept-encoding"),
    HeaderName::from_static("grpc-encoding"),
    HeaderName::from_static("grpc-timeout"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
];

/// A service that answers calls with another server's answers. Bodies pass in both directions frame by frame, as fast as
/// the slower side takes them; a caller that leaves takes the call behind it along.
#[derive(Clone)]
pub(crate) struct Forward {
    backend: &'static str,
    pool: Pool,
}

impl Forward {
    /// `backend` is the name that callers are told when it is away.
    pub(crate) fn new(backend: &'static str, pool: Pool) -> Self {
        Self { backend, pool }
    }

    async fn forward(self, request: Request<Body>) -> Response<Body> {
        if request.method() != Method::POST {
            let mut refusal = Response::new(Body::empty());
            *refusal.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            refusal.headers_mut().insert(header::ALLOW, http::HeaderValue::from_static("POST"));
            return refusal;
        }
        let Some((channel, permit)) = self.pool.take() else {
            return self.away("all connections to it are in use").into_http();
        };
        match channel.oneshot(outgoing(request)).await {
            Ok(response) => response.map(|body| {
                let hold = async move {
                    let _until_the_body_is_dropped = permit;
                    std::future::pending().await
                };
                Body::new(CutBody::new(body, hold))
            }),
            Err(error) => {
                tracing::debug!(
                    backend = self.backend,
                    error = &error as &dyn std::error::Error,
                    "call not answered"
                );
                // The channel's own deadline is the one failure that is not the connection's.
                match Status::from_error(error.into()).code() {
                    Code::Cancelled | Code::DeadlineExceeded => {
                        let message = format!("the {} service did not answer in time", self.backend);
                        self.refusal(Code::DeadlineExceeded, message, "BACKEND_SLOW").into_http()
                    }
                    _ => self.away("it cannot be reached").into_http(),
                }
            }
        }
    }

    fn away(&self, why: &str) -> Status {
        self.refusal(
            Code::Unavailable,
            format!("the {} service is away: {why}", self.backend),
            "BACKEND_AWAY",
        )
    }

    fn refusal(&self, code: Code, message: String, reason: &str) -> Status {
        let mut details = ErrorDetails::new();
        let metadata = [("service".to_owned(), self.backend.to_owned())];
        details.set_error_info(reason, crater_api::status::DOMAIN, metadata);
        details.set_retry_info(Some(Duration::from_secs(1)));
        Status::with_error_details(code, message, details)
    }
}

/// The same call as a backend gets it.
fn outgoing(request: Request<Body>) -> Request<Body> {
    let (parts, body) = request.into_parts();
    let mut headers = HeaderMap::with_capacity(PASSED.len());
    for name in PASSED {
        if let Some(value) = parts.headers.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    let mut request = Request::new(Body::new(WithoutEmptyFrames(body)));
    *request.method_mut() = Method::POST;
    *request.version_mut() = Version::HTTP_2;
    // The channel adds the authority; a query has no meaning in gRPC.
    *request.uri_mut() = parts.uri.path().parse().unwrap_or_else(|_| Uri::from_static("/"));
    *request.headers_mut() = headers;
    request
}

/// A caller that ends its stream with an empty frame reaches us as an empty frame and an end. Passed on like that, the
/// frame ends nothing, and an HTTP/2 server takes only a hundred of those before it closes the connection, which other
/// calls share.
struct WithoutEmptyFrames(Body);

impl http_body::Body for WithoutEmptyFrames {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        loop {
            let frame = ready!(Pin::new(&mut self.0).poll_frame(cx));
            match &frame {
                Some(Ok(frame)) if frame.data_ref().is_some_and(Bytes::is_empty) => {}
                _ => return Poll::Ready(frame),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }
}

impl Service<Request<Body>> for Forward {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move { Ok(this.forward(request).await) })
    }
}
