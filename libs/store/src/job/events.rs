//! What happened to a job.

use crater_domain::JobUid;
use diesel::prelude::*;

use super::labels;
use super::schema::job_events;
use crate::Result;
use crate::conn::{Conn, query};
use crate::error::OrExists;

/// The most events that are kept of a job; the oldest go first.
const KEPT: i64 = 1_000;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Grows by one; unique in the job.
    pub sequence: i64,
    /// When.
    pub time_ms: i64,
    /// For machines.
    pub reason: String,
    /// For people.
    pub message: String,
}

type Row = (String, i64, i64, String, String);

fn event((_, sequence, time_ms, reason, message): Row) -> Event {
    Event { sequence, time_ms, reason, message }
}

/// Adds the first event to a job that this transaction makes.
pub fn first_event(conn: &mut Conn, job: JobUid, time_ms: i64, reason: &str, message: &str) -> Result<()> {
    put(conn, &job.to_string(), (1, time_ms, reason, message))
}

/// Adds an event to a job whose row this transaction changes too, which keeps two from taking the same number.
pub fn add_event(conn: &mut Conn, job: JobUid, time_ms: i64, reason: &str, message: &str) -> Result<()> {
    let job = job.to_string();
    let mine = job_events::table.filter(job_events::job.eq(&job));
    let last: Option<i64> = query!(conn, |c| mine.select(diesel::dsl::max(job_events::sequence)).first(c))?;
    let sequence = last.unwrap_or(0) + 1;
    put(conn, &job, (sequence, time_ms, reason, message))?;
    if sequence > KEPT {
        let old = mine_before(&job, sequence - KEPT);
        query!(conn, |c| diesel::delete(old).execute(c))?;
    }
    Ok(())
}

fn put(
    conn: &mut Conn,
    job: &str,
    (sequence, time_ms, reason, message): (i64, i64, &str, &str),
) -> Result<()> {
    let row = (
        job_events::job.eq(job),
        job_events::sequence.eq(sequence),
        job_events::time_ms.eq(time_ms),
        job_events::reason.eq(reason),
        job_events::message.eq(message),
    );
    query!(conn, |c| diesel::insert_into(job_events::table).values(row).execute(c))
        .or_raced(|| format!("event {sequence} of job {job}"))?;
    Ok(())
}

#[diesel::dsl::auto_type]
fn mine_before<'a>(job: &'a str, sequence: i64) -> _ {
    job_events::table.filter(job_events::job.eq(job)).filter(job_events::sequence.le(sequence))
}

/// The events after a sequence number (0 for all), oldest first.
pub fn events(conn: &mut Conn, job: JobUid, after: i64, limit: usize) -> Result<Vec<Event>> {
    let found = job_events::table
        .filter(job_events::job.eq(job.to_string()))
        .filter(job_events::sequence.gt(after))
        .order(job_events::sequence)
        .limit(i64::try_from(limit).unwrap_or(i64::MAX));
    let rows: Vec<Row> = query!(conn, |c| found.load(c))?;
    Ok(rows.into_iter().map(event).collect())
}

/// The last event with this reason.
pub fn last_event(conn: &mut Conn, job: JobUid, reason: &str) -> Result<Option<Event>> {
    let found = job_events::table
        .filter(job_events::job.eq(job.to_string()))
        .filter(job_events::reason.eq(reason))
        .order(job_events::sequence.desc());
    let row: Option<Row> = query!(conn, |c| found.first(c).optional())?;
    Ok(row.map(event))
}

/// Forgets a job's events, and what it held.
pub(super) fn clear(conn: &mut Conn, job: &str) -> Result<()> {
    let mine = job_events::table.filter(job_events::job.eq(job));
    query!(conn, |c| diesel::delete(mine).execute(c))?;
    super::usage::clear(conn, job)
}

/// Forgets what is told of a job that is deleted: its events, its labels, what it held, its output.
pub fn clear_events(conn: &mut Conn, job: JobUid) -> Result<()> {
    labels::clear(conn, &job.to_string())?;
    super::logs::forget_logs(conn, job)?;
    clear(conn, &job.to_string())
}
