//! Facts about the database itself.

use crater_domain::JobState;
use diesel::prelude::*;
use uuid::Uuid;

use super::events::add_event;
use super::row::{self, Row, save};
use super::schema::{jobs, meta};
use super::usage::close_spans;
use crate::conn::{Conn, locked, query};
use crate::error::OrExists;
use crate::{Error, Result, revision};

const DATABASE: &str = "database";
const CLUSTER: &str = "cluster";
const PRUNED: &str = "pruned";
const FILLED: &str = "filled";
/// All rows have the columns that lists go by.
const ALL: &str = "all";
const SEEN: &str = "seen";

fn get(conn: &mut Conn, name: &str) -> Result<Option<String>> {
    Ok(query!(conn, |c| meta::table.find(name).select(meta::value).first(c).optional())?)
}

/// Reads a fact that this transaction goes on to change.
fn lock(conn: &mut Conn, name: &str) -> Result<Option<String>> {
    Ok(locked!(conn, meta::table.find(name).select(meta::value)).optional()?)
}

fn put(conn: &mut Conn, name: &str, value: &str) -> Result<()> {
    let row = meta::table.find(name);
    let found = query!(conn, |c| diesel::update(row).set(meta::value.eq(value)).execute(c))?;
    if found == 0 && get(conn, name)?.is_none() {
        let new = (meta::name.eq(name), meta::value.eq(value));
        query!(conn, |c| diesel::insert_into(meta::table).values(new).execute(c))
            .or_raced(|| format!("the fact {name}"))?;
    }
    Ok(())
}

/// By which this database is told from any other; made when it is first asked for.
pub fn database_id(conn: &mut Conn) -> Result<String> {
    if let Some(id) = get(conn, DATABASE)? {
        return Ok(id);
    }
    let id = Uuid::new_v4().simple().to_string();
    put(conn, DATABASE, &id)?;
    Ok(id)
}

/// The last change whose deletion is no longer known.
pub(super) fn pruned(conn: &mut Conn) -> Result<i64> {
    get(conn, PRUNED)?.map_or(Ok(0), |text| text.parse().map_err(Error::internal))
}

/// The same, for whoever goes on to change it.
pub(super) fn lock_pruned(conn: &mut Conn) -> Result<i64> {
    lock(conn, PRUNED)?.map_or(Ok(0), |text| text.parse().map_err(Error::internal))
}

pub(super) fn set_pruned(conn: &mut Conn, change: i64) -> Result<()> {
    put(conn, PRUNED, &change.to_string())
}

/// The last job whose row has what lists go by; none: all have.
pub(super) fn filled(conn: &mut Conn) -> Result<Option<String>> {
    let filled = get(conn, FILLED)?.unwrap_or_default();
    Ok(Some(filled).filter(|last| last != ALL))
}

/// The same, for whoever goes on to fill in: another one waits meanwhile.
pub(super) fn lock_filled(conn: &mut Conn) -> Result<Option<String>> {
    revision::next(conn)?;
    let filled = lock(conn, FILLED)?.unwrap_or_default();
    Ok(Some(filled).filter(|last| last != ALL))
}

pub(super) fn set_filled(conn: &mut Conn, last: Option<&str>) -> Result<()> {
    put(conn, FILLED, last.unwrap_or(ALL))
}

/// Remembers the cluster that jobs are applied to. If it is another one than before, the jobs that had not ended are not in it: they start
/// over, but those whose end was wanted are at it. Returns how many started over.
pub fn adopt_cluster(conn: &mut Conn, uid: &str, now_ms: i64) -> Result<usize> {
    let was = lock(conn, CLUSTER)?;
    if was.as_deref() == Some(uid) {
        return Ok(0);
    }
    put(conn, CLUSTER, uid)?;
    let last_seen_ms = get(conn, SEEN)?.and_then(|text| text.parse::<i64>().ok());
    if was.is_none() {
        return Ok(0);
    }
    // tombstones and ended jobs have nothing in the new cluster that would have to go
    let gone = jobs::table.filter(jobs::ended_ms.is_not_null());
    let nothing = (jobs::dirty.eq(false), jobs::kube_uid.eq(None::<String>));
    query!(conn, |c| diesel::update(gone).set(nothing).execute(c))?;
    let unfinished = jobs::table.filter(jobs::live_id.is_not_null()).filter(jobs::ended_ms.is_null());
    let rows: Vec<Row> = query!(conn, |c| unfinished.order(jobs::created_ms).load(c))?;
    let mut restarted = 0;
    for found in rows {
        let mut job = row::job(found)?;
        job.kube_uid = None;
        job.status.seen_version = 0;
        job.status.roles.clear();
        job.status.nodes.clear();
        job.status.attempts_before = job.status.attempts;
        job.status.spans_before += std::mem::take(&mut job.status.span);
        job.status.span_ended = false;
        close_spans(conn, job.uid, last_seen_ms.map_or(now_ms, |at| at.min(now_ms)), "Restarted")?;
        let (reason, message) = if job.cancelled {
            job.state = JobState::Cancelled;
            job.ended_ms = Some(now_ms);
            job.dirty = false;
            ("Cancelled", "cancelled; the cluster that it was in is gone")
        } else {
            job.state = JobState::Queued;
            job.revision += 1;
            job.dirty = true;
            job.status.queued_ms = now_ms;
            job.status.started_ms = None;
            restarted += 1;
            ("Restarted", "the cluster is a new one: the job starts over")
        };
        job.status.reason = reason.to_owned();
        job.status.message = message.to_owned();
        save(conn, &mut job)?;
        add_event(conn, job.uid, now_ms, reason, message)?;
    }
    Ok(restarted)
}

/// The cluster was there at `now_ms`: what ran in it when it is found to be gone is counted until then.
pub fn saw_cluster(conn: &mut Conn, now_ms: i64) -> Result<()> {
    put(conn, SEEN, &now_ms.to_string())
}

/// Takes or keeps a task that one replica of the service does at a time, until `until_ms`. Says whether `who` has it.
pub fn hold_task(conn: &mut Conn, task: &str, who: &str, now_ms: i64, until_ms: i64) -> Result<bool> {
    let was = get(conn, task)?;
    let held = was.as_deref().and_then(|text| text.split_once(' '));
    let free = held.is_none_or(|(holder, until)| {
        holder == who || until.parse::<i64>().map_or(true, |until| until <= now_ms)
    });
    if !free {
        return Ok(false);
    }
    let mine = format!("{who} {until_ms}");
    let Some(was) = was else {
        put(conn, task, &mine)?;
        return Ok(true);
    };
    let row = meta::table.find(task).filter(meta::value.eq(was));
    Ok(query!(conn, |c| diesel::update(row).set(meta::value.eq(mine)).execute(c))? == 1)
}
