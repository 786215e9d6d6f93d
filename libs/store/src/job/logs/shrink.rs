//! Output that has to go: that of deleted jobs, and where all of it is too much, the oldest.

use crater_domain::JobUid;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable};

use super::super::schema::{jobs, log_chunks, log_streams};
use super::keep::drop_middle;
use super::{AT_ONCE, Full, Row, changes, columns, full};
use crate::Result;
use crate::conn::{Conn, query};

/// Stands for the job of a log that nobody may read any more.
const DELETED: &str = "-";
/// Bytes that are taken away in one transaction, roughly.
const FREED_AT_ONCE: i64 = 32 << 20;

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
