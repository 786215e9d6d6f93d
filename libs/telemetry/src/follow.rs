//! A trace that goes on where no call leads: through a table's row, through an object in the cluster.

use http::HeaderMap;
use opentelemetry::Context;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::TraceContextExt;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

const HEADER: &str = "traceparent";

/// The current trace as a W3C `traceparent`, to be kept with what was asked for; none outside a trace.
pub fn traceparent() -> Option<String> {
    text(&crate::current_context())
}

/// Makes a new span, which nobody entered yet, a child of the one that was kept, and answers what is to be kept for the next:
/// the span's own context, or what there was where spans are off.
pub fn follow(span: &Span, kept: &str) -> Option<String> {
    let mut headers = HeaderMap::new();
    headers.insert(HEADER, kept.parse().ok()?);
    let parent = crate::extract(&headers);
    if !parent.span().span_context().is_valid() {
        return None;
    }
    // an error says only that there is no subscriber of ours
    let _ = span.set_parent(parent.clone());
    text(&span.context()).or_else(|| text(&parent))
}

fn text(context: &Context) -> Option<String> {
    if !context.span().span_context().is_valid() {
        return None;
    }
    let mut carrier = std::collections::HashMap::new();
    TraceContextPropagator::new().inject_context(context, &mut carrier);
    carrier.remove(HEADER)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn what_is_kept_goes_on_with_or_without_spans() {
        let none = tracing::subscriber::NoSubscriber::default();
        let next = tracing::subscriber::with_default(none, || follow(&tracing::info_span!("next"), KEPT));
        assert_eq!(next.as_deref(), Some(KEPT));

        crate::init(crate::Options::default());
        let next = follow(&tracing::info_span!("next"), KEPT).expect("a context");
        assert!(next.starts_with(&KEPT[..36]) && next != KEPT, "{next}");
    }

    #[test]
    fn a_malformed_text_is_no_trace() {
        crate::init(crate::Options::default());
        for kept in ["", "00-zz-1-01", "\n"] {
            assert_eq!(follow(&tracing::info_span!("next"), kept), None, "{kept:?}");
        }
    }
}
