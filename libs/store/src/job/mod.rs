//! The job service's tables: jobs, what happened to them, and the outbox.
//!
//! Times are milliseconds since 1970. Each change of a job takes the next number of the database's count ([`Job::change`]), so that a
//! stream can ask for what came after it ([`changes`]). A deleted job stays as a tombstone until it is pruned.

mod events;
mod filter;
mod labels;
mod list;
mod log;
mod meta;
mod outbox;
mod row;
mod schema;

pub use events::{Event, add_event, clear_events, events, last_event};
pub use filter::{Filter, Span};
pub use labels::fill_in;
pub use list::{By, Key, Order, Page, Visible, keys, load};
pub use log::{Changes, changes, position, prune};
pub use meta::{adopt_cluster, database_id};
pub use outbox::{Due, adopt, due, in_cluster, settle, swept, to_sweep};
pub use row::{
    Job, NewJob, RoleCounts, Status, Suspension, by_id, by_uid, candidates, create, lock_account, rewrite,
    save, unended, waiting,
};
