//! `logs`: what a job's replicas wrote, line for line, over breaks of the connection.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;

use crater_api::convert::timestamp;
use crater_api::job::v1::{Job, JobState, LogLine, StreamLogsRequest};
use prost_types::Timestamp;

use super::Context;
use crate::cli::{Logs, Prefix};
use crate::client::{Patience, jobs};
use crate::error::Error;
use crate::names::JobRef;
use crate::output::{Format, print, time};

/// Prints lines as they come.
pub async fn logs(context: &Context, mut args: Logs) -> Result<(), Error> {
    let reference = JobRef::parse(&args.job)?;
    let since = args.since.as_deref().map(|text| since(text, time::now())).transpose()?;
    let job = reference.get(&context.api).await?;
    if args.replica.is_some() && args.role.is_none() {
        args.role = Some(only_role(&job)?);
    }
    let expected = replicas(&job, &args);
    if let Some(role) = &args.role
        && !job.spec.iter().flat_map(|s| &s.roles).any(|r| r.name == *role)
    {
        return Err(Error::flag("--role", format!("the job has no role {role:?}")));
    }
    if expected == 0 {
        return Err(Error::flag("--replica", "the role has no such replica"));
    }
    if args.follow && job.state == i32::from(JobState::Queued) {
        let why = if job.message.is_empty() { String::new() } else { format!(": {}", job.message) };
        eprintln!("{} waits for its start{}", args.job, crate::output::table::plain(&why));
    }
    let show = Show {
        prefix: match args.prefix {
            Prefix::Auto => expected > 1,
            Prefix::Always => true,
            Prefix::Never => false,
        },
        timestamps: args.timestamps,
        format: context.format,
    };
    let first = StreamLogsRequest {
        name: job.name.clone(),
        role: args.role.unwrap_or_default(),
        replica: args.replica,
        follow: args.follow,
        tail_lines: args.tail,
        since_time: since,
        attempt: args.attempt.unwrap_or(0),
    };
    let exact = JobRef::parse(&job.name)?;
    let mut cursor = Cursor::default();
    let mut patience = Patience::default();
    // a stream that is opened again says again what is missing
    let mut gaps = HashSet::new();
    loop {
        let request = cursor.request(&first, expected);
        let opened = context
            .api
            .open(request, patience.stale(), async |channel, r| jobs(channel).stream_logs(r).await)
            .await;
        let (stream, token) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                patience.no_token(error).await?;
                continue;
            }
        };
        cursor.begin();
        let end = match stream {
            Err(status) => Err(status),
            Ok(mut stream) => loop {
                match stream.message().await {
                    Ok(None) => break Ok(()),
                    Err(status) => break Err(status),
                    Ok(Some(some)) => {
                        patience.heard();
                        if !some.gap.is_empty() && gaps.insert(some.gap.clone()) {
                            eprintln!("({})", crate::output::table::plain(&some.gap));
                        }
                        let lines = some.lines.into_iter().filter(|l| cursor.is_new(l));
                        print(&show.render(lines)?)?;
                    }
                }
            },
        };
        match end {
            Ok(()) if !first.follow || has_ended(&exact.get(&context.api).await?) => return Ok(()),
            // the server stopped, not the job
            Ok(()) => patience.ended().await,
            Err(status) => patience.broke(&status, &token, context.api.renewable()).await?,
        }
    }
}

fn has_ended(job: &Job) -> bool {
    matches!(JobState::try_from(job.state), Ok(JobState::Succeeded | JobState::Failed | JobState::Cancelled))
}

/// The role of a job that has one: a replica's number means nothing without.
fn only_role(job: &Job) -> Result<String, Error> {
    match job.spec.as_ref().map(|s| s.roles.as_slice()) {
        Some([role]) => Ok(role.name.clone()),
        roles => {
            let n = roles.map_or(0, <[_]>::len);
            Err(Error::flag("--role", format!("must be given with --replica: the job has {n} roles")))
        }
    }
}

/// How many replicas are asked for.
fn replicas(job: &Job, args: &Logs) -> usize {
    let roles = job.spec.iter().flat_map(|s| &s.roles);
    roles
        .filter(|r| args.role.as_ref().is_none_or(|name| r.name == *name))
        .map(|r| match args.replica {
            Some(n) => usize::from(n < r.replicas.max(1)),
            None => usize::try_from(r.replicas.max(1)).unwrap_or(1),
        })
        .sum()
}

/// Reads a time ago, or a moment.
fn since(text: &str, now: i64) -> Result<Timestamp, Error> {
    if let Ok(ago) = crater_domain::parse_duration(text) {
        let ago = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
        return Ok(timestamp(now.saturating_sub(ago).max(0)));
    }
    let moment: jiff::Timestamp = text.parse().map_err(|_| {
        Error::flag("--since", format!("{text:?} is no time: write for example 10m or 2026-01-31T12:00:00Z"))
    })?;
    Ok(timestamp(moment.as_millisecond()))
}

/// How lines are printed.
struct Show {
    prefix: bool,
    timestamps: bool,
    format: Format,
}

impl Show {
    fn render(&self, lines: impl Iterator<Item = LogLine>) -> Result<String, Error> {
        let mut out = String::new();
        for line in lines {
            if matches!(self.format, Format::Json | Format::Yaml) {
                out.push_str(&crate::output::message::render_next(
                    self.format,
                    "crater.job.v1.LogLine",
                    &line,
                )?);
                continue;
            }
            // writing to a String cannot fail
            if self.prefix {
                write!(out, "{}/{} | ", line.role, line.replica).unwrap_or_default();
            }
            if self.timestamps {
                write!(out, "{} ", time::exact(line.time.as_ref())).unwrap_or_default();
            }
            out.push_str(&line.text);
            out.push('\n');
        }
        Ok(out)
    }
}

/// What was printed of each replica, so that a stream that is opened again goes on without a gap or a double line.
///
/// The lines of a replica come in the order of their times, but several may have the same time, and a server may
/// round `since_time` down. So the new stream is asked to begin a little early, and what came before is dropped: lines
/// older than the last one, and as many of its very time as were printed.
#[derive(Debug, Default)]
struct Cursor {
    seen: HashMap<(String, i32), Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    last: (i64, i32),
    /// Lines printed with the time `last`.
    at_last: usize,
    /// Of those, how many this stream repeats yet.
    repeats: usize,
    /// What came before this stream's first news is a repetition.
    until: Option<(i64, i32)>,
}

impl Cursor {
    /// The request of the next stream.
    fn request(&self, first: &StreamLogsRequest, expected: usize) -> StreamLogsRequest {
        if self.seen.is_empty() {
            return first.clone();
        }
        let oldest = self.seen.values().map(|s| s.last).min().unwrap_or_default();
        // a replica not heard of yet may have written before all others: only without a tail can all be asked for
        let whole = self.seen.len() < expected && first.tail_lines.is_none();
        let early = Timestamp { seconds: oldest.0 - 1, nanos: 0 };
        let since = match (&first.since_time, whole) {
            (asked, true) => *asked,
            (Some(asked), false) if (asked.seconds, asked.nanos) > (early.seconds, early.nanos) => {
                Some(*asked)
            }
            (_, false) => Some(early),
        };
        StreamLogsRequest { tail_lines: None, since_time: since, ..first.clone() }
    }

    /// A new stream begins.
    fn begin(&mut self) {
        for seen in self.seen.values_mut() {
            seen.repeats = seen.at_last;
            seen.until = Some(seen.last);
        }
    }

    /// Whether the line was not printed yet; it counts as printed from now on.
    fn is_new(&mut self, line: &LogLine) -> bool {
        let Some(time) = line.time.as_ref().map(|t| (t.seconds, t.nanos)) else { return true };
        let seen = self.seen.entry((line.role.clone(), line.replica)).or_default();
        if let Some(until) = seen.until {
            if time < until {
                return false;
            }
            if time == until && seen.repeats > 0 {
                seen.repeats -= 1;
                return false;
            }
            seen.until = None;
        }
        if time == seen.last {
            seen.at_last += 1;
        } else {
            (seen.last, seen.at_last) = (time, 1);
        }
        true
    }
}

#[cfg(test)]
#[path = "logs_tests.rs"]
mod tests;
