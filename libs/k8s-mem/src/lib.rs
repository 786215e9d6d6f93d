//! An in-memory Kubernetes: an API server behind `kube::Client` and on a loopback port, and kubelets that play Pods by
//! their declared duration or run their commands as local processes.
//!
//! It is the embedded cluster of `crater up` and the cluster of tests. It is not a conformant Kubernetes: no
//! authentication, no field ownership, no CEL, no scheduler, no networking. The README lists what is there.

mod api;
pub mod clock;
mod cluster;
mod error;
mod kubelet;
mod logs;
mod node;
mod quantity;
mod serve;
mod shim;

pub use clock::{Clock, ManualClock, RealClock, SharedClock};
pub use cluster::{Builder, Cluster};
pub use error::Error;
pub use kubelet::KubeletMode;
pub use node::{NodeSpec, this_machine};
pub use serve::kubeconfig;
pub use shim::{OLD_SHIMS_PATIENCE, SHIM_COMMAND, shim_main, wait_for_old_shims};
