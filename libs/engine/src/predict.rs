//! How long a job will run: learned online from jobs that ended, as a distribution and not as a number.
//!
//! A histogram of run times, in steps of 2^¼, is kept for every group that a job belongs to: all jobs, those with as many GPUs,
//! of its kind, of its user, of its user and name stem, and so on. A prediction starts from a prior that knows nothing
//! (every order of magnitude alike) and is refined from the widest group to the narrowest, each weighing as many votes as
//! it has jobs, against [`BACK_OFF`] for what the wider ones say (a Dirichlet hierarchy; MacKay and Peto, "A hierarchical
//! Dirichlet language model", Natural Language Engineering 1, 1995). Where an owner said how long, the same is done with
//! the ratio of truth to word, and the narrower of the two predictions is taken.
//!
//! Integers only, and no order of hashing: the same jobs in the same order give the same predictions everywhere. The state is
//! bounded, and may be stored.

mod groups;

use serde::{Deserialize, Serialize};

use crate::forecast::{COURSES, Courses};
use crate::model::Millis;
use groups::{Group, Groups};

/// Votes of the wider groups against one for each job of a narrower one.
const BACK_OFF: u64 = 3;
/// All mass together.
const ONE: u64 = 1 << 24;

/// Buckets of run time: 4 to an octave, from one second (bucket 0 is all below) to 2^27 seconds.
const RUN_BUCKETS: usize = 109;
/// Buckets of truth by word: 16 to an octave, from 1/16 to 16.
const RATIO_BUCKETS: usize = 128;
/// 2^(i/16), in 1/65536.
const SIXTEENTHS: [u64; 16] = [
    65_536, 68_438, 71_468, 74_632, 77_936, 81_386, 84_990, 88_752, 92_682, 96_785, 101_070, 105_545,
    110_218, 115_098, 120_194, 125_515,
];

/// A stable 64-bit name of a text (FNV-1a; Fowler, Noll, Vo).
pub fn fingerprint(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// What a job's name has in common with the names of its kin: without numbers, and without what looks like a hash or a date at
/// its end. `train-resnet50-lr0.1-17` and `train-resnet50-lr0.1-18` have the same.
pub fn stem(name: &str) -> &str {
    let mut rest = name;
    loop {
        let cut = rest.rfind(['-', '_', '.', '/', ' ']).unwrap_or(0);
        let last = &rest[cut..];
        let changes = last.bytes().any(|b| b.is_ascii_digit())
            && last.bytes().skip(1).all(|b| b.is_ascii_hexdigit() || b == b't' || b == b'T' || b == b'v');
        if cut == 0 || !changes {
            return rest.trim_end_matches(|c: char| c.is_ascii_digit());
        }
        rest = &rest[..cut];
    }
}

/// What is known of a job before it runs. Names as [`fingerprint`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Traits {
    /// Who submitted it.
    pub user: Option<u64>,
    /// The [`stem`] of its name.
    pub stem: Option<u64>,
    /// The kind of job (training, notebook…).
    pub kind: Option<u64>,
    /// Milli-GPU of all its replicas together.
    pub gpu: i64,
    /// How long its owner said that it runs.
    pub estimate: Option<Millis>,
}

/// What was learned so far. Stored and read again it predicts the same; what was stored in another form is refused when it is
/// read. It stays below 50 MiB: what was not met for longest is forgotten.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Predictor {
    groups: Groups,
}

/// Bit of a group: it is about truth by word, not about run times.
const RATIO: u8 = 128;

impl Traits {
    /// The groups it belongs to, the widest first.
    fn groups(&self) -> Vec<Group> {
        let gpu = Some(u64::try_from(self.gpu).unwrap_or(0));
        let of = [
            [None, None, None, None],
            [None, None, None, gpu],
            [None, None, self.kind, gpu],
            [None, self.stem, None, None],
            [None, self.stem, None, gpu],
            [self.user, None, None, None],
            [self.user, None, None, gpu],
            [self.user, self.stem, None, None],
            [self.user, self.stem, self.kind, gpu],
        ];
        let mut groups: Vec<Group> = Vec::new();
        for traits in of {
            let mut which = 0u8;
            let mut hash = 0xcbf2_9ce4_8422_2325u64;
            for (bit, value) in traits.iter().enumerate() {
                if let Some(value) = value {
                    which |= 1 << bit;
                    hash = (hash ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                    hash ^= hash >> 29;
                }
            }
            // a trait that is not known makes two groups one
            if !groups.contains(&(which, hash)) {
                groups.push((which, hash));
            }
        }
        groups
    }

    fn ratio_groups(&self) -> Vec<Group> {
        let mut groups = vec![(RATIO, 0)];
        groups.extend(self.user.map(|user| (RATIO | 1, user)));
        groups
    }
}

impl Predictor {
    /// Jobs learned from. While it stays the same, predictions do.
    pub fn learned(&self) -> u64 {
        self.groups.learned
    }

    /// The longest run learned of: no job is likely to run for many times as long.
    pub fn longest(&self) -> Millis {
        self.groups.longest
    }

    /// Groups of jobs that are remembered: with each some 25 bytes, packed, to store.
    pub fn groups(&self) -> usize {
        self.groups.len()
    }

    /// Forgets all groups but so many, those that were met last, so that what is stored fits where there is little room.
    pub fn keep(&mut self, groups: usize) {
        self.groups.keep(groups);
    }

    /// Takes in a job that ended by itself after so long.
    pub fn learn(&mut self, traits: &Traits, ran: Millis) {
        self.groups.learned += 1;
        self.groups.longest = self.groups.longest.max(ran);
        for group in traits.groups() {
            self.groups.add(group, bucket_of(ran, RUN_BUCKETS, run_edge));
        }
        if let Some(estimate) = traits.estimate {
            for group in traits.ratio_groups() {
                let bucket = bucket_of(ran, RATIO_BUCKETS, |bucket| ratio_edge(bucket, estimate));
                self.groups.add(group, bucket);
            }
        }
        self.groups.forget_oldest();
    }

    /// What it says of a job.
    pub fn predict(&self, traits: &Traits) -> Prediction {
        let learned = self.refine(&traits.groups(), &[1; RUN_BUCKETS]);
        let by_history = Prediction::new(learned, run_edge);
        let Some(estimate) = traits.estimate.filter(|estimate| *estimate > 0) else { return by_history };
        let told = self.refine(&traits.ratio_groups(), &word_prior());
        let by_word = Prediction::new(told, |bucket| ratio_edge(bucket, estimate));
        if by_word.spread() <= by_history.spread() { by_word } else { by_history }
    }

    /// Masses that add up to about [`ONE`], and the votes behind them.
    fn refine(&self, groups: &[Group], prior: &[u64]) -> (Vec<u64>, u32) {
        let all: u64 = prior.iter().sum();
        let mut masses: Vec<u64> = prior.iter().map(|mass| mass * ONE / all).collect();
        let mut votes = 0;
        for group in groups {
            let Some(memory) = self.groups.get(group) else { continue };
            let jobs = u64::from(memory.jobs);
            masses.iter_mut().for_each(|mass| *mass = *mass * BACK_OFF / (jobs + BACK_OFF));
            for (bucket, weight) in &memory.weights {
                if let Some(mass) = masses.get_mut(usize::from(*bucket)) {
                    *mass += u64::from(*weight) * ONE / (jobs + BACK_OFF);
                }
            }
            votes = memory.jobs;
        }
        (masses, votes)
    }
}

/// What people say is near the truth until they are known better: half of the mass within a few percent, the rest falling off
/// with every octave.
fn word_prior() -> Vec<u64> {
    let middle = RATIO_BUCKETS / 2;
    (0..RATIO_BUCKETS)
        .map(|bucket| {
            let away = bucket.abs_diff(middle).min((bucket + 1).abs_diff(middle));
            match away {
                0 => 4096,
                _ => 256 >> (away / 8).min(8),
            }
        })
        .collect()
}

/// Where a bucket of run time begins.
fn run_edge(bucket: usize) -> Millis {
    if bucket == 0 {
        return 0;
    }
    let (octave, quarter) = ((bucket - 1) / 4, (bucket - 1) % 4);
    i64::try_from((1000 * SIXTEENTHS[quarter * 4]) << octave >> 16).unwrap_or(Millis::MAX)
}

/// The bucket of a run time, by where buckets begin.
fn bucket_of(ran: Millis, buckets: usize, edge: impl Fn(usize) -> Millis) -> u8 {
    let (mut low, mut high) = (0, buckets - 1);
    while low < high {
        let middle = (low + high).div_ceil(2);
        if edge(middle) <= ran { low = middle } else { high = middle - 1 }
    }
    u8::try_from(low).unwrap_or(0)
}

/// Where a bucket of truth by word begins, for a word. Half a bucket lower than even sixteenths, so that the truth is in the
/// middle of one.
fn ratio_edge(bucket: usize, estimate: Millis) -> Millis {
    if bucket == 0 {
        return 0;
    }
    let (octave, part) = (bucket / 16, bucket % 16);
    let whole = (i128::from(estimate) * i128::from(SIXTEENTHS[part])) << octave;
    // 2^(-1/32) = 0.97857; 16 = 2^4 below the word
    i64::try_from((whole * 97_857 / 100_000) >> (16 + 4)).unwrap_or(Millis::MAX)
}

/// How long a job may run: a distribution over buckets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prediction {
    /// Where each bucket that has mass begins and ends, and its mass.
    buckets: Vec<(Millis, Millis, u64)>,
    votes: u32,
}

impl Prediction {
    fn new((masses, votes): (Vec<u64>, u32), edge: impl Fn(usize) -> Millis) -> Self {
        let last = masses.len() - 1;
        let end = |bucket: usize| {
            if bucket == last { edge(bucket).saturating_mul(2) } else { edge(bucket + 1) }
        };
        let buckets = masses.iter().enumerate().filter(|(_, mass)| **mass > 0);
        let buckets = buckets
            .map(|(bucket, mass)| (edge(bucket), end(bucket), *mass))
            .filter(|(from, to, _)| to > from)
            .collect();
        Self { buckets, votes }
    }

    /// Ended jobs of the narrowest group behind it: 0 is a guess.
    pub fn votes(&self) -> u32 {
        self.votes
    }

    /// How sure it is: the 90th percentile by the 10th, in percent. 100 is certain.
    pub fn spread(&self) -> i64 {
        let (low, high) = (self.quantile(0, 100), self.quantile(0, 900));
        i64::try_from(i128::from(high) * 100 / i128::from(low.max(1))).unwrap_or(i64::MAX)
    }

    /// Of jobs that have run for `after`, `per_mille` of a thousand run no longer than this in all.
    pub fn quantile(&self, after: Millis, per_mille: u64) -> Millis {
        let all: u64 = self.left(after).map(|(_, _, mass)| mass).sum();
        let target = all * per_mille.min(1000) / 1000;
        let (mut below, mut last) = (0, after.saturating_mul(2).max(1000));
        for (from, to, mass) in self.left(after) {
            if below + mass >= target {
                let part = i128::from(to - from) * i128::from(target - below) / i128::from(mass);
                return from + i64::try_from(part).unwrap_or(0);
            }
            below += mass;
            last = to;
        }
        last
    }

    /// How much longer a job runs that has run for `after`, in equally likely courses, the shortest first: the middles of
    /// sixteenths of what may be.
    pub fn courses(&self, after: Millis) -> Courses {
        let all: u64 = self.left(after).map(|(_, _, mass)| mass).sum();
        // longer than anything that was ever seen: as long again
        let mut courses = [after.max(1000); COURSES];
        let (mut below, mut course) = (0u64, 0);
        for (from, to, mass) in self.left(after) {
            while course < COURSES {
                let target = all * (2 * course as u64 + 1) / (2 * COURSES as u64);
                if below + mass < target {
                    break;
                }
                let part =
                    i128::from(to - from) * i128::from(target.saturating_sub(below)) / i128::from(mass);
                courses[course] = from - after + i64::try_from(part).unwrap_or(0);
                course += 1;
            }
            below += mass;
        }
        courses
    }

    /// The least expected time a job takes for one end of such a job, if it is given up after the best time: the Gittins index
    /// turned over (Gittins, J. Royal Stat. Soc. B 41, 1979). The job with the least, by its GPUs, goes first. `after`: how long
    /// it has run. In milliseconds, at least 1.
    pub fn cost(&self, after: Millis) -> Millis {
        let all: u64 = self.left(after).map(|(_, _, mass)| mass).sum();
        let (mut ended, mut spent) = (0u64, 0i128);
        let mut best = i128::MAX;
        for (from, to, mass) in self.left(after) {
            ended += mass;
            spent += i128::from((from + to) / 2 - after) * i128::from(mass);
            let given_up = i128::from(to - after) * i128::from(all - ended);
            best = best.min((spent + given_up) / i128::from(ended));
        }
        if ended == 0 {
            // longer than anything that was ever seen: as long again
            return after.max(1);
        }
        i64::try_from(best).unwrap_or(Millis::MAX).max(1)
    }

    /// When the cost is worth asking for again, for a job that has run for `after`.
    pub fn next_step(&self, after: Millis) -> Option<Millis> {
        let next = self.buckets.partition_point(|(_, to, _)| *to <= after);
        self.buckets.get(next).map(|(_, to, _)| *to)
    }

    /// The buckets behind `after`, the first cut there; none is empty.
    fn left(&self, after: Millis) -> impl Iterator<Item = (Millis, Millis, u64)> + '_ {
        let first = self.buckets.partition_point(|(_, to, _)| *to <= after);
        self.buckets[first..].iter().map(move |(from, to, mass)| {
            if *from >= after {
                return (*from, *to, *mass);
            }
            let part = i128::from(*mass) * i128::from(to - after) / i128::from(to - from);
            (after, *to, u64::try_from(part).unwrap_or(*mass).max(1))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::groups::{MOST_GROUPS, MOST_JOBS};
    use super::*;

    const MINUTE: Millis = 60_000;
    const HOUR: Millis = 60 * MINUTE;

    fn of(user: u64, gpu: i64) -> Traits {
        Traits { user: Some(user), gpu, ..Traits::default() }
    }

    #[test]
    fn knowing_nothing_it_expects_more_the_longer_a_job_has_run() {
        let guess = Predictor::default().predict(&of(1, 1000));
        assert_eq!(guess.votes(), 0);
        let costs: Vec<Millis> = [MINUTE, HOUR, 10 * HOUR].iter().map(|t| guess.cost(*t)).collect();
        assert!(costs.is_sorted(), "{costs:?}");
        // a few times as long as it has run
        assert!(costs[1] > HOUR / 4 && costs[1] < 16 * HOUR, "{costs:?}");
    }

    #[test]
    fn a_user_is_known_by_what_ended_and_others_are_not() {
        let mut predictor = Predictor::default();
        for n in 0..40 {
            predictor.learn(&of(1, 1000), 10 * MINUTE + n * 1000);
            predictor.learn(&of(2, 1000), 20 * HOUR + n * MINUTE);
        }
        let (short, long) = (predictor.predict(&of(1, 1000)), predictor.predict(&of(2, 1000)));
        assert!((9 * MINUTE..13 * MINUTE).contains(&short.quantile(0, 500)), "{}", short.quantile(0, 500));
        assert!((17 * HOUR..25 * HOUR).contains(&long.quantile(0, 500)), "{}", long.quantile(0, 500));
        assert!(short.spread() < 250 && short.votes() == 40, "{}", short.spread());
        // one of whom nothing is known may be like either
        let other = predictor.predict(&of(3, 1000));
        assert!(other.spread() > 5000 && other.quantile(0, 100) < HOUR && other.quantile(0, 900) > 10 * HOUR);
        // who outlived the short kind is of the long one
        assert!(other.quantile(2 * HOUR, 500) > 10 * HOUR);
        // close to its end it is soon done
        assert!(long.cost(17 * HOUR) < long.cost(0) / 2);
    }

    #[test]
    fn words_are_taken_for_what_they_were_worth() {
        let told = |user, estimate| Traits { estimate: Some(estimate), ..of(user, 1000) };
        let mut predictor = Predictor::default();
        let fresh = predictor.predict(&told(1, HOUR));
        assert!((55 * MINUTE..65 * MINUTE).contains(&fresh.quantile(0, 500)));
        for n in 1..60 {
            // says four times as long as it takes
            predictor.learn(&told(1, n * 4 * MINUTE), n * MINUTE);
        }
        let known = predictor.predict(&told(1, 100 * HOUR));
        assert!((23 * HOUR..27 * HOUR).contains(&known.quantile(0, 500)), "{}", known.quantile(0, 500));
    }

    #[test]
    fn buckets_are_in_order_and_hold_what_they_are_for() {
        assert!((1..RUN_BUCKETS).all(|bucket| run_edge(bucket - 1) < run_edge(bucket)));
        for ran in [0, 999, 1000, 1189, 1190, HOUR, 1 << 40] {
            let bucket = usize::from(bucket_of(ran, RUN_BUCKETS, run_edge));
            assert!(run_edge(bucket) <= ran && (bucket + 1 == RUN_BUCKETS || ran < run_edge(bucket + 1)));
        }
        let middle = usize::from(bucket_of(HOUR, RATIO_BUCKETS, |bucket| ratio_edge(bucket, HOUR)));
        assert_eq!(middle, RATIO_BUCKETS / 2);
    }

    #[test]
    fn memory_is_bounded_and_what_was_met_last_stays() {
        let mut predictor = Predictor::default();
        let many = MOST_GROUPS as u64;
        for user in 0..many {
            predictor.learn(&of(user, 1000), HOUR);
        }
        assert!(predictor.groups.all().len() <= MOST_GROUPS);
        // who was met last is known, who was met first is not
        assert_eq!(predictor.predict(&of(many - 1, 1000)).votes(), 1);
        let first = predictor.predict(&of(0, 1000));
        assert!(first.votes() != 1, "{}", first.votes());
        assert!(predictor.groups.all().all(|memory| memory.jobs <= MOST_JOBS));
    }

    #[test]
    fn what_is_kept_is_what_was_met_last() {
        let mut predictor = Predictor::default();
        for user in 0..100 {
            predictor.learn(&of(user, 1000), HOUR);
        }
        let before = predictor.clone();
        predictor.keep(before.groups());
        assert_eq!(predictor, before);
        predictor.keep(12);
        assert_eq!((predictor.groups(), predictor.learned()), (12, 100));
        // the groups of all jobs and of the latest people
        assert_eq!(predictor.predict(&of(99, 1000)).votes(), 1);
        assert_eq!(predictor.predict(&of(1, 1000)).votes(), 100);
    }

    #[test]
    fn stems_leave_out_what_counts_up() {
        for (name, is) in [
            ("train-17", "train"),
            ("train-resnet50-lr0.1-17", "train-resnet50-lr"),
            ("train_20260131T1200_3", "train"),
            ("eval-deadbeef01", "eval"),
            ("bert", "bert"),
            ("job7", "job"),
            ("7", ""),
        ] {
            assert_eq!(stem(name), is, "{name}");
        }
    }
}
