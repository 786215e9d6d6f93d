//! The quota service: what every account, and every user in it, may use. It owns the limits and nothing else.
//!
//! What is in use it does not count: that is derived from allocations, and it asks the scheduling service for it. It does not enforce:
//! the scheduler and the job service follow its stream of limits ([`watch`]).

mod app;
mod config;
mod grpc;
mod parse;
mod service;
mod usage;
pub mod watch;

pub use app::{App, Caller, Change, Clock};
pub use config::Config;
pub use service::{Deps, QuotaService, build};
pub use usage::{Usage, UsageOf};
