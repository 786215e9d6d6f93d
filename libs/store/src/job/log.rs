//! The log of changes that watchers follow: the jobs themselves, by the number of their last change.

use diesel::prelude::*;

use super::list::Visible;
use super::row::{Job, Row, job};
use super::schema::jobs;
use super::{events, meta};
use crate::conn::{Conn, query};
use crate::{Result, revision};

/// What changed after a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// The jobs as they are now, tombstones among them, by the number of their last change.
    pub jobs: Vec<Job>,
    /// Ask for what comes after this next.
    pub position: i64,
    /// Whether there is more already.
    pub more: bool,
    /// Deletions up to this number may have been forgotten: who is behind it must begin anew.
    pub forgotten: i64,
}

/// The number of the last change.
pub fn position(conn: &mut Conn) -> Result<i64> {
    revision::current(conn)
}

/// What changed after `after` in the accounts that are visible, at most `limit` jobs.
pub fn changes(
    conn: &mut Conn,
    after: i64,
    visible: &Visible,
    id: Option<&str>,
    limit: usize,
) -> Result<Changes> {
    let position = revision::current(conn)?;
    let forgotten = meta::pruned(conn)?;
    if position < after {
        // the number is not from here: these tables are older than whoever gave it out
        return Ok(Changes { jobs: Vec::new(), position: after, more: false, forgotten: i64::MAX });
    }
    if position == after || forgotten > after {
        return Ok(Changes { jobs: Vec::new(), position: after, more: false, forgotten });
    }
    let names = visible.names();
    let limit_rows = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows: Vec<Row> = query!(conn, |c| {
        let mut found = jobs::table.filter(jobs::change_seq.gt(after)).into_boxed();
        if let Some(names) = &names {
            found = found.filter(jobs::account.eq_any(names));
        }
        if let Some(id) = id {
            found = found.filter(jobs::id.eq(id));
        }
        found.order(jobs::change_seq).limit(limit_rows).load(c)
    })?;
    let jobs = rows.into_iter().map(job).collect::<Result<Vec<_>>>()?;
    let more = jobs.len() >= limit;
    let position = if more { jobs.last().map_or(after, |j| j.change) } else { position };
    Ok(Changes { jobs, position, more, forgotten })
}

/// Forgets tombstones that were deleted before `before_ms` and, of the others, all but the newest `keep`; a tombstone whose AIJob may still
/// have to go stays. Returns how many went.
pub fn prune(conn: &mut Conn, before_ms: i64, keep: usize) -> Result<usize> {
    let settled = jobs::table.filter(jobs::deleted_ms.is_not_null()).filter(jobs::dirty.eq(false));
    let old: Vec<(String, i64, Option<i64>)> = query!(conn, |c| settled
        .order(jobs::change_seq.desc())
        .select((jobs::uid, jobs::change_seq, jobs::deleted_ms))
        .load(c))?;
    let mut forgotten = meta::lock_pruned(conn)?;
    let mut gone = 0;
    for (i, (uid, change, deleted_ms)) in old.into_iter().enumerate() {
        if i < keep && deleted_ms.is_some_and(|at| at >= before_ms) {
            continue;
        }
        events::clear(conn, &uid)?;
        query!(conn, |c| diesel::delete(jobs::table.find(&uid)).execute(c))?;
        forgotten = forgotten.max(change);
        gone += 1;
    }
    if gone > 0 {
        meta::set_pruned(conn, forgotten)?;
    }
    Ok(gone)
}
