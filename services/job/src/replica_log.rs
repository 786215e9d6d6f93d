//! The output of one start of a replica, from the store and from its kubelet: over broken connections, and over the Pod's
//! end, no line twice and none missing.

use std::time::Duration;

use crater_domain::{Error, Result};
use crater_k8s::names::{REPLICA, ROLE};
use crater_store::job::LogStream;
use futures::AsyncBufReadExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::LogParams;
use kube::{Api, ResourceExt};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::log_lines::{Cursor, Splitter, unpack};
use crate::log_store::{From, LogStore};

/// The container that runs the user's command.
pub const CONTAINER: &str = "main";
/// Text after which a piece of output is sent though more is there.
const PIECE: usize = 64 << 10;
/// Before the log is asked for again.
const PAUSE: Duration = Duration::from_millis(300);
/// How long after its Pod is gone its output may take to be in the store.
const STORED_WITHIN: Duration = Duration::from_secs(20);

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
}

/// A line.
#[derive(Debug)]
pub struct Line {
    /// When it was written, in nanoseconds since 1970.
    pub ns: i64,
    /// Its text; bytes that are not UTF-8 are replaced.
    pub text: String,
}

/// What a reader says.
#[derive(Debug)]
pub enum Said {
    /// Lines.
    Lines(Vec<Line>),
    /// What is missing before the next ones, for people.
    Gap(String),
}

/// Where readers say it. `false`: nobody listens any more.
pub type Mouth = mpsc::Sender<(usize, Said)>;

/// How reading from the kubelet came to a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// There was nothing more.
    End,
    /// Nobody wants it any more.
    Left,
    /// The connection broke.
    Broken,
    /// There is no such Pod, or nothing of it ever ran.
    Absent,
}

/// How far the store goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stored {
    /// All that was written, or will ever be known of it.
    All,
    /// Some of it.
    Some,
    /// Nobody wants it any more.
    Left,
}

/// Reads the output of one Pod.
pub struct Reader {
    /// Who wrote it.
    pub replica: Replica,
    /// Which start of the job.
    pub attempt: i32,
    /// By which number it says things.
    number: usize,
    from: From,
    /// The next block, where one before it is no reason to say that something is missing.
    expected: Option<i64>,
    cursor: Cursor,
    since_ns: Option<i64>,
    tail: Option<i64>,
    /// Lines that are passed over in silence.
    mute: i64,
    done: bool,
}

impl Reader {
    /// Begins at the beginning.
    pub fn new(replica: Replica, attempt: i32, number: usize) -> Self {
        Self {
            replica,
            attempt,
            number,
            from: From::Block(0, 0),
            expected: Some(0),
            cursor: Cursor::default(),
            since_ns: None,
            tail: None,
            mute: 0,
            done: false,
        }
    }

    /// Only the last so many lines, to begin with.
    pub fn tail(mut self, lines: Option<i64>) -> Self {
        self.tail = lines;
        self
    }

    /// Only lines written after this instant.
    pub fn since(mut self, since: Option<Timestamp>) -> Self {
        self.since_ns = since.map(|t| i64::try_from(t.as_nanosecond()).unwrap_or(i64::MAX));
        self
    }

    /// Says what there is now: what is stored, then what the kubelet has beyond it.
    pub async fn snapshot(&mut self, store: &LogStore, api: &Api<Pod>, to: &Mouth) -> Result<()> {
        self.find_start(store, api).await?;
        match self.stored(store, to).await? {
            Stored::All | Stored::Left => return Ok(()),
            Stored::Some => {}
        }
        match self.live(api, false, to).await {
            Ok(Stop::Absent) => self.stored(store, to).await.map(drop),
            Ok(_) => Ok(()),
            Err(error) => Err(away(error)),
        }
    }

    /// Goes on until the end.
    pub async fn follow(&mut self, store: &LogStore, api: &Api<Pod>, to: &Mouth) -> Result<()> {
        let mut absent: Option<Instant> = None;
        let mut last = false;
        while !self.done {
            let stop = match self.live(api, !last, to).await {
                Ok(stop) => stop,
                Err(error) => {
                    tracing::debug!(pod = self.replica.pod, %error, "asking for a log again");
                    Stop::Broken
                }
            };
            match stop {
                Stop::Left => return Ok(()),
                Stop::End if last => return Ok(()),
                Stop::End | Stop::Broken | Stop::Absent => {}
            }
            if matches!(self.stored(store, to).await, Ok(Stored::Left | Stored::All)) {
                return Ok(());
            }
            // an end may be that of the connection; once the Pod is known to have ended, one more read has all
            match api.get_opt(&self.replica.pod).await {
                Ok(Some(pod)) if pod.uid().as_deref() == Some(&self.replica.uid) => last = ended(&pod),
                Ok(_) => {
                    let since = *absent.get_or_insert_with(Instant::now);
                    if since.elapsed() > STORED_WITHIN {
                        return Ok(());
                    }
                }
                Err(_) => {}
            }
            if !last {
                tokio::time::sleep(PAUSE).await;
            }
        }
        Ok(())
    }

    /// Where a tail, or what is new enough, begins.
    async fn find_start(&mut self, store: &LogStore, api: &Api<Pod>) -> Result<()> {
        let uid = self.replica.uid.clone();
        if let Some(lines) = self.tail.take() {
            self.expected = None;
            let place = store.next(&uid, From::Block(i64::MAX, 0)).await?.map(|l| l.stream);
            let unread = place.as_ref().is_none_or(|stream| !stream.ended);
            let at = place.map(|stream| stream.place).unwrap_or_default();
            self.cursor = Cursor::at(at);
            let live = if unread { self.count(api).await } else { 0 };
            self.mute = (live - lines).max(0);
            let (block, skip) = store.tail(&uid, (lines - live).max(0)).await?;
            self.from = From::Block(block, skip);
            self.cursor = Cursor::default();
        } else if let Some(since) = self.since_ns
            && let Some(block) = store.first_after(&uid, since).await?
        {
            self.expected = None;
            self.from = From::Block(block, 0);
        }
        Ok(())
    }

    /// Says what the store has beyond what was said.
    async fn stored(&mut self, store: &LogStore, to: &Mouth) -> Result<Stored> {
        loop {
            let Some(look) = store.next(&self.replica.uid, self.from).await? else { return Ok(Stored::Some) };
            let (stream, skip) = (look.stream, look.skip);
            let next = look.block.as_ref().map_or(stream.next_chunk, |b| b.sequence);
            if self.expected.is_some_and(|expected| expected < next) {
                self.expected = Some(next);
                if !self.say(to, Said::Gap(self.cut(&stream))).await {
                    return Ok(Stored::Left);
                }
            }
            let mut rest = None;
            if let Some(block) = look.block {
                let mut lines = Vec::new();
                let (mut number, by_place) = (0, matches!(self.from, From::Place(_)));
                self.cursor.again();
                unpack(&block.body, |ns, text| {
                    number += 1;
                    let new = if by_place { self.cursor.pass(ns).is_some() } else { number > skip };
                    if new {
                        self.take(ns, text, &mut lines);
                    }
                })
                .map_err(Error::internal)?;
                if !lines.is_empty() && !self.say(to, Said::Lines(lines)).await {
                    return Ok(Stored::Left);
                }
                self.from = From::Block(block.sequence, block.lines);
                self.expected = Some(block.sequence + 1);
                if block.sequence + 1 < stream.next_chunk {
                    rest = Some(From::Block(block.sequence + 1, 0));
                }
            }
            if let Some(rest) = rest {
                self.from = rest;
                continue;
            }
            let (theirs, ours) = (stream.place, self.cursor.place);
            if (theirs.ns, theirs.lines) >= (ours.ns, ours.lines) {
                self.cursor = Cursor::at(theirs);
            } else {
                // the kubelet told of lines that the store does not have yet
                self.from = From::Place(ours);
                self.expected = None;
            }
            if !stream.ended {
                return Ok(Stored::Some);
            }
            self.done = true;
            if stream.lost && !self.say(to, Said::Gap(self.lost())).await {
                return Ok(Stored::Left);
            }
            return Ok(Stored::All);
        }
    }

    /// Says what the kubelet has beyond what was said.
    async fn live(&mut self, api: &Api<Pod>, follow: bool, to: &Mouth) -> Result<Stop, kube::Error> {
        let Some(mut log) = self.open(api, follow).await? else { return Ok(Stop::Absent) };
        let was = self.cursor.place;
        let (mut splitter, mut lines) = (Splitter::default(), Vec::new());
        let stop = loop {
            let piece = match log.fill_buf().await {
                Ok(piece) => piece,
                Err(error) => {
                    tracing::debug!(pod = self.replica.pod, %error, "a log broke off");
                    break Stop::Broken;
                }
            };
            if piece.is_empty() {
                // a line without its end is the last one, if the container has ended; else it comes again, whole
                if !follow {
                    splitter.finish(|ns, text| self.fresh(ns, text, &mut lines));
                }
                break Stop::End;
            }
            let taken = piece.len().min(PIECE);
            splitter.feed(&piece[..taken], |ns, text| self.fresh(ns, text, &mut lines));
            log.consume_unpin(taken);
            if !lines.is_empty() && !self.say(to, Said::Lines(std::mem::take(&mut lines))).await {
                return Ok(Stop::Left);
            }
        };
        if self.cursor.place != was {
            self.from = From::Place(self.cursor.place);
            self.expected = None;
        }
        if !lines.is_empty() && !self.say(to, Said::Lines(lines)).await {
            return Ok(Stop::Left);
        }
        Ok(stop)
    }

    /// How many lines the kubelet has beyond the place.
    async fn count(&mut self, api: &Api<Pod>) -> i64 {
        let Ok(Some(mut log)) = self.open(api, false).await else { return 0 };
        let (mut cursor, mut splitter, mut lines) = (self.cursor, Splitter::default(), 0);
        while let Ok(piece) = log.fill_buf().await {
            let mut each = |ns: i64, _: &[u8]| lines += i64::from(cursor.pass(ns).is_some());
            if piece.is_empty() {
                splitter.finish(each);
                break;
            }
            let taken = piece.len();
            splitter.feed(piece, &mut each);
            log.consume_unpin(taken);
        }
        lines
    }

    async fn open(
        &mut self,
        api: &Api<Pod>,
        follow: bool,
    ) -> Result<Option<impl futures::AsyncBufRead + Unpin + use<>>, kube::Error> {
        self.cursor.again();
        // what is too old is dropped here, the API takes whole seconds; nothing of it is counted in a place
        let params = LogParams {
            container: Some(CONTAINER.to_owned()),
            follow,
            timestamps: true,
            since_time: self.cursor.since(),
            ..LogParams::default()
        };
        let log = match api.log_stream(&self.replica.pod, &params).await {
            Ok(log) => Box::pin(log),
            Err(kube::Error::Api(status)) if status.is_not_found() || status.code == 400 => return Ok(None),
            Err(error) => return Err(error),
        };
        let there = is_there(api, &self.replica.pod, &self.replica.uid).await?;
        Ok(there.then_some(log))
    }

    fn fresh(&mut self, ns: i64, text: &[u8], lines: &mut Vec<Line>) {
        if let Some(ns) = self.cursor.pass(ns) {
            if self.mute > 0 {
                self.mute -= 1;
                return;
            }
            self.take(ns, text, lines);
        }
    }

    fn take(&self, ns: i64, text: &[u8], lines: &mut Vec<Line>) {
        if self.since_ns.is_none_or(|since| ns > since) {
            lines.push(Line { ns, text: String::from_utf8_lossy(text).into_owned() });
        }
    }

    async fn say(&self, to: &Mouth, said: Said) -> bool {
        to.send((self.number, said)).await.is_ok()
    }

    fn cut(&self, stream: &LogStream) -> String {
        let Replica { role, replica, .. } = &self.replica;
        let mib = |bytes: i64| format!("{}.{} MiB", bytes >> 20, ((bytes & 0xf_ffff) * 10) >> 20);
        let (lines, size) = (stream.cut_lines, mib(stream.cut_bytes));
        format!("{role}/{replica}: {lines} lines ({size}) are missing here: the log store keeps no more")
    }

    fn lost(&self) -> String {
        let Replica { role, replica, .. } = &self.replica;
        format!("{role}/{replica}: its Pod was gone before all was read: what it wrote last may be missing")
    }
}

/// Whether the Pod of that name is still this one. A log that was opened before is its log then: logs are asked for by name, and the next
/// start of a replica has the same.
pub async fn is_there(api: &Api<Pod>, pod: &str, uid: &str) -> Result<bool, kube::Error> {
    Ok(api.get_opt(pod).await?.is_some_and(|p| p.uid().as_deref() == Some(uid)))
}

pub(crate) fn away(error: kube::Error) -> Error {
    Error::unavailable("the Kubernetes API did not give the output").caused_by(error)
}
