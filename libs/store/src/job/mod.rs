//! The job service's tables: jobs, what happened to them, and the outbox.
//!
//! Times are milliseconds since 1970. Each change of a job takes the next number of the database's count ([`Job::change`]), so that a
//! stream can ask for what came after it ([`changes`]). A deleted job stays as a tombstone until it is pruned.

mod events;
mod filter;
mod labels;
mod list;
mod log;
mod logs;
mod meta;
mod outbox;
mod row;
mod schema;
mod usage;

pub use events::{Event, add_event, clear_events, events, first_event, last_event};
pub use filter::{Filter, Span};
pub use labels::fill_in;
pub use list::{By, Key, Order, Page, Visible, keys, load};
pub use log::{Changes, changes, position, prune};
pub use logs::{
    LOG_BLOCK, LogBlock, LogEnd, LogKept, LogOf, LogPiece, LogPlace, LogStream, clear_logs, forget_logs,
    keep_log, log_block_at, log_blocks, log_bytes, log_stream, log_streams, log_streams_of, log_tail,
    lose_log, shrink_logs, unfinished_logs,
};
pub use meta::{adopt_cluster, database_id, hold_task, saw_cluster};
pub use outbox::{Due, adopt, due, in_cluster, settle, swept, to_sweep};
pub use row::{
    Job, NewJob, RoleCounts, Status, Suspension, by_id, by_uid, candidates, create, lock_account, rewrite,
    save, unended, waiting,
};
pub use usage::{UsageSpan, close_spans, gpu_milli_seconds, record_span, usage};
