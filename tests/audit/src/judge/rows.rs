//! The tables: every accepted job has one row, which never comes back from its end; and no more jobs wait than may.

use std::collections::{HashMap, VecDeque};

use crate::observation::{Acknowledged, Phase, Row};
use crate::violation::{Law, cause};

use super::{Auditor, MEMORY, Question};

/// What is known of the tables.
#[derive(Default)]
pub struct Rows {
    pub by_uid: HashMap<String, Row>,
    pub by_name: HashMap<String, String>,
    /// Rows that wait, with the number of the snapshot since which they do.
    waiting: HashMap<String, u64>,
    /// Whether a row that waits came in this snapshot.
    fresh: bool,
    /// The number of the snapshot that is being read.
    snapshot: u64,
    ended: VecDeque<String>,
    /// Grows whenever the outbox got something done.
    pub applied: u64,
    /// Answers that the next snapshot must show, with the time of the answer.
    due: Vec<(Acknowledged, i64)>,
    requests: HashMap<String, Acknowledged>,
}

impl Auditor {
    pub(super) fn row(&mut self, row: Row) {
        self.seen.rows += 1;
        self.open.insert(row.uid.clone());
        let subject = row.name.clone();
        let before = self.rows.by_uid.get(&row.uid).cloned();
        if let Some(before) = &before {
            let wrong = (before.state.is_final() && row.state != before.state)
                .then(|| format!("its row went from {:?} to {:?}", before.state, row.state));
            self.judge(Law::I6, cause::WRONG_STEP, &subject, wrong);
            let lower = (row.revision < before.revision)
                .then(|| format!("its row went from revision {} to {}", before.revision, row.revision));
            self.judge(Law::I6, cause::WRONG_STEP, &subject, lower);
            let uncancelled =
                (before.cancelled && !row.cancelled).then(|| "its cancel was taken back".to_owned());
            self.judge(Law::I6, cause::WRONG_STEP, &subject, uncancelled);
            if before.dirty && !row.dirty {
                self.rows.applied += 1;
            }
        } else {
            self.seen.jobs_in_tables += 1;
            let other = self.rows.by_name.get(&row.name).and_then(|uid| self.rows.by_uid.get(uid));
            let twice = other.filter(|o| !o.deleted && o.uid != row.uid && !row.deleted);
            let twice = twice.map(|o| format!("two rows have its name: {} and {}", o.uid, row.uid));
            self.judge(Law::I6, cause::DOUBLE_CONSUMPTION, &subject, twice);
        }
        let two = (row.state.is_final() != row.ended)
            .then(|| format!("its row says {:?} and {} end", row.state, if row.ended { "an" } else { "no" }));
        self.judge(Law::I6, cause::WRONG_STEP, &subject, two);
        if row.ended && before.as_ref().is_none_or(|b| !b.ended) {
            self.seen.ended += 1;
            self.rows.ended.push_back(row.uid.clone());
            self.questions.push(Question::Events(row.name.clone()));
        }
        self.note_waiting(&row, before.as_ref());
        self.rows.by_name.insert(row.name.clone(), row.uid.clone());
        self.rows.by_uid.insert(row.uid.clone(), row);
        if self.rows.ended.len() > MEMORY
            && let Some(oldest) = self.rows.ended.pop_front()
            && let Some(row) = self.rows.by_uid.remove(&oldest)
            && self.rows.by_name.get(&row.name) == Some(&oldest)
        {
            self.rows.by_name.remove(&row.name);
        }
    }

    fn note_waiting(&mut self, row: &Row, before: Option<&Row>) {
        if row.state != Phase::Queued || row.cancelled || row.deleted {
            self.rows.waiting.remove(&row.uid);
            return;
        }
        // it may have run in between
        let all_the_time = before.is_none_or(|b| b.attempts == row.attempts);
        let snapshot = self.rows.snapshot;
        match self.rows.waiting.get_mut(&row.uid) {
            Some(_) if all_the_time => {}
            Some(since) => *since = snapshot,
            None => {
                self.rows.waiting.insert(row.uid.clone(), snapshot);
                self.rows.fresh |= before.is_none() && snapshot > 0;
            }
        }
    }

    pub(super) fn rows_read(&mut self, began_ms: i64) {
        self.seen.snapshots += 1;
        if std::mem::take(&mut self.rows.fresh) {
            self.full_queues();
        }
        self.rows.snapshot += 1;
        let due = std::mem::take(&mut self.rows.due);
        let (now, later): (Vec<_>, Vec<_>) = due.into_iter().partition(|(_, at)| *at < began_ms);
        self.rows.due = later;
        for (ack, at) in now {
            let uid = self.rows.by_name.get(&ack.name);
            let there = uid.is_some_and(|uid| ack.uid.is_empty() || *uid == ack.uid)
                || self.rows.by_uid.contains_key(&ack.uid);
            let lost = (!there).then(|| {
                format!(
                    "the caller was answered at {:.3} s; a later snapshot of the tables has no such job",
                    at as f64 / 1000.0
                )
            });
            self.judge(Law::I5, cause::ANSWER_BEFORE_COMMIT, &ack.name, lost);
        }
    }

    /// A job that is new and waits was let in: then those that waited all the while, and those that are new, had room together.
    fn full_queues(&mut self) {
        let limits = self.limits.waiting(self.now, self.settings.lag_ms);
        for (subject, limit) in limits {
            let (mut old, mut new) = (0, 0);
            for (uid, since) in &self.rows.waiting {
                let Some(row) = self.rows.by_uid.get(uid) else { continue };
                let counts = match &subject.user {
                    Some(user) => row.account == subject.account && row.creator == *user,
                    None => self.limits.lineage(&row.account).contains(&subject.account),
                };
                if counts && *since < self.rows.snapshot {
                    old += 1;
                } else if counts && row.attempts == 0 {
                    new += 1;
                }
            }
            let over = (new > 0 && old + new > limit).then(|| {
                format!(
                    "{} jobs wait together, {new} of them new; the limit jobs.waiting is {limit}",
                    old + new
                )
            });
            let whose = match &subject.user {
                Some(user) => format!("users/{user} in accounts/{}", subject.account),
                None => format!("accounts/{}", subject.account),
            };
            self.judge(Law::Limits, cause::NO_LOCK, &whose, over);
        }
    }

    pub(super) fn acknowledged(&mut self, ack: Acknowledged) {
        self.seen.acknowledged += 1;
        if !ack.request_id.is_empty() {
            let other = self.rows.requests.get(&ack.request_id);
            let twice = other
                .filter(|o| {
                    o.name != ack.name || (!o.uid.is_empty() && !ack.uid.is_empty() && o.uid != ack.uid)
                })
                .map(|o| {
                    format!(
                        "request {} was answered with {} {} and with {} {}",
                        ack.request_id, o.name, o.uid, ack.name, ack.uid
                    )
                });
            self.judge(Law::I6, cause::DOUBLE_CONSUMPTION, &format!("request {}", ack.request_id), twice);
            if self.rows.requests.len() < MEMORY {
                self.rows.requests.entry(ack.request_id.clone()).or_insert_with(|| ack.clone());
            }
        }
        self.rows.due.push((ack, self.now));
    }
}
