//! A cluster and a workload of one's own, run cycle by cycle through the engine by simulated time.
//!
//! `nodes`, `accounts` and `priority_classes` are those of a scenario (see [`crate::scenario`]); a job has besides `duration` and,
//! if its owner said so, `estimate`, both in seconds, and `submit` in seconds from the beginning. Jobs stand in order of `submit`.
//!
//! Work goes on at the speed of the replicas that a job has of those that it wants; what it has computed it keeps when it is
//! stopped. A job that starts again, or that loses or moves a replica and runs on, pays the cost of a restart.

mod file;
mod table;

use crater_engine::forecast::count;
use crater_engine::{JobIx, Millis, Queueing, Reason, Settings, Verdict, decide};

use super::clock::{Fate, Outcome, Watch};
use super::foretell::Foreteller;
use super::workload::Workload;
use crate::input::InputError;
use crate::scenario::fault::Fault;

pub(super) use file::{Cluster, Jobs, load};

/// Rounds of deciding at one instant before it is said that the engine does not come to rest.
const MOST_ROUNDS: usize = 50;

/// (role, replica, node) of what a job holds.
type Held = Vec<(u16, u32, u32)>;

/// A job under way.
#[derive(Clone, Debug, Default)]
struct Course {
    /// Replica-milliseconds of work that are left, and that are done.
    left: i128,
    done: i128,
    pause: Millis,
    held: Held,
    marked: Millis,
    /// Milli-GPU of a replica, by role.
    gpu: Vec<i64>,
    replicas: u32,
    /// Milli-GPU times milliseconds it was served.
    served: i64,
}

impl Course {
    fn advance(&mut self, fate: &mut Fate, now: Millis) {
        let passed = now - self.marked;
        self.marked = now;
        if self.held.is_empty() {
            return;
        }
        self.served += passed.saturating_mul(self.holds(&self.held).max(1));
        let paused = passed.min(self.pause);
        self.pause -= paused;
        fate.lost += paused;
        let work = i128::from(passed - paused) * self.held.len() as i128;
        self.left -= work;
        self.done += work;
    }

    /// When it ends if all stays as it is.
    fn end(&self) -> Option<Millis> {
        let speed = self.held.len() as i128;
        if speed == 0 {
            return None;
        }
        let runs = (self.left.max(0) + speed - 1) / speed;
        Some(self.marked + self.pause + i64::try_from(runs).ok()?)
    }

    /// Milli-GPU of these replicas.
    fn holds(&self, held: &Held) -> i64 {
        held.iter().filter_map(|(role, _, _)| self.gpu.get(usize::from(*role))).sum()
    }

    /// For how long it has run, as if with all its replicas.
    fn ran(&self) -> Millis {
        i64::try_from(self.done / i128::from(self.replicas.max(1))).unwrap_or(Millis::MAX)
    }
}

/// Runs the file's jobs through the engine, under these settings.
pub(super) fn run(
    mut jobs: Jobs,
    settings: Settings,
    watch: Watch<'_>,
) -> Result<(Workload, Outcome), InputError> {
    jobs.world.snapshot.settings = settings;
    let begin = jobs.world.snapshot.now;
    let all = jobs.specs.len();
    let mut fates = vec![Fate::default(); all];
    let mut courses: Vec<Course> = Vec::new();
    let mut held = Vec::new();
    let mut teller = Foreteller::new(true, all);
    let (mut wake, mut done) = (None::<Millis>, 0);
    loop {
        let arrives = jobs.specs.get(courses.len()).map(|job| Millis::from(job.submit) * 1000);
        let ends = courses
            .iter()
            .zip(&fates)
            .filter(|(_, fate)| fate.end.is_none())
            .filter_map(|(c, _)| c.end())
            .min();
        let Some(now) = [arrives, ends, wake].into_iter().flatten().min() else { break };
        for (course, fate) in courses.iter_mut().zip(&mut fates) {
            course.advance(fate, now);
        }
        for (job, course) in courses.iter_mut().enumerate() {
            if fates[job].end.is_none() && course.end() == Some(now) {
                fates[job].end = Some(now);
                held.push((now, -course.holds(&course.held)));
                course.held.clear();
                jobs.world.close_named(&jobs.specs[job].name);
                teller.ended(&jobs.workload.asked[job], course.ran());
                done += 1;
            }
        }
        jobs.world.wait_until(begin + now);
        let new = courses.len();
        while let Some(job) =
            jobs.specs.get(courses.len()).filter(|job| Millis::from(job.submit) * 1000 <= now)
        {
            let fault = |fault: Fault| InputError::in_option(fault.field, fault.why);
            jobs.world.submit(&job.spec(), &job.name).map_err(fault)?;
            let entry = jobs.world.snapshot.jobs.last_mut();
            let mut course = Course { marked: now, ..Course::default() };
            if let Some(entry) = entry {
                entry.expected_ms = job.estimate.map(|estimate| Millis::from(estimate) * 1000);
                course.gpu = entry.request.roles.iter().map(|role| role.each.gpu).collect();
                course.replicas = entry.request.roles.iter().map(|role| role.replicas).sum();
                if settings.order == Queueing::Sjf {
                    let asked = &jobs.workload.asked[courses.len()];
                    entry.predicted_ms = Some(teller.prediction(asked).cost(0));
                }
            }
            course.left = i128::from(job.duration) * 1000 * i128::from(course.replicas);
            courses.push(course);
        }
        for (entry, course) in jobs.world.snapshot.jobs.iter_mut().zip(&courses) {
            entry.served = course.served;
        }
        let mut verdicts: Vec<Verdict> = Vec::new();
        for _ in 0..MOST_ROUNDS {
            jobs.world.snapshot.cycle += 1;
            let plan = decide(&jobs.world.snapshot)
                .map_err(|error| InputError::in_option("engine", error.to_string()))?;
            let moved = jobs.world.carry_out(&plan);
            verdicts = plan.verdicts;
            if !moved {
                break;
            }
        }
        let mut now_held: Vec<Held> = vec![Vec::new(); courses.len()];
        for piece in &jobs.world.snapshot.holdings {
            if let Some(of) = now_held.get_mut(piece.job.at()) {
                of.push((piece.role, piece.replica, piece.node.0));
            }
        }
        for (job, mut after) in now_held.into_iter().enumerate() {
            after.sort_unstable();
            let (course, fate) = (&mut courses[job], &mut fates[job]);
            if after == course.held || fate.end.is_some() {
                continue;
            }
            let lost = course.held.iter().any(|place| !after.contains(place));
            if after.is_empty() {
                fate.stopped += 1;
            } else if lost || (course.held.is_empty() && fate.first.is_some()) {
                course.pause = jobs.workload.asked[job].restart;
                fate.moved += u32::from(lost);
            }
            if !after.is_empty() && fate.first.is_none() {
                fate.first = Some(now);
                teller.started(job, now);
            }
            held.push((now, course.holds(&after) - course.holds(&course.held)));
            course.held = after;
        }
        for job in (new..courses.len()).filter(|job| courses[*job].held.is_empty()) {
            tell(&mut teller, &jobs, &courses, &verdicts, job, now);
        }
        // start protection ends without any event
        let protection = jobs.world.snapshot.settings.protection_ms;
        let waits =
            courses.iter().zip(&fates).any(|(course, fate)| fate.end.is_none() && course.held.is_empty());
        let safe = jobs.world.snapshot.holdings.iter().map(|piece| piece.started - begin + protection);
        wake = if waits { safe.filter(|at| *at > now).min() } else { None };
        watch(done, all);
    }
    Ok((jobs.workload, Outcome { fates, held, told: teller.told }))
}

/// Tells a job that has just come and waits, unless it could never start.
fn tell(
    teller: &mut Foreteller,
    jobs: &Jobs,
    courses: &[Course],
    verdicts: &[Verdict],
    job: usize,
    now: Millis,
) {
    let own = verdicts.iter().find(|verdict| verdict.job.at() == job);
    if own.is_none_or(|own| own.reasons.iter().any(|reason| matches!(reason, Reason::Infeasible(_)))) {
        return;
    }
    let asked = &jobs.workload.asked;
    let order = verdicts.iter().map(|verdict| verdict.job);
    let mut left = |ix: JobIx| {
        let ran = courses.get(ix.at()).map_or(0, Course::ran);
        teller.left(&asked[ix.at()], ix.at(), ran)
    };
    let before = count(&jobs.world.snapshot, order, JobIx::of(job), &mut left);
    teller.tell_of(&before.scene(), &asked[job], job, now);
}
