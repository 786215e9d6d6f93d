//! Output on its way in: pieces follow on what is there, small blocks are put together, the middle goes when it is too much.

use crater_domain::{AccountId, JobState};
use diesel::prelude::*;

use super::super::row::Status;
use super::super::schema::{jobs, log_chunks, log_streams};
use super::read::log_blocks;
use super::{
    AT_ONCE, Full, LOG_BLOCK, LOST, LogBlock, LogEnd, LogKept, LogOf, LogPiece, LogPlace, OPEN, Row, changes,
    columns, full,
};
use crate::conn::{Conn, query};
use crate::{Error, Result};

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

type Of = (AccountId, Status, JobState, bool);

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
pub(super) struct Size {
    sequence: i64,
    lines: i64,
    text: i64,
    pub(super) stored: i64,
}

/// Drops the oldest blocks behind the head until `over` is made up for; the newest stays.
pub(super) fn drop_middle(
    conn: &mut Conn,
    now: &mut Full,
    mut over: i64,
    size: fn(&Size) -> i64,
) -> Result<i64> {
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

/// The Pod of that log is gone, and with it what was not read.
pub fn lose_log(conn: &mut Conn, pod: &str) -> Result<()> {
    let row = log_streams::table.find(pod).filter(log_streams::reading.eq(OPEN));
    query!(conn, |c| diesel::update(row).set(log_streams::reading.eq(LOST)).execute(c))?;
    Ok(())
}
