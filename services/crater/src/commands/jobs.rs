//! `ls`, `get`, `events`, `cancel`, `delete`.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use crater_api::job::v1::watch_jobs_response::Event;
use crater_api::job::v1::{
    CancelJobRequest, DeleteJobRequest, Job, JobEvent, JobFilter, JobState, ListEventsRequest,
    ListEventsResponse, ListJobsRequest, ListJobsResponse, ServiceClass,
};

use super::follow::follow_filtered;
use super::{Context, describe};
use crate::cli::{Class, Jobs, Ls, OneJob, Sort, State};
use crate::client::{jobs, request_id};
use crate::error::Error;
use crate::names::{JobRef, parent, short, user};
use crate::output::table::Table;
use crate::output::{Format, colours, message, print, time};

const PAGE: i32 = 1000;

/// Lists jobs, and goes on with every change when asked.
pub async fn ls(context: &Context, args: Ls) -> Result<(), Error> {
    let parent = parent(args.account.as_deref())?;
    let filter = filter(&args, time::now())?;
    if args.watch {
        return watch(context, &parent, filter).await;
    }
    let order_by = order(args.sort, args.reverse);
    let mut found = Vec::new();
    let mut token = String::new();
    loop {
        let room = if args.limit == 0 { usize::MAX } else { args.limit - found.len() };
        let request = ListJobsRequest {
            parent: parent.clone(),
            page_size: i32::try_from(room).unwrap_or(PAGE).min(PAGE),
            page_token: token,
            filter: Some(filter.clone()),
            order_by: order_by.clone(),
            ..Default::default()
        };
        let page = context.api.call(request, async |channel, r| jobs(channel).list_jobs(r).await).await?;
        found.extend(page.jobs);
        token = page.next_page_token;
        if token.is_empty() || (args.limit != 0 && found.len() >= args.limit) {
            break;
        }
    }
    let text = match context.format {
        Format::Json | Format::Yaml => {
            let list = ListJobsResponse { jobs: found, next_page_token: token.clone() };
            message::render(context.format, "crater.job.v1.ListJobsResponse", &list)?
        }
        Format::Name => found.iter().map(|j| format!("{}\n", j.name)).collect(),
        Format::Table | Format::Wide if found.is_empty() => {
            eprintln!("no jobs");
            String::new()
        }
        Format::Table | Format::Wide => {
            let mut table = Table::new(describe::headers(context.format), colours());
            found.iter().for_each(|j| table.row(describe::row(context.format, j, time::now())));
            table.render()
        }
    };
    print(&text)?;
    if !token.is_empty() && context.format.is_table() {
        eprintln!("there are more: --limit 0 shows all");
    }
    Ok(())
}

fn filter(args: &Ls, now: i64) -> Result<JobFilter, Error> {
    let moment = |flag: &str, text: &Option<String>| {
        text.as_deref().map(|text| time::parse_moment(flag, text, now)).transpose()
    };
    let label = |text: &String| {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        (key.to_owned(), value.to_owned())
    };
    Ok(JobFilter {
        states: args.state.iter().map(|s| proto_state(*s).into()).collect(),
        creators: args.user.iter().map(|u| user("--user", u)).collect::<Result<_, _>>()?,
        service_classes: args.class.iter().map(|c| proto_class(*c).into()).collect(),
        labels: args.label.iter().map(label).collect(),
        created_after: moment("--since", &args.since)?,
        created_before: moment("--until", &args.until)?,
        suspended: args.suspended.then_some(true),
        id_contains: args.name.clone().unwrap_or_default(),
        ..Default::default()
    })
}

fn order(sort: Sort, reverse: bool) -> String {
    let by = match sort {
        Sort::Created => "create_time",
        Sort::Ended => "end_time",
        Sort::Priority => "priority",
    };
    if reverse { by.to_owned() } else { format!("{by} desc") }
}

fn proto_class(class: Class) -> ServiceClass {
    match class {
        Class::Guaranteed => ServiceClass::Guaranteed,
        Class::BestEffort => ServiceClass::BestEffort,
    }
}

/// The list as it is, then a row for each change.
async fn watch(context: &Context, parent: &str, filter: JobFilter) -> Result<(), Error> {
    let format = context.format;
    let mut table = Table::new(describe::headers(format), colours());
    // what is there at the start is shown as one table; after a resync only what differs is news
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    let mut first: Option<Vec<Job>> = Some(Vec::new());
    follow_filtered(&context.api, parent, "", Some(filter), |event| {
        let text = match event {
            Event::Changed(job) => {
                let news = known.insert(job.name.clone(), job.etag.clone()).is_none_or(|old| old != job.etag);
                if !news {
                    String::new()
                } else if let Some(first) = &mut first {
                    first.push(job);
                    String::new()
                } else {
                    change(format, &mut table, &job)?
                }
            }
            Event::Deleted(name) => {
                let was = known.remove(&name).is_some();
                if was && first.is_none() && format.is_table() {
                    eprintln!("{} is not in this list any more", short(&name));
                }
                if let Some(first) = &mut first {
                    first.retain(|j| j.name != name);
                }
                String::new()
            }
            Event::Resync(_) => String::new(),
            Event::Bookmark(_) => match first.take() {
                None => String::new(),
                Some(mut jobs) => {
                    jobs.sort_by_key(|j| {
                        std::cmp::Reverse(j.create_time.as_ref().map(|t| (t.seconds, t.nanos)))
                    });
                    start(format, &mut table, &jobs)?
                }
            },
        };
        print(&text)?;
        Ok(ControlFlow::<()>::Continue(()))
    })
    .await
}

fn start(format: Format, table: &mut Table, jobs: &[Job]) -> Result<String, Error> {
    if !format.is_table() {
        return jobs.iter().map(|j| change(format, table, j)).collect();
    }
    jobs.iter().for_each(|j| table.row(describe::row(format, j, time::now())));
    let text = table.render();
    table.clear();
    Ok(text)
}

fn change(format: Format, table: &mut Table, job: &Job) -> Result<String, Error> {
    Ok(match format {
        Format::Json | Format::Yaml => message::render_next(format, "crater.job.v1.Job", job)?,
        Format::Name => format!("{}\n", job.name),
        Format::Table | Format::Wide => {
            table.row(describe::row(format, job, time::now()));
            let text = table.render_rows();
            table.clear();
            text
        }
    })
}

fn proto_state(state: State) -> JobState {
    match state {
        State::Queued => JobState::Queued,
        State::Starting => JobState::Starting,
        State::Running => JobState::Running,
        State::Succeeded => JobState::Succeeded,
        State::Failed => JobState::Failed,
        State::Cancelled => JobState::Cancelled,
    }
}

/// Shows jobs whole, for people with their events.
pub async fn get(context: &Context, args: Jobs) -> Result<(), Error> {
    for (i, name) in args.jobs.iter().enumerate() {
        let job = JobRef::parse(name)?.get(&context.api).await?;
        let text = match context.format {
            Format::Json | Format::Yaml if args.jobs.len() == 1 => {
                message::render(context.format, "crater.job.v1.Job", &job)?
            }
            Format::Json | Format::Yaml => message::render_next(context.format, "crater.job.v1.Job", &job)?,
            Format::Name => format!("{}\n", job.name),
            Format::Table | Format::Wide => {
                let events = all_events(context, &job.name).await?;
                let gap = if i > 0 { "\n" } else { "" };
                format!("{gap}{}", describe::page(&job, &events, time::now()))
            }
        };
        print(&text)?;
    }
    Ok(())
}

/// Lists what happened to a job, oldest first.
pub async fn events(context: &Context, args: OneJob) -> Result<(), Error> {
    let name = JobRef::parse(&args.job)?.resolve(&context.api).await?;
    let events = all_events(context, &name).await?;
    let text = match context.format {
        Format::Json | Format::Yaml => {
            let list = ListEventsResponse { events, next_page_token: String::new() };
            message::render(context.format, "crater.job.v1.ListEventsResponse", &list)?
        }
        Format::Name => events.iter().map(|e| format!("{}\n", e.reason)).collect(),
        Format::Table | Format::Wide => {
            let mut table = Table::new(&["TIME", "REASON", "MESSAGE"], colours());
            for e in &events {
                table.row([time::moment(e.time.as_ref()), e.reason.clone(), e.message.clone()]);
            }
            table.render()
        }
    };
    Ok(print(&text)?)
}

async fn all_events(context: &Context, job: &str) -> Result<Vec<JobEvent>, Error> {
    let mut events = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListEventsRequest { parent: job.to_owned(), page_size: PAGE, page_token };
        let page = context.api.call(request, async |channel, r| jobs(channel).list_events(r).await).await?;
        events.extend(page.events);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(events);
        }
    }
}

/// Asks for the end of jobs. One that cannot be cancelled does not keep the others from it.
pub async fn cancel(context: &Context, args: Jobs) -> Result<(), Error> {
    each(&args.jobs, async |job: &str| {
        let name = JobRef::parse(job)?.resolve(&context.api).await?;
        let request = CancelJobRequest { name, request_id: request_id(), ..Default::default() };
        let answer = context.api.call(request, async |channel, r| jobs(channel).cancel_job(r).await).await?;
        let job = answer.job.ok_or(Error::Answer("the job"))?;
        let text = match context.format {
            Format::Json | Format::Yaml => message::render_next(context.format, "crater.job.v1.Job", &job)?,
            Format::Name => format!("{}\n", job.name),
            Format::Table | Format::Wide if job.end_time.is_some() => {
                format!(
                    "{} has ended: {}\n",
                    short(&job.name),
                    crate::output::state_word(job.state).to_lowercase()
                )
            }
            Format::Table | Format::Wide => format!("{} is being cancelled\n", short(&job.name)),
        };
        Ok(print(&text)?)
    })
    .await
}

/// Deletes ended jobs.
pub async fn delete(context: &Context, args: Jobs) -> Result<(), Error> {
    each(&args.jobs, async |job: &str| {
        let name = JobRef::parse(job)?.resolve(&context.api).await?;
        let request = DeleteJobRequest { name: name.clone(), request_id: request_id(), ..Default::default() };
        context.api.call(request, async |channel, r| jobs(channel).delete_job(r).await).await?;
        let text = match context.format {
            Format::Table | Format::Wide => format!("{} is deleted\n", short(&name)),
            Format::Json | Format::Yaml | Format::Name => format!("{name}\n"),
        };
        Ok(print(&text)?)
    })
    .await
}

/// Does it for each; the first error is returned, the others are told at once.
pub async fn each(names: &[String], act: impl AsyncFn(&str) -> Result<(), Error>) -> Result<(), Error> {
    let mut first = None;
    for name in names {
        match act(name).await {
            Ok(()) => {}
            Err(error) if first.is_none() && error.exit_code() != crate::error::CLOSED_PIPE => {
                first = Some(error)
            }
            Err(error @ Error::ClosedPipe) => return Err(error),
            Err(error) => eprintln!("crater: {name}: {error}"),
        }
    }
    first.map_or(Ok(()), Err)
}
