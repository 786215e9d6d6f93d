//! Kept output, on its way out.

use crater_domain::JobUid;
use diesel::prelude::*;

use super::super::schema::{log_chunks, log_streams};
use super::{AT_ONCE, LogBlock, LogStream, OPEN, Row, columns, full};
use crate::Result;
use crate::conn::{Conn, query};

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

fn stream(row: Row) -> Result<LogStream> {
    Ok(full(row)?.stream)
}
