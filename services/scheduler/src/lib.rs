//! The scheduler: who gets which GPUs, when, and why not yet. It owns the Allocations and `AIJob.status.scheduling`.
//!
//! One loop: what the watches say becomes a snapshot ([`snapshot`]), `crater-engine` decides, the writer writes. In use is what
//! Allocations hold; nothing is counted up and down, so a restart knows as much as the process before it. It starts no Pods and
//! follows none of its own: that is the controller's.

mod app;
mod bars;
mod board;
mod cache;
mod config;
mod cycle;
mod experience;
mod foresight;
mod frame;
mod grpc;
mod jobs;
mod kept;
mod leader;
mod limits;
mod nodes;
mod page;
mod past;
mod reasons;
mod record;
mod remedies;
#[cfg(test)]
mod sample;
#[cfg(test)]
mod scale;
mod service;
mod setbacks;
mod shared;
mod snapshot;
mod status;
mod store;
mod stream;
mod told;
mod usage;
mod watches;
mod whatif;
mod words;
mod writer;

pub use config::Config;
pub use crater_k8s::lease::Clock;
pub use service::{Deps, SchedulerService, build};
