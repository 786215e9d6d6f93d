//! What a list of jobs says: what an owner asked for, and, apart from it, how long the job really runs.

use crater_engine::predict::{Traits, fingerprint};
use crater_engine::{Millis, WHOLE_GPU};

/// What a scheduler may know of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The name in the list.
    pub name: String,
    /// Milliseconds on the list's clock.
    pub submitted: Millis,
    /// Whole GPUs; all or none.
    pub gpus: u32,
    /// Who submitted it, where the list says.
    pub user: Option<String>,
    /// What a name says of the kind of program (a model's name, say), where the list says.
    pub stem: Option<String>,
    /// The kind of job, where the list says.
    pub kind: Option<String>,
    /// How long its owner says that it runs, in milliseconds.
    pub estimate: Option<Millis>,
    /// How long it takes to start again after it was stopped, in milliseconds. The first start is free.
    pub restart: Millis,
}

impl Asked {
    /// Milli-GPU.
    pub(super) fn milli(&self) -> i64 {
        i64::from(self.gpus) * WHOLE_GPU
    }

    /// What a predictor may go by; without the owner's estimate.
    pub(super) fn traits(&self) -> Traits {
        let name = |text: &Option<String>| text.as_deref().map(fingerprint);
        Traits {
            user: name(&self.user),
            stem: name(&self.stem),
            kind: name(&self.kind),
            gpu: self.milli(),
            estimate: None,
        }
    }
}

/// How long a job really runs, in milliseconds. Only the clock of a replay and the policies called `oracle-*` may look at it
/// before the job ends, so it is a type of its own that no other policy is handed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truth(pub(super) Millis);

/// A workload.
#[derive(Clone, Debug, Default)]
pub struct Workload {
    /// In order of submission.
    pub asked: Vec<Asked>,
    /// Of each job.
    pub(super) truth: Vec<Truth>,
    /// Lines that are no job, with the reason: (reason, how many).
    pub left_out: Vec<(&'static str, usize)>,
}

impl Workload {
    /// Adds a job.
    pub fn push(&mut self, asked: Asked, runs: Millis) {
        self.asked.push(asked);
        self.truth.push(Truth(runs));
    }

    /// Counts a line that is no job.
    pub(super) fn leave_out(&mut self, why: &'static str) {
        match self.left_out.iter_mut().find(|(reason, _)| *reason == why) {
            Some((_, count)) => *count += 1,
            None => self.left_out.push((why, 1)),
        }
    }

    /// How many jobs there are.
    pub fn len(&self) -> usize {
        self.asked.len()
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.asked.is_empty()
    }

    /// Gives every job its true duration as its owner's estimate, multiplied or divided by up to `factor_thousandths` / 1000. The
    /// factor is 2^x with x even between ±log2 of the largest factor, found from `seed` and the job's place in the list.
    pub fn tell_estimates(&mut self, factor_thousandths: i64, seed: u64) {
        for (i, (asked, truth)) in self.asked.iter_mut().zip(&self.truth).enumerate() {
            asked.estimate = Some(wrong_by(truth.0, factor_thousandths, seed, i as u64));
        }
    }
}

/// SplitMix64 (Steele, Lea, Flood; OOPSLA '14): one well-mixed number of a seed and an index.
pub(super) fn mix(seed: u64, index: u64) -> u64 {
    let mut z = seed.wrapping_add((index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn wrong_by(runs: Millis, factor_thousandths: i64, seed: u64, index: u64) -> Millis {
    if factor_thousandths <= 1000 {
        return runs;
    }
    let most = factor_thousandths as f64 / 1000.0;
    // 53 bits: every such fraction is exact
    let even = (mix(seed, index) >> 11) as f64 / (1u64 << 53) as f64;
    let factor = most.powf(2.0 * even - 1.0);
    ((runs as f64 * factor).round() as Millis).max(1)
}
