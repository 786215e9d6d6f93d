//! How far waits were from what was thought of them: a survival curve over buckets of the ratio, for jobs that are alike.
//!
//! Jobs that still wait count for what they have waited (they are censored): at each bucket the part that ended there is taken
//! of those that got so far (Kaplan and Meier, J. Am. Stat. Assoc. 53, 1958). Narrow groups lean on wide ones by votes, bucket by
//! bucket.

use serde::{Deserialize, Serialize};

use super::octaves::OCTAVE;

/// Buckets of a quarter octave each, from 1/1024 of what was thought to 2^14 times as much.
pub(super) const BUCKETS: usize = 96;
const LOWEST: i64 = -10 * OCTAVE;
const STEP: i64 = OCTAVE / 4;

/// A job's weight.
const ONE: u64 = 1 << 16;
/// What certain is.
const SURE: u64 = 1 << 32;
/// With each job that is added the others fade by one part in so many: half is left after 200.
const FADE: u64 = 289;

/// At each bucket, the chance that one that got so far ends there, in 1/2^32.
pub(super) type Hazards = [u64; BUCKETS];

/// The bucket of a ratio, given by its logarithm.
pub(super) fn bucket(log_ratio: i64) -> usize {
    usize::try_from((log_ratio - LOWEST) / STEP).unwrap_or(0).min(BUCKETS - 1)
}

/// What is thought before anything is known: even odds that it takes longer than thought, and half as likely with every three
/// buckets away from that.
pub(super) fn prior() -> Hazards {
    let middle = bucket(0);
    let masses: Vec<u64> = (0..BUCKETS)
        .map(|at| {
            let away = if at >= middle { at - middle } else { middle - 1 - at };
            ((1u64 << 30) >> (away / 3)).max(1)
        })
        .collect();
    let mut left: u64 = masses.iter().sum();
    let mut hazards = [0; BUCKETS];
    for (hazard, mass) in hazards.iter_mut().zip(masses) {
        *hazard =
            u64::try_from(u128::from(mass) * u128::from(SURE) / u128::from(left.max(1))).unwrap_or(SURE);
        left -= mass;
    }
    hazards
}

/// What a group remembers of jobs that started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Memory {
    /// Weights by the bucket in which jobs started; empty at first.
    ended: Vec<u64>,
    /// When something was last added.
    pub met: u64,
}

impl Memory {
    pub fn add(&mut self, bucket: usize, clock: u64) {
        self.ended.resize(BUCKETS, 0);
        self.ended.iter_mut().for_each(|weight| *weight -= *weight / FADE);
        if let Some(weight) = self.ended.get_mut(bucket) {
            *weight += ONE;
        }
        self.met = clock;
    }

    /// Is it whole, as it comes from storage?
    pub fn sound(&self) -> bool {
        (self.ended.is_empty() || self.ended.len() == BUCKETS)
            && self.ended.iter().all(|weight| *weight <= FADE * ONE * 2)
    }
}

/// Refines what a wider group says by what a narrower one has seen and by how many of it still wait, by the bucket that they have
/// come to. The wider group has `votes`.
pub(super) fn refine(hazards: &mut Hazards, memory: Option<&Memory>, waits: &[u32; BUCKETS], votes: u64) {
    let ended = |at: usize| memory.and_then(|memory| memory.ended.get(at)).copied().unwrap_or(0);
    // those that got to a bucket; who waits has not been through the one it is in
    let (mut reached, mut through) = (0u64, 0u64);
    for at in (0..BUCKETS).rev() {
        reached += ended(at);
        let there = reached + through * ONE;
        let hazard = (u128::from(ended(at)) << 32) + u128::from(votes * ONE) * u128::from(hazards[at]);
        hazards[at] = u64::try_from(hazard / u128::from(there + votes * ONE)).unwrap_or(SURE).min(SURE);
        through += u64::from(waits[at]);
    }
}

/// The logarithm of the ratio that `per_mille` of a thousand do not exceed.
pub(super) fn quantile(hazards: &Hazards, per_mille: u64) -> i64 {
    let target = SURE - SURE / 1000 * per_mille;
    let mut left = SURE;
    for (at, hazard) in (0i64..).zip(hazards) {
        let ended = (u128::from(left) * u128::from(*hazard)) >> 32;
        let after = left - u64::try_from(ended).unwrap_or(left);
        if after <= target {
            let part = i128::from(STEP) * i128::from(left - target) / i128::from((left - after).max(1));
            return LOWEST + at * STEP + i64::try_from(part).unwrap_or(STEP);
        }
        left = after;
    }
    LOWEST + STEP * BUCKETS as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODY: [u32; BUCKETS] = [0; BUCKETS];

    #[test]
    fn knowing_nothing_half_wait_longer_than_thought() {
        let prior = prior();
        assert!(quantile(&prior, 500).abs() <= STEP, "{}", quantile(&prior, 500));
        let most = quantile(&prior, 900);
        assert!((OCTAVE..3 * OCTAVE).contains(&most), "{most}");
    }

    #[test]
    fn what_was_seen_outweighs_the_prior_and_what_is_older() {
        let mut memory = Memory::default();
        let mut says = |times: i64, octaves: i64| {
            (0..times).for_each(|n| memory.add(bucket(octaves * OCTAVE + 100), n.unsigned_abs()));
            let mut hazards = prior();
            refine(&mut hazards, Some(&memory), &NOBODY, 8);
            quantile(&hazards, 500)
        };
        let first = says(100, 3);
        assert!((3 * OCTAVE..3 * OCTAVE + STEP).contains(&first), "{first}");
        let later = says(600, -2);
        assert!((-2 * OCTAVE..-2 * OCTAVE + STEP).contains(&later), "{later}");
    }

    #[test]
    fn who_still_waits_counts_for_what_it_has_waited() {
        let mut memory = Memory::default();
        (0..50).for_each(|n| memory.add(bucket(100), n));
        let says = |waits: &[u32; BUCKETS]| {
            let mut hazards = prior();
            refine(&mut hazards, Some(&memory), waits, 8);
            quantile(&hazards, 900)
        };
        let without = says(&NOBODY);
        let mut waits = NOBODY;
        // as many again are over twice as long already
        waits[bucket(OCTAVE)] = 50;
        assert!(without < OCTAVE && says(&waits) > OCTAVE, "{without} {}", says(&waits));
        // who has only just come says nothing
        let mut waits = NOBODY;
        waits[0] = 50;
        assert_eq!(says(&waits), without);
    }
}
