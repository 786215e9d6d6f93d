//! The cache as the engine's snapshot: names become ordinals, and what each job holds, has spent and still wants is found.
//!
//! A replica that the controller released by itself has ended. It is *spent*, and not wanted again before the whole job is back
//! in the queue: else the first worker to finish would be started once more. Spent replicas are told to the engine as holdings of
//! nothing. A job is back in the queue when its status says so of an instant after the Allocation (see [`returned`]).

mod accounts;
mod known;
mod leaning;
mod nodes;
mod part;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crater_domain::AccountId;
use crater_engine::{Hold, JobIx, KeyIx, NodeIx, Placement, Request, Reservation, Settings, Shape, ValueIx};

use crate::cache::{Cache, Key, News};
use crate::frame::{Frame, Promise, Promised};
use crate::jobs::JobEntry;
use crate::setbacks::Setbacks;
use crate::words::Words;

pub use accounts::set_amount;
pub use known::Known;

/// Accounts, each with the one above it.
pub type Tree = BTreeMap<AccountId, Option<AccountId>>;

/// Keys from here on are no labels, but say which nodes turned whom away.
pub const BARS: KeyIx = KeyIx::MARKS;

/// What is given in beside the cache.
#[derive(Clone, Copy)]
pub struct Beside<'a> {
    /// The tree of accounts.
    pub tree: &'a Tree,
    /// Jobs whose writes were refused a moment ago.
    pub setbacks: &'a Setbacks,
    /// What was promised in the last cycle.
    pub promises: &'a Promised,
    /// A job that is thought of, and the names that it is read by: those of the cache, and its own. It comes last, as if it had just been
    /// submitted.
    pub thought: Option<(&'a JobEntry, &'a Words)>,
    /// The engine's.
    pub settings: Settings,
    /// Milliseconds since 1970.
    pub now_ms: i64,
    /// Grows with each cycle.
    pub cycle: u64,
}

/// The snapshot of this moment. `known`: what is known from the last one; `news`: what is new since then.
pub fn frame(cache: &Cache, beside: &Beside<'_>, known: &mut Known, news: News) -> Frame {
    known.update(cache, beside, news);
    let mut frame = known.frame();
    if let Some((thought, words)) = beside.thought {
        label(&mut frame, cache, known.nodes.labels, words);
        let key = Key::of(&*thought.object);
        let part = known.reader(cache, beside).part(&key, Some(thought));
        known::add(&mut frame, Arc::new(key), &part);
    }
    frame.snapshot.now = beside.now_ms;
    frame.snapshot.cycle = beside.cycle;
    frame.snapshot.settings = beside.settings;
    served(&mut frame);
    bar(&mut frame, cache);
    promises(&mut frame, known, beside.promises);
    frame.name(beside.thought.map_or(&cache.words, |(_, words)| words));
    frame
}

/// Adds the labels of nodes that are only thought of: those by keys from this number on.
fn label(frame: &mut Frame, cache: &Cache, first: usize, words: &Words) {
    let keys = words.labels.keys();
    if keys.len() == first {
        return;
    }
    for (name, node) in frame.nodes.iter().zip(&mut frame.snapshot.nodes) {
        let machine = cache.nodes.get(&Key { namespace: String::new(), name: name.clone() });
        node.labels.extend(machine.into_iter().flat_map(|of| words.labels.of(&keys, first, &of.labels)));
    }
}

/// What each job was served until now; where nobody asks, jobs do not change with every cycle.
fn served(frame: &mut Frame) {
    if frame.snapshot.settings.asks_what_was_served() {
        for (entry, job) in frame.entries.iter().zip(&mut frame.snapshot.jobs) {
            let status = entry.as_ref().and_then(|entry| entry.object.status.as_ref());
            job.served = status.map_or(0, |status| status.served(frame.snapshot.now));
        }
    }
}

/// Keeps jobs from nodes that turned such as they are away.
fn bar(frame: &mut Frame, cache: &Cache) {
    let now_ms = frame.snapshot.now;
    let bars = cache.bars.now(now_ms);
    let mut selectors: BTreeMap<Shape, KeyIx> = BTreeMap::new();
    for (shape, nodes) in &bars {
        // a label that all nodes have but those that are barred for this shape
        let label = KeyIx::of(BARS.at() + selectors.len());
        selectors.insert(*shape, label);
        for (name, node) in frame.nodes.iter().zip(&mut frame.snapshot.nodes) {
            if !nodes.contains_key(name.as_str()) {
                node.labels.push((label, ValueIx(0)));
            }
        }
    }
    if bars.is_empty() {
        return;
    }
    for ix in 0..frame.jobs.len() {
        let request = &frame.snapshot.jobs[ix].request;
        let shapes: BTreeSet<Shape> = request.roles.iter().map(|role| role.each).collect();
        let barring: Vec<KeyIx> = shapes.iter().filter_map(|shape| selectors.get(shape)).copied().collect();
        if barring.is_empty() {
            continue;
        }
        let told = shapes.iter().filter_map(|shape| bars.get(shape)).flatten();
        let told: Vec<String> = told
            .map(|(node, bar)| {
                let left = (bar.until_ms - now_ms).max(0).div_euclid(1000) + 1;
                format!("node {node} turned it away ({}) and is asked again in {left} s", bar.message)
            })
            .take(3)
            .collect();
        frame.barred.insert(ix, told.join("; "));
        let mut request: Request = (**request).clone();
        request.selector.extend(barring.into_iter().map(|key| (key, ValueIx(0))));
        frame.snapshot.jobs[ix].request = Arc::new(request);
    }
}

/// What was promised in the last cycle, as far as it can still be kept.
fn promises(frame: &mut Frame, known: &Known, promises: &Promised) {
    let mut holds = Vec::new();
    for promise in &promises.room {
        let Some((job, placements)) = stands(frame, known, promise) else { continue };
        if !placements.is_empty() {
            holds.push(Hold { job, since: promise.since, placements });
        }
    }
    let mut reservations = Vec::new();
    for (promise, expected_start, nodes) in &promises.starts {
        let Some((job, placements)) = stands(frame, known, promise) else { continue };
        // a start of which the place is gone in part is promised anew
        if placements.len() == promise.places.len() {
            let nodes = nodes.iter().filter_map(|node| known.nodes.of(node)).collect();
            reservations.push(Reservation { job, expected_start: *expected_start, nodes, placements });
        }
    }
    (frame.snapshot.holds, frame.snapshot.reservations) = (holds, reservations);
}

/// Whose a promise is, and what of it still can be.
fn stands(frame: &Frame, known: &Known, promise: &Promise) -> Option<(JobIx, Vec<Placement>)> {
    let ix = known.job(&promise.job)?;
    let entry = frame.entries[ix.at()].as_ref()?;
    if entry.object.spec.job_uid != promise.uid {
        return None;
    }
    let roles = &frame.snapshot.jobs[ix.at()].request.roles;
    let stands = |p: &Placement, node: NodeIx| {
        roles.get(usize::from(p.role)).is_some_and(|role| p.replica < role.replicas)
            && p.gpus.iter().all(|(device, _)| *device < frame.snapshot.nodes[node.at()].gpus)
    };
    let placements = promise.places.iter().filter_map(|(p, node)| {
        let node = known.nodes.of(node)?;
        stands(p, node).then(|| Placement { node, ..p.clone() })
    });
    Some((ix, placements.collect()))
}
