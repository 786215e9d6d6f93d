//! Logs and trace context of every Crater process.
//!
//! Logs go to standard error, filtered by `CRATER_LOG` (the syntax of `tracing_subscriber::EnvFilter`), as text or, with
//! `CRATER_LOG_FORMAT=json`, one JSON object a line. The trace context is W3C `traceparent`: a server continues the
//! caller's trace ([`ServerTrace`]), a client passes it on ([`ClientTrace`]).
//!
//! Where `OTEL_EXPORTER_OTLP_ENDPOINT` is set, spans go there over OTLP/gRPC (`export.rs`). What is done later, by another
//! process, for somebody's call continues its trace by a text that is kept with it ([`traceparent`], [`follow`]). Metrics are
//! not here yet.

mod client;
mod context;
mod export;
mod follow;
mod logs;
mod server;

pub use client::{ClientTrace, Traced};
pub use context::{current_context, extract, inject};
pub use export::flush;
pub use follow::{follow, traceparent};
pub use logs::{Format, Options, init};
pub use server::{ServerTrace, ServerTraced};
