//! The kept output of replicas: one row a Pod that says how far it was read, and compressed blocks of lines.
//!
//! A Pod's log grows only from the place where it stands: whoever appends says from which place on, and is told when
//! somebody else was there before. So no line is kept twice, whoever reads. Of each the head and the tail are kept up to a
//! limit, and of all of them together the newest.

use crater_domain::{JobState, JobUid};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable};

use super::row::Status;
use super::schema::{jobs, log_chunks, log_streams};
use crate::conn::{Conn, query};
use crate::{Error, Result};

/// Text of a block, in bytes: small pieces are put together up to this.
pub const LOG_BLOCK: i64 = 128 << 10;
/// Stands for the job of a log that nobody may read any more.
const DELETED: &str = "-";
/// How reading a log stands: it goes on, all was read, its Pod went before that.
const OPEN: i64 = 0;
const WHOLE: i64 = 1;
const LOST: i64 = 2;
/// Rows that are looked at together when something has to go.
const AT_ONCE: i64 = 64;
/// Bytes that are taken away in one transaction, roughly.
const FREED_AT_ONCE: i64 = 32 << 20;

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

fn stream(row: Row) -> Result<LogStream> {
    Ok(full(row)?.stream)
}

/// What may change of a row.
macro_rules! changes {
    ($now:expr) => {{
        let (now, stream) = ($now, &$now.stream);
        let reading = match (stream.ended, stream.lost) {
            (false, _) => OPEN,
            (true, false) => WHOLE,
            (true, true) => LOST,
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

/// Keeps a piece, and of the whole log its head and its tail up to `limit` bytes of text together.
pub fn keep_log(conn: &mut Conn, piece: &LogPiece, limit: i64) -> Result<LogKept> {
    let of = &piece.of;
    let Some((account, status, state, deleted)) = job_of(conn, of)? else { return Ok(LogKept::NoJob) };
    if deleted || of.namespace != account.namespace() {
        return Ok(LogKept::NoJob);
    }
    let found = log_streams::table.find(&of.pod).select(columns());
    let row: Option<Row> = query!(conn, |c| found.first(c).optional())?;
    let mut now = match row.map(full).transpose()? {
        Some(now) => now,
        None => {
            if piece.from != LogPlace::default() {
                return Ok(LogKept::Stale);
            }
            begin(conn, of, i64::from(status.attempts_before) + i64::from(of.attempt))?
        }
    };
    let was = now.stream.place;
    if now.stream.ended || (was.ns, was.lines) != (piece.from.ns, piece.from.lines) {
        return Ok(LogKept::Stale);
    }
    now.stream.place = piece.to;
    if let Some(end) = piece.end {
        now.stream.ended = true;
        now.stream.lost = end == LogEnd::Lost;
    }
    for block in &piece.blocks {
        add(conn, &mut now, block)?;
        if now.head_chunks == 0 && now.text_bytes >= limit / 2 {
            now.head_chunks = now.stream.next_chunk;
        }
        let over = now.text_bytes - limit;
        drop_middle(conn, &mut now, over, |chunk| chunk.text)?;
    }
    let row = log_streams::table
        .find(&of.pod)
        .filter(log_streams::place_ns.eq(was.ns))
        .filter(log_streams::place_lines.eq(was.lines))
        .filter(log_streams::reading.eq(OPEN));
    match query!(conn, |c| diesel::update(row).set(changes!(&now)).execute(c))? {
        1 => Ok(LogKept::Yes { job_ended: state.is_final() }),
        _ => Err(Error::unavailable(format!("the log of pod {} was added to meanwhile", of.pod))),
    }
}

type Of = (crater_domain::AccountId, Status, JobState, bool);

fn job_of(conn: &mut Conn, of: &LogOf) -> Result<Option<Of>> {
    let found = jobs::table.find(of.job.to_string()).select((
        jobs::account,
        jobs::status,
        jobs::state,
        jobs::deleted_ms,
    ));
    let row: Option<(String, Vec<u8>, String, Option<i64>)> = query!(conn, |c| found.first(c).optional())?;
    let Some((account, status, state, deleted)) = row else { return Ok(None) };
    Ok(Some((
        account.try_into().map_err(Error::internal)?,
        serde_json::from_slice(&status).map_err(Error::internal)?,
        JobState::from_word(&state).ok_or_else(|| Error::internal(format!("state {state:?}")))?,
        deleted.is_some(),
    )))
}

fn begin(conn: &mut Conn, of: &LogOf, attempt: i64) -> Result<Full> {
    let row: Row = (
        (of.pod.clone(), attempt, of.role.clone(), of.replica.into(), of.begun_ms, 0, 0, 0),
        (0, 0, 0, 0, 0, 0, OPEN),
    );
    let now = full(row)?;
    let new = (
        (
            log_streams::pod.eq(&of.pod),
            log_streams::job.eq(of.job.to_string()),
            log_streams::attempt.eq(attempt),
            log_streams::role.eq(&of.role),
            log_streams::replica.eq(i64::from(of.replica)),
            log_streams::begun_ms.eq(of.begun_ms),
        ),
        changes!(&now),
    );
    query!(conn, |c| diesel::insert_into(log_streams::table).values(new).execute(c))
        // two began at once: the loser of the race comes again and finds it
        .map_err(|e| Error::unavailable(format!("beginning a log: {e}")))?;
    Ok(now)
}

/// Puts a block behind the last one, or into it while that is small.
fn add(conn: &mut Conn, now: &mut Full, block: &LogBlock) -> Result<()> {
    let stored = bytes(&block.body);
    now.text_bytes += block.text_bytes;
    now.stored_bytes += stored;
    let last = now.stream.next_chunk - 1;
    // what was made the head stays as it is
    if last >= now.head_chunks
        && let Some(mut there) = block_at(conn, &now.stream.pod, last)?
        && there.text_bytes + block.text_bytes <= LOG_BLOCK
    {
        there.body.extend_from_slice(&block.body);
        let row = log_chunks::table.find((&now.stream.pod, last));
        let grown = (
            log_chunks::last_ns.eq(block.last_ns),
            log_chunks::line_count.eq(there.lines + block.lines),
            log_chunks::text_bytes.eq(there.text_bytes + block.text_bytes),
            log_chunks::stored_bytes.eq(bytes(&there.body)),
            log_chunks::body.eq(there.body),
        );
        query!(conn, |c| diesel::update(row).set(grown).execute(c))?;
        return Ok(());
    }
    let row = (
        log_chunks::pod.eq(&now.stream.pod),
        log_chunks::sequence.eq(now.stream.next_chunk),
        log_chunks::first_ns.eq(block.first_ns),
        log_chunks::last_ns.eq(block.last_ns),
        log_chunks::line_count.eq(block.lines),
        log_chunks::text_bytes.eq(block.text_bytes),
        log_chunks::stored_bytes.eq(stored),
        log_chunks::body.eq(&block.body),
    );
    query!(conn, |c| diesel::insert_into(log_chunks::table).values(row).execute(c))?;
    now.stream.next_chunk += 1;
    Ok(())
}

fn bytes(body: &[u8]) -> i64 {
    i64::try_from(body.len()).unwrap_or(i64::MAX)
}

fn block_at(conn: &mut Conn, pod: &str, sequence: i64) -> Result<Option<LogBlock>> {
    Ok(log_blocks(conn, pod, sequence, 1)?.into_iter().find(|b| b.sequence == sequence))
}

/// A block without its body.
struct Size {
    sequence: i64,
    lines: i64,
    text: i64,
    stored: i64,
}

/// Drops the oldest blocks behind the head until `over` is made up for; the newest stays.
fn drop_middle(conn: &mut Conn, now: &mut Full, mut over: i64, size: fn(&Size) -> i64) -> Result<i64> {
    let mut freed = 0;
    while over > 0 {
        let found = log_chunks::table
            .filter(log_chunks::pod.eq(&now.stream.pod))
            .filter(log_chunks::sequence.ge(now.head_chunks))
            .filter(log_chunks::sequence.lt(now.stream.next_chunk - 1))
            .order(log_chunks::sequence)
            .select((
                log_chunks::sequence,
                log_chunks::line_count,
                log_chunks::text_bytes,
                log_chunks::stored_bytes,
            ))
            .limit(AT_ONCE);
        let rows: Vec<(i64, i64, i64, i64)> = query!(conn, |c| found.load(c))?;
        if rows.is_empty() {
            break;
        }
        for (sequence, lines, text, stored) in rows {
            let chunk = Size { sequence, lines, text, stored };
            let row = log_chunks::table.find((&now.stream.pod, chunk.sequence));
            query!(conn, |c| diesel::delete(row).execute(c))?;
            now.stream.cut_lines += chunk.lines;
            now.stream.cut_bytes += chunk.text;
            now.text_bytes -= chunk.text;
            now.stored_bytes -= chunk.stored;
            freed += chunk.stored;
            over -= size(&chunk);
            if over <= 0 {
                break;
            }
        }
    }
    Ok(freed)
}

/// What is kept of the output of a job, in the order of starts and replicas.
pub fn log_streams(conn: &mut Conn, job: JobUid) -> Result<Vec<LogStream>> {
    let found = log_streams::table.filter(log_streams::job.eq(job.to_string())).select(columns()).order((
        log_streams::attempt,
        log_streams::role,
        log_streams::replica,
        log_streams::begun_ms,
    ));
    let rows: Vec<Row> = query!(conn, |c| found.load(c))?;
    rows.into_iter().map(stream).collect()
}

/// What is kept of a Pod's output.
pub fn log_stream(conn: &mut Conn, pod: &str) -> Result<Option<LogStream>> {
    let found = log_streams::table.find(pod).select(columns());
    let row: Option<Row> = query!(conn, |c| found.first(c).optional())?;
    row.map(stream).transpose()
}

/// What is kept of the output of these Pods.
pub fn log_streams_of(conn: &mut Conn, pods: &[String]) -> Result<Vec<LogStream>> {
    let found = log_streams::table.filter(log_streams::pod.eq_any(pods)).select(columns());
    let rows: Vec<Row> = query!(conn, |c| found.load(c))?;
    rows.into_iter().map(stream).collect()
}

/// The Pods whose output was not read to its end.
pub fn unfinished_logs(conn: &mut Conn) -> Result<Vec<String>> {
    let found = log_streams::table.filter(log_streams::reading.eq(OPEN)).select(log_streams::pod);
    Ok(query!(conn, |c| found.load(c))?)
}

/// The Pod of that log is gone, and with it what was not read.
pub fn lose_log(conn: &mut Conn, pod: &str) -> Result<()> {
    let row = log_streams::table.find(pod).filter(log_streams::reading.eq(OPEN));
    query!(conn, |c| diesel::update(row).set(log_streams::reading.eq(LOST)).execute(c))?;
    Ok(())
}

/// Blocks of a Pod's log from a number on, at most `limit`.
pub fn log_blocks(conn: &mut Conn, pod: &str, from: i64, limit: i64) -> Result<Vec<LogBlock>> {
    let found = log_chunks::table
        .filter(log_chunks::pod.eq(pod))
        .filter(log_chunks::sequence.ge(from))
        .order(log_chunks::sequence)
        .select((
            log_chunks::sequence,
            log_chunks::first_ns,
            log_chunks::last_ns,
            log_chunks::line_count,
            log_chunks::text_bytes,
            log_chunks::body,
        ))
        .limit(limit);
    let rows: Vec<(i64, i64, i64, i64, i64, Vec<u8>)> = query!(conn, |c| found.load(c))?;
    let block = |(sequence, first_ns, last_ns, lines, text_bytes, body)| LogBlock {
        sequence,
        first_ns,
        last_ns,
        lines,
        text_bytes,
        body,
    };
    Ok(rows.into_iter().map(block).collect())
}

/// The number of the first block with a line written at `ns` or later.
pub fn log_block_at(conn: &mut Conn, pod: &str, ns: i64) -> Result<Option<i64>> {
    let found = log_chunks::table
        .filter(log_chunks::pod.eq(pod))
        .filter(log_chunks::last_ns.ge(ns))
        .order(log_chunks::sequence)
        .select(log_chunks::sequence);
    Ok(query!(conn, |c| found.first(c).optional())?)
}

/// The block with which the last `lines` lines begin, and how many lines of it come before them.
pub fn log_tail(conn: &mut Conn, pod: &str, lines: i64) -> Result<(i64, i64)> {
    let (mut above, mut wanted) = (i64::MAX, lines);
    loop {
        let found = log_chunks::table
            .filter(log_chunks::pod.eq(pod))
            .filter(log_chunks::sequence.lt(above))
            .order(log_chunks::sequence.desc())
            .select((log_chunks::sequence, log_chunks::line_count))
            .limit(AT_ONCE);
        let rows: Vec<(i64, i64)> = query!(conn, |c| found.load(c))?;
        let Some((lowest, _)) = rows.last().copied() else { return Ok((0, 0)) };
        for (sequence, count) in rows {
            if wanted <= count {
                return Ok((sequence, count - wanted));
            }
            wanted -= count;
        }
        above = lowest;
    }
}

/// The output of a deleted job is nobody's any more; [`clear_logs`] takes it away.
pub fn forget_logs(conn: &mut Conn, job: JobUid) -> Result<()> {
    let rows = log_streams::table.filter(log_streams::job.eq(job.to_string()));
    query!(conn, |c| diesel::update(rows).set(log_streams::job.eq(DELETED)).execute(c))?;
    Ok(())
}

/// Takes some of the output of deleted jobs away; says whether there is more.
pub fn clear_logs(conn: &mut Conn) -> Result<bool> {
    let found = log_streams::table
        .filter(log_streams::job.eq(DELETED))
        .select((log_streams::pod, log_streams::stored_bytes))
        .limit(AT_ONCE);
    let rows: Vec<(String, i64)> = query!(conn, |c| found.load(c))?;
    let mut more = i64::try_from(rows.len()).unwrap_or(i64::MAX) == AT_ONCE;
    let mut freed = 0;
    for (pod, stored) in rows {
        if freed > FREED_AT_ONCE {
            more = true;
            break;
        }
        query!(conn, |c| diesel::delete(log_chunks::table.filter(log_chunks::pod.eq(&pod))).execute(c))?;
        query!(conn, |c| diesel::delete(log_streams::table.find(&pod)).execute(c))?;
        freed += stored;
    }
    Ok(more)
}

/// Bytes that all kept output takes, compressed.
pub fn log_bytes(conn: &mut Conn) -> Result<i64> {
    let sum = diesel::dsl::sql::<Nullable<BigInt>>("CAST(SUM(stored_bytes) AS SIGNED)");
    let found = log_streams::table.filter(log_streams::stored_bytes.gt(0)).select(sum);
    let total: Option<i64> = query!(conn, |c| found.first(c))?;
    Ok(total.unwrap_or(0))
}

/// Takes some output away while all of it is more than `limit` bytes: that of the jobs that ended longest ago, and where
/// none has ended, the middle of the largest. Says whether there is more to do.
pub fn shrink_logs(conn: &mut Conn, limit: i64) -> Result<bool> {
    let mut over = log_bytes(conn)? - limit;
    if over <= 0 {
        return Ok(false);
    }
    let ended = log_streams::table
        .inner_join(jobs::table.on(jobs::uid.eq(log_streams::job)))
        .filter(jobs::ended_ms.is_not_null())
        .filter(log_streams::stored_bytes.gt(0))
        .order((jobs::ended_ms, log_streams::pod))
        .select(columns())
        .limit(AT_ONCE);
    let rows: Vec<Row> = query!(conn, |c| ended.load(c))?;
    let mut freed = 0;
    for row in rows {
        let mut now = full(row)?;
        if over <= 0 || freed > FREED_AT_ONCE {
            return Ok(over > 0);
        }
        let all = log_chunks::table.filter(log_chunks::pod.eq(&now.stream.pod));
        let lines: Vec<i64> = query!(conn, |c| all.select(log_chunks::line_count).load(c))?;
        let all = log_chunks::table.filter(log_chunks::pod.eq(&now.stream.pod));
        query!(conn, |c| diesel::delete(all).execute(c))?;
        over -= now.stored_bytes;
        freed += now.stored_bytes;
        now.stream.cut_lines += lines.iter().sum::<i64>();
        now.stream.cut_bytes += now.text_bytes;
        (now.text_bytes, now.stored_bytes) = (0, 0);
        write(conn, &now)?;
    }
    if over <= 0 || freed > 0 {
        return Ok(over > 0);
    }
    let largest = log_streams::table
        .filter(log_streams::stored_bytes.gt(0))
        .order(log_streams::stored_bytes.desc())
        .select(columns())
        .limit(AT_ONCE);
    let rows: Vec<Row> = query!(conn, |c| largest.load(c))?;
    for row in rows {
        let mut now = full(row)?;
        if over <= 0 {
            break;
        }
        // half of it, so that not one job pays for all
        now.head_chunks = 1;
        let half = over.min(now.stored_bytes / 2 + 1);
        let gone = drop_middle(conn, &mut now, half, |chunk| chunk.stored)?;
        (over, freed) = (over - gone, freed + gone);
        write(conn, &now)?;
    }
    Ok(over > 0 && freed > 0)
}

fn write(conn: &mut Conn, now: &Full) -> Result<()> {
    let row = log_streams::table.find(&now.stream.pod);
    query!(conn, |c| diesel::update(row).set(changes!(now)).execute(c))?;
    Ok(())
}
