//! The kept output of replicas: one row a Pod that says how far it was read, and compressed blocks of lines.
//!
//! A Pod's log grows only from the place where it stands: whoever appends says from which place on, and is told when
//! somebody else was there before. So no line is kept twice, whoever reads. Of each the head and the tail are kept up to a
//! limit, and of all of them together the newest.

mod keep;
mod read;
mod shrink;

use crater_domain::JobUid;

use super::schema::log_streams;
use crate::{Error, Result};

pub use keep::{keep_log, lose_log};
pub use read::{
    log_block_at, log_blocks, log_stream, log_streams, log_streams_of, log_tail, unfinished_logs,
};
pub use shrink::{clear_logs, forget_logs, log_bytes, shrink_logs};

/// Text of a block, in bytes: small pieces are put together up to this.
pub const LOG_BLOCK: i64 = 128 << 10;
/// How reading a log stands: it goes on, all was read, its Pod went before that.
const OPEN: i64 = 0;
const WHOLE: i64 = 1;
const LOST: i64 = 2;
/// Rows that are looked at together when something has to go.
const AT_ONCE: i64 = 64;

/// Where in a log the last line stands that was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogPlace {
    /// Its time, in nanoseconds since 1970; 0 before the first.
    pub ns: i64,
    /// How many lines of that very time were read.
    pub lines: i64,
    /// Asking for what was written from this time on does not begin in the middle of a line that matters.
    pub resume_ns: i64,
}

/// Whose output it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogOf {
    /// The Pod's uid.
    pub pod: String,
    /// The Pod's namespace; that of the job's account, or it is none of the job's.
    pub namespace: String,
    /// The job.
    pub job: JobUid,
    /// Which start of the job in the present cluster, from 1.
    pub attempt: i32,
    /// The replica's role.
    pub role: String,
    /// Its number in the role.
    pub replica: i32,
    /// When the Pod was made, in milliseconds since 1970.
    pub begun_ms: i64,
}

/// What is kept of a Pod's output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogStream {
    /// The Pod's uid.
    pub pod: String,
    /// Which start of the job, from 1, over all clusters that it was in.
    pub attempt: i32,
    /// The replica's role.
    pub role: String,
    /// Its number in the role.
    pub replica: i32,
    /// When the Pod was made.
    pub begun_ms: i64,
    /// How far it was read.
    pub place: LogPlace,
    /// The number of the next block.
    pub next_chunk: i64,
    /// Lines that were kept and had to go.
    pub cut_lines: i64,
    /// Their text, in bytes.
    pub cut_bytes: i64,
    /// Whether it was read to its end.
    pub ended: bool,
    /// Whether its Pod went before it was read to its end.
    pub lost: bool,
}

/// Lines, compressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogBlock {
    /// Its number in the Pod's log; given when it is kept.
    pub sequence: i64,
    /// When its first line was written, in nanoseconds since 1970.
    pub first_ns: i64,
    /// When its last line was written.
    pub last_ns: i64,
    /// How many lines.
    pub lines: i64,
    /// Bytes of text.
    pub text_bytes: i64,
    /// The lines; bodies that are put behind each other are one body.
    pub body: Vec<u8>,
}

/// More of a Pod's output.
#[derive(Debug, Clone)]
pub struct LogPiece {
    /// Whose.
    pub of: LogOf,
    /// What it follows on.
    pub from: LogPlace,
    /// Where its last line is.
    pub to: LogPlace,
    /// The lines; none to say only that it ended.
    pub blocks: Vec<LogBlock>,
    /// Nothing more will come; whether some of it was lost.
    pub end: Option<LogEnd>,
}

/// How a Pod's output ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogEnd {
    /// All of it was read.
    Whole,
    /// Its Pod went before all was read.
    Lost,
}

/// What came of keeping a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogKept {
    /// It is kept.
    Yes {
        /// Whether the job has ended.
        job_ended: bool,
    },
    /// It does not follow on what is there: somebody else kept some.
    Stale,
    /// Its job is deleted, or never was.
    NoJob,
}

type Row = ((String, i64, String, i64, i64, i64, i64, i64), (i64, i64, i64, i64, i64, i64, i64));

/// A row with what only this module needs.
struct Full {
    stream: LogStream,
    head_chunks: i64,
    text_bytes: i64,
    stored_bytes: i64,
}

#[diesel::dsl::auto_type]
fn columns() -> _ {
    let place: (
        log_streams::pod,
        log_streams::attempt,
        log_streams::role,
        log_streams::replica,
        log_streams::begun_ms,
        log_streams::place_ns,
        log_streams::place_lines,
        log_streams::resume_ns,
    ) = (
        log_streams::pod,
        log_streams::attempt,
        log_streams::role,
        log_streams::replica,
        log_streams::begun_ms,
        log_streams::place_ns,
        log_streams::place_lines,
        log_streams::resume_ns,
    );
    let kept: (
        log_streams::next_chunk,
        log_streams::head_chunks,
        log_streams::text_bytes,
        log_streams::stored_bytes,
        log_streams::cut_lines,
        log_streams::cut_bytes,
        log_streams::reading,
    ) = (
        log_streams::next_chunk,
        log_streams::head_chunks,
        log_streams::text_bytes,
        log_streams::stored_bytes,
        log_streams::cut_lines,
        log_streams::cut_bytes,
        log_streams::reading,
    );
    (place, kept)
}

fn full(row: Row) -> Result<Full> {
    let ((pod, attempt, role, replica, begun_ms, ns, lines, resume_ns), kept) = row;
    let (next_chunk, head_chunks, text_bytes, stored_bytes, cut_lines, cut_bytes, reading) = kept;
    let stream = LogStream {
        pod,
        attempt: attempt.try_into().map_err(Error::internal)?,
        role,
        replica: replica.try_into().map_err(Error::internal)?,
        begun_ms,
        place: LogPlace { ns, lines, resume_ns },
        next_chunk,
        cut_lines,
        cut_bytes,
        ended: reading != OPEN,
        lost: reading == LOST,
    };
    Ok(Full { stream, head_chunks, text_bytes, stored_bytes })
}

/// What may change of a row.
macro_rules! changes {
    ($now:expr) => {{
        use $crate::job::logs;
        use $crate::job::schema::log_streams;
        let (now, stream) = ($now, &$now.stream);
        let reading = match (stream.ended, stream.lost) {
            (false, _) => logs::OPEN,
            (true, false) => logs::WHOLE,
            (true, true) => logs::LOST,
        };
        (
            log_streams::place_ns.eq(stream.place.ns),
            log_streams::place_lines.eq(stream.place.lines),
            log_streams::resume_ns.eq(stream.place.resume_ns),
            log_streams::next_chunk.eq(stream.next_chunk),
            log_streams::head_chunks.eq(now.head_chunks),
            log_streams::text_bytes.eq(now.text_bytes),
            log_streams::stored_bytes.eq(now.stored_bytes),
            log_streams::cut_lines.eq(stream.cut_lines),
            log_streams::cut_bytes.eq(stream.cut_bytes),
            log_streams::reading.eq(reading),
        )
    }};
}
use changes;
