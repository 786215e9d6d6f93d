//! Least attained service in two levels (Tiresias, Gu et al., NSDI '19): a job moves down once it has held so many GPU-seconds;
//! inside a level those that run stay before those that wait, else by arrival in the level.

use crater_engine::Millis;

use super::clock::{Ranker, View};
use super::foretell::{Before, Way};

/// GPU-milliseconds of the upper level.
const LIMIT: Millis = 18_000_000;

/// How long a job stays in the upper level, up to a whole second, as the reference counts.
fn quantum(view: &View<'_>, job: usize) -> Millis {
    let gpus = Millis::from(view.asked[job].gpus);
    (LIMIT / 1000 + gpus - 1) / gpus * 1000
}

#[derive(Debug, Default)]
pub(super) struct Las {
    /// In order of arrival.
    live: Vec<usize>,
    levels: [Vec<usize>; 2],
    order: Vec<usize>,
}

impl Las {
    fn service(view: &View<'_>, job: usize) -> Millis {
        view.progress[job].held * Millis::from(view.asked[job].gpus)
    }
}

impl Ranker for Las {
    fn arrived(&mut self, _: &View<'_>, job: usize) {
        self.live.push(job);
        self.levels[0].push(job);
    }

    fn ended(&mut self, _: &View<'_>, job: usize, _: Millis) {
        self.live.retain(|other| *other != job);
        for level in &mut self.levels {
            level.retain(|other| *other != job);
        }
    }

    fn order(&mut self, view: &View<'_>) -> &[usize] {
        for job in &self.live {
            if Self::service(view, *job) >= LIMIT
                && let Some(at) = self.levels[0].iter().position(|other| other == job)
            {
                self.levels[0].remove(at);
                self.levels[1].push(*job);
            }
        }
        self.order.clear();
        self.order.extend(self.levels.iter().flatten());
        &self.order
    }

    fn way(&self, view: &View<'_>, job: usize) -> Way {
        let place = self.levels[0].iter().position(|other| *other == job);
        // who has fallen to the lower level gives way at once
        let before =
            self.levels[0].iter().enumerate().filter(|(_, other)| **other != job).map(|(at, other)| {
                let left = quantum(view, *other) - view.progress[*other].held;
                Before {
                    job: *other,
                    at_most: Some(left.max(1)),
                    first: place.is_none_or(|place| at < place),
                }
            });
        Way { before: before.collect(), strict: false }
    }

    fn passes(&self, view: &View<'_>, _: usize, other: usize) -> Option<Before> {
        Some(Before { job: other, at_most: Some(quantum(view, other)), first: false })
    }

    fn settled(&mut self, view: &View<'_>) -> Option<Millis> {
        for level in &mut self.levels {
            level.sort_by_key(|job| !view.progress[*job].running);
        }
        let running = self.levels[0].iter().filter(|job| view.progress[**job].running);
        running.map(|job| quantum(view, *job) - view.progress[*job].held + view.now).min()
    }
}
