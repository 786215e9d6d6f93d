//! The controller: turns Allocations into Pods, follows them, and says in AIJob.status what is.
//!
//! It decides nothing about who gets which GPUs, and it never writes what is wanted. What is to be done for a job is a
//! pure function of what is known of it ([`plan`]); doing it is another matter ([`act`]).

mod act;
mod checkpoint;
mod config;
mod fence;
mod held;
mod index;
mod logged;
mod plan;
#[cfg(test)]
mod plan_tests;
mod pods;
mod queue;
mod run;
mod service;
mod status;
mod usage;

pub use config::Config;
pub use service::{ControllerService, Deps, build};
