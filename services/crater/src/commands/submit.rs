//! `submit`: sends a job, and follows it to its end when asked.

use std::ops::ControlFlow;

use crater_api::job::v1::watch_jobs_response::Event;
use crater_api::job::v1::{CreateJobRequest, Job, JobState};
use crater_api::scheduling::v1::SimulateRequest;
use prost::Message;
use tokio::signal::unix::{SignalKind, signal};

use super::follow::follow;
use super::{Context, describe, session, whatif};
use crate::cli::Submit;
use crate::client::{jobs, request_id, scheduling};
use crate::error::{CANCELLED, Error, INTERNAL, INTERRUPTED, JOB_FAILED, UNAVAILABLE};
use crate::names::{account_of, short};
use crate::output::time::now;
use crate::output::{Format, message, print, state_word};
use crate::spec::{JobFile, draft};

const JOB: &str = "crater.job.v1.Job";
/// What the server takes in one request, in bytes.
const MAX_REQUEST: usize = 1 << 20;

/// Submits a job; with `--wait` the exit code is the job's.
pub async fn submit(context: &Context, args: Submit) -> Result<u8, Error> {
    let file = args.file.as_deref().map(JobFile::read).transpose()?.unwrap_or_default();
    let draft = draft(&args, file)?;
    let named = draft.account.as_ref().map(|(flag, account)| (*flag, account.as_str()));
    let request = CreateJobRequest {
        parent: session::account(context, named).await?,
        job_id: draft.id,
        job: Some(draft.job),
        // kept over retries: however often it is sent, there is one job
        request_id: request_id(),
        validate_only: args.dry_run,
    };
    if request.encoded_len() > MAX_REQUEST {
        let size = request.encoded_len();
        return Err(Error::flag(
            "the job",
            format!("is {size} bytes large; at most {MAX_REQUEST} are taken"),
        ));
    }
    let places = draft.places;
    let answer = context
        .api
        .call_explained(
            request,
            async |channel, r| jobs(channel).create_job(r).await,
            |status| Error::refused_at(&status, |path| places.of(path)),
        )
        .await?;
    let job = answer.job.ok_or(Error::Answer("the job"))?;
    if args.dry_run {
        print(&rehearsed(context, &job).await?)?;
        return Ok(0);
    }
    print(&submitted(context.format, &job)?)?;
    if args.wait { wait(context, &job).await } else { Ok(0) }
}

fn submitted(format: Format, job: &Job) -> Result<String, Error> {
    Ok(match format {
        Format::Json | Format::Yaml => message::render(format, JOB, job)?,
        Format::Name => format!("{}\n", job.name),
        Format::Table | Format::Wide => format!("{}\n", short(&job.name)),
    })
}

/// What would be accepted, and what would come of it.
async fn rehearsed(context: &Context, job: &Job) -> Result<String, Error> {
    if context.format == Format::Name {
        return Ok(format!("{}\n", job.name));
    }
    let request = SimulateRequest {
        parent: format!("accounts/{}", account_of(&job.name)),
        job: job.spec.clone(),
        with_remedies: true,
        ..Default::default()
    };
    let asked = context.api.call(request, async |channel, r| scheduling(channel).simulate(r).await).await;
    let simulation = match asked {
        Ok(simulation) => Some(simulation),
        // it would be accepted all the same
        Err(error) if matches!(error.exit_code(), UNAVAILABLE | INTERNAL) => {
            eprintln!("where and when it would start cannot be told at the moment: {error}");
            None
        }
        Err(error) => return Err(error),
    };
    if context.format.is_table() {
        let told = simulation.map(|simulation| whatif::told(&simulation, now())).unwrap_or_default();
        return Ok(format!("would be accepted: {}\n{told}", describe::in_a_line(job)));
    }
    let mut value = message::to_value(JOB, job)?;
    if let (Some(simulation), Some(fields)) = (simulation, value.as_object_mut()) {
        fields.insert("simulation".to_owned(), message::to_value(whatif::ANSWER, &simulation)?);
    }
    message::render_value(context.format, JOB, &value)
}

/// Follows the job to its end. Progress goes to standard error; Ctrl-C leaves the job alone.
async fn wait(context: &Context, job: &Job) -> Result<u8, Error> {
    let id = short(&job.name).to_owned();
    let parent = format!("accounts/{}", account_of(&job.name));
    let mut last = (JobState::Unspecified.into(), String::new());
    let mut interrupted =
        signal(SignalKind::interrupt()).map_err(|e| Error::local("listening for Ctrl-C", e))?;
    let followed = follow(&context.api, &parent, &job.name, |event| match event {
        Event::Changed(now) if now.name == job.name => {
            let seen = (now.state, now.reason.clone());
            if seen != last {
                eprintln!("{}", progress(&id, &now));
                last = seen;
            }
            Ok(end(&now).map_or(ControlFlow::Continue(()), ControlFlow::Break))
        }
        Event::Deleted(name) if name == job.name => Err(Error::Deleted(id.clone())),
        _ => Ok(ControlFlow::Continue(())),
    });
    tokio::select! {
        code = followed => code,
        _ = interrupted.recv() => {
            eprintln!("detached: {id} goes on (crater logs -f {id} shows it, crater cancel {id} ends it)");
            Ok(INTERRUPTED)
        }
    }
}

fn progress(id: &str, job: &Job) -> String {
    let mut line = format!("{id}: {}", state_word(job.state).to_lowercase());
    let ended_with = job
        .exit_code
        .filter(|code| *code != 0)
        .map(|code| format!("exit code {code}"))
        // the server's words may say it already
        .filter(|said| !job.message.ends_with(said.as_str()));
    let why = [Some(job.message.clone()), ended_with];
    for part in why.into_iter().flatten().filter(|p| !p.is_empty()) {
        line.push_str(&format!(": {}", crate::output::table::plain(&part)));
    }
    line
}

/// The exit code of a job that has ended.
fn end(job: &Job) -> Option<u8> {
    match JobState::try_from(job.state) {
        Ok(JobState::Succeeded) => Some(0),
        // a code that no process of this system can leave with is a failure all the same
        Ok(JobState::Failed) => Some(match job.exit_code.map(u8::try_from) {
            Some(Ok(code)) if code != 0 => code,
            _ => JOB_FAILED,
        }),
        Ok(JobState::Cancelled) => Some(CANCELLED),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(state: JobState, exit_code: Option<i32>) -> Job {
        Job { state: state.into(), exit_code, ..Default::default() }
    }

    #[test]
    fn the_exit_code_is_the_jobs() {
        for (state, code, exit) in [
            (JobState::Succeeded, Some(0), Some(0)),
            (JobState::Succeeded, None, Some(0)),
            (JobState::Failed, Some(42), Some(42)),
            (JobState::Failed, Some(137), Some(137)),
            (JobState::Failed, Some(0), Some(1)),
            (JobState::Failed, Some(256), Some(1)),
            (JobState::Failed, Some(-1), Some(1)),
            (JobState::Failed, None, Some(1)),
            (JobState::Cancelled, Some(143), Some(3)),
            (JobState::Running, Some(1), None),
            (JobState::Queued, None, None),
        ] {
            assert_eq!(end(&job(state, code)), exit, "{state:?} {code:?}");
        }
    }

    #[test]
    fn progress_says_why() {
        let mut failed = job(JobState::Failed, Some(3));
        failed.message = "replica worker/0 ended\nbadly".into();
        assert_eq!(progress("a", &failed), "a: failed: replica worker/0 ended badly: exit code 3");
        assert_eq!(progress("a", &job(JobState::Running, None)), "a: running");
    }
}
