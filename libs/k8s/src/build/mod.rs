//! From what was asked for to objects that Kubernetes takes: Pods, the headless Service of a gang, and what must be
//! there before any of them.

mod install;
mod pod;
mod service;
#[cfg(test)]
mod tests;

pub use install::{crds, install, prepare};
pub use pod::{NO_IMAGE, PodOf, Rendezvous, pod};
pub use service::service;

/// The PriorityClass of Crater's Pods.
pub const PRIORITY_CLASS: &str = "crater";
