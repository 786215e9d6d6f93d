//! Placement under arrival: tasks come one by one, stay for ever, and are dropped if they fit nowhere.
//!
//! This is the experiment of Weng et al., "Beware of Fragmentation" (USENIX ATC '23), on the tables that came with it: how much of a
//! cluster's GPUs can a policy give away before what is left is of no use? Times play no part.

mod chooser;
mod cluster;
pub mod command;
mod load;
mod metric;
mod migrate;
mod order;
mod policy;
mod rng;
mod run;
mod summary;

pub use load::{Node, Task, World};
pub use metric::COLUMNS;
pub use order::{Order, Orders};
pub use policy::Policy;
pub use run::{Options, Outcome, replay};
pub use summary::{Mean, figure, table};
