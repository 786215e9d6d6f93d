//! What jobs held, span by span.

use crater_domain::JobUid;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable};

use super::schema::usage_spans;
use crate::conn::{Conn, query};
use crate::{Error, Result};

/// What a job held from one moment to another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UsageSpan {
    /// Grows with time; unique in the job.
    pub number: i64,
    /// Which start of the job, from 1.
    pub attempt: i64,
    /// From when, in milliseconds since 1970.
    pub from_ms: i64,
    /// Until when; none while it goes on.
    pub until_ms: Option<i64>,
    /// How many replicas.
    pub replicas: i64,
    /// Thousandths of a core, of all replicas together.
    pub cpu_millis: i64,
    /// Bytes, of all together.
    pub memory_bytes: i64,
    /// Thousandths of a GPU, of all together.
    pub gpu_millis: i64,
    /// Where; at most 100.
    pub nodes: Vec<String>,
    /// How it ended; empty while it goes on.
    pub outcome: String,
}

type Row = (String, i64, i64, i64, Option<i64>, i64, i64, i64, i64, Vec<u8>, String);

fn span(row: Row) -> Result<UsageSpan> {
    let (
        _,
        number,
        attempt,
        from_ms,
        until_ms,
        replicas,
        cpu_millis,
        memory_bytes,
        gpu_millis,
        nodes,
        outcome,
    ) = row;
    let nodes = serde_json::from_slice(&nodes).map_err(Error::internal)?;
    Ok(UsageSpan {
        number,
        attempt,
        from_ms,
        until_ms,
        replicas,
        cpu_millis,
        memory_bytes,
        gpu_millis,
        nodes,
        outcome,
    })
}

/// Writes a span, new or changed; one that is closed stays as it is.
pub fn record_span(conn: &mut Conn, job: JobUid, span: &UsageSpan) -> Result<()> {
    let job = job.to_string();
    let there = usage_spans::table.find((&job, span.number)).select(usage_spans::until_ms);
    let there: Option<Option<i64>> = query!(conn, |c| there.first(c).optional())?;
    let values = (
        usage_spans::attempt.eq(span.attempt),
        usage_spans::from_ms.eq(span.from_ms),
        usage_spans::until_ms.eq(span.until_ms),
        usage_spans::replicas.eq(span.replicas),
        usage_spans::cpu_millis.eq(span.cpu_millis),
        usage_spans::memory_bytes.eq(span.memory_bytes),
        usage_spans::gpu_millis.eq(span.gpu_millis),
        usage_spans::nodes.eq(serde_json::to_vec(&span.nodes).map_err(Error::internal)?),
        usage_spans::outcome.eq(&span.outcome),
    );
    match there {
        Some(Some(_)) => {}
        Some(None) => {
            let row = usage_spans::table.find((&job, span.number));
            query!(conn, |c| diesel::update(row).set(values).execute(c))?;
        }
        None => {
            let new = (usage_spans::job.eq(&job), usage_spans::number.eq(span.number), values);
            query!(conn, |c| diesel::insert_into(usage_spans::table).values(new).execute(c))?;
        }
    }
    Ok(())
}

/// Ends what goes on of a job, at `at_ms` or where it began, if that is later.
pub fn close_spans(conn: &mut Conn, job: JobUid, at_ms: i64, outcome: &str) -> Result<()> {
    let open = usage_spans::table
        .filter(usage_spans::job.eq(job.to_string()))
        .filter(usage_spans::until_ms.is_null());
    let rows: Vec<Row> = query!(conn, |c| open.load(c))?;
    for row in rows {
        let mut span = span(row)?;
        span.until_ms = Some(at_ms.max(span.from_ms));
        outcome.clone_into(&mut span.outcome);
        record_span(conn, job, &span)?;
    }
    Ok(())
}

/// The spans after a number (0 for all), oldest first.
pub fn usage(conn: &mut Conn, job: JobUid, after: i64, limit: usize) -> Result<Vec<UsageSpan>> {
    let found = usage_spans::table
        .filter(usage_spans::job.eq(job.to_string()))
        .filter(usage_spans::number.gt(after))
        .order(usage_spans::number)
        .limit(i64::try_from(limit).unwrap_or(i64::MAX));
    let rows: Vec<Row> = query!(conn, |c| found.load(c))?;
    rows.into_iter().map(span).collect()
}

/// All spans of a job together, in thousandths of a GPU times seconds; what goes on counts until `now_ms`.
pub fn gpu_milli_seconds(conn: &mut Conn, job: JobUid, now_ms: i64) -> Result<i64> {
    let mine = usage_spans::table.filter(usage_spans::job.eq(job.to_string()));
    let sum = diesel::dsl::sql::<Nullable<BigInt>>("CAST(SUM(gpu_millis * (until_ms - from_ms)) AS SIGNED)");
    let closed: Option<i64> = query!(conn, |c| mine.select(sum).first(c))?;
    let mine = usage_spans::table.filter(usage_spans::job.eq(job.to_string()));
    let open =
        mine.filter(usage_spans::until_ms.is_null()).select((usage_spans::gpu_millis, usage_spans::from_ms));
    let open: Vec<(i64, i64)> = query!(conn, |c| open.load(c))?;
    let open = open.iter().map(|(gpus, from)| gpus.saturating_mul((now_ms - from).max(0)));
    Ok(open.fold(closed.unwrap_or(0), i64::saturating_add) / 1000)
}

/// Forgets what a job held.
pub(super) fn clear(conn: &mut Conn, job: &str) -> Result<()> {
    let mine = usage_spans::table.filter(usage_spans::job.eq(job));
    query!(conn, |c| diesel::delete(mine).execute(c))?;
    Ok(())
}
