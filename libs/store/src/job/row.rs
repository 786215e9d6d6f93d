//! One job's row, and the lists of them.

use std::collections::BTreeMap;

use crater_domain::{AccountId, JobId, JobName, JobSpec, JobState, JobUid, UserId};
use diesel::prelude::*;
use serde::{Deserialize, Serialize};

use super::filter::class_word;
use super::labels;
use super::list::Visible;
use super::schema::{account_rows, jobs, listed, new_jobs};
use crate::conn::{Conn, locked, query};
use crate::error::OrExists;
use crate::{Error, Result, revision};

/// A job as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Unique for all time.
    pub uid: JobUid,
    /// Its name; another job may have it once this one is deleted.
    pub name: JobName,
    /// Who submitted it.
    pub creator: UserId,
    /// What is wanted.
    pub spec: JobSpec,
    /// The user's own labels.
    pub labels: BTreeMap<String, String>,
    /// Where it is.
    pub state: JobState,
    /// Whether its end is wanted.
    pub cancelled: bool,
    /// By whom and since when it stands aside; says nothing of a job that has ended.
    #[serde(default)]
    pub suspended: Option<Suspension>,
    /// The trace of the call that submitted it (W3C `traceparent`), for who goes on with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// Grows with each change of what is wanted.
    pub revision: i64,
    /// Whether the cluster does not have this revision yet: the outbox.
    pub dirty: bool,
    /// The uid of its AIJob, once one was made in the present cluster.
    pub kube_uid: Option<String>,
    /// What is told of it.
    pub status: Status,
    /// When it was submitted.
    pub created_ms: i64,
    /// When it ended.
    pub ended_ms: Option<i64>,
    /// When it was deleted; the rest of it is then a tombstone.
    pub deleted_ms: Option<i64>,
    /// The number of its last change.
    pub change: i64,
}

/// That a job stands aside until it is resumed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspension {
    /// Who asked for it, as events name people.
    pub by: String,
    /// Since when.
    pub since_ms: i64,
}

impl Job {
    /// Whether it stands aside.
    pub fn is_suspended(&self) -> bool {
        self.suspended.is_some() && !self.state.is_final()
    }
}

/// What is told of a job.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// Why it is where it is, for machines.
    pub reason: String,
    /// The same for people.
    pub message: String,
    /// The first failing replica's exit code, once ended.
    pub exit_code: Option<i32>,
    /// How often it was started.
    pub attempts: i32,
    /// How many of the starts were in clusters that are gone.
    pub attempts_before: i32,
    /// Spans of its usage that ended, or were seen, in clusters that are gone.
    pub spans_before: i64,
    /// The number of the last span that the present cluster told of.
    pub span: i64,
    /// Whether that one is recorded with its end.
    pub span_ended: bool,
    /// How many starts failed and counted against its retries.
    pub failures: i32,
    /// How often it was preempted.
    pub preemptions: i32,
    /// How its replicas are doing.
    pub roles: Vec<RoleCounts>,
    /// Where it runs, or last ran.
    pub nodes: Vec<String>,
    /// When it last began to wait.
    pub queued_ms: i64,
    /// When it last began to run.
    pub started_ms: Option<i64>,
    /// When it last saved its work, as its owner reported.
    pub reported_ms: Option<i64>,
    /// The same as the cluster says, with what its Pods told.
    pub checkpointed_ms: Option<i64>,
    /// The resourceVersion of the AIJob that this was read from; 0 for none.
    pub seen_version: u64,
}

/// How the replicas of a role are doing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleCounts {
    /// The role.
    pub role: String,
    /// Wait for a node.
    pub waiting: i32,
    /// Being started.
    pub starting: i32,
    /// Run.
    pub running: i32,
    /// Ended well.
    pub succeeded: i32,
    /// Ended badly.
    pub failed: i32,
}

/// A job to be accepted.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// Unique for all time.
    pub uid: JobUid,
    /// Its name.
    pub name: JobName,
    /// Who submits it.
    pub creator: UserId,
    /// What is wanted.
    pub spec: JobSpec,
    /// The user's own labels.
    pub labels: BTreeMap<String, String>,
    /// Now.
    pub created_ms: i64,
    /// The trace of the call that submits it.
    pub trace: Option<String>,
}

/// What is wanted, but for the end: it seldom changes.
#[derive(Serialize, Deserialize)]
pub(super) struct Body {
    pub(super) spec: JobSpec,
    pub(super) labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    suspended: Option<Suspension>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trace: Option<String>,
}

fn body(job: &Job) -> Result<Vec<u8>> {
    let (spec, labels) = (job.spec.clone(), job.labels.clone());
    let (suspended, trace) = (job.suspended.clone(), job.trace.clone());
    serde_json::to_vec(&Body { spec, labels, suspended, trace }).map_err(Error::internal)
}

pub(super) type Row = (
    String,
    String,
    String,
    Option<String>,
    String,
    Vec<u8>,
    String,
    bool,
    i64,
    bool,
    Option<String>,
    Vec<u8>,
    i64,
    Option<i64>,
    Option<i64>,
    i64,
);

pub(super) fn job(row: Row) -> Result<Job> {
    let (
        uid,
        account,
        id,
        _live_id,
        creator,
        body,
        state,
        cancelled,
        revision,
        dirty,
        kube_uid,
        status,
        created_ms,
        ended_ms,
        deleted_ms,
        change,
    ) = row;
    let body: Body = serde_json::from_slice(&body).map_err(Error::internal)?;
    let state = JobState::from_word(&state).ok_or_else(|| Error::internal(format!("state {state:?}")))?;
    Ok(Job {
        uid: uid.parse().map_err(Error::internal)?,
        name: JobName {
            account: account.try_into().map_err(Error::internal)?,
            job: id.try_into().map_err(Error::internal)?,
        },
        creator: creator.try_into().map_err(Error::internal)?,
        spec: body.spec,
        labels: body.labels,
        state,
        cancelled,
        suspended: body.suspended,
        trace: body.trace,
        revision,
        dirty,
        kube_uid,
        status: serde_json::from_slice(&status).map_err(Error::internal)?,
        created_ms,
        ended_ms,
        deleted_ms,
        change,
    })
}

/// Takes the account's row: whoever adds a job to its queue waits here until the end of the transaction.
pub fn lock_account(conn: &mut Conn, account: &AccountId) -> Result<()> {
    let row = account_rows::table.find(account.as_str()).select(account_rows::locked);
    let found: Option<i64> = locked!(conn, row).optional()?;
    if found.is_none() {
        let new = (account_rows::account.eq(account.as_str()), account_rows::locked.eq(1));
        query!(conn, |c| diesel::insert_into(account_rows::table).values(new).execute(c))
            .or_raced(|| format!("the row of {}", account.resource_name()))?;
    }
    Ok(())
}

/// How many jobs of these accounts wait, of one creator if given.
pub fn waiting(conn: &mut Conn, accounts: &[AccountId], creator: Option<&UserId>) -> Result<i64> {
    let names: Vec<&str> = accounts.iter().map(AccountId::as_str).collect();
    Ok(query!(conn, |c| {
        let mut count = jobs::table
            .filter(jobs::state.eq(JobState::Queued.as_str()))
            .filter(jobs::cancelled.eq(false))
            .filter(jobs::account.eq_any(&names))
            .count()
            .into_boxed();
        if let Some(creator) = creator {
            count = count.filter(jobs::creator.eq(creator.as_str()));
        }
        count.get_result(c)
    })?)
}

/// Adds a job, queued and dirty.
///
/// # Errors
/// [`Error::AlreadyExists`] when a job of that name is there.
pub fn create(conn: &mut Conn, new: &NewJob) -> Result<Job> {
    // asked for, because the databases do not say which of several unique keys an insert hit
    if by_id(conn, &new.name)?.is_some() {
        return Err(Error::AlreadyExists { what: new.name.to_string() });
    }
    let status = Status {
        queued_ms: new.created_ms,
        reason: "Submitted".to_owned(),
        message: "accepted; not yet looked at by the scheduler".to_owned(),
        ..Status::default()
    };
    let job = Job {
        uid: new.uid,
        name: new.name.clone(),
        creator: new.creator.clone(),
        spec: new.spec.clone(),
        labels: new.labels.clone(),
        state: JobState::Queued,
        cancelled: false,
        suspended: None,
        trace: new.trace.clone(),
        revision: 1,
        dirty: true,
        kube_uid: None,
        status,
        created_ms: new.created_ms,
        ended_ms: None,
        deleted_ms: None,
        change: revision::next(conn)?,
    };
    let row = (
        new_jobs::uid.eq(job.uid.to_string()),
        new_jobs::account.eq(job.name.account.as_str()),
        new_jobs::id.eq(job.name.job.as_str()),
        new_jobs::live_id.eq(Some(job.name.job.as_str())),
        new_jobs::creator.eq(job.creator.as_str()),
        new_jobs::body.eq(body(&job)?),
        new_jobs::state.eq(job.state.as_str()),
        new_jobs::cancelled.eq(job.cancelled),
        new_jobs::revision.eq(job.revision),
        new_jobs::dirty.eq(job.dirty),
        new_jobs::status.eq(serde_json::to_vec(&job.status).map_err(Error::internal)?),
        new_jobs::created_ms.eq(job.created_ms),
        new_jobs::change_seq.eq(job.change),
        new_jobs::class.eq(class_word(job.spec.class)),
        new_jobs::priority.eq(i64::from(job.spec.priority)),
    );
    query!(conn, |c| diesel::insert_into(new_jobs::table).values(row).execute(c))
        .or_exists(|| new.name.to_string())?;
    labels::put(conn, &job, &BTreeMap::new())?;
    Ok(job)
}

/// Writes what may change of a job by itself, if it is still as it was read; gives it the next number. What somebody may change of it
/// is [`rewrite`]'s.
///
/// # Errors
/// [`Error::Unavailable`], which has the transaction tried again, when somebody else was faster.
pub fn save(conn: &mut Conn, job: &mut Job) -> Result<()> {
    let was = job.change;
    job.change = revision::next(conn)?;
    let live_id = job.deleted_ms.is_none().then_some(job.name.job.as_str());
    let changed = (
        jobs::live_id.eq(live_id),
        jobs::state.eq(job.state.as_str()),
        jobs::cancelled.eq(job.cancelled),
        jobs::revision.eq(job.revision),
        jobs::dirty.eq(job.dirty),
        jobs::kube_uid.eq(job.kube_uid.as_deref()),
        jobs::status.eq(serde_json::to_vec(&job.status).map_err(Error::internal)?),
        jobs::ended_ms.eq(job.ended_ms),
        jobs::deleted_ms.eq(job.deleted_ms),
        jobs::change_seq.eq(job.change),
    );
    let row = jobs::table.filter(jobs::uid.eq(job.uid.to_string())).filter(jobs::change_seq.eq(was));
    match query!(conn, |c| diesel::update(row).set(changed).execute(c))? {
        1 => Ok(()),
        _ => Err(Error::unavailable(format!("{} was changed meanwhile", job.name))),
    }
}

/// As [`save`], and writes what is wanted of the job, too. `old`: the labels that it had.
pub fn rewrite(conn: &mut Conn, job: &mut Job, old: &BTreeMap<String, String>) -> Result<()> {
    save(conn, job)?;
    let wanted = (
        listed::body.eq(body(job)?),
        listed::class.eq(class_word(job.spec.class)),
        listed::priority.eq(i64::from(job.spec.priority)),
        listed::suspended_ms.eq(job.suspended.as_ref().map(|s| s.since_ms)),
    );
    let row = listed::table.find(job.uid.to_string());
    query!(conn, |c| diesel::update(row).set(wanted).execute(c))?;
    labels::put(conn, job, old)
}

/// The jobs of an account that have not ended and whose end is not wanted yet, at most `limit`.
pub fn unended(conn: &mut Conn, account: &AccountId, limit: usize) -> Result<Vec<Job>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows: Vec<Row> = query!(conn, |c| jobs::table
        .filter(jobs::account.eq(account.as_str()))
        .filter(jobs::state.eq_any(["Queued", "Starting", "Running"]))
        .filter(jobs::cancelled.eq(false))
        .limit(limit)
        .load(c))?;
    rows.into_iter().map(job).collect()
}

/// The job, tombstones included.
pub fn by_uid(conn: &mut Conn, uid: JobUid) -> Result<Option<Job>> {
    let row: Option<Row> = query!(conn, |c| jobs::table.find(uid.to_string()).first(c).optional())?;
    row.map(job).transpose()
}

/// The job of that name, unless it is deleted.
pub fn by_id(conn: &mut Conn, name: &JobName) -> Result<Option<Job>> {
    let found = jobs::table
        .filter(jobs::account.eq(name.account.as_str()))
        .filter(jobs::live_id.eq(name.job.as_str()));
    let row: Option<Row> = query!(conn, |c| found.first(c).optional())?;
    row.map(job).transpose()
}

/// The jobs with this id in the accounts that are visible, at most ten.
pub fn candidates(conn: &mut Conn, visible: &Visible, id: &JobId) -> Result<Vec<Job>> {
    let names = visible.names();
    let rows: Vec<Row> = query!(conn, |c| {
        let mut found = jobs::table.filter(jobs::live_id.eq(id.as_str())).into_boxed();
        if let Some(names) = &names {
            found = found.filter(jobs::account.eq_any(names));
        }
        found.order(jobs::account).limit(10).load(c)
    })?;
    rows.into_iter().map(job).collect()
}
