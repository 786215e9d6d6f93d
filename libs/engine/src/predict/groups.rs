//! What every group of jobs remembers, within bounds, in a form that can be stored.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Groups that are remembered.
pub(super) const MOST_GROUPS: usize = 98_304;
/// Weights of all of them together. With these two bounds the whole stays below 50 MiB whatever is learned.
pub(super) const MOST_WEIGHTS: usize = 1_500_000;
/// Jobs that one group remembers; beyond, older ones fade by half.
pub(super) const MOST_JOBS: u32 = 256;
/// The form in which it is stored.
const VERSION: u8 = 1;

/// A group of jobs: which traits they share, and a fingerprint of those.
pub(super) type Group = (u8, u64);

/// What one group remembers: (bucket, weight of its jobs), in order of bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Memory {
    pub weights: Vec<(u8, u32)>,
    pub jobs: u32,
    met: u64,
}

impl Memory {
    fn add(&mut self, bucket: u8, clock: u64) {
        match self.weights.binary_search_by_key(&bucket, |(bucket, _)| *bucket) {
            Ok(at) => self.weights[at].1 += 1,
            Err(at) => {
                // most groups stay small
                self.weights.reserve_exact(1);
                self.weights.insert(at, (bucket, 1));
            }
        }
        self.jobs += 1;
        self.met = clock;
        if self.jobs > MOST_JOBS {
            self.weights.iter_mut().for_each(|(_, weight)| *weight /= 2);
            self.weights.retain(|(_, weight)| *weight > 0);
            self.jobs = self.weights.iter().map(|(_, weight)| *weight).sum();
        }
    }

    fn sound(&self, clock: u64) -> bool {
        let sum: u64 = self.weights.iter().map(|(_, weight)| u64::from(*weight)).sum();
        sum == u64::from(self.jobs)
            && self.jobs <= MOST_JOBS
            && self.met <= clock
            && self.weights.windows(2).all(|pair| pair[0].0 < pair[1].0)
            && self.weights.iter().all(|(_, weight)| *weight > 0)
    }
}

/// All groups, and how many jobs were learned from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub(super) struct Groups {
    pub learned: u64,
    /// The longest run learned of, in milliseconds.
    pub longest: i64,
    of: BTreeMap<Group, Memory>,
    weights: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u8,
    learned: u64,
    longest: i64,
    /// As pairs: a key of two numbers is no key in JSON.
    groups: Vec<(Group, Memory)>,
}

impl From<Groups> for Stored {
    fn from(from: Groups) -> Self {
        let groups = from.of.into_iter().collect();
        Self { version: VERSION, learned: from.learned, longest: from.longest, groups }
    }
}

impl TryFrom<Stored> for Groups {
    type Error = String;

    fn try_from(from: Stored) -> Result<Self, String> {
        if from.version != VERSION {
            return Err(format!("predictions of version {}, not {VERSION}", from.version));
        }
        if let Some((group, _)) = from.groups.iter().find(|(_, memory)| !memory.sound(from.learned)) {
            return Err(format!("predictions whose group {} {} is not whole", group.0, group.1));
        }
        let of: BTreeMap<Group, Memory> = from.groups.into_iter().collect();
        let weights = of.values().map(|memory| memory.weights.len()).sum();
        let mut groups = Self { learned: from.learned, longest: from.longest, of, weights };
        groups.forget_oldest();
        Ok(groups)
    }
}

impl Groups {
    pub fn get(&self, group: &Group) -> Option<&Memory> {
        self.of.get(group)
    }

    /// A job of a group ended in a bucket.
    pub fn add(&mut self, group: Group, bucket: u8) {
        let memory = self.of.entry(group).or_default();
        let before = memory.weights.len();
        memory.add(bucket, self.learned);
        self.weights = self.weights + memory.weights.len() - before;
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.of.len()
    }

    /// Keeps so many that were met last; of those met together the ones with the greater fingerprint.
    pub fn keep(&mut self, most: usize) {
        let mut met: Vec<(u64, Group)> = self.of.iter().map(|(group, memory)| (memory.met, *group)).collect();
        met.sort_unstable();
        for (_, group) in met.iter().take(self.of.len().saturating_sub(most)) {
            self.of.remove(group);
        }
        self.weights = self.of.values().map(|memory| memory.weights.len()).sum();
    }

    /// Keeps the bounds: what was not met for longest goes, an eighth at once, so that this is rare. What the last job met stays.
    pub fn forget_oldest(&mut self) {
        while self.of.len() > MOST_GROUPS || self.weights > MOST_WEIGHTS {
            let mut met: Vec<u64> = self.of.values().map(|memory| memory.met).collect();
            met.sort_unstable();
            let oldest = met.get(met.len() / 8).copied().unwrap_or(0).min(self.learned.saturating_sub(1));
            let before = self.of.len();
            self.of.retain(|_, memory| memory.met > oldest);
            self.weights = self.of.values().map(|memory| memory.weights.len()).sum();
            if self.of.len() == before {
                break;
            }
        }
    }

    #[cfg(test)]
    pub fn all(&self) -> impl ExactSizeIterator<Item = &Memory> {
        self.of.values()
    }
}
