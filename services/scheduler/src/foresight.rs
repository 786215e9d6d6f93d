//! What is learned from jobs that ran and jobs that waited, and when one that waits is expected to start.
//!
//! It follows decisions from behind and never holds one up: the loop leaves each [`Decided`] where [`run`] finds the newest.

use std::collections::BTreeMap;
use std::sync::Arc;

use crater_domain::JobSpec;
use crater_engine::forecast::{Courses, Forecast, Forecaster, count};
use crater_engine::predict::{Prediction, Predictor, Traits, fingerprint, stem};
use crater_engine::{JobIx, Plan, check_feasible};
use serde::{Deserialize, Serialize};

use crate::frame::Frame;
use crate::jobs::{JobEntry, Wanted};
use crate::shared::Shared;

/// Jobs that are told when they start in one cycle; others are when they are asked for.
const TOLD: usize = 16;
/// Predictions that are remembered; jobs of like traits share one.
const PREDICTIONS: usize = 4096;
/// A prediction is made anew when so much of what there is to learn is new: one in 32.
const STALE: u64 = 32;

/// No job is thought to run on for longer than this many times the longest that was seen, in milliseconds at least [`SHORT`].
const LONGEST: i64 = 2;
const SHORT: i64 = 60_000;

/// A cycle.
pub struct Decided {
    /// What it was decided on.
    pub frame: Frame,
    /// What was decided.
    pub plan: Plan,
}

/// What was learned.
#[derive(Default)]
pub struct Foresight {
    learned: Learned,
    /// With how many jobs learned from.
    predictions: BTreeMap<Traits, (u64, Prediction)>,
}

/// The part that outlives the process.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Learned {
    predictor: Predictor,
    forecaster: Forecaster,
}

impl Learned {
    /// How many groups of jobs, and jobs that wait, it remembers.
    pub fn size(&self) -> (usize, usize) {
        (self.predictor.groups(), self.forecaster.waiting())
    }

    /// Forgets all but so much of it, what was not met for longest first.
    pub fn keep(&mut self, (groups, waiting): (usize, usize)) {
        self.predictor.keep(groups);
        self.forecaster.keep(waiting);
    }

    /// Jobs and waits that were learned from: grows with everything that is learned.
    pub fn amount(&self) -> u64 {
        self.predictor.learned() + self.forecaster.starts()
    }

    /// Of this many users, each of whom ran one job.
    #[cfg(test)]
    pub fn of_users(users: u64) -> Self {
        let mut learned = Self::default();
        for user in 0..users {
            let traits = Traits { user: Some(user), stem: Some(user), kind: None, gpu: 1000, estimate: None };
            learned.predictor.learn(&traits, 1000);
        }
        learned
    }
}

/// Runs until it is dropped.
pub async fn run(shared: Arc<Shared>) -> Result<(), String> {
    let mut decided = shared.decided();
    loop {
        if decided.changed().await.is_err() {
            return Ok(());
        }
        let Some(newest) = decided.borrow_and_update().clone() else { continue };
        let of = shared.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let (ended, gone) = of.cache().take_ended();
            of.foresight().follow(&newest, &ended, &gone);
        });
        looked.await.map_err(|error| format!("looking ahead: {error}"))?;
    }
}

fn who(uid: &str) -> u64 {
    fingerprint(uid)
}

fn traits(name: &str, wanted: &Wanted) -> Traits {
    let spec: &JobSpec = &wanted.spec;
    let image = spec.roles.first().map(|role| fingerprint(&role.image));
    Traits {
        user: Some(fingerprint(wanted.creator.as_ref())),
        stem: Some(fingerprint(stem(name))),
        kind: image,
        gpu: spec.total_resources().map_or(0, |all| all.gpu_millis),
        estimate: spec.expected_seconds.map(|seconds| seconds.saturating_mul(1000)),
    }
}

/// How long a job ran that ended by itself.
fn ran(entry: &JobEntry) -> Option<i64> {
    use crater_domain::JobState::{Failed, Succeeded};
    let status = entry.object.status.as_ref()?;
    let by_itself = matches!(entry.state(), Succeeded | Failed);
    let ran = status.end_millis?.checked_sub(status.start_millis?)?;
    (by_itself && ran >= 0).then_some(ran)
}

impl Foresight {
    /// With what was learned before.
    pub fn of(learned: Learned) -> Self {
        Self { learned, ..Self::default() }
    }

    /// What was learned.
    pub fn learned(&self) -> &Learned {
        &self.learned
    }

    /// Learns from jobs that ended, from starts, and tells those that are new in line; `gone` are the uids of jobs of which nothing
    /// more is heard.
    fn follow(&mut self, decided: &Decided, ended: &[JobEntry], gone: &[String]) {
        for entry in ended {
            if let (Some(ran), Ok(wanted)) = (ran(entry), &entry.wanted) {
                let name = entry.object.metadata.name.as_deref().unwrap_or_default();
                self.learned.predictor.learn(&traits(name, wanted), ran);
            }
        }
        let frame = &decided.frame;
        let uid = |job: JobIx| Some(frame.entries[job.at()].as_ref()?.object.spec.job_uid.as_str());
        for grant in &decided.plan.grants {
            if let Some(uid) = uid(grant.job) {
                self.learned.forecaster.started(who(uid), frame.snapshot.now);
            }
        }
        for uid in gone {
            self.learned.forecaster.forget(who(uid));
        }
        let order = order(&decided.plan);
        let waits = |job: &JobIx| uid(*job).is_some_and(|uid| !self.learned.forecaster.remembers(who(uid)));
        let new: Vec<JobIx> = order.iter().copied().filter(waits).take(TOLD).collect();
        for job in new {
            // who ran before does not wait for its first start
            let first = frame.entries[job.at()]
                .as_ref()
                .is_some_and(|entry| entry.object.status.as_ref().is_none_or(|status| status.attempts == 0));
            let (Some(uid), true) = (uid(job), first) else { continue };
            if let Some(told) = self.tell(frame, &order, job) {
                self.learned.forecaster.remember(who(uid), told);
            }
        }
    }

    /// When a job that waits is expected to start. `order`: those that wait, in the order in which they go. `None`: it could never start as it is,
    /// or nothing is known.
    pub fn tell(&mut self, frame: &Frame, order: &[JobIx], job: JobIx) -> Option<Forecast> {
        let (now, of) = (frame.snapshot.now, &frame.snapshot.jobs[job.at()]);
        check_feasible(&of.request, &frame.snapshot.nodes).ok()?;
        let mut since: BTreeMap<JobIx, i64> = BTreeMap::new();
        for held in &frame.snapshot.holdings {
            let first = since.entry(held.job).or_insert(held.started);
            *first = held.started.min(*first);
        }
        let own = self.left(frame, job, 0)?;
        let mut left = |of: JobIx| {
            let held = since.get(&of).map_or(0, |since| (now - since).max(0));
            self.left(frame, of, held).unwrap_or([0; crater_engine::forecast::COURSES])
        };
        let count = count(&frame.snapshot, order.iter().copied(), job, &mut left);
        let work = own[own.len() / 2].saturating_mul(count.wants);
        Some(self.learned.forecaster.tell(now, &count.scene().waits(), work))
    }

    /// Says of each job how much longer it runs, after what it has run.
    pub fn predict(&mut self, frame: &mut Frame) {
        for at in 0..frame.jobs.len() {
            let job = &frame.snapshot.jobs[at];
            let gpu: i64 =
                job.request.roles.iter().map(|r| r.each.gpu.saturating_mul(r.replicas.into())).sum();
            let ran = job.served / gpu.max(1);
            let cost = self.prediction(frame, JobIx::of(at)).map(|prediction| prediction.cost(ran));
            frame.snapshot.jobs[at].predicted_ms = cost;
        }
    }

    /// For how long a job still runs that has run so long.
    fn left(&mut self, frame: &Frame, job: JobIx, held: i64) -> Option<Courses> {
        // of what nobody has seen, years would be as likely as hours
        let most = self.learned.predictor.longest().max(held).max(SHORT).saturating_mul(LONGEST);
        let courses = self.prediction(frame, job)?.courses(held);
        Some(courses.map(|left| left.min(most)))
    }

    fn prediction(&mut self, frame: &Frame, job: JobIx) -> Option<&Prediction> {
        let entry = frame.entries.get(job.at())?.as_ref()?;
        let traits = traits(&frame.jobs[job.at()].name, entry.wanted.as_ref().ok()?);
        let learned = self.learned.predictor.learned();
        let fresh = |(when, _): &(u64, Prediction)| learned - when <= when / STALE;
        if !self.predictions.get(&traits).is_some_and(fresh) {
            if self.predictions.len() >= PREDICTIONS {
                self.predictions.clear();
            }
            self.predictions.insert(traits, (learned, self.learned.predictor.predict(&traits)));
        }
        self.predictions.get(&traits).map(|(_, prediction)| prediction)
    }
}

/// Those that wait, in the order in which they go.
pub fn order(plan: &Plan) -> Vec<JobIx> {
    plan.verdicts.iter().map(|verdict| verdict.job).collect()
}
