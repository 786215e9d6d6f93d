//! What the API tells: jobs that never come back from their end, and events without holes.

use std::collections::HashMap;

use crate::observation::{JobEvent, Told};
use crate::violation::{Law, cause};

use super::{Auditor, MEMORY};

/// The most events that are kept of a job; beyond them the oldest go.
const EVENTS_KEPT: i64 = 1_000;
/// Events that tell of an end.
const ENDS: [&str; 3] = ["Succeeded", "Failed", "Cancelled"];
/// Events that cannot come after an end.
const BEFORE_THE_END: [&str; 8] =
    ["Submitted", "Allocated", "Running", "Preempted", "Retrying", "Queued", "Waiting", "Restarted"];

/// What the API told.
#[derive(Default)]
pub struct Tellings {
    pub jobs: HashMap<String, Told>,
}

impl Auditor {
    pub(super) fn tell(&mut self, name: String, told: Option<Told>) {
        let Some(told) = told else {
            self.told.jobs.remove(&name);
            return;
        };
        self.open.insert(told.uid.clone());
        if let Some(before) = self.told.jobs.get(&name).filter(|before| before.uid == told.uid).cloned() {
            let wrong = (before.state.is_final() && before.state != told.state)
                .then(|| format!("the API told {:?} and then {:?}", before.state, told.state));
            self.judge(Law::I6, cause::WRONG_STEP, &name, wrong);
            let lower = (told.revision < before.revision)
                .then(|| format!("the API told revision {} and then {}", before.revision, told.revision));
            self.judge(Law::I6, cause::WRONG_STEP, &name, lower);
        } else {
            self.seen.told += 1;
        }
        if self.told.jobs.len() < MEMORY || self.told.jobs.contains_key(&name) {
            self.told.jobs.insert(name, told);
        }
    }

    pub(super) fn events(&mut self, name: &str, events: &[JobEvent]) {
        self.seen.events += events.len() as u64;
        let first = events.first().map_or(0, |e| e.sequence);
        let last = events.last().map_or(0, |e| e.sequence);
        let hole = events.windows(2).find(|w| w[1].sequence != w[0].sequence + 1);
        let hole = hole.map(|w| format!("event {} is followed by event {}", w[0].sequence, w[1].sequence));
        let begun =
            (first != 1 && last <= EVENTS_KEPT).then(|| format!("its events begin with number {first}"));
        self.judge(Law::I6, cause::DOUBLE_CONSUMPTION, name, hole.or(begun));
        let start = events.first().filter(|e| e.sequence == 1 && e.reason != "Submitted");
        let start = start.map(|e| format!("its first event is {}", e.reason));
        let times = events.windows(2).find(|w| w[1].time_ms < w[0].time_ms);
        let times = times.map(|w| format!("event {} is older than the one before it", w[1].sequence));
        self.judge(Law::I6, cause::WRONG_STEP, name, start.or(times));
        let ends: Vec<&JobEvent> = events.iter().filter(|e| ENDS.contains(&e.reason.as_str())).collect();
        let twice = (ends.len() > 1).then(|| format!("it ended {} times", ends.len()));
        let after = ends.first().and_then(|end| {
            events.iter().find(|e| e.sequence > end.sequence && BEFORE_THE_END.contains(&e.reason.as_str()))
        });
        let after = after.map(|e| format!("event {} ({}) comes after its end", e.sequence, e.reason));
        self.judge(Law::I6, cause::WRONG_STEP, name, twice.or(after));
        let row = self.rows.by_name.get(name).and_then(|uid| self.rows.by_uid.get(uid));
        let untold = row.filter(|row| row.ended && !row.deleted && ends.is_empty());
        let untold = untold.map(|row| format!("it is {:?}, and no event tells of its end", row.state));
        self.judge(Law::I6, cause::WRONG_STEP, name, untold);
    }

    pub(super) fn explained(&mut self, name: &str, reason: &str) {
        self.seen.reasons += 1;
        let waits = self.rows.by_name.get(name).and_then(|uid| self.rows.by_uid.get(uid));
        let waits = waits.is_some_and(|row| row.state == crate::observation::Phase::Queued && !row.cancelled);
        let none = (waits && reason.is_empty()).then(|| "it waits, and nobody says why".to_owned());
        self.judge(Law::I5, cause::NO_REASON, name, none);
    }
}
