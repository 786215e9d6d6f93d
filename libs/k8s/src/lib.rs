//! Crater's objects in Kubernetes: the custom resources, the names and labels they go by, and typed builders from the
//! domain to them. Nobody hands in a PodSpec: what a user said becomes a Pod only through here.
//!
//! It decides nothing: who gets which GPUs is the scheduler's business, what a Pod's end means the controller's.

pub mod aijob;
pub mod allocation;
pub mod build;
mod connect;
pub mod lease;
pub mod names;
pub mod node;
pub mod quantity;

pub use aijob::{AIJob, AIJobSpec, AIJobStatus};
pub use allocation::{Allocation, AllocationSpec, AllocationStatus};
pub use connect::{NoWay, connect};
