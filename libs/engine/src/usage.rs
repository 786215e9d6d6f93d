//! What was used lately: averages in which the past counts less and less, kept by the caller.
//!
//! `average(now) = average(then) × 2^(−passed ÷ half life) + held × (1 − 2^(−passed ÷ half life))`, in integers, so that every machine comes to
//! the same. One step of two seconds and two of one come to the same but for rounding.

use serde::{Deserialize, Serialize};

use crate::model::{Millis, ModelIx};

/// In a milli-GPU (and a milli-core) there are so many of the units of [`Usage`]: short steps of long half lives must not be rounded away.
pub(crate) const FINE: i64 = 1_000_000;

/// Amounts that are an average over time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Nano-cores.
    pub cpu: i64,
    /// Bytes.
    pub memory: i64,
    /// Nano-GPU of each model, by ordinal; models that are left out were not used.
    pub gpu: Vec<i64>,
}

/// What an account has beyond its guarantee, best effort apart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Borrowed {
    /// It and all accounts below it.
    pub all: Usage,
    /// Its own jobs alone, where there are accounts below it; else nothing.
    pub own: Usage,
}

impl Usage {
    /// Adds GPUs of a model.
    pub fn add_gpu(&mut self, model: ModelIx, nano: i64) {
        if self.gpu.len() <= model.at() {
            self.gpu.resize(model.at() + 1, 0);
        }
        self.gpu[model.at()] = self.gpu[model.at()].saturating_add(nano);
    }

    /// Brings an average forward over a time in which `held` was held all along ([`decay`]).
    pub fn decay(&mut self, held: &Usage, passed: Millis, half_life: Millis) {
        let step = |past: &mut i64, held: i64| *past = decay(*past, held, passed, half_life);
        step(&mut self.cpu, held.cpu);
        step(&mut self.memory, held.memory);
        self.gpu.resize(self.gpu.len().max(held.gpu.len()), 0);
        for (model, past) in self.gpu.iter_mut().enumerate() {
            step(past, held.gpu.get(model).copied().unwrap_or(0));
        }
    }
}

impl Borrowed {
    /// See [`Usage::decay`].
    pub fn decay(&mut self, held: &Borrowed, passed: Millis, half_life: Millis) {
        self.all.decay(&held.all, passed, half_life);
        self.own.decay(&held.own, passed, half_life);
    }
}

/// Brings the averages of all accounts forward, from the end of one cycle to the beginning of the next: `held` is [`Plan::borrowed`] of the
/// former, what comes out is [`Snapshot::lately`] of the latter.
///
/// [`Plan::borrowed`]: crate::Plan::borrowed
/// [`Snapshot::lately`]: crate::Snapshot::lately
pub fn decay_all(lately: &mut Vec<Borrowed>, held: &[Borrowed], passed: Millis, half_life: Millis) {
    lately.resize(lately.len().max(held.len()), Borrowed::default());
    let nothing = Borrowed::default();
    for (ix, past) in lately.iter_mut().enumerate() {
        past.decay(held.get(ix).unwrap_or(&nothing), passed, half_life);
    }
}

/// Brings an average forward over `passed` milliseconds in which `held` was held all along. `half_life` is in milliseconds, too: after that time
/// half of the past is forgotten; without one all of it is at once. Time that goes back changes nothing.
#[must_use]
pub fn decay(past: i64, held: i64, passed: Millis, half_life: Millis) -> i64 {
    if half_life <= 0 {
        return held;
    }
    let left = i128::from(remains(passed.max(0), half_life));
    let away = (i128::from(past) - i128::from(held)) * left;
    // to the nearest, so that what is rounded does not add up
    let away = (away + (1 << (BITS - 1))) >> BITS;
    i64::try_from(i128::from(held) + away).unwrap_or(held)
}

/// Fractions are so many bits.
const BITS: u32 = 62;
/// So many bits of an exponent count.
const EXPONENT: usize = 48;

/// 2^(−1/2), 2^(−1/4), 2^(−1/8)…
const ROOTS: [u64; EXPONENT] = roots();

const fn roots() -> [u64; EXPONENT] {
    let mut roots = [0; EXPONENT];
    let mut last = 1u128 << (BITS - 1);
    let mut at = 0;
    while at < EXPONENT {
        last = (last << BITS).isqrt();
        roots[at] = last as u64;
        at += 1;
    }
    roots
}

/// 2^(−passed ÷ half_life).
fn remains(passed: i64, half_life: i64) -> u64 {
    let (whole, mut rest) = (passed / half_life, i128::from(passed % half_life));
    if whole >= i64::from(BITS) {
        return 0;
    }
    let mut left = 1u128 << BITS;
    for root in ROOTS {
        rest *= 2;
        if rest >= i128::from(half_life) {
            rest -= i128::from(half_life);
            left = (left * u128::from(root) + (1 << (BITS - 1))) >> BITS;
        }
    }
    u64::try_from(left >> whole).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn after_a_half_life_half_is_left() {
        assert_eq!(decay(1000, 0, 60_000, 60_000), 500);
        assert_eq!(decay(1000, 3000, 60_000, 60_000), 2000);
        assert_eq!(decay(1 << 40, 0, 600_000, 60_000), 1 << 30);
        // 2^(-1/2), 2^(-1/3)
        assert_eq!(decay(1_000_000_000_000, 0, 30_000, 60_000), 707_106_781_187);
        assert_eq!(decay(1_000_000_000_000, 0, 20_000, 60_000), 793_700_525_984);
        assert_eq!(decay(1000, 7, 1, 0), 7);
        assert_eq!(decay(1000, 7, -5, 60_000), 1000);
        assert_eq!(decay(i64::MAX, 0, i64::MAX, 1), 0);
    }

    #[test]
    fn a_second_of_one_gpu_counts_in_an_average_of_months() {
        let mut average = 0;
        let (hour, quarter) = (3_600_000, 90 * 86_400_000);
        for _ in 0..3600 {
            average = decay(average, 1_000_000_000, 1000, quarter);
        }
        let at_once = decay(0, 1_000_000_000, hour, quarter);
        assert!((average - at_once).abs() <= 3600 && at_once > 300_000, "{average} {at_once}");
    }

    proptest! {
        #[test]
        fn steps_add_up(
            past in 0i64..1 << 50, held in 0i64..1 << 50, steps in proptest::collection::vec(0i64..1_000_000, 1..=8),
            half_life in 1i64..1 << 36,
        ) {
            let apart = steps.iter().fold(past, |past, step| decay(past, held, *step, half_life));
            let at_once = decay(past, held, steps.iter().sum(), half_life);
            // a unit for each step, and what 62 bits cannot tell
            prop_assert!((apart - at_once).abs() <= 8 + 8, "{apart} {at_once}");
        }

        #[test]
        fn an_average_stays_between_what_it_was_and_what_is_held(
            past in 0i64..i64::MAX, held in 0i64..i64::MAX, passed in 0i64..i64::MAX, half_life in 1i64..i64::MAX,
        ) {
            let now = decay(past, held, passed, half_life);
            prop_assert!(past.min(held) <= now && now <= past.max(held));
        }
    }
}
