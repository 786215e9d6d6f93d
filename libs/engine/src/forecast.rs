//! When a waiting job will start: half of the jobs by p50, nine of ten by p90.
//!
//! Two steps. A *base*: what is before a job is played forward in time over counts of GPUs in a few equally likely courses, with
//! run times drawn from predictions ([`Scene::waits`]). And *experience*: how far waits were from their base is remembered for all
//! jobs and for those of like work, those that still wait included (`memory`), and quantiles of that are laid on the base. Last,
//! both quantiles are moved so that as many jobs as they say are covered also while the workload drifts: each start or missed
//! forecast moves them a little (quantile tracking; Gibbs and Candès, "Adaptive conformal inference under distribution shift",
//! NeurIPS 2021; Angelopoulos et al., "Conformal PID control for time series prediction", NeurIPS 2023), the less the more jobs
//! wait whose outcome is not known. What arrives later and passes, quotas, nodes that fail: all is in the error that is learned.
//!
//! Nothing looks ahead, at a clock, or at a random source: the same calls in the same order give the same forecasts.

mod count;
mod memory;
mod octaves;
mod walk;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::model::Millis;
use memory::{BUCKETS, Hazards, Memory};
use octaves::{OCTAVE, log2, times};

pub use count::{Count, count};
pub use walk::{COURSES, Comer, Courses, DEPTH, Load, Scene};

/// Added to waits before they are compared: a second more or less is nothing to learn from.
const GRACE: Millis = 5_000;
/// Votes of what is thought before anything is known, and of the group of all jobs in one of like work.
const VOTES: [u64; 2] = [8, 4];
/// How far outcomes move p90 while nobody else waits: a tenth of an octave from one that missed by all, in 1/2^32. p50 half as far.
const GAIN: i64 = (1 << 32) / 10;
/// With so many waiting it is half of that.
const CROWD: i64 = 20;
/// No quantile is moved further, in octaves.
const FURTHEST: [i64; 2] = [-3, 2];
/// Starts behind a forecast that is called sure.
const SURE: u64 = 30;
/// Forecasts that are waited for; beyond, the oldest are not checked.
const MOST_WAITING: usize = 1 << 16;
/// The form in which experience is stored.
const VERSION: u8 = 1;

/// What a job that waits is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forecast {
    /// When it was said.
    pub at: Millis,
    /// As likely as not it starts by then.
    pub p50: Millis,
    /// Nine of ten such jobs start by then; not before `p50`.
    pub p90: Millis,
    /// Is it more than a guess: are there some 30 starts to go by?
    pub sure: bool,
    /// The base, a wait.
    base: Millis,
    /// What it is like: by its expected work.
    like: u8,
}

/// Learns from forecasts how to make them. Of a scheduler, or of each part of it whose queues have nothing to do with each other.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Forecaster {
    starts: u64,
    all: Memory,
    like: BTreeMap<u8, Memory>,
    /// By how much p50 and p90 are moved, in 1/2^32 octaves.
    moved: [i64; 2],
    /// Who waits, and what it was told.
    waiting: BTreeMap<u64, Forecast>,
    /// Whose p90 is still to come: (p90, who).
    due: BTreeSet<(Millis, u64)>,
    /// By when they were told.
    told: BTreeSet<(Millis, u64)>,
    /// What was worked out for an instant: curves by what a job is like.
    curves: Option<(Millis, BTreeMap<u8, Hazards>)>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u8,
    starts: u64,
    all: Memory,
    like: Vec<(u8, Memory)>,
    moved: [i64; 2],
    waiting: Vec<(u64, Forecast)>,
    /// Who waits and has not started by its p90.
    late: Vec<u64>,
}

impl From<Forecaster> for Stored {
    fn from(from: Forecaster) -> Self {
        let late = |(who, told): (&u64, &Forecast)| !from.due.contains(&(told.p90, *who));
        let late = from.waiting.iter().filter(|entry| late(*entry)).map(|(who, _)| *who).collect();
        Self {
            version: VERSION,
            starts: from.starts,
            all: from.all,
            like: from.like.into_iter().collect(),
            moved: from.moved,
            waiting: from.waiting.into_iter().collect(),
            late,
        }
    }
}

impl TryFrom<Stored> for Forecaster {
    type Error = String;

    fn try_from(from: Stored) -> Result<Self, String> {
        if from.version != VERSION {
            return Err(format!("forecasts of version {}, not {VERSION}", from.version));
        }
        if !from.like.iter().map(|(_, memory)| memory).chain([&from.all]).all(Memory::sound) {
            return Err("forecasts whose memory is not whole".to_owned());
        }
        let mut into = Self {
            starts: from.starts,
            all: from.all,
            like: from.like.into_iter().collect(),
            moved: from.moved.map(within),
            ..Self::default()
        };
        for (who, told) in from.waiting {
            into.remember(who, told);
        }
        for who in from.late {
            into.due.retain(|(_, other)| *other != who);
        }
        Ok(into)
    }
}

impl Forecaster {
    /// Tells a job with these waits ahead of it ([`Scene::waits`]) when it starts. `work`: what it is expected to take itself, in
    /// milli-GPU times milliseconds; only to tell jobs of like size apart. Nothing is learned from it: that is [`Self::remember`].
    /// The first call at an instant looks at all that wait, others at it are a few hundred steps.
    pub fn tell(&mut self, now: Millis, waits: &Courses, work: i64) -> Forecast {
        self.pass(now);
        let like = u8::try_from(log2(work.max(1)) / OCTAVE / 2).unwrap_or(0);
        if self.curves.as_ref().is_none_or(|(at, _)| *at != now) {
            self.curves = Some((now, self.curves_at(now)));
        }
        let curves = self.curves.as_ref().map(|(_, curves)| curves);
        let curve = curves.and_then(|curves| curves.get(&like).or_else(|| curves.get(&ALL)));
        let fallback = memory::prior();
        let curve = curve.unwrap_or(&fallback);
        let base = waits[COURSES / 2].max(0);
        let wait = |per_mille: u64, moved: i64| {
            let by = memory::quantile(curve, per_mille) + (moved >> 16);
            (times(base.saturating_add(GRACE), by) - GRACE).max(0)
        };
        let p50 = wait(500, self.moved[0]);
        let p90 = wait(900, self.moved[1]).max(p50);
        Forecast {
            at: now,
            p50: now.saturating_add(p50),
            p90: now.saturating_add(p90),
            sure: self.starts >= SURE,
            base,
            like,
        }
    }

    /// Remembers what a job was told first, until it starts: its outcome is learned from. `who`: any number of the job's own. What
    /// it is told later is better passed on and not remembered.
    pub fn remember(&mut self, who: u64, told: Forecast) {
        self.forget(who);
        self.keep(MOST_WAITING - 1);
        self.waiting.insert(who, told);
        self.due.insert((told.p90, who));
        self.told.insert((told.at, who));
    }

    /// Was it told something that is waited for?
    pub fn remembers(&self, who: u64) -> bool {
        self.waiting.contains_key(&who)
    }

    /// A job starts for the first time. Gives what it was told, if that was remembered.
    pub fn started(&mut self, who: u64, now: Millis) -> Option<Forecast> {
        self.pass(now);
        let told = self.waiting.get(&who).copied()?;
        let others = self.waiting.len() as i64;
        let in_time = self.due.contains(&(told.p90, who));
        self.forget(who);
        self.shift(0, if now > told.p50 { 25 } else { -25 }, others);
        if in_time {
            self.shift(1, -10, others);
        }
        self.starts += 1;
        let bucket = memory::bucket(ratio(&told, now));
        self.all.add(bucket, self.starts);
        self.like.entry(told.like).or_default().add(bucket, self.starts);
        self.curves = None;
        Some(told)
    }

    /// A job is gone that never started: nothing is learned from it.
    pub fn forget(&mut self, who: u64) {
        if let Some(told) = self.waiting.remove(&who) {
            self.due.remove(&(told.p90, who));
            self.told.remove(&(told.at, who));
        }
    }

    /// How many wait for the outcome of what they were told.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Forgets all who wait but so many, those that were told last, so that what is stored fits where there is little room.
    pub fn keep(&mut self, waiting: usize) {
        while self.waiting.len() > waiting {
            let Some((_, oldest)) = self.told.first().copied() else { break };
            self.forget(oldest);
        }
    }

    /// Starts that were learned from.
    pub fn starts(&self) -> u64 {
        self.starts
    }

    /// Counts those that have not started by their p90.
    fn pass(&mut self, now: Millis) {
        while let Some(due) = self.due.first().copied().filter(|(p90, _)| *p90 < now) {
            self.due.remove(&due);
            self.shift(1, 90, self.waiting.len() as i64);
        }
    }

    /// Moves a quantile by so many hundredths of what one outcome does.
    fn shift(&mut self, which: usize, hundredths: i64, others: i64) {
        let by = GAIN / 100 * hundredths * CROWD / (CROWD + others);
        self.moved[which] = within(self.moved[which] + by);
    }

    fn curves_at(&self, now: Millis) -> BTreeMap<u8, Hazards> {
        let mut all = [0u32; BUCKETS];
        let mut like: BTreeMap<u8, [u32; BUCKETS]> = BTreeMap::new();
        for told in self.waiting.values() {
            let bucket = memory::bucket(ratio(told, now));
            all[bucket] += 1;
            like.entry(told.like).or_insert([0; BUCKETS])[bucket] += 1;
        }
        let mut wide = memory::prior();
        memory::refine(&mut wide, Some(&self.all), &all, VOTES[0]);
        let kinds: BTreeSet<u8> = self.like.keys().chain(like.keys()).copied().collect();
        let mut curves: BTreeMap<u8, Hazards> = BTreeMap::from([(ALL, wide)]);
        for kind in kinds {
            let mut narrow = wide;
            let waits = like.get(&kind).unwrap_or(&[0; BUCKETS]);
            memory::refine(&mut narrow, self.like.get(&kind), waits, VOTES[1]);
            curves.insert(kind, narrow);
        }
        curves
    }
}

/// Stands for the group of all jobs; no work has so many octaves.
const ALL: u8 = u8::MAX;

/// The logarithm of a wait until now by its base.
fn ratio(told: &Forecast, now: Millis) -> i64 {
    log2((now - told.at).max(0).saturating_add(GRACE)) - log2(told.base.saturating_add(GRACE))
}

fn within(moved: i64) -> i64 {
    moved.clamp(FURTHEST[0] << 32, FURTHEST[1] << 32)
}
