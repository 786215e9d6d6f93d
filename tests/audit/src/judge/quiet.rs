//! What must come to hold in time: nothing is left of what has ended, and API, tables and cluster say the same.
//!
//! Each condition has a fingerprint: while that changes, something is still being done and the time begins anew. While a
//! source cannot be read nothing of this is judged.

use crate::observation::{Phase, Pod};
use crate::violation::{Cause, Law, cause};

use super::fence::Standing;
use super::{Auditor, Question, name};

/// How often it is looked at.
const EVERY_MS: i64 = 500;
/// The condition of a job that waits without words.
const SILENT: &str = "silent";
/// Questions why a job waits that are asked at one tick.
const QUESTIONS: usize = 5;

/// Something that should not last.
struct Unsettled {
    condition: &'static str,
    fingerprint: u64,
    limit_ms: i64,
    law: Law,
    cause: Cause,
    subject: String,
    what: String,
}

impl Auditor {
    pub(super) fn tick(&mut self) {
        if !self.down.is_empty() {
            self.since.clear();
            return;
        }
        if self.now - self.looked_ms < EVERY_MS {
            return;
        }
        self.looked_ms = self.now;
        let mut asked = 0;
        for uid in self.open.iter().cloned().collect::<Vec<_>>() {
            let unsettled = self.unsettled_of(&uid);
            let silent = self.waits_without_words(&uid);
            if unsettled.is_empty() && silent.is_none() {
                self.since.remove(&uid);
                if self.is_over(&uid) {
                    self.open.remove(&uid);
                }
                continue;
            }
            if let Some(lasting) = self.since.get_mut(&uid) {
                let still =
                    |c: &str| unsettled.iter().any(|u| u.condition == c) || (silent.is_some() && c == SILENT);
                lasting.retain(|(condition, ..)| still(condition));
            }
            for u in unsettled {
                let limit = u.limit_ms;
                if self.lasts(u.condition, &uid, u.fingerprint, limit) {
                    self.judge(
                        u.law,
                        u.cause,
                        &u.subject,
                        Some(format!("{} for {:.1} s", u.what, limit as f64 / 1000.0)),
                    );
                }
            }
            if let Some(name) = silent
                && self.lasts(SILENT, &uid, 0, self.settings.settle_ms)
                && asked < QUESTIONS
            {
                asked += 1;
                self.since.remove(&uid);
                self.questions.push(Question::Explain(name));
            }
        }
    }

    /// Whether a condition has held with this fingerprint for so long.
    fn lasts(&mut self, condition: &'static str, uid: &str, fingerprint: u64, limit_ms: i64) -> bool {
        let now = self.now;
        let lasting = self.since.entry(uid.to_owned()).or_default();
        match lasting.iter_mut().find(|(c, ..)| *c == condition) {
            Some((_, print, since)) if *print == fingerprint => now - *since >= limit_ms,
            Some(entry) => {
                *entry = (condition, fingerprint, now);
                false
            }
            None => {
                lasting.push((condition, fingerprint, now));
                false
            }
        }
    }

    /// Nothing will come of it any more: it has ended, and nothing of it is left to be judged.
    fn is_over(&self, uid: &str) -> bool {
        let row_over = self.rows.by_uid.get(uid).is_none_or(|row| row.ended && !row.dirty);
        let job_over = self.job_of(uid).is_none_or(|job| job.phase.is_final());
        row_over && job_over
    }

    fn pods_of_job(&self, uid: &str) -> impl Iterator<Item = &Pod> {
        self.pods_of.get(uid).into_iter().flatten().filter_map(|key| self.pods.get(key))
    }

    fn unsettled_of(&self, uid: &str) -> Vec<Unsettled> {
        let mut out = Vec::new();
        self.left_in_cluster(uid, &mut out);
        self.differing(uid, &mut out);
        out
    }

    fn left_in_cluster(&self, uid: &str, out: &mut Vec<Unsettled>) {
        let (settle, orphan) = (self.settings.settle_ms, self.settings.orphan_ms);
        let job = self.job_of(uid);
        let subject = job.map_or_else(|| format!("job {uid}"), |j| format!("AIJob {}", name(&j.key)));
        let grace = job.map_or(0, |j| j.grace_seconds.saturating_mul(1000));
        let ended = job.is_none_or(|j| j.phase.is_final());
        let given: Vec<_> = self
            .allocations_of
            .get(uid)
            .into_iter()
            .flatten()
            .filter_map(|key| self.allocations.get(key))
            .collect();
        let held: usize = given.iter().map(|g| g.holds()).sum();
        let alive = self.pods_of_job(uid).filter(|p| !p.ended).count();
        let mut say = |condition, fingerprint: usize, limit_ms, law, cause, what: String| {
            let (fingerprint, subject) = (fingerprint as u64, subject.clone());
            out.push(Unsettled { condition, fingerprint, limit_ms, law, cause, subject, what });
        };
        if ended && held > 0 && alive == 0 {
            let what = format!("{held} replicas are still held after its end");
            say("held", held, orphan, Law::Orphans, cause::MISSED_RELEASE, what);
        }
        if ended && alive > 0 {
            let what = format!("{alive} Pods are still there after its end");
            say("runs", alive, orphan + grace, Law::Orphans, cause::STRAY_POD, what);
        }
        if ended {
            return;
        }
        let revoked =
            given.iter().map(|g| g.object.held().filter(|h| g.object.revoked.contains(&h.replica)).count());
        let revoked: usize = revoked.sum();
        if revoked > 0 {
            let what = format!("{revoked} revoked replicas are still held");
            say("revoked", revoked, orphan + grace, Law::Orphans, cause::MISSED_RELEASE, what);
        }
        let open = given.iter().filter(|g| g.object.accepted.is_none() && !g.object.refused);
        let open = open.filter(|g| self.fences.standing(&g.object, g.created) != Standing::Open).count();
        if open > 0 {
            say(
                "undecided",
                open,
                settle,
                Law::Views,
                cause::STUCK,
                "its Allocation is undecided".to_owned(),
            );
        }
        let started = job.is_some_and(|j| matches!(j.phase, Phase::Starting | Phase::Running));
        let all = self.pods_of_job(uid).count();
        if started && alive == 0 && all >= held && all > 0 {
            let what = "all its Pods have ended, and its status does not say so".to_owned();
            say("ended", all, settle, Law::Views, cause::IGNORED_410, what);
        }
        if started && all == 0 && held == 0 {
            let what = "it has started, and holds and runs nothing".to_owned();
            say("idle", 0, orphan, Law::Views, cause::STUCK, what);
        }
    }

    fn differing(&self, uid: &str, out: &mut Vec<Unsettled>) {
        let Some(row) = self.rows.by_uid.get(uid).filter(|row| !row.deleted) else { return };
        let settle = self.settings.settle_ms;
        let mut say = |condition, fingerprint: u64, law, cause, what: String| {
            let subject = row.name.clone();
            out.push(Unsettled { condition, fingerprint, limit_ms: settle, law, cause, subject, what });
        };
        let clusters = self.first_lists.len();
        match self.job_of(uid) {
            Some(job) if job.phase != row.state => {
                let print = job.phase as u64 * 8 + row.state as u64;
                let what = format!("its AIJob is {:?} and its row {:?}", job.phase, row.state);
                say("row", print, Law::Views, cause::IGNORED_410, what);
            }
            None if !row.ended && !row.dirty && clusters == 5 => {
                let what = "its row says that it is in the cluster, which has no AIJob of it".to_owned();
                say("absent", row.revision.unsigned_abs(), Law::Views, cause::IGNORED_410, what);
            }
            _ => {}
        }
        let told_why = matches!(row.reason.as_str(), "NameTaken" | "NotApplied");
        if row.dirty && !row.ended && !told_why {
            let what = format!("revision {} of it does not reach the cluster", row.revision);
            say("outbox", self.rows.applied, Law::Views, cause::STUCK, what);
        }
        if self.seen.told > 0 {
            let told = self.told.jobs.get(&row.name);
            let state = told.filter(|t| t.uid == row.uid).map(|t| t.state);
            if state != Some(row.state) {
                let print = state.map_or(7, |s| s as u64) * 8 + row.state as u64;
                let told = state.map_or("says nothing of it".to_owned(), |s| format!("tells {s:?}"));
                let what = format!("the API {told}, its row is {:?}", row.state);
                say("told", print, Law::Views, cause::STUCK, what);
            }
        }
    }

    /// The name of a job that waits while its row gives no more than that it was accepted.
    fn waits_without_words(&self, uid: &str) -> Option<String> {
        let row = self.rows.by_uid.get(uid)?;
        let in_cluster = self.job_of(uid).is_some_and(|job| job.phase == Phase::Queued && !job.ending);
        let silent = matches!(row.reason.as_str(), "" | "Submitted" | "Restarted" | "QUEUED");
        (row.state == Phase::Queued && !row.cancelled && silent && in_cluster).then(|| row.name.clone())
    }
}
