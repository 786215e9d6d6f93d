//! `suspend`, `resume`, `checkpoint`, `update`.

use std::collections::HashMap;

use crater_api::job::v1::{
    Job, JobSpec, ReportCheckpointRequest, ResumeJobRequest, ServiceClass, SuspendJobRequest,
    UpdateJobRequest,
};

use super::Context;
use super::jobs::each;
use crate::cli::{Checkpoint, Class, Jobs, Update, duration};
use crate::client::{jobs, request_id};
use crate::error::Error;
use crate::names::{JobRef, short};
use crate::output::time::{exact, now, parse_moment};
use crate::output::{Format, message, print};

/// Takes jobs off their GPUs, or out of the line. One that cannot be suspended does not keep the others from it.
pub async fn suspend(context: &Context, args: Jobs) -> Result<(), Error> {
    each(&args.jobs, async |job: &str| {
        let name = JobRef::parse(job)?.resolve(&context.api).await?;
        let request = SuspendJobRequest { name, request_id: request_id(), ..Default::default() };
        let answer = context.api.call(request, async |channel, r| jobs(channel).suspend_job(r).await).await?;
        let job = answer.job.ok_or(Error::Answer("the job"))?;
        let id = short(&job.name).to_owned();
        tell(context, &job, &format!("{id} is suspended: crater resume {id} puts it back into the line"))
    })
    .await
}

/// Puts suspended jobs back into the line.
pub async fn resume(context: &Context, args: Jobs) -> Result<(), Error> {
    each(&args.jobs, async |job: &str| {
        let name = JobRef::parse(job)?.resolve(&context.api).await?;
        let request = ResumeJobRequest { name, request_id: request_id(), ..Default::default() };
        let answer = context.api.call(request, async |channel, r| jobs(channel).resume_job(r).await).await?;
        let job = answer.job.ok_or(Error::Answer("the job"))?;
        tell(context, &job, &format!("{} is resumed", short(&job.name)))
    })
    .await
}

/// Says that a job has saved its work.
pub async fn checkpoint(context: &Context, args: Checkpoint) -> Result<(), Error> {
    let time = args.at.as_deref().map(|text| parse_moment("--at", text, now())).transpose()?;
    let name = JobRef::parse(&args.job)?.resolve(&context.api).await?;
    let (request_id, validate_only) = (request_id(), args.dry_run);
    let request = ReportCheckpointRequest { name, time, request_id, validate_only };
    let answer = context
        .api
        .call_explained(
            request,
            async |channel, r| jobs(channel).report_checkpoint(r).await,
            |status| Error::refused_at(&status, |path| (path == "time").then(|| "--at".to_owned())),
        )
        .await?;
    let job = answer.job.ok_or(Error::Answer("the job"))?;
    let does = if args.dry_run { "would lose" } else { "loses" };
    let since = exact(job.checkpoint_time.as_ref());
    tell(context, &job, &format!("{} {does} only what it did since {since}", short(&job.name)))
}

/// Changes a job. Labels are changed one by one: what somebody else does to the others at the same moment is not undone.
pub async fn update(context: &Context, args: Update) -> Result<(), Error> {
    let there = JobRef::parse(&args.job)?.get(&context.api).await?;
    let mut job = Job { name: there.name.clone(), ..Default::default() };
    let mut spec = JobSpec::default();
    let mut paths = Vec::new();
    if let Some(priority) = args.priority {
        spec.priority = priority;
        paths.push("spec.priority".to_owned());
    }
    if let Some(class) = args.class {
        spec.service_class = match class {
            Class::Guaranteed => ServiceClass::Guaranteed,
            Class::BestEffort => ServiceClass::BestEffort,
        }
        .into();
        paths.push("spec.service_class".to_owned());
    }
    if let Some(text) = &args.duration {
        spec.expected_duration = match text.as_str() {
            "none" => None,
            text => {
                let long = duration("--duration", text)?;
                Some(prost_types::Duration::try_from(long).map_err(|e| Error::flag("--duration", e))?)
            }
        };
        paths.push("spec.expected_duration".to_owned());
    }
    if !args.label.is_empty() {
        job.labels = labels(there.labels, &args.label)?;
        job.etag = there.etag;
        paths.push("labels".to_owned());
    }
    job.spec = Some(spec);
    let request = UpdateJobRequest {
        job: Some(job),
        update_mask: Some(prost_types::FieldMask { paths }),
        request_id: request_id(),
        validate_only: args.dry_run,
    };
    let answer = context.api.call(request, async |channel, r| jobs(channel).update_job(r).await).await?;
    let job = answer.job.ok_or(Error::Answer("the job"))?;
    let done = if args.dry_run { "would be updated" } else { "is updated" };
    tell(context, &job, &format!("{} {done}", short(&job.name)))
}

fn labels(mut labels: HashMap<String, String>, changes: &[String]) -> Result<HashMap<String, String>, Error> {
    for text in changes {
        match (text.split_once('='), text.strip_suffix('-')) {
            (Some((key, value)), _) if !key.is_empty() => {
                labels.insert(key.to_owned(), value.to_owned());
            }
            (None, Some(key)) if !key.is_empty() => {
                labels.remove(key);
            }
            _ => {
                return Err(Error::flag(
                    "--label",
                    format!("{text:?} must be KEY=VALUE, or KEY- to take it away"),
                ));
            }
        }
    }
    Ok(labels)
}

fn tell(context: &Context, job: &Job, line: &str) -> Result<(), Error> {
    let text = match context.format {
        Format::Json | Format::Yaml => message::render_next(context.format, "crater.job.v1.Job", job)?,
        Format::Name => format!("{}\n", job.name),
        Format::Table | Format::Wide => format!("{line}\n"),
    };
    Ok(print(&text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_set_and_taken_away_one_by_one() {
        let before = HashMap::from([("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())]);
        let after = labels(before, &["b-".into(), "c=3".into(), "a=".into()]).unwrap();
        assert_eq!(after, HashMap::from([("a".to_owned(), String::new()), ("c".to_owned(), "3".to_owned())]));
        for wrong in ["c", "=1", "-"] {
            assert!(labels(HashMap::new(), &[wrong.to_owned()]).is_err(), "{wrong}");
        }
    }
}
