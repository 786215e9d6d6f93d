//! The labels of jobs in a table of their own, by which jobs are found; and rows of before there were such tables.

use std::collections::BTreeMap;

use diesel::prelude::*;

use super::filter::class_word;
use super::meta;
use super::row::{Body, Job};
use super::schema::{job_labels, listed};
use crate::conn::{Conn, query};
use crate::{Error, Result};

/// Rows that are filled in at once.
const BATCH: i64 = 500;

/// Brings the labels' rows of a job from `old` to its own.
pub(super) fn put(conn: &mut Conn, job: &Job, old: &BTreeMap<String, String>) -> Result<()> {
    let uid = job.uid.to_string();
    for name in old.keys().filter(|name| !job.labels.contains_key(*name)) {
        let row = job_labels::table.find((&uid, name));
        query!(conn, |c| diesel::delete(row).execute(c))?;
    }
    for (name, value) in job.labels.iter().filter(|(name, value)| old.get(*name) != Some(value)) {
        if old.contains_key(name) {
            let row = job_labels::table.find((&uid, name));
            query!(conn, |c| diesel::update(row).set(job_labels::value.eq(value)).execute(c))?;
            continue;
        }
        let new = (
            job_labels::job.eq(&uid),
            job_labels::name.eq(name),
            job_labels::value.eq(value),
            job_labels::account.eq(job.name.account.as_str()),
            job_labels::created_ms.eq(job.created_ms),
        );
        query!(conn, |c| diesel::insert_into(job_labels::table).values(new).execute(c))?;
    }
    Ok(())
}

/// Forgets the labels' rows of a job.
pub(super) fn clear(conn: &mut Conn, uid: &str) -> Result<()> {
    let mine = job_labels::table.filter(job_labels::job.eq(uid));
    query!(conn, |c| diesel::delete(mine).execute(c))?;
    Ok(())
}

/// Fills in some rows that were written before there were columns to list by. Says whether that was the last of them; call it until
/// then, each time in a transaction of its own: a crash between two is no harm.
pub fn fill_in(conn: &mut Conn) -> Result<bool> {
    if meta::filled(conn)?.is_none() {
        return Ok(true);
    }
    let Some(after) = meta::lock_filled(conn)? else { return Ok(true) };
    let found = listed::table
        .filter(listed::uid.gt(&after))
        .order(listed::uid)
        .select((
            listed::uid,
            listed::account,
            listed::created_ms,
            listed::class,
            listed::body,
            listed::deleted_ms,
        ))
        .limit(BATCH);
    type Unfilled = (String, String, i64, String, Vec<u8>, Option<i64>);
    let rows: Vec<Unfilled> = query!(conn, |c| found.load(c))?;
    let Some((last, ..)) = rows.last() else {
        meta::set_filled(conn, None)?;
        return Ok(true);
    };
    let last = last.clone();
    for (uid, account, created_ms, class, body, deleted_ms) in rows {
        if !class.is_empty() {
            continue;
        }
        let body: Body = serde_json::from_slice(&body).map_err(Error::internal)?;
        let set = (
            listed::class.eq(class_word(body.spec.class)),
            listed::priority.eq(i64::from(body.spec.priority)),
        );
        query!(conn, |c| diesel::update(listed::table.find(&uid)).set(set).execute(c))?;
        for (name, value) in body.labels.iter().filter(|_| deleted_ms.is_none()) {
            let new = (
                job_labels::job.eq(&uid),
                job_labels::name.eq(name),
                job_labels::value.eq(value),
                job_labels::account.eq(&account),
                job_labels::created_ms.eq(created_ms),
            );
            query!(conn, |c| diesel::insert_into(job_labels::table).values(new).execute(c))?;
        }
    }
    meta::set_filled(conn, Some(&last))?;
    Ok(false)
}
