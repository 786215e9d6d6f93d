//! The outbox: jobs whose current revision the cluster does not have yet; and the AIJobs that outlived their jobs.

use crater_domain::JobUid;
use diesel::prelude::*;

use super::row::{Job, Row, job};
use super::schema::jobs;
use crate::conn::{Conn, query};
use crate::{Error, Result};

/// A job that has to be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// The job.
    pub uid: JobUid,
    /// Its revision.
    pub revision: i64,
}

/// The jobs that are dirty, the longest unchanged first.
pub fn due(conn: &mut Conn, limit: usize) -> Result<Vec<Due>> {
    let found = jobs::table
        .filter(jobs::dirty.eq(true))
        .order(jobs::change_seq)
        .select((jobs::uid, jobs::revision))
        .limit(i64::try_from(limit).unwrap_or(i64::MAX));
    let rows: Vec<(String, i64)> = query!(conn, |c| found.load(c))?;
    rows.into_iter()
        .map(|(uid, revision)| Ok(Due { uid: uid.parse().map_err(Error::internal)?, revision }))
        .collect()
}

/// The cluster has `revision` of the job, in the AIJob with that uid (none: nothing of it). Says whether that is still the current
/// revision; if not, the job stays dirty. It is no change that anybody watches, so it takes no number.
pub fn settle(conn: &mut Conn, uid: JobUid, revision: i64, kube_uid: Option<&str>) -> Result<bool> {
    let row = jobs::table.filter(jobs::uid.eq(uid.to_string())).filter(jobs::revision.eq(revision));
    let settled = (jobs::dirty.eq(false), jobs::kube_uid.eq(kube_uid));
    Ok(query!(conn, |c| diesel::update(row).set(settled).execute(c))? == 1)
}

/// The job's AIJob is the one with that uid. No change that anybody watches, either.
pub fn adopt(conn: &mut Conn, uid: JobUid, kube_uid: &str) -> Result<()> {
    let row = jobs::table.find(uid.to_string());
    query!(conn, |c| diesel::update(row).set(jobs::kube_uid.eq(kube_uid)).execute(c))?;
    Ok(())
}

/// The jobs that have not ended and whose AIJob was made in the present cluster.
pub fn in_cluster(conn: &mut Conn) -> Result<Vec<Job>> {
    let found = jobs::table
        .filter(jobs::kube_uid.is_not_null())
        .filter(jobs::ended_ms.is_null())
        .filter(jobs::live_id.is_not_null());
    let rows: Vec<Row> = query!(conn, |c| found.load(c))?;
    rows.into_iter().map(job).collect()
}

/// The jobs that ended at or before `before_ms` and whose AIJob is still there, at most `limit`.
pub fn to_sweep(conn: &mut Conn, before_ms: i64, limit: usize) -> Result<Vec<Job>> {
    let found = jobs::table
        .filter(jobs::kube_uid.is_not_null())
        .filter(jobs::ended_ms.le(before_ms))
        .filter(jobs::dirty.eq(false))
        .limit(i64::try_from(limit).unwrap_or(i64::MAX));
    let rows: Vec<Row> = query!(conn, |c| found.load(c))?;
    rows.into_iter().map(job).collect()
}

/// The AIJob of an ended job is gone.
pub fn swept(conn: &mut Conn, uid: JobUid) -> Result<()> {
    let ended = jobs::table.filter(jobs::uid.eq(uid.to_string())).filter(jobs::ended_ms.is_not_null());
    query!(conn, |c| diesel::update(ended).set(jobs::kube_uid.eq(None::<String>)).execute(c))?;
    Ok(())
}
