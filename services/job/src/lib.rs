//! The job service: what people submit, from the accepted request to the recorded end. It owns the jobs' rows, their event log, and the
//! specs of the AIJobs.
//!
//! It starts nothing and places nothing: it writes what is wanted into the cluster (`apply.rs`) and reads back what is (`observe.rs`). Who
//! gets GPUs is the scheduler's business, what a Pod does the controller's.

mod app;
mod apply;
mod capture;
mod change;
mod checkpoint;
mod clear;
mod cluster;
mod config;
mod create;
mod feasible;
mod grpc;
mod heard;
mod limits;
mod log_lines;
mod log_merge;
mod log_store;
mod log_visit;
mod logs;
mod observe;
mod parse;
mod query;
mod replica_log;
mod service;
mod show;
mod status;
mod tail;
mod usage;
mod watch;

pub use app::{App, Caller, Clock};
pub use config::{Config, LogConfig};
pub use service::{Deps, JobService, build};
