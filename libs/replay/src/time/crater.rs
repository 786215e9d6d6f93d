//! Our own policies: the engine's order and predictor.

use crater_engine::Millis;
use crater_engine::order::{Order, Rank, Standing, Tuning, next_change, rank};
use crater_engine::predict::{Prediction, Predictor, Traits};

use super::clock::{Ranker, View};
use super::foretell::{Before, Way};
use super::workload::Asked;

/// A prediction is asked for again when so much of what there is to learn is new: one in 32.
const STALE: u64 = 32;
/// Work is not looked at again for its own sake more often than this.
const SOONEST: Millis = 20_000;

/// What is remembered of a live job.
#[derive(Debug)]
struct Known {
    traits: Traits,
    prediction: Prediction,
    learned: u64,
    /// The rank of a job that waits does not change while nothing is learned.
    rank: Option<Rank>,
    level: u8,
    place: i64,
}

/// Ranks jobs, and learns from those that end.
#[derive(Debug)]
pub(super) struct Crater {
    order: Order,
    told: bool,
    tuning: Tuning,
    predictor: Predictor,
    known: Vec<Option<Known>>,
    live: Vec<usize>,
    /// What the work of each job was thought to be when it came.
    costs: Vec<i64>,
}

impl Crater {
    /// `told`: are owners' estimates heard?
    pub fn new(told: bool) -> Self {
        // who knows how long jobs run serves the shortest; who does not gives everybody a quantum
        let order = if told { Order::Sjf } else { Order::Crater };
        Self {
            order,
            told,
            tuning: Tuning::default(),
            predictor: Predictor::default(),
            known: Vec::new(),
            live: Vec::new(),
            costs: Vec::new(),
        }
    }

    fn traits(&self, asked: &Asked) -> Traits {
        Traits { estimate: asked.estimate.filter(|_| self.told), ..asked.traits() }
    }

    /// How long a job holds its GPUs before it gives way to those who have not.
    fn quantum(&self, view: &View<'_>, job: usize) -> Millis {
        let all = i64::try_from(view.gpus).unwrap_or(0).saturating_mul(self.tuning.quantum_ms);
        all / Millis::from(view.asked[job].gpus.max(1))
    }

    fn standing<'a>(view: &View<'_>, job: usize, known: &'a Known) -> Standing<'a> {
        let (asked, seen) = (&view.asked[job], &view.progress[job]);
        Standing {
            priority: 0,
            submitted: asked.submitted,
            place: known.place,
            running: seen.running,
            served: seen.held,
            restart: if seen.started { asked.restart } else { 0 },
            gpu: i64::from(asked.gpus) * 1000,
            prediction: Some(&known.prediction),
            remaining: None,
        }
    }

    fn pool(view: &View<'_>) -> i64 {
        i64::try_from(view.gpus).unwrap_or(i64::MAX / 1000) * 1000
    }

    fn rank(&mut self, view: &View<'_>, job: usize) -> Option<Rank> {
        let learned = self.predictor.learned();
        let known = self.known.get_mut(job)?.as_mut()?;
        if learned - known.learned > known.learned / STALE {
            known.prediction = self.predictor.predict(&known.traits);
            known.learned = learned;
            known.rank = None;
        }
        // who never ran and learns nothing new stands where it stood
        if !view.progress[job].started && known.rank.is_some() {
            return known.rank;
        }
        let pool = Self::pool(view);
        let mut found = rank(self.order, &self.tuning, pool, &Self::standing(view, job, known));
        if found.level() != known.level {
            known.level = found.level();
            known.place = i64::MAX;
            found = rank(self.order, &self.tuning, pool, &Self::standing(view, job, known));
        }
        known.rank = Some(found);
        known.rank
    }
}

impl Ranker for Crater {
    fn arrived(&mut self, view: &View<'_>, job: usize) {
        self.live.push(job);
        if self.known.len() <= job {
            self.known.resize_with(job + 1, || None);
        }
        let traits = self.traits(&view.asked[job]);
        let prediction = self.predictor.predict(&traits);
        self.costs.resize(self.known.len(), 0);
        self.costs[job] = prediction.cost(0).saturating_mul(i64::from(view.asked[job].gpus));
        self.known[job] = Some(Known {
            traits,
            prediction,
            learned: self.predictor.learned(),
            rank: None,
            level: 0,
            place: i64::MAX,
        });
    }

    fn ended(&mut self, _: &View<'_>, job: usize, ran: Millis) {
        self.live.retain(|other| *other != job);
        if let Some(known) = self.known.get_mut(job).and_then(Option::take) {
            self.predictor.learn(&known.traits, ran);
        }
    }

    fn order(&mut self, view: &View<'_>) -> &[usize] {
        let mut ranked: Vec<(Option<Rank>, usize)> = Vec::with_capacity(self.live.len());
        for at in 0..self.live.len() {
            let job = self.live[at];
            ranked.push((self.rank(view, job), job));
        }
        ranked.sort_unstable();
        self.live.clear();
        self.live.extend(ranked.into_iter().map(|(_, job)| job));
        &self.live
    }

    fn heard(&self) -> bool {
        self.told
    }

    fn way(&self, view: &View<'_>, job: usize) -> Way {
        let rank = |job: usize| self.known.get(job).and_then(Option::as_ref).and_then(|known| known.rank);
        let own = rank(job);
        let mut all: Vec<(Option<Rank>, usize)> = self.live.iter().map(|job| (rank(*job), *job)).collect();
        all.sort_unstable();
        // who has its quantum gives way to who has not; in the upper level who runs does not
        let keeps = |rank: Option<Rank>| {
            rank < own || (self.order == Order::Crater && rank.is_some_and(|rank| rank.level() == 0))
        };
        let others = all.into_iter().filter(|(rank, other)| *other != job && keeps(*rank));
        let before = |(rank, job): (Option<Rank>, usize)| Before {
            job,
            at_most: (self.order == Order::Crater)
                .then(|| (self.quantum(view, job) - view.progress[job].held).max(1)),
            first: rank < own,
        };
        Way { before: others.map(before).collect(), strict: false }
    }

    fn passes(&self, view: &View<'_>, job: usize, other: usize) -> Option<Before> {
        let first = self.costs.get(other)? < self.costs.get(job)?;
        let at_most = (self.order == Order::Crater).then(|| self.quantum(view, other));
        (first || at_most.is_some()).then_some(Before { job: other, at_most, first })
    }

    fn settled(&mut self, view: &View<'_>) -> Option<Millis> {
        let level = |known: &[Option<Known>], job: usize| {
            known.get(job).and_then(Option::as_ref).map_or(0, |known| known.level)
        };
        self.live.sort_by_key(|job| (level(&self.known, *job), !view.progress[*job].running));
        for (job, place) in self.live.iter().zip(0..) {
            if let Some(known) = self.known.get_mut(*job).and_then(Option::as_mut) {
                known.place = place;
            }
        }
        let change = |job: &usize| {
            let known = self.known.get(*job)?.as_ref()?;
            let standing = Self::standing(view, *job, known);
            next_change(self.order, &self.tuning, Self::pool(view), view.now, &standing)
        };
        let soonest = self.live.iter().filter_map(change).min()?;
        Some(if self.order == Order::Sjf { soonest.max(view.now + SOONEST) } else { soonest })
    }
}
