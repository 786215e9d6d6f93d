//! Changing a job that is there: its priority, its class, its labels; having it stand aside, and taking it back into the line.
//!
//! Each is one transaction that leaves the row dirty; the applier brings it into the cluster. What the scheduler or the controller do at the same
//! moment is no conflict: they go by the newest spec, whatever it meets.

use std::collections::BTreeMap;

use crater_auth::Role;
use crater_domain::{Code, Error, FieldViolation, JobName, JobSpec, JobState, Result, ServiceClass};
use crater_k8s::aijob::{self, SUSPENDED};
use crater_store::job::{self, Job, Suspension};
use crater_store::{Once, Tx};

use crate::app::{App, Caller, current, who};
use crate::limits::gang_within;

/// What is to be changed; none: it stays.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// Higher goes first within the account.
    pub priority: Option<i32>,
    /// How it stands to quota and preemption.
    pub class: Option<ServiceClass>,
    /// How long it is thought to run, in seconds; the inner none: nobody knows.
    pub expected_seconds: Option<Option<i64>>,
    /// All labels.
    pub labels: Option<BTreeMap<String, String>>,
}

impl Change {
    /// Whether the cluster has to hear of it.
    fn of_spec(&self) -> bool {
        self.priority.is_some() || self.class.is_some() || self.expected_seconds.is_some()
    }

    fn applied(&self, spec: &JobSpec) -> JobSpec {
        let mut new = spec.clone();
        new.priority = self.priority.unwrap_or(new.priority);
        new.class = self.class.unwrap_or(new.class);
        new.expected_seconds = self.expected_seconds.unwrap_or(new.expected_seconds);
        new
    }
}

impl App {
    /// Changes a job: its spec while it is queued, its labels at any time.
    ///
    /// # Errors
    /// The fields that are wrong; a job that does not wait any more; the limits in the way of another class.
    pub async fn update(
        &self,
        caller: &Caller,
        name: JobName,
        etag: String,
        change: Change,
        how: Once,
    ) -> Result<Job> {
        caller.require_object("job", &name, &name.account, Role::Member)?;
        let (app, now_ms, who) = (self.clone(), how.now_ms, who(caller));
        let updated = self
            .db
            .once::<_, Error, _>(Tx::UpdateJob, how, move |c| {
                let mut job = job::by_id(c, &name)?.ok_or_else(|| Error::not_found("job", &name))?;
                current(&job, &etag)?;
                if change.of_spec() {
                    waits(&job)?;
                }
                let spec = change.applied(&job.spec);
                let wrong: Vec<FieldViolation> = spec.violations("job.spec");
                if !wrong.is_empty() {
                    return Err(Error::fields(wrong));
                }
                if spec.class != job.spec.class {
                    gang_within(&app.limits, &app.directory.lineage(&name.account), &job.creator, &spec)?;
                }
                let told = differences(&job, &spec, change.labels.as_ref());
                if told.is_empty() {
                    return Ok(job);
                }
                let old = job.labels.clone();
                if let Some(labels) = &change.labels {
                    job.labels.clone_from(labels);
                }
                if spec != job.spec {
                    job.spec = spec;
                    job.revision += 1;
                    job.dirty = true;
                }
                job::rewrite(c, &mut job, &old)?;
                job::add_event(c, job.uid, now_ms, "Updated", &format!("{who} set {}", told.join(", ")))?;
                Ok(job)
            })
            .await?;
        self.tell_dirty();
        Ok(updated)
    }

    /// Has a job stand aside: it is given nothing and gives back what it holds. One that stands aside already is answered as it is.
    pub async fn suspend(&self, caller: &Caller, name: JobName, etag: String, how: Once) -> Result<Job> {
        caller.require_object("job", &name, &name.account, Role::Member)?;
        let (now_ms, who) = (how.now_ms, who(caller));
        let suspended = self
            .db
            .once::<_, Error, _>(Tx::SuspendJob, how, move |c| {
                let mut job = job::by_id(c, &name)?.ok_or_else(|| Error::not_found("job", &name))?;
                current(&job, &etag)?;
                goes_on(&job)?;
                if job.suspended.is_some() {
                    return Ok(job);
                }
                job.suspended = Some(Suspension { by: who.clone(), since_ms: now_ms });
                if job.state == JobState::Queued {
                    (job.status.reason, job.status.message) = aside(&job).unwrap_or_default();
                }
                put(c, &mut job)?;
                job::add_event(c, job.uid, now_ms, SUSPENDED, &format!("suspended by {who}"))?;
                Ok(job)
            })
            .await?;
        self.tell_dirty();
        Ok(suspended)
    }

    /// Puts a job that stands aside back into the line. Another one is answered as it is.
    pub async fn resume(&self, caller: &Caller, name: JobName, etag: String, how: Once) -> Result<Job> {
        caller.require_object("job", &name, &name.account, Role::Member)?;
        let (now_ms, who) = (how.now_ms, who(caller));
        let resumed = self
            .db
            .once::<_, Error, _>(Tx::ResumeJob, how, move |c| {
                let mut job = job::by_id(c, &name)?.ok_or_else(|| Error::not_found("job", &name))?;
                current(&job, &etag)?;
                goes_on(&job)?;
                if job.suspended.take().is_none() {
                    return Ok(job);
                }
                if job.status.reason == SUSPENDED {
                    job.status.reason = "Resumed".to_owned();
                    job.status.message = "resumed; not yet looked at by the scheduler".to_owned();
                }
                put(c, &mut job)?;
                job::add_event(c, job.uid, now_ms, "Resumed", &format!("resumed by {who}"))?;
                Ok(job)
            })
            .await?;
        self.tell_dirty();
        Ok(resumed)
    }
}

/// Why a job waits that stands aside: for machines and for people.
pub fn aside(job: &Job) -> Option<(String, String)> {
    Some((SUSPENDED.to_owned(), suspension(job)?.words()))
}

/// The same fact as it stands in the cluster.
pub fn suspension(job: &Job) -> Option<aijob::Suspension> {
    let suspended = job.suspended.as_ref()?;
    Some(aijob::Suspension { by: suspended.by.clone(), since_millis: suspended.since_ms })
}

pub fn put(c: &mut crater_store::Conn, job: &mut Job) -> Result<()> {
    job.revision += 1;
    job.dirty = true;
    let labels = job.labels.clone();
    Ok(job::rewrite(c, job, &labels)?)
}

fn waits(job: &Job) -> Result<()> {
    goes_on(job)?;
    if job.state == JobState::Queued {
        return Ok(());
    }
    let state = job.state.as_str().to_lowercase();
    let message = format!("{} is {state}: its spec can be changed only while it is queued", job.name);
    Err(Error::new(Code::FailedPrecondition, "JOB_NOT_QUEUED", message))
}

pub fn goes_on(job: &Job) -> Result<()> {
    if job.state.is_final() {
        let state = job.state.as_str().to_lowercase();
        let message = format!("{} has ended: it is {state}", job.name);
        return Err(Error::new(Code::FailedPrecondition, "JOB_ENDED", message));
    }
    if job.cancelled {
        let message = format!("{} is being cancelled", job.name);
        return Err(Error::new(Code::FailedPrecondition, "JOB_CANCELLING", message));
    }
    Ok(())
}

/// What differs, for the event.
fn differences(job: &Job, spec: &JobSpec, labels: Option<&BTreeMap<String, String>>) -> Vec<String> {
    let mut told = Vec::new();
    if spec.priority != job.spec.priority {
        told.push(format!("the priority to {}", spec.priority));
    }
    if spec.class != job.spec.class {
        let class = match spec.class {
            ServiceClass::Guaranteed => "guaranteed",
            ServiceClass::BestEffort => "best-effort",
        };
        told.push(format!("the class to {class}"));
    }
    if spec.expected_seconds != job.spec.expected_seconds {
        told.push(match spec.expected_seconds {
            Some(seconds) => format!("the expected duration to {seconds} s"),
            None => "the expected duration to unknown".to_owned(),
        });
    }
    if labels.is_some_and(|labels| *labels != job.labels) {
        told.push("its labels".to_owned());
    }
    told
}
