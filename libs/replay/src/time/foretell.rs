//! Tells jobs that cannot start at once when they will, and checks it when they do. It sees what a scheduler sees: what was asked
//! for, how long jobs have run, and run times of those that ended.

use std::collections::VecDeque;

use crater_engine::Millis;
use crater_engine::forecast::{Comer, Courses, Forecast, Forecaster, Load, Scene};
use crater_engine::predict::{Prediction, Predictor, Traits};

use super::clock::{Progress, View};
use super::workload::Asked;

/// Arrivals that are remembered as a sample of those to come.
const CAME: usize = 128;
/// A job's run time is thought of anew when so much of what there is to learn is new: one in 32.
const STALE: u64 = 32;
/// No job is thought to run on for longer than this many times the longest that was seen.
const LONGEST: Millis = 2;

/// A job that is in another's way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before {
    pub job: usize,
    /// It gives way after it has held its GPUs for so much longer.
    pub at_most: Option<Millis>,
    /// Does it go first? Otherwise it takes only what the other cannot use.
    pub first: bool,
}

/// What is in a job's way.
#[derive(Debug, Default)]
pub(super) struct Way {
    /// Who runs and who waits, in order.
    pub before: Vec<Before>,
    /// Does nobody pass who waits?
    pub strict: bool,
}

/// Run times as they are thought of.
#[derive(Debug)]
struct Runs {
    /// Are owners' estimates heard?
    heard: bool,
    predictor: Predictor,
    /// How long a job runs from its start, and how much was known when that was found.
    fresh: Vec<Option<(u64, Courses)>>,
    /// The longest that a job was seen to hold its GPUs.
    longest: Millis,
}

impl Runs {
    fn traits(&self, asked: &Asked) -> Traits {
        Traits { estimate: asked.estimate.filter(|_| self.heard), ..asked.traits() }
    }

    /// How much longer a job holds its GPUs.
    fn left(&mut self, asked: &Asked, job: usize, held: Millis) -> Courses {
        self.longest = self.longest.max(held);
        let learned = self.predictor.learned();
        let known = self.fresh.get(job).copied().flatten().filter(|(when, _)| learned - when <= when / STALE);
        let courses = match known {
            Some((_, fresh)) if held == 0 => fresh,
            _ => {
                let courses = self.predictor.predict(&self.traits(asked)).courses(held);
                if held == 0 {
                    if self.fresh.len() <= job {
                        self.fresh.resize(job + 1, None);
                    }
                    self.fresh[job] = Some((learned, courses));
                }
                courses
            }
        };
        let longest = self.longest.max(self.predictor.longest());
        courses.map(|left| left.min(longest.saturating_mul(LONGEST)))
    }

    fn load(&mut self, asked: &Asked, before: Before, held: Millis) -> Load {
        let most = before.at_most.unwrap_or(Millis::MAX);
        let left = self.left(asked, before.job, held).map(|left| left.min(most));
        Load { wants: asked.milli(), left, seed: before.job as u64 }
    }
}

/// Tells, and remembers what it told.
#[derive(Debug)]
pub(super) struct Foreteller {
    forecaster: Forecaster,
    runs: Runs,
    came: VecDeque<(Millis, usize)>,
    /// Of each job, what it was told first.
    pub told: Vec<Option<Forecast>>,
}

impl Foreteller {
    /// `heard`: are owners' estimates heard?
    pub fn new(heard: bool, jobs: usize) -> Self {
        let runs = Runs { heard, predictor: Predictor::default(), fresh: vec![None; jobs], longest: 60_000 };
        Self { forecaster: Forecaster::default(), runs, came: VecDeque::new(), told: vec![None; jobs] }
    }

    /// A job comes.
    pub fn arrived(&mut self, job: usize, now: Millis) {
        self.came.push_back((now, job));
        if self.came.len() > CAME {
            self.came.pop_front();
        }
    }

    /// A job ended after so long a run.
    pub fn ended(&mut self, asked: &Asked, ran: Millis) {
        let traits = self.runs.traits(asked);
        self.runs.predictor.learn(&traits, ran);
    }

    /// A job starts for the first time.
    pub fn started(&mut self, job: usize, now: Millis) {
        self.forecaster.started(job as u64, now);
    }

    /// Tells a job that came and has to wait. `passes`: how would one that comes as another came lately be in its way?
    pub fn tell(&mut self, view: &View<'_>, job: usize, way: &Way, passes: impl Fn(usize) -> Option<Before>) {
        let (mut running, mut waiting, mut behind) = (Vec::new(), Vec::new(), Vec::new());
        for before in &way.before {
            let seen: &Progress = &view.progress[before.job];
            let load = self.runs.load(&view.asked[before.job], *before, seen.held);
            match (seen.running, before.first) {
                (true, _) => running.push(load),
                (false, true) => waiting.push(load),
                (false, false) => behind.push(load),
            }
        }
        let from = self.came.front().map_or(view.now, |(at, _)| *at);
        let comers = self.came.iter().filter_map(|(at, other)| {
            let before = passes(*other)?;
            Some(Comer {
                at: at - from,
                load: self.runs.load(&view.asked[*other], before, 0),
                first: before.first,
            })
        });
        let coming: Vec<Comer> = comers.collect();
        let held: i64 = running.iter().map(|load| load.wants).sum();
        let wants = view.asked[job].milli();
        let scene = Scene {
            free: i64::try_from(view.gpus).unwrap_or(i64::MAX / 1000) * 1000 - held,
            running: &running,
            waiting: &waiting,
            behind: &behind,
            strict: way.strict,
            coming: &coming,
            span: (view.now - from).max(1000),
            wants,
        };
        self.tell_of(&scene, &view.asked[job], job, view.now);
    }

    /// Tells a job that came and has to wait in this scene.
    pub fn tell_of(&mut self, scene: &Scene<'_>, asked: &Asked, job: usize, now: Millis) {
        let own = self.runs.left(asked, job, 0);
        let work = own[own.len() / 2].saturating_mul(asked.milli());
        let told = self.forecaster.tell(now, &scene.waits(), work);
        self.forecaster.remember(job as u64, told);
        self.told[job] = Some(told);
    }

    /// How much longer a job is thought to hold its GPUs after so long.
    pub fn left(&mut self, asked: &Asked, job: usize, held: Millis) -> Courses {
        self.runs.left(asked, job, held)
    }

    /// How long a job is thought to run.
    pub fn prediction(&self, asked: &Asked) -> Prediction {
        self.runs.predictor.predict(&self.runs.traits(asked))
    }
}
