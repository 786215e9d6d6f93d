//! crater-engine: the scheduling core. [`decide`] turns a [`Snapshot`] of a cluster into a [`Plan`].
//!
//! It is a pure function: no IO, no clock, no random source, no hash-map order; integers only. The same snapshot gives the
//! same plan on every machine. It knows nothing of Kubernetes, protobuf or names. The algorithm is told in `README.md`.

mod check;
mod cycle;
mod evict;
mod explain;
mod feasible;
mod model;
pub mod order;
mod place;
pub mod predict;
mod queue;
mod reason;
pub mod recording;
mod reserve;
mod rights;
mod room;
mod tree;
mod work;

pub use check::valid_gpu;
pub use cycle::decide;
pub use feasible::check_feasible;
pub use model::*;
pub use reason::{Holder, Infeasible, Names, Reason, Resource};
