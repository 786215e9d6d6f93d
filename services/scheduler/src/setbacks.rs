//! Jobs whose Allocation the API server would not take: left aside for a while, so that they hold nobody up.

use std::collections::BTreeMap;

use crate::cache::Key;

/// The first pause, in milliseconds; it doubles with each refusal.
const FIRST: i64 = 500;
/// The longest.
const LONGEST: i64 = 60_000;

#[derive(Debug)]
struct Setback {
    until_ms: i64,
    times: u32,
    why: String,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Setbacks(BTreeMap<Key, Setback>);

impl Setbacks {
    /// The API server refused it, in these words.
    pub fn add(&mut self, job: &Key, why: String, now_ms: i64) {
        let times = self.0.get(job).map_or(0, |s| s.times);
        let pause = FIRST.checked_shl(times).unwrap_or(LONGEST).clamp(FIRST, LONGEST);
        self.0.insert(job.clone(), Setback { until_ms: now_ms + pause, times: (times + 1).min(16), why });
    }

    /// It went well.
    pub fn clear(&mut self, job: &Key) {
        self.0.remove(job);
    }

    /// Why the job is left aside now, in words.
    pub fn now(&self, job: &Key, now_ms: i64) -> Option<String> {
        let setback = self.0.get(job).filter(|s| s.until_ms > now_ms)?;
        let left = (setback.until_ms - now_ms).div_euclid(1000) + 1;
        Some(format!("the cluster would not take its allocation ({}); tried again in {left} s", setback.why))
    }

    /// Jobs that are left aside, or were until a moment ago.
    pub fn jobs(&self) -> impl Iterator<Item = &Key> {
        self.0.keys()
    }

    /// Forgets jobs that are not there any more.
    pub fn retain(&mut self, keep: impl Fn(&Key) -> bool) {
        self.0.retain(|job, _| keep(job));
    }
}
