//! AIJobs: one for each job, changed by their writers alone, along the graph of phases.

use crate::observation::{Change, Job};
use crate::violation::{Law, cause};

use super::{Auditor, name};

impl Auditor {
    pub(super) fn job(&mut self, change: Change, job: Job, version: bool) {
        let subject = format!("AIJob {}", name(&job.key));
        self.open.insert(job.job_uid.clone());
        match change {
            Change::Added => {
                self.seen.jobs += 1;
                let first = self.applied.insert(&job.job_uid);
                if version && self.seen_all() {
                    let again =
                        (!first).then(|| format!("job {} was applied before in this cluster", job.job_uid));
                    self.judge(Law::I6, cause::DOUBLE_CONSUMPTION, &subject, again);
                }
                self.put_job(job);
            }
            Change::Modified => {
                if let Some(before) = self.jobs.get(&job.key).cloned().filter(|_| self.seen_all()) {
                    self.job_step(&subject, &before, &job);
                }
                self.put_job(job);
            }
            Change::Deleted => {
                if self.seen_all() {
                    let early = (!job.phase.is_final()).then(|| {
                        format!("it went while it was {:?}: its end is recorded nowhere", job.phase)
                    });
                    self.judge(Law::I5, cause::STUCK, &subject, early);
                }
                self.jobs.remove(&job.key);
                if self.by_uid.get(&job.job_uid) == Some(&job.key) {
                    self.by_uid.remove(&job.job_uid);
                }
                self.made.remove(&job.job_uid);
            }
        }
    }

    fn put_job(&mut self, job: Job) {
        self.by_uid.insert(job.job_uid.clone(), job.key.clone());
        self.jobs.insert(job.key.clone(), job);
    }

    fn job_step(&mut self, subject: &str, before: &Job, job: &Job) {
        let replaced =
            (before.uid != job.uid).then(|| "it became another object without a deletion".to_owned());
        self.judge(Law::I6, cause::DOUBLE_CONSUMPTION, subject, replaced);

        let fixed =
            (before.fixed != job.fixed).then(|| "what may never change of its spec was changed".to_owned());
        self.judge(Law::I1, cause::SECOND_WRITER, subject, fixed);
        let (was, is) = (before.revision, job.revision);
        let lower = (is < was).then(|| format!("revision {is} was written over {was}"));
        self.judge(Law::I6, cause::DOUBLE_CONSUMPTION, subject, lower);
        let unnumbered = (is == was && before.wanted != job.wanted)
            .then(|| format!("its spec changed within revision {is}"));
        self.judge(Law::I1, cause::SECOND_WRITER, subject, unnumbered);
        let parts = [
            before.wanted != job.wanted || was != is,
            before.scheduling != job.scheduling,
            before.controlled != job.controlled,
        ];
        let two = (parts.iter().filter(|changed| **changed).count() > 1)
            .then(|| "one write changed the parts of two writers".to_owned());
        self.judge(Law::I1, cause::SECOND_WRITER, subject, two);

        let wrong = (!before.phase.leads_to(job.phase))
            .then(|| format!("it went from {:?} to {:?}", before.phase, job.phase));
        self.judge(Law::I6, cause::WRONG_STEP, subject, wrong);
        let (a, b) = (before.attempts, job.attempts);
        let begun = job.phase == crate::observation::Phase::Starting
            && (before.phase != job.phase || before.attempts != job.attempts);
        let attempts = if begun { b == a + 1 } else { b == a };
        let miscounted = (!attempts).then(|| {
            format!("attempts went from {a} to {b} on the way from {:?} to {:?}", before.phase, job.phase)
        });
        self.judge(Law::I6, cause::WRONG_STEP, subject, miscounted);
        let (a, b) = (before.preemptions, job.preemptions);
        let back = job.phase == crate::observation::Phase::Queued && before.phase != job.phase;
        let preempted =
            (b != a && !(b == a + 1 && back)).then(|| format!("preemptions went from {a} to {b}"));
        self.judge(Law::I6, cause::WRONG_STEP, subject, preempted);
        let ahead = (job.observed > job.revision).then(|| {
            format!("its status speaks of revision {}, its spec has {}", job.observed, job.revision)
        });
        self.judge(Law::I6, cause::WRONG_STEP, subject, ahead);
    }
}
