//! The server's half: one span a call, continuing the caller's trace, and one line when the call answered.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use http::{HeaderMap, Request, Response};
use opentelemetry::context::FutureExt;
use opentelemetry::trace::TraceContextExt;
use tower::{Layer, Service};
use tracing::Instrument;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Layer that opens a span for every call.
#[derive(Clone, Debug)]
pub struct ServerTrace {
    service: &'static str,
}

impl ServerTrace {
    /// `service` is the name that the spans carry.
    pub fn new(service: &'static str) -> Self {
        Self { service }
    }
}

impl<S> Layer<S> for ServerTrace {
    type Service = ServerTraced<S>;

    fn layer(&self, inner: S) -> ServerTraced<S> {
        ServerTraced { inner, service: self.service }
    }
}

/// A server with a span around every call.
#[derive(Clone, Debug)]
pub struct ServerTraced<S> {
    inner: S,
    service: &'static str,
}

impl<S, B, R> Service<Request<B>> for ServerTraced<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: Send,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let parent = crate::extract(request.headers());
        let span = tracing::info_span!(
            "call",
            service = self.service,
            path = request.uri().path(),
            trace_id = tracing::field::Empty,
            otel.name = request.uri().path(),
            otel.kind = "server",
        );
        // An error says only that there is no subscriber of ours: the context below still carries the trace.
        let _ = span.set_parent(parent.clone());
        let own = span.context();
        let context = if own.span().span_context().is_valid() { own } else { parent };
        let trace_id = context.span().span_context().trace_id();
        span.record("trace_id", tracing::field::display(trace_id));

        let start = Instant::now();
        let call = {
            let _entered = span.enter();
            let _attached = context.clone().attach();
            self.inner.call(request)
        };
        let observed = async move {
            let result = call.await;
            if let Ok(response) = &result {
                answered(response.headers(), start);
            }
            result
        };
        Box::pin(observed.instrument(span).with_context(context))
    }
}

/// A call that ends in its headers says its status there; one that streams has only begun.
fn answered(headers: &HeaderMap, start: Instant) {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let millis = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    match text("grpc-status") {
        // UNKNOWN, INTERNAL and DATA_LOSS are ours to repair; the rest is the caller's business.
        Some(code @ ("2" | "13" | "15")) => {
            let message = text("grpc-message").unwrap_or_default();
            tracing::warn!(code, message, millis, "call ended in an internal error");
        }
        Some(code) => tracing::debug!(code, millis, "call answered"),
        None => tracing::debug!(millis, "call answered"),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use tower::{ServiceExt, service_fn};

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    /// What a client inside a server's call sends on, for a call that came in with `parent`.
    async fn passed_on(parent: Option<&str>) -> Option<String> {
        let client = crate::ClientTrace.layer(service_fn(|request: Request<()>| async move {
            let header = request.headers().get("traceparent");
            Ok::<_, Infallible>(header.map(|value| value.to_str().unwrap().to_owned()))
        }));
        let server = ServerTrace::new("test").layer(service_fn(move |_: Request<()>| {
            let client = client.clone();
            async move { Ok::<_, Infallible>(Response::new(client.oneshot(Request::new(())).await.unwrap())) }
        }));
        let mut request = Request::builder().uri("/crater.test.v1.Test/Call");
        if let Some(parent) = parent {
            request = request.header("traceparent", parent);
        }
        server.oneshot(request.body(()).unwrap()).await.unwrap().into_body()
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        // These futures never wait, so a runtime would be a dependency for nothing.
        let mut future = std::pin::pin!(future);
        match future.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop())) {
            Poll::Ready(value) => value,
            Poll::Pending => panic!("the call waits"),
        }
    }

    #[test]
    fn a_trace_goes_through_a_server_without_our_subscriber() {
        let none = tracing::subscriber::NoSubscriber::default();
        let sent = tracing::subscriber::with_default(none, || block_on(passed_on(Some(PARENT))));
        assert_eq!(sent.as_deref(), Some(PARENT));
    }

    #[test]
    fn a_server_with_our_subscriber_adds_its_own_span_to_the_trace() {
        crate::init(crate::Options::default());
        crate::init(crate::Options::default());
        let sent = block_on(passed_on(Some(PARENT))).expect("a trace context");
        assert!(sent.starts_with("00-0af7651916cd43dd8448eb211c80319c-"), "{sent}");
        assert_ne!(sent, PARENT);
    }

    #[test]
    fn a_malformed_parent_starts_a_new_trace() {
        crate::init(crate::Options::default());
        let sent = block_on(passed_on(Some("00-zz-1-01"))).expect("a trace context");
        assert!(!sent.contains("zz"), "{sent}");
    }
}
