//! Logs and trace context of every Crater process.
//!
//! Logs go to standard error, filtered by `CRATER_LOG` (the syntax of `tracing_subscriber::EnvFilter`), as text or, with
//! `CRATER_LOG_FORMAT=json`, one JSON object a line. The trace context is W3C `traceparent`: a server continues the
//! caller's trace ([`ServerTrace`]), a client passes it on ([`ClientTrace`]).
//!
//! Spans are not exported anywhere yet; [`init_with`] takes the provider that would do it. Metrics are not here yet.

mod client;
mod context;
mod logs;
mod server;

pub use client::{ClientTrace, Traced};
pub use context::{current_context, extract, inject};
pub use logs::{Format, Options, init, init_with};
pub use opentelemetry_sdk::trace::SdkTracerProvider;
pub use server::{ServerTrace, ServerTraced};
