//! Where log lines go. The subscriber is the one thing in a process that cannot be had twice: the first caller decides,
//! later ones (other services of the same mesh, other tests) share it.

use std::sync::Once;

use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer, layer::SubscriberExt, util::SubscriberInitExt};

use crate::export;

const DEFAULT_FILTER: &str = "info,h2=warn,hyper=warn,hyper_util=warn,tower=warn,kube=warn,rustls=warn";

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for collectors.
    Json,
}

/// What a process says about its logs before the environment overrides it.
#[derive(Clone, Debug)]
pub struct Options {
    /// The format unless `CRATER_LOG_FORMAT` is `text` or `json`.
    pub format: Format,
    /// The filter unless `CRATER_LOG` is set.
    pub filter: String,
}

impl Default for Options {
    fn default() -> Self {
        Self { format: Format::default(), filter: DEFAULT_FILTER.to_owned() }
    }
}

/// Starts logging for this process, and the export of its spans where `OTEL_EXPORTER_OTLP_ENDPOINT` names a collector: then it
/// must be called inside a Tokio runtime. Only the first call has an effect, so every service and every test may call it.
pub fn init(options: Options) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| install(options));
}

fn install(options: Options) {
    let (exporting, unusable) = match export::provider() {
        Some(Ok(provider)) => (Some(provider), None),
        Some(Err(error)) => (None, Some(error)),
        None => (None, None),
    };
    let format = match std::env::var("CRATER_LOG_FORMAT").as_deref() {
        Ok("json") => Format::Json,
        Ok("text") => Format::Text,
        _ => options.format,
    };
    let (filter, refused) = match std::env::var("CRATER_LOG") {
        Ok(text) => match EnvFilter::try_new(&text) {
            Ok(filter) => (filter, None),
            Err(error) => (EnvFilter::new(&options.filter), Some(error)),
        },
        Err(_) => (EnvFilter::new(&options.filter), None),
    };
    // Somebody else's subscriber (a test harness) stays: ours is then not needed.
    match exporting {
        Some(provider) => {
            // what is logged says nothing of what is exported; the exporter's own calls must not be, or they would not end
            let ours = Targets::new().with_target("crater", LevelFilter::INFO);
            let spans =
                tracing_opentelemetry::layer().with_tracer(provider.tracer("crater")).with_filter(ours);
            let _ =
                tracing_subscriber::registry().with(lines(format).with_filter(filter)).with(spans).try_init();
            export::keep(provider);
        }
        None => {
            // Every trace is sampled so that ids reach the logs even while nothing is exported.
            let sampler = Sampler::ParentBased(Box::new(Sampler::AlwaysOn));
            let provider = SdkTracerProvider::builder().with_sampler(sampler).build();
            let spans = tracing_opentelemetry::layer().with_tracer(provider.tracer("crater"));
            let _ = tracing_subscriber::registry().with(filter).with(lines(format)).with(spans).try_init();
        }
    }
    if let Some(error) = unusable {
        tracing::warn!(%error, "no spans are sent: OTEL_EXPORTER_OTLP_ENDPOINT cannot be used");
    }
    if let Some(error) = refused {
        tracing::warn!(%error, "CRATER_LOG is not a filter, the default is used");
    }
}

fn lines<S>(format: Format) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match format {
        Format::Text => {
            use std::io::IsTerminal;
            lines.with_ansi(std::io::stderr().is_terminal()).boxed()
        }
        Format::Json => lines.json().flatten_event(true).boxed(),
    }
}
