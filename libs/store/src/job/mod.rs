//! The job service's tables: jobs, what happened to them, and the outbox.
//!
//! Times are milliseconds since 1970. Each change of a job takes the next number of the database's count ([`Job::change`]), so that a
//! stream can ask for what came after it ([`changes`]). A deleted job stays as a tombstone until it is pruned.

mod events;
mod log;
mod meta;
mod outbox;
mod row;
mod schema;

pub use events::{Event, add_event, clear_events, events, last_event};
pub use log::{Changes, changes, position, prune, snapshot};
pub use meta::{adopt_cluster, database_id};
pub use outbox::{Due, adopt, due, in_cluster, settle, swept, to_sweep};
pub use row::{
    Job, NewJob, Page, RoleCounts, Status, Visible, by_id, by_uid, candidates, create, list, lock_account,
    save, waiting,
};
