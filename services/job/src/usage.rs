//! What a job held: from its AIJob's status into the tables, in the transaction that records the status.

use crater_domain::{Error, JobName, Result};
use crater_k8s::AIJob;
use crater_store::job::{self, Job, UsageSpan};
use crater_store::{Conn, Tx};

use crate::app::{App, Caller};
use crater_auth::Role;

/// Brings the job up to what its AIJob tells of its usage, and records what is new of it. Ends what goes on of a job that has ended.
pub fn follow(c: &mut Conn, job: &mut Job, object: &AIJob) -> Result<(), Error> {
    let spans = object.status.as_ref().map(|s| s.usage.as_slice()).unwrap_or_default();
    let status = &mut job.status;
    for span in spans {
        let ended = span.until_millis.is_some();
        if (span.number, ended) <= (status.span, status.span_ended) {
            continue;
        }
        let recorded = UsageSpan {
            number: status.spans_before + span.number,
            attempt: i64::from(status.attempts_before + span.attempt),
            from_ms: span.from_millis,
            until_ms: span.until_millis,
            replicas: span.replicas,
            cpu_millis: span.cpu_millis,
            memory_bytes: span.memory_bytes,
            gpu_millis: span.gpu_millis,
            nodes: span.nodes.clone(),
            outcome: span.outcome.clone(),
        };
        job::record_span(c, job.uid, &recorded)?;
        (status.span, status.span_ended) = (span.number, ended);
    }
    if job.state.is_final() && !status.span_ended && status.span > 0 {
        let outcome = job.state.as_str();
        let outcome: String = outcome[..1].to_owned() + &outcome[1..].to_lowercase();
        job::close_spans(c, job.uid, job.ended_ms.unwrap_or(0), &outcome)?;
        status.span_ended = true;
    }
    Ok(())
}

/// A page of what a job held.
#[derive(Debug)]
pub struct Usage {
    /// Oldest first; one more than was asked for if there are more.
    pub spans: Vec<UsageSpan>,
    /// All of it, in thousandths of a GPU times seconds.
    pub gpu_milli_seconds: i64,
}

impl App {
    /// What a job held after a span's number (0 for all).
    pub async fn usage(&self, caller: &Caller, name: JobName, after: i64, size: usize) -> Result<Usage> {
        caller.require_object("job", &name, &name.account, Role::Member)?;
        let now_ms = self.now_ms();
        self.db
            .read::<_, Error, _>(Tx::ListUsage, move |c| {
                let job = job::by_id(c, &name)?.ok_or_else(|| Error::not_found("job", &name))?;
                let spans = job::usage(c, job.uid, after, size + 1)?;
                Ok(Usage { spans, gpu_milli_seconds: job::gpu_milli_seconds(c, job.uid, now_ms)? })
            })
            .await
    }
}
