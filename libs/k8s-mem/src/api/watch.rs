//! Watches: the events after a revision, as a stream of JSON lines that ends when it is dropped, times out or lags.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::Stream;
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::watch as signal;

use super::Api;
use super::object;
use super::read::parse_version;
use super::render::Renderer;
use super::selector::Selector;
use super::status::{ApiError, ApiResult};
use super::store::{Change, Event};
use crate::clock::later;

/// How many events are put into one piece of the stream.
const BATCH: usize = 256;
/// How often a quiet watch that asked for bookmarks gets one.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// How long a watch lasts that names no timeout.
const TIMEOUT: Duration = Duration::from_secs(3600);

/// What a watch request asks for.
#[derive(Debug, Clone, Default)]
pub(crate) struct WatchOptions {
    pub selector: Selector,
    pub version: String,
    pub bookmarks: bool,
    pub initial_events: Option<bool>,
    pub timeout: Option<Duration>,
    /// Whether a planted fault may befall it.
    pub may_fail: bool,
}

struct Watcher {
    api: Arc<Api>,
    renderer: Renderer,
    namespace: String,
    options: WatchOptions,
    cursor: u64,
    pending: Vec<u8>,
    changed: signal::Receiver<u64>,
    serving: signal::Receiver<bool>,
    deadline: Timestamp,
    next_bookmark: Timestamp,
    ended: bool,
    /// A planted fault: from when on it hears nothing, and when it then ends with 410.
    deaf: Option<(Instant, Instant)>,
}

impl Api {
    pub fn watch(
        self: &Arc<Self>,
        renderer: Renderer,
        namespace: &str,
        options: WatchOptions,
    ) -> ApiResult<impl Stream<Item = Bytes> + Send + use<>> {
        let now = self.clock.now();
        let store = self.store();
        let current = store.revision();
        let changed = store.subscribe(&renderer.ty.qualified).ok_or_else(ApiError::no_such_path)?;
        let from = match options.version.as_str() {
            "" | "0" => None,
            text => Some(parse_version(text)?),
        };
        if let Some(from) = from.filter(|from| *from > current) {
            return Err(ApiError::too_new(from, current));
        }
        // without a revision to start from, a watch begins with what is there
        let initial = options.initial_events.unwrap_or(from.is_none());
        let mut watcher = Watcher {
            api: self.clone(),
            namespace: namespace.to_owned(),
            cursor: if initial { current } else { from.unwrap_or(current) },
            pending: Vec::new(),
            changed,
            serving: self.serving.subscribe(),
            deadline: later(now, options.timeout.filter(|t| !t.is_zero()).unwrap_or(TIMEOUT)),
            next_bookmark: later(now, BOOKMARK_EVERY),
            ended: false,
            deaf: crater_plant::deafness()
                .filter(|d| options.may_fail && d.of == *renderer.ty.qualified)
                .map(|d| {
                    let from = Instant::now() + d.after;
                    (from, from + d.lasting)
                }),
            options,
            renderer,
        };
        let ty = watcher.renderer.ty.clone();
        let there: Vec<Arc<Value>> =
            if initial { store.list(&ty.qualified, namespace).cloned().collect() } else { Vec::new() };
        drop(store);
        for object in there.iter().filter(|object| watcher.options.selector.matches(object)) {
            write_line(&mut watcher.pending, "ADDED", &watcher.renderer.one(object, now));
        }
        if watcher.options.initial_events == Some(true) && watcher.options.bookmarks {
            let bookmark = watcher.renderer.bookmark(current, true);
            watcher.push("BOOKMARK", &bookmark);
        }
        Ok(futures::stream::unfold(watcher, Watcher::next))
    }
}

impl Watcher {
    async fn next(mut self) -> Option<(Bytes, Self)> {
        loop {
            if !self.pending.is_empty() {
                let bytes = Bytes::from(std::mem::take(&mut self.pending));
                return Some((bytes, self));
            }
            if self.ended || !*self.serving.borrow_and_update() {
                return None;
            }
            if let Some((_, until)) = self.deaf.filter(|(from, _)| *from <= Instant::now()) {
                tokio::time::sleep_until(until.into()).await;
                self.push("ERROR", &ApiError::expired("too old resource version".to_owned()).to_json());
                self.ended = true;
                continue;
            }
            // seen before read, so that a write in between rings again
            self.changed.borrow_and_update();
            self.read();
            if !self.pending.is_empty() || self.ended {
                continue;
            }
            let bookmarks = self.options.bookmarks;
            tokio::select! {
                changed = self.changed.changed() => self.ended |= changed.is_err(),
                served = self.serving.changed() => self.ended |= served.is_err(),
                () = self.api.clock.sleep_until(self.deadline) => {
                    if bookmarks {
                        self.bookmark();
                    }
                    self.ended = true;
                }
                () = self.api.clock.sleep_until(self.next_bookmark), if bookmarks => self.bookmark(),
                () = deaf_from(self.deaf) => {}
            }
        }
    }

    fn bookmark(&mut self) {
        self.next_bookmark = later(self.api.clock.now(), BOOKMARK_EVERY);
        let bookmark = self.renderer.bookmark(self.cursor, false);
        self.push("BOOKMARK", &bookmark);
    }

    fn read(&mut self) {
        let (events, revision) = {
            let store = self.api.store();
            (store.events_after(&self.renderer.ty.qualified, self.cursor, BATCH), store.revision())
        };
        let Ok(events) = events else {
            let why = format!(
                "too old resource version: {} (the history no longer reaches back to it)",
                self.cursor
            );
            self.push("ERROR", &ApiError::expired(why).to_json());
            self.ended = true;
            return;
        };
        let (full, now) = (events.len() == BATCH, self.api.clock.now());
        for event in &events {
            self.cursor = event.revision;
            if let Some((kind, object)) = self.seen(event) {
                write_line(&mut self.pending, kind, &self.renderer.one(&object, now));
            }
        }
        if full && self.pending.is_empty() {
            self.changed.mark_changed();
        } else if !full {
            // nothing of this type is left below the store's revision: bookmarks may say so
            self.cursor = self.cursor.max(revision);
        }
    }

    /// What an event means to this watch: an object that no longer matches is one that is gone.
    fn seen(&self, event: &Event) -> Option<(&'static str, Arc<Value>)> {
        if !self.namespace.is_empty() && object::namespace(&event.object) != self.namespace {
            return None;
        }
        let selector = &self.options.selector;
        let was = event.before.as_ref().is_some_and(|before| selector.matches(before));
        let is = event.change != Change::Deleted && selector.matches(&event.object);
        match (was, is) {
            (false, true) => Some(("ADDED", event.object.clone())),
            (true, true) => Some(("MODIFIED", event.object.clone())),
            (true, false) if event.change == Change::Deleted => Some(("DELETED", event.object.clone())),
            (true, false) => {
                // as Kubernetes does: the last state that matched, at the revision at which it ceased to
                let mut last = event.before.as_deref()?.clone();
                object::metadata_mut(&mut last)
                    .insert("resourceVersion".into(), event.revision.to_string().into());
                Some(("DELETED", Arc::new(last)))
            }
            (false, false) => None,
        }
    }

    fn push(&mut self, kind: &str, object: &Value) {
        write_line(&mut self.pending, kind, object);
    }
}

async fn deaf_from(deaf: Option<(Instant, Instant)>) {
    match deaf {
        Some((from, _)) => tokio::time::sleep_until(from.into()).await,
        None => std::future::pending().await,
    }
}

fn write_line(out: &mut Vec<u8>, kind: &str, object: &Value) {
    #[derive(serde::Serialize)]
    struct Line<'a> {
        #[serde(rename = "type")]
        kind: &'a str,
        object: &'a Value,
    }
    // writing JSON into memory cannot go wrong
    let _ = serde_json::to_writer(&mut *out, &Line { kind, object });
    out.push(b'\n');
}
