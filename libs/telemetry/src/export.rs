//! Spans on their way to a collector, over OTLP/gRPC. Asked for by the standard variables; a collector that is away costs a
//! queue of bounded length and a line in the log, and nothing waits for it but the end of the process, for a moment.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry_otlp::{ExporterBuildError, SpanExporter as Otlp};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};

/// What any of them names is where spans go.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

/// How long the last spans may take to be sent when the process ends.
const LAST_WORD: Duration = Duration::from_secs(2);

static EXPORTING: OnceLock<SdkTracerProvider> = OnceLock::new();

/// The provider that exports, where the environment asks for one. The batches are made and sent on a thread of their own; the
/// connection lives in the Tokio runtime that this is called in. The sampler is `OTEL_TRACES_SAMPLER`'s, by parent unless set.
pub(crate) fn provider() -> Option<Result<SdkTracerProvider, ExporterBuildError>> {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
    let off = set("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
        || set("OTEL_TRACES_EXPORTER").is_some_and(|value| value == "none");
    if off || !ENDPOINTS.into_iter().any(|name| set(name).is_some()) {
        return None;
    }
    Some(Otlp::builder().with_tonic().build().map(|exporter| {
        let resource = match set("OTEL_SERVICE_NAME") {
            Some(_) => Resource::builder(),
            None => Resource::builder().with_service_name(program()),
        };
        let exporter = Told { inner: exporter, away: AtomicBool::new(false) };
        SdkTracerProvider::builder().with_resource(resource.build()).with_batch_exporter(exporter).build()
    }))
}

/// Remembered, so that what is still queued can be sent at the end.
pub(crate) fn keep(provider: SdkTracerProvider) {
    let _ = EXPORTING.set(provider);
}

/// Sends what is still queued, for two seconds at most, and ends the export. To be called last, inside the runtime; without an
/// export it does nothing.
pub fn flush() {
    if let Some(provider) = EXPORTING.get()
        && let Err(error) = provider.shutdown_with_timeout(LAST_WORD)
    {
        tracing::debug!(%error, "the last spans were not sent");
    }
}

/// What the process is called: `crater-gateway`.
fn program() -> String {
    let path = std::env::current_exe().ok();
    let name =
        path.as_deref().and_then(|path| path.file_stem()).map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_else(|| "crater".to_owned())
}

/// Says once that the collector is away, and once that it is back.
#[derive(Debug)]
struct Told<E> {
    inner: E,
    away: AtomicBool,
}

impl<E: SpanExporter> SpanExporter for Told<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let result = self.inner.export(batch).await;
        match &result {
            Err(error) if !self.away.swap(true, Ordering::Relaxed) => {
                tracing::warn!(%error, "spans cannot be sent; they are dropped until the collector is back");
            }
            Ok(()) if self.away.swap(false, Ordering::Relaxed) => tracing::info!("spans are sent again"),
            _ => {}
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}
