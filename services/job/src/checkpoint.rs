//! A job has saved its work: what it loses when it is stopped begins anew.

use crater_auth::Role;
use crater_domain::{Code, Error, JobName, JobState, Result};
use crater_store::job;
use crater_store::job::Job;
use crater_store::{Once, Tx};

use crate::app::{App, Caller};
use crate::change::{goes_on, put};

/// A caller's clock may be ahead by so much, in milliseconds; what it calls the present then is ours.
const AHEAD: i64 = 5_000;

impl App {
    /// Takes note that a running job saved its work at `at_ms`; none: now. An earlier moment than is known changes nothing.
    ///
    /// # Errors
    /// A job that does not run; a moment before it began to, or in the future.
    pub async fn report_checkpoint(
        &self,
        caller: &Caller,
        name: JobName,
        at_ms: Option<i64>,
        how: Once,
    ) -> Result<Job> {
        caller.require_object("job", &name, &name.account, Role::Member)?;
        let now_ms = how.now_ms;
        let reported = self
            .db
            .once::<_, Error, _>(Tx::ReportCheckpoint, how, move |c| {
                let mut job = job::by_id(c, &name)?.ok_or_else(|| Error::not_found("job", &name))?;
                goes_on(&job)?;
                let at = moment(&job, at_ms, now_ms)?;
                if job.status.reported_ms.max(job.status.checkpointed_ms) >= Some(at) {
                    return Ok(job);
                }
                job.status.reported_ms = Some(at);
                put(c, &mut job)?;
                Ok(job)
            })
            .await?;
        self.tell_dirty();
        Ok(reported)
    }
}

fn moment(job: &Job, at_ms: Option<i64>, now_ms: i64) -> Result<i64> {
    let started = job.status.started_ms.filter(|_| job.state == JobState::Running).ok_or_else(|| {
        let state = job.state.as_str().to_lowercase();
        let message = format!("{} is {state}: it has no work to save before it runs", job.name);
        Error::new(Code::FailedPrecondition, "JOB_NOT_RUNNING", message)
    })?;
    match at_ms {
        // the kubelet's clock may be ahead of ours
        None => Ok(now_ms.max(started)),
        Some(at) if at < started => {
            let (at, began) = (time(at), time(started));
            Err(Error::field("time", format!("{at} is before the job began to run, at {began}")))
        }
        Some(at) if at > now_ms.saturating_add(AHEAD) => {
            Err(Error::field("time", format!("{} is in the future: it is {}", time(at), time(now_ms))))
        }
        Some(at) => Ok(at.min(now_ms).max(started)),
    }
}

fn time(millis: i64) -> String {
    jiff::Timestamp::from_millisecond(millis).map_or_else(|_| millis.to_string(), |at| at.to_string())
}
