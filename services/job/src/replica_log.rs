//! The log of one replica, line by line, over broken connections: nothing twice, nothing lost.

use std::time::Duration;

use crater_api::job::v1::LogLine;
use crater_domain::Result;
use crater_k8s::names::{REPLICA, ROLE};
use futures::AsyncBufReadExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::LogParams;
use kube::{Api, ResourceExt};
use tokio::sync::mpsc;

use crate::logs::{Lines, away, still_runs};

/// The container that runs the user's command.
const CONTAINER: &str = "main";
/// A longer line is cut into pieces.
const LONGEST_LINE: usize = 256 << 10;
/// Text after which a piece of output is sent though more is there.
const PIECE: usize = 64 << 10;
/// Before the log is asked for again.
const PAUSE: Duration = Duration::from_millis(300);

/// Whether a Pod's container was started, so that there is a log.
pub fn has_log(pod: &Pod) -> bool {
    matches!(phase(pod), "Running" | "Succeeded" | "Failed")
}

/// Whether a Pod writes nothing more.
pub fn ended(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or_default()
}

/// One start of a replica.
#[derive(Debug, Clone)]
pub struct Replica {
    /// Its Pod.
    pub pod: String,
    /// Its Pod's uid.
    pub uid: String,
    /// Its role.
    pub role: String,
    /// Its number in the role.
    pub replica: i32,
}

/// How reading the log came to a stop.
enum Stop {
    /// There was nothing more.
    End,
    /// Nobody wants it any more.
    Left,
    /// The connection broke.
    Broken,
}

/// How far the log has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    at: Timestamp,
    /// Lines with this very time that were passed.
    lines: u32,
}

impl Replica {
    /// Reads the labels; none for a Pod that is none of ours.
    pub fn of(pod: &Pod) -> Option<Self> {
        let labels = pod.labels();
        Some(Self {
            pod: pod.name_any(),
            uid: pod.uid()?,
            role: labels.get(ROLE)?.clone(),
            replica: labels.get(REPLICA)?.parse().ok()?,
        })
    }

    /// Sends the lines until the end of the log: of what there is now, or, when following, of the container.
    pub async fn read(
        self,
        api: &Api<Pod>,
        follow: bool,
        tail: Option<i64>,
        since: Option<Timestamp>,
        to: &mpsc::Sender<Result<Lines>>,
    ) -> Result<()> {
        let mut cursor = Cursor { of: &self, since, passed: None, skip: None };
        let mut tail = tail;
        let mut last_round = !follow;
        loop {
            match cursor.stream(api, follow && !last_round, tail, to).await {
                Ok(Stop::Left) => return Ok(()),
                Ok(Stop::End) if last_round => return Ok(()),
                Ok(Stop::End | Stop::Broken) => {}
                Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(()),
                // the container was never started
                Err(kube::Error::Api(status)) if status.code == 400 && last_round => return Ok(()),
                Err(error) if !follow => return Err(away(error)),
                Err(error) => {
                    tracing::debug!(pod = self.pod, %error, "asking for a log again");
                    tokio::time::sleep(PAUSE).await;
                }
            }
            // what was passed is not tailed again
            if cursor.passed.is_some() {
                tail = None;
            }
            if !follow {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            // an end may be that of the connection; once the Pod is known to have ended, one more read has all
            match still_runs(api, &self).await {
                Ok(true) => tokio::time::sleep(PAUSE).await,
                Ok(false) => last_round = true,
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }
}

struct Cursor<'a> {
    of: &'a Replica,
    since: Option<Timestamp>,
    passed: Option<Place>,
    /// On reading again: what was passed before.
    skip: Option<Place>,
}

impl Cursor<'_> {
    async fn stream(
        &mut self,
        api: &Api<Pod>,
        follow: bool,
        tail: Option<i64>,
        to: &mpsc::Sender<Result<Lines>>,
    ) -> Result<Stop, kube::Error> {
        // the API takes whole seconds: what is too old is dropped here
        let from = self.passed.map(|p| p.at).max(self.since);
        let params = LogParams {
            container: Some(CONTAINER.to_owned()),
            follow,
            timestamps: true,
            tail_lines: tail,
            since_time: from.and_then(|at| Timestamp::from_second(at.as_second()).ok()),
            ..LogParams::default()
        };
        self.skip = self.passed;
        let mut log = api.log_stream(&self.of.pod, &params).await?;
        let mut line = Vec::new();
        let mut lines = Lines::new();
        let mut bytes = 0;
        loop {
            let piece = match log.fill_buf().await {
                Ok(piece) => piece,
                Err(error) => {
                    tracing::debug!(pod = self.of.pod, %error, "a log broke off");
                    return Ok(if send(to, lines).await { Stop::Broken } else { Stop::Left });
                }
            };
            if piece.is_empty() {
                // a line without its end is the last one, if the container has ended; else it comes again, whole
                if !follow && !line.is_empty() {
                    lines.extend(self.line(&line));
                }
                return Ok(if send(to, lines).await { Stop::End } else { Stop::Left });
            }
            let taken = piece.len();
            for part in piece.split_inclusive(|b| *b == b'\n') {
                line.extend_from_slice(part);
                if part.ends_with(b"\n") || line.len() >= LONGEST_LINE {
                    bytes += line.len();
                    lines.extend(self.line(&line));
                    line.clear();
                    if bytes >= PIECE {
                        bytes = 0;
                        if !send(to, std::mem::take(&mut lines)).await {
                            return Ok(Stop::Left);
                        }
                    }
                }
            }
            log.consume_unpin(taken);
            if !lines.is_empty() {
                bytes = 0;
                if !send(to, std::mem::take(&mut lines)).await {
                    return Ok(Stop::Left);
                }
            }
        }
    }

    /// The line, unless it was passed before or is too old.
    fn line(&mut self, raw: &[u8]) -> Option<LogLine> {
        let raw = raw.strip_suffix(b"\n").unwrap_or(raw);
        let text = String::from_utf8_lossy(raw);
        let parsed = text.split_once(' ').and_then(|(at, rest)| Some((at.parse::<Timestamp>().ok()?, rest)));
        // a piece of a line that was cut has no time of its own
        let before = self.passed.map_or(Timestamp::UNIX_EPOCH, |p| p.at);
        let (at, text) = parsed.or_else(|| Some((text.parse().ok()?, ""))).unwrap_or((before, &text));
        if let Some(skip) = &mut self.skip {
            if at < skip.at {
                return None;
            }
            if at == skip.at && skip.lines > 0 {
                skip.lines -= 1;
                return None;
            }
        }
        let lines = self.passed.filter(|p| p.at == at).map_or(0, |p| p.lines) + 1;
        self.passed = Some(Place { at, lines });
        if self.since.is_some_and(|since| at <= since) {
            return None;
        }
        Some(LogLine {
            role: self.of.role.clone(),
            replica: self.of.replica,
            time: Some(prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }),
            text: text.to_owned(),
        })
    }
}

async fn send(to: &mpsc::Sender<Result<Lines>>, lines: Lines) -> bool {
    lines.is_empty() || to.send(Ok(lines)).await.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(cursor: &mut Cursor<'_>, log: &[&str]) -> Vec<String> {
        log.iter().filter_map(|l| cursor.line(l.as_bytes())).map(|l| l.text).collect()
    }

    #[test]
    fn a_log_that_is_read_again_gives_only_what_is_new() {
        let of = Replica { pod: "p".into(), uid: "u".into(), role: "w".into(), replica: 0 };
        let mut cursor = Cursor { of: &of, since: None, passed: None, skip: None };
        let log = [
            "2026-01-01T00:00:00.1Z a\n",
            "2026-01-01T00:00:00.2Z b\n",
            "2026-01-01T00:00:00.2Z b\n",
            "2026-01-01T00:00:00.2Z c\n",
            "2026-01-01T00:00:00.3Z \n",
        ];
        assert_eq!(texts(&mut cursor, &log[..3]), ["a", "b", "b"]);
        cursor.skip = cursor.passed;
        assert_eq!(texts(&mut cursor, &log), ["c", ""]);
        cursor.skip = cursor.passed;
        assert!(texts(&mut cursor, &log).is_empty());
    }

    #[test]
    fn since_is_exact_and_bytes_that_are_no_text_do_no_harm() {
        let of = Replica { pod: "p".into(), uid: "u".into(), role: "w".into(), replica: 0 };
        let since = Some("2026-01-01T00:00:00.2Z".parse().unwrap());
        let mut cursor = Cursor { of: &of, since, passed: None, skip: None };
        assert!(cursor.line(b"2026-01-01T00:00:00.2Z a\n").is_none());
        assert_eq!(cursor.line(b"2026-01-01T00:00:00.200000001Z \xff\n").unwrap().text, "\u{fffd}");
    }
}
