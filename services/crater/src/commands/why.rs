//! `why`: the sentence first, then what is in the way.

use crater_api::convert::unix_millis;
use crater_api::job::v1::{Job, JobState};
use crater_api::scheduling::v1::{ExplainJobRequest, ExplainJobResponse, Forecast, Placement, Remedy};

use super::Context;
use crate::cli::OneJob;
use crate::client::scheduling;
use crate::error::{Error, NOT_FOUND};
use crate::names::{JobRef, short};
use crate::output::table::plain;
use crate::output::time::{moment, now, span};
use crate::output::{Format, message, print, state_word};

/// Says why a job waits, or what it holds.
pub async fn why(context: &Context, args: OneJob) -> Result<(), Error> {
    let job = JobRef::parse(&args.job)?.get(&context.api).await?;
    // the scheduler knows nothing of a job that has ended
    let said = if job.end_time.is_some() || is_end(&job) {
        ExplainJobResponse { job: job.name.clone(), message: ended(&job), ..Default::default() }
    } else {
        let request = ExplainJobRequest { name: job.name.clone(), with_remedies: true };
        let asked =
            context.api.call(request, async |channel, r| scheduling(channel).explain_job(r).await).await;
        match asked {
            // the job is there: it was accepted a moment ago and is on its way to the scheduler
            Err(error) if error.exit_code() == NOT_FOUND => ExplainJobResponse {
                job: job.name.clone(),
                waiting: true,
                message: job.message.clone(),
                ..Default::default()
            },
            answer => answer?,
        }
    };
    let text = match context.format {
        Format::Json | Format::Yaml => {
            message::render(context.format, "crater.scheduling.v1.ExplainJobResponse", &said)?
        }
        Format::Name => said.blockers.iter().map(|b| format!("{}\n", b.reason)).collect(),
        Format::Table | Format::Wide => told(&said, now()),
    };
    Ok(print(&text)?)
}

fn is_end(job: &Job) -> bool {
    matches!(JobState::try_from(job.state), Ok(JobState::Succeeded | JobState::Failed | JobState::Cancelled))
}

fn ended(job: &Job) -> String {
    let mut text = format!("{} has ended: {}", short(&job.name), state_word(job.state).to_lowercase());
    if let Some(code) = job.exit_code.filter(|c| *c != 0) {
        text.push_str(&format!(" with exit code {code}"));
    }
    if !job.message.is_empty() {
        text.push_str(&format!(": {}", job.message));
    }
    text
}

fn told(said: &ExplainJobResponse, now: i64) -> String {
    let mut text = format!("{}\n", plain(&said.message));
    for b in &said.blockers {
        text.push_str(&format!("  - {} ({})\n", plain(&b.message), plain(&b.reason)));
    }
    if said.position > 0 {
        text.push_str(&format!("position in its account's queue: {}\n", said.position));
    }
    text.push_str(&expected(said.expected_start_time.as_ref(), now));
    text.push_str(&likely(said.forecast.as_ref(), now));
    text.push_str(&places(&said.placements));
    text.push_str(&remedies(&said.remedies));
    text
}

/// When it is expected to start, on a line of its own.
pub fn expected(start: Option<&prost_types::Timestamp>, now: i64) -> String {
    let Some(start) = start else { return String::new() };
    let away = unix_millis(start).unwrap_or_default().saturating_sub(now);
    let away = if away > 0 { format!("in {}", span(away)) } else { "any moment".to_owned() };
    format!("expected to start: {} ({away})\n", moment(Some(start)))
}

/// When it is likely to start, on a line of its own.
pub fn likely(forecast: Option<&Forecast>, now: i64) -> String {
    let Some(of) = forecast else { return String::new() };
    let away = |time: Option<&prost_types::Timestamp>| {
        let away = time.and_then(unix_millis).unwrap_or_default().saturating_sub(now);
        if away > 0 { format!("in {}", span(away)) } else { "any moment".to_owned() }
    };
    let (half, most) = (away(of.p50_time.as_ref()), away(of.p90_time.as_ref()));
    let guess = if of.sure { "" } else { "; a guess, few jobs have been seen yet" };
    format!("likely to start: {half} (p50), {most} (p90){guess}\n")
}

/// What would start it, each on a line.
pub fn remedies(all: &[Remedy]) -> String {
    let mut text = String::new();
    if !all.is_empty() {
        text.push_str("it would start now\n");
    }
    for remedy in all {
        text.push_str(&format!("  - {}\n", plain(&remedy.message)));
    }
    text
}

/// Where replicas are, each run on a line.
pub fn places(all: &[Placement]) -> String {
    let mut text = String::new();
    for p in all {
        let last = p.first_replica + p.count - 1;
        let replicas =
            if p.count > 1 { format!("{}-{last}", p.first_replica) } else { p.first_replica.to_string() };
        let gpus: Vec<String> = p
            .gpus
            .iter()
            .filter(|g| !g.indexes.is_empty())
            .map(|g| {
                let share = if g.millis > 0 && g.millis < 1000 {
                    format!(" ({}%)", g.millis / 10)
                } else {
                    String::new()
                };
                let indexes: Vec<String> = g.indexes.iter().map(i32::to_string).collect();
                format!("{}{share}", indexes.join(","))
            })
            .collect();
        let gpus = if gpus.is_empty() { String::new() } else { format!(": GPU {}", gpus.join(" | ")) };
        text.push_str(&format!("  {}/{replicas} on {}{gpus}\n", plain(&p.role), plain(&p.node)));
    }
    text
}

#[cfg(test)]
mod tests {
    use crater_api::scheduling::v1::{Blocker, Placement, ReplicaGpus};

    use super::*;

    #[test]
    fn the_sentence_comes_first_then_what_is_in_the_way() {
        let said = ExplainJobResponse {
            message: "train waits for 2 more A100".into(),
            position: 3,
            blockers: vec![Blocker { reason: "NotEnoughGpus".into(), message: "2 GPUs short".into() }],
            expected_start_time: Some(prost_types::Timestamp { seconds: 90, nanos: 0 }),
            forecast: Some(Forecast {
                p50_time: Some(prost_types::Timestamp { seconds: 60, nanos: 0 }),
                p90_time: Some(prost_types::Timestamp { seconds: 3630, nanos: 0 }),
                sure: false,
            }),
            remedies: vec![Remedy { message: "with 1 replica instead of 2".into(), ..Default::default() }],
            ..Default::default()
        };
        assert_eq!(
            told(&said, 30_000),
            "train waits for 2 more A100\n  - 2 GPUs short (NotEnoughGpus)\nposition in its account's queue: 3\n\
             expected to start: 1970-01-01T00:01:30Z (in 1m)\nlikely to start: in 30s (p50), \
             in 1h (p90); a guess, few jobs have been seen yet\nit would start now\n  - with 1 replica instead of 2\n"
        );
    }

    #[test]
    fn a_running_job_shows_what_it_holds() {
        let gpus = |indexes: Vec<i32>, millis| ReplicaGpus { indexes, millis };
        let said = ExplainJobResponse {
            message: "train runs".into(),
            placements: vec![
                Placement {
                    node: "n1".into(),
                    role: "worker".into(),
                    first_replica: 0,
                    count: 2,
                    gpus: vec![gpus(vec![0, 1], 1000), gpus(vec![2, 3], 1000)],
                },
                Placement {
                    node: "n2".into(),
                    role: "ps".into(),
                    first_replica: 0,
                    count: 1,
                    gpus: vec![gpus(vec![5], 500)],
                },
            ],
            ..Default::default()
        };
        assert_eq!(
            told(&said, 0),
            "train runs\n  worker/0-1 on n1: GPU 0,1 | 2,3\n  ps/0 on n2: GPU 5 (50%)\n"
        );
    }
}
