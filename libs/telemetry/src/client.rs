//! The client's half: every outgoing request carries the current trace.

use std::task::{Context, Poll};

use http::Request;
use tower::{Layer, Service};

/// Layer that makes a client pass the trace context on.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClientTrace;

impl<S> Layer<S> for ClientTrace {
    type Service = Traced<S>;

    fn layer(&self, inner: S) -> Traced<S> {
        Traced { inner }
    }
}

/// A client that passes the trace context on.
#[derive(Clone, Debug)]
pub struct Traced<S> {
    inner: S,
}

impl<S, B> Service<Request<B>> for Traced<S>
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
        crate::inject(request.headers_mut());
        self.inner.call(request)
    }
}
