//! crater-engine: the scheduling core. [`decide`] turns a [`Snapshot`] of a cluster into a [`Plan`]; an [`Engine`] does the same
//! again and again and looks only at what changed.
//!
//! It is a pure function: no IO, no clock, no random source, no hash-map order; integers only. The same snapshot gives the
//! same plan on every machine. It knows nothing of Kubernetes, protobuf or names. The algorithm is told in `README.md`.

pub mod score;

mod ahead;
mod check;
mod cycle;
mod engine;
mod evict;
mod explain;
mod feasible;
pub mod forecast;
mod index;
mod judge;
mod model;
pub mod order;
mod place;
mod pool;
pub mod predict;
mod profile;
mod queue;
mod reason;
pub mod recording;
mod reserve;
mod rights;
mod room;
mod scorer;
mod shapes;
mod tell;
mod topology;
mod tree;
pub mod usage;
pub mod whatif;
mod work;
mod world;

pub use check::{SnapshotError, valid_gpu};
pub use engine::{Change, Engine, decide};
pub use feasible::check_feasible;
pub use model::*;
pub use reason::{Holder, Infeasible, Names, Reason, Resource};
pub use usage::{Borrowed, Usage};
