//! One visit to a replica's log: what is new of it, into the store.

use std::time::Duration;

use crater_domain::Result;
use crater_store::job::{LogEnd, LogKept, LogOf, LogPiece, LogPlace};
use futures::AsyncBufReadExt;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;
use tokio::time::{Instant, timeout};

use crate::log_lines::{Cursor, Packer, Splitter};
use crate::log_store::LogStore;
use crate::replica_log::{CONTAINER, is_there};

/// A log that is followed and gives nothing for so long is left, and visited again later.
const IDLE: Duration = Duration::from_secs(3);
/// A kubelet that says nothing for so long while it should give what it has is not waited for.
const SILENT: Duration = Duration::from_secs(30);
/// Lines wait no longer for more before they are kept.
const FLUSH: Duration = Duration::from_secs(1);
/// Text that is put into the store together, and text of a block.
const TOGETHER: usize = 1 << 20;
const BLOCK: usize = 96 << 10;

/// How a visit is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// The container runs: follow it while it writes, at most so long.
    Follow(Duration),
    /// It has ended: read the rest.
    Last,
}

/// How a visit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// It writes nothing at present, or has had its time.
    Quiet {
        /// Whether anything was new.
        news: bool,
    },
    /// The stream came to an end, which may be that of the connection.
    Cut,
    /// All is kept.
    Done {
        /// Whether the job has ended too.
        job_ended: bool,
    },
    /// The Pod is not there any more.
    Gone,
    /// Its container never ran.
    NeverRan,
    /// Somebody else kept some of it: what is known of it has to be read anew.
    Stale,
    /// Nobody wants it: its job is deleted.
    Unwanted,
    /// The cluster or the tables did not answer.
    Broken,
}

/// A visit.
pub struct Visit<'a> {
    /// Where it is kept.
    pub store: &'a LogStore,
    /// The Pods of its namespace.
    pub api: &'a Api<Pod>,
    /// The Pod's name.
    pub pod: &'a str,
    /// Whose output it is.
    pub of: &'a LogOf,
}

struct Reading<'a> {
    visit: &'a Visit<'a>,
    cursor: Cursor,
    kept: LogPlace,
    packer: Packer,
    blocks: Vec<crater_store::job::LogBlock>,
    text: usize,
    since: Option<Instant>,
    news: bool,
}

impl Visit<'_> {
    /// Reads on from a place. Returns where it came to, durably.
    pub async fn run(&self, place: LogPlace, how: How) -> (LogPlace, Left) {
        let mut reading = Reading {
            visit: self,
            cursor: Cursor::at(place),
            kept: place,
            packer: Packer::default(),
            blocks: Vec::new(),
            text: 0,
            since: None,
            news: false,
        };
        let left = reading.read(how).await.unwrap_or_else(|error| {
            tracing::debug!(pod = self.pod, ?error, "keeping output");
            Left::Broken
        });
        (reading.kept, left)
    }

    /// The Pod went, and what was not read is lost.
    pub async fn lost(&self, place: LogPlace) -> Left {
        let end = Some(LogEnd::Lost);
        let piece = LogPiece { of: self.of.clone(), from: place, to: place, blocks: Vec::new(), end };
        match self.store.keep(piece).await {
            Ok(LogKept::Yes { job_ended }) => Left::Done { job_ended },
            Ok(LogKept::Stale) => Left::Stale,
            Ok(LogKept::NoJob) => Left::Unwanted,
            Err(_) => Left::Broken,
        }
    }
}

impl Reading<'_> {
    async fn read(&mut self, how: How) -> Result<Left> {
        let Visit { api, pod, .. } = self.visit;
        let params = LogParams {
            container: Some(CONTAINER.to_owned()),
            follow: how != How::Last,
            timestamps: true,
            since_time: self.cursor.since(),
            ..LogParams::default()
        };
        let mut log = match timeout(SILENT, api.log_stream(pod, &params)).await {
            Ok(Ok(log)) => log,
            Ok(Err(kube::Error::Api(status))) if status.is_not_found() => return Ok(Left::Gone),
            Ok(Err(kube::Error::Api(status))) if status.code == 400 => return Ok(Left::NeverRan),
            Ok(Err(_)) | Err(_) => return Ok(Left::Broken),
        };
        match timeout(SILENT, is_there(api, pod, &self.visit.of.pod)).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => return Ok(Left::Gone),
            Ok(Err(_)) | Err(_) => return Ok(Left::Broken),
        }
        let (begun, mut heard) = (Instant::now(), Instant::now());
        let patience = if how == How::Last { SILENT } else { IDLE };
        let mut splitter = Splitter::default();
        loop {
            let flush =
                self.since.map_or(patience, |at| (at + FLUSH).saturating_duration_since(Instant::now()));
            let idle = (heard + patience).saturating_duration_since(Instant::now());
            let piece = match timeout(flush.min(idle), log.fill_buf()).await {
                Ok(Ok(piece)) => piece,
                Ok(Err(_)) => {
                    self.flush(None).await?;
                    return Ok(Left::Broken);
                }
                Err(_) if heard.elapsed() < patience => {
                    if let Some(left) = self.flush(None).await? {
                        return Ok(left);
                    }
                    continue;
                }
                Err(_) => {
                    let left = self.flush(None).await?;
                    let quiet = if how == How::Last { Left::Broken } else { Left::Quiet { news: self.news } };
                    return Ok(left.unwrap_or(quiet));
                }
            };
            if piece.is_empty() {
                return self.end(how, splitter).await;
            }
            let taken = piece.len();
            splitter.feed(piece, |ns, text| self.line(ns, text));
            log.consume_unpin(taken);
            heard = Instant::now();
            if self.text >= TOGETHER || self.since.is_some_and(|at| at.elapsed() >= FLUSH) {
                if let Some(left) = self.flush(None).await? {
                    return Ok(left);
                }
                if matches!(how, How::Follow(most) if begun.elapsed() > most) {
                    return Ok(Left::Quiet { news: true });
                }
            }
        }
    }

    /// The stream is over. The container's end is sure where the Pod says so, or is not there any more.
    async fn end(&mut self, how: How, mut splitter: Splitter) -> Result<Left> {
        if how != How::Last {
            let Visit { api, pod, of, .. } = self.visit;
            if is_there(api, pod, &of.pod).await.unwrap_or(true) {
                return Ok(self.flush(None).await?.unwrap_or(Left::Cut));
            }
        }
        splitter.finish(|ns, text| self.line(ns, text));
        Ok(self.flush(Some(LogEnd::Whole)).await?.unwrap_or(Left::Done { job_ended: false }))
    }

    fn line(&mut self, ns: i64, text: &[u8]) {
        let Some(ns) = self.cursor.pass(ns) else { return };
        self.news = true;
        self.since.get_or_insert_with(Instant::now);
        self.packer.push(ns, text);
        self.text += text.len() + 1;
        if self.packer.text() >= BLOCK {
            self.pack();
        }
    }

    fn pack(&mut self) {
        match self.packer.take() {
            Ok(block) => self.blocks.extend(block),
            // into memory: it cannot fail
            Err(error) => tracing::error!(%error, "packing output"),
        }
    }

    /// Keeps what was read; how the visit has to end for it, if it has to.
    async fn flush(&mut self, end: Option<LogEnd>) -> Result<Option<Left>> {
        self.pack();
        if self.blocks.is_empty() && end.is_none() {
            return Ok(None);
        }
        let piece = LogPiece {
            of: self.visit.of.clone(),
            from: self.kept,
            to: self.cursor.place,
            blocks: std::mem::take(&mut self.blocks),
            end,
        };
        (self.text, self.since) = (0, None);
        let to = piece.to;
        match self.visit.store.keep(piece).await? {
            LogKept::Yes { job_ended } => {
                self.kept = to;
                Ok(end.map(|_| Left::Done { job_ended }))
            }
            LogKept::Stale => Ok(Some(Left::Stale)),
            LogKept::NoJob => Ok(Some(Left::Unwanted)),
        }
    }
}
