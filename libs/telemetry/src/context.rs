//! W3C trace context in and out of HTTP headers.

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::TraceContextExt;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The context that the caller sent; an empty one when it sent none or a malformed one.
pub fn extract(headers: &HeaderMap) -> Context {
    TraceContextPropagator::new().extract_with_context(&Context::new(), &Incoming(headers))
}

/// Writes the current trace into the headers of an outgoing request, in place of what was there. Without a current
/// trace the headers stay as they are, so that a proxy passes on what it was given.
pub fn inject(headers: &mut HeaderMap) {
    TraceContextPropagator::new().inject_context(&current_context(), &mut Outgoing(headers));
}

/// The context of the current `tracing` span, else of the current OpenTelemetry context (a process without our
/// subscriber still carries that one through a server).
pub fn current_context() -> Context {
    let span = tracing::Span::current().context();
    if span.span().span_context().is_valid() { span } else { Context::current() }
}

struct Incoming<'a>(&'a HeaderMap);

impl Extractor for Incoming<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

struct Outgoing<'a>(&'a mut HeaderMap);

impl Injector for Outgoing<'_> {
    fn set(&mut self, key: &str, value: String) {
        let name = HeaderName::try_from(key);
        let value = HeaderValue::try_from(value);
        if let (Ok(name), Ok(value)) = (name, value) {
            // The propagator writes an empty tracestate where there is none.
            if !value.is_empty() {
                self.0.insert(name, value);
            }
        }
    }
}
