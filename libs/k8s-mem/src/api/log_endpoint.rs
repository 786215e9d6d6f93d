//! `GET pods/{name}/log`.

use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::watch as signal;

use super::Api;
use super::object::{self, list, text};
use super::status::{ApiError, ApiResult};
use crate::logs::{Reader, Record, tail};

/// What a log request asks for.
#[derive(Debug, Clone, Default)]
pub(crate) struct LogOptions {
    pub container: String,
    pub follow: bool,
    pub timestamps: bool,
    pub previous: bool,
    pub tail_lines: Option<usize>,
    pub since: Option<Duration>,
    pub since_time: Option<Timestamp>,
    pub limit_bytes: Option<usize>,
}

struct Follower {
    reader: Reader,
    ended: signal::Receiver<bool>,
    serving: signal::Receiver<bool>,
    first: Option<Vec<Record>>,
    writer: Writer,
    follow: bool,
}

impl Api {
    pub fn log(
        &self,
        pod: &Value,
        options: &LogOptions,
    ) -> ApiResult<impl Stream<Item = Bytes> + Send + use<>> {
        let name = object::name(pod);
        let container = pick_container(pod, &options.container)?;
        if options.previous {
            let why = format!("previous terminated container {container:?} in pod {name:?} not found");
            return Err(ApiError::bad_request(why));
        }
        if object::node_name(pod).is_empty() {
            return Err(ApiError::bad_request(format!("pod {name} does not have a host assigned")));
        }
        let Some(log) = self.logs.get(object::uid(pod), &container) else {
            let reason = match object::phase(pod) {
                "Pending" => "is waiting to start: ContainerCreating".to_owned(),
                _ => format!("never ran: {}", text(pod, &["status", "reason"])),
            };
            return Err(ApiError::bad_request(format!("container {container:?} in pod {name:?} {reason}")));
        };
        let broken = |e: std::io::Error| ApiError::internal(format!("reading the log of pod {name:?}: {e}"));
        // subscribed before the first read, so that no line falls between
        let ended = log.subscribe();
        let mut reader = log.open().map_err(broken)?;
        let first = match options.tail_lines {
            Some(lines) => Some(tail(&mut reader, lines).map_err(broken)?),
            None => None,
        };
        let now = self.clock.now();
        let since = options.since_time.or_else(|| options.since.and_then(|d| now.checked_sub(d).ok()));
        let writer =
            Writer { timestamps: options.timestamps, since, left: options.limit_bytes, line_open: false };
        let serving = self.serving.subscribe();
        let follower = Follower { reader, ended, serving, first, writer, follow: options.follow };
        Ok(futures::stream::unfold(follower, Follower::next))
    }
}

impl Follower {
    async fn next(mut self) -> Option<(Bytes, Self)> {
        loop {
            if self.writer.left == Some(0) {
                return None;
            }
            let ended = *self.ended.borrow_and_update();
            let records = match self.first.take() {
                Some(records) => records,
                None => match self.reader.read() {
                    Ok(records) if records.is_empty() => {
                        if ended || !self.follow || !*self.serving.borrow_and_update() {
                            return None;
                        }
                        tokio::select! {
                            rung = self.ended.changed() => if rung.is_err() { return None },
                            cut = self.serving.changed() => if cut.is_err() { return None },
                        }
                        continue;
                    }
                    Ok(records) => records,
                    Err(error) => {
                        tracing::warn!(%error, "reading a container's log");
                        return None;
                    }
                },
            };
            let text = self.writer.write(&records);
            if !text.is_empty() {
                return Some((Bytes::from(text), self));
            }
        }
    }
}

/// Turns records back into the text that the container wrote.
struct Writer {
    timestamps: bool,
    since: Option<Timestamp>,
    left: Option<usize>,
    line_open: bool,
}

impl Writer {
    fn write(&mut self, records: &[Record]) -> Vec<u8> {
        let mut text = Vec::new();
        for record in records {
            let old = |since: Timestamp| record.at.parse::<Timestamp>().is_ok_and(|at| at < since);
            if self.since.is_some_and(old) {
                continue;
            }
            if self.timestamps && !self.line_open {
                text.extend_from_slice(record.at.as_bytes());
                text.push(b' ');
            }
            text.extend_from_slice(&record.text);
            self.line_open = !record.whole;
            if record.whole {
                text.push(b'\n');
            }
        }
        if let Some(left) = &mut self.left {
            text.truncate(*left);
            *left -= text.len();
        }
        text
    }
}

fn pick_container(pod: &Value, asked: &str) -> ApiResult<String> {
    let names: Vec<&str> = list(pod, &["spec", "containers"]).iter().map(|c| text(c, &["name"])).collect();
    match (asked, names.as_slice()) {
        ("", [only]) => Ok((*only).to_owned()),
        ("", _) => {
            let why = format!(
                "a container name must be specified for pod {}, choose one of: [{}]",
                object::name(pod),
                names.join(" ")
            );
            Err(ApiError::bad_request(why))
        }
        (asked, names) if names.contains(&asked) => Ok(asked.to_owned()),
        (asked, _) => Err(ApiError::bad_request(format!(
            "container {asked} is not valid for pod {}",
            object::name(pod)
        ))),
    }
}
