//! How long a job waits if those before it run as they are thought to: a walk forward in time over counts of GPUs.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use crate::model::Millis;

/// Courses that are played at once.
pub const COURSES: usize = 16;

/// A time in each of [`COURSES`] equally likely courses of things.
pub type Courses = [Millis; COURSES];

/// A job that is before another.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Milli-GPU of all its replicas.
    pub wants: i64,
    /// For how long it keeps them, from now or from its start, shortest first; see
    /// [`Prediction::courses`](crate::predict::Prediction::courses). Less where it gives way sooner.
    pub left: Courses,
    /// Any number of its own: the courses of jobs are shuffled apart by it.
    pub seed: u64,
}

impl Load {
    /// How long in one course. Each time comes up in one course, in an order of the job's own (a Latin hypercube; McKay, Beckman
    /// and Conover, Technometrics 21, 1979).
    fn left_in(&self, course: usize) -> Millis {
        let mixed = mix(self.seed);
        let (step, from) = ((mixed as usize & 7) * 2 + 1, (mixed >> 8) as usize);
        self.left[(course.wrapping_mul(step).wrapping_add(from)) % COURSES]
    }

    /// The mean of its work, in milli-GPU times milliseconds.
    fn work(&self) -> i128 {
        self.left.iter().map(|left| i128::from(*left)).sum::<i128>() / COURSES as i128
            * i128::from(self.wants)
    }
}

/// SplitMix64 (Steele, Lea, Flood; OOPSLA '14).
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A job that came lately, as a sample of those that will.
#[derive(Clone, Copy, Debug)]
pub struct Comer {
    /// Milliseconds after the beginning of the span that is sampled.
    pub at: Millis,
    /// What it holds, and for how long.
    pub load: Load,
    /// Does it go first? Otherwise it takes what the job in question cannot use.
    pub first: bool,
}

/// What is before a job.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// Milli-GPU that are free now, or held by who gives way.
    pub free: i64,
    /// Who holds GPUs and does not give way to it.
    pub running: &'a [Load],
    /// Who waits and goes first, in order.
    pub waiting: &'a [Load],
    /// Who waits behind it and takes what it cannot use, in order.
    pub behind: &'a [Load],
    /// Does nobody pass who waits?
    pub strict: bool,
    /// Who came lately and would have been in its way.
    pub coming: &'a [Comer],
    /// The span in which they came.
    pub span: Millis,
    /// Milli-GPU that it wants.
    pub wants: i64,
}

/// Of those that wait before a job so many are played; the wait for the rest is taken to be in proportion to their work.
pub const DEPTH: usize = 4096;
/// Newcomers that are thought of in one course.
const MOST_COMERS: usize = 1024;

/// Who waits, by size.
#[derive(Default)]
struct Line {
    sizes: BTreeMap<i64, VecDeque<(usize, Load)>>,
    next: usize,
}

impl Line {
    fn push(&mut self, load: Load) {
        self.sizes.entry(load.wants).or_default().push_back((self.next, load));
        self.next += 1;
    }

    /// The first that fits.
    fn pop(&mut self, free: i64) -> Option<Load> {
        let fit = self.sizes.range(..=free).filter_map(|(wants, of)| Some((of.front()?.0, *wants)));
        let (_, wants) = fit.min()?;
        let of = self.sizes.get_mut(&wants)?;
        let first = of.pop_front();
        if of.is_empty() {
            self.sizes.remove(&wants);
        }
        first.map(|(_, load)| load)
    }
}

impl Scene<'_> {
    /// How long it waits, in each course, the shortest first; at least until something ends. 16 courses of n log n steps, n what
    /// runs, waits (up to [`DEPTH`]) and comes (up to 1024), times the number of sizes of jobs unless `strict`.
    pub fn waits(&self) -> Courses {
        let deep = self.waiting.get(..DEPTH).filter(|front| front.len() < self.waiting.len());
        let near = Scene { waiting: deep.unwrap_or(self.waiting), ..*self };
        let mut waits = Courses::default();
        for (course, wait) in waits.iter_mut().enumerate() {
            *wait = if self.strict { near.in_line(course) } else { near.passing(course) };
        }
        if let Some(front) = deep {
            let work = |loads: &[Load]| loads.iter().map(Load::work).sum::<i128>();
            let of_running = work(self.running);
            let (all, part) = (of_running + work(self.waiting), (of_running + work(front)).max(1));
            let scaled = |wait: Millis| i64::try_from(i128::from(wait) * all / part).unwrap_or(Millis::MAX);
            waits = waits.map(scaled);
        }
        waits.sort_unstable();
        waits
    }

    fn begin(&self, course: usize) -> BinaryHeap<Reverse<(Millis, i64)>> {
        self.running.iter().map(|load| Reverse((load.left_in(course), load.wants))).collect()
    }

    fn in_line(&self, course: usize) -> Millis {
        let (mut ends, mut free, mut now) = (self.begin(course), self.free, 0i64);
        let mut room = |wants: i64, stays: Option<Millis>| {
            while free < wants {
                let Some(Reverse((end, back))) = ends.pop() else { break };
                now = now.max(end);
                free += back;
            }
            if let Some(stays) = stays {
                free -= wants;
                ends.push(Reverse((now.saturating_add(stays), wants)));
            }
            now
        };
        for load in self.waiting {
            room(load.wants, Some(load.left_in(course)));
        }
        room(self.wants, None)
    }

    /// Who comes, and when: those that came lately, over and over, in each course from another one on.
    fn comers(&self, course: usize) -> impl Iterator<Item = (Millis, &Comer)> {
        let (all, span) = (self.coming.len(), self.span);
        let from = course * all / COURSES;
        let begin = self.coming.get(from).map_or(0, |comer| comer.at) - span / (2 * all.max(1) as i64);
        (from..from + MOST_COMERS).filter_map(move |n| {
            let comer = self.coming.get(n.checked_rem(all)?)?;
            Some(((n / all) as i64 * span + comer.at - begin, comer))
        })
    }

    fn passing(&self, course: usize) -> Millis {
        let (mut ends, mut free, mut now) = (self.begin(course), self.free, 0i64);
        let (mut first, mut behind) = (Line::default(), Line::default());
        self.waiting.iter().for_each(|load| first.push(*load));
        self.behind.iter().for_each(|load| behind.push(*load));
        let mut coming = self.comers(course).peekable();
        let mut ended = false;
        loop {
            while let Some(load) = first.pop(free) {
                free -= load.wants;
                ends.push(Reverse((now.saturating_add(load.left_in(course)), load.wants)));
            }
            if free >= self.wants && ended {
                return now;
            }
            while let Some(load) = behind.pop(free) {
                free -= load.wants;
                ends.push(Reverse((now.saturating_add(load.left_in(course)), load.wants)));
            }
            let Some(Reverse((end, _))) = ends.peek().copied() else { return now };
            while let Some((_, comer)) = coming.next_if(|(at, _)| *at <= end) {
                if comer.first { first.push(comer.load) } else { behind.push(comer.load) }
            }
            now = end.max(now);
            while ends.peek().is_some_and(|Reverse((end, _))| *end <= now) {
                free += ends.pop().map_or(0, |Reverse((_, back))| back);
                ended = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Millis = 3_600_000;

    fn load(wants: i64, left: Millis) -> Load {
        Load { wants, left: [left; COURSES], seed: wants.unsigned_abs() }
    }

    const NOTHING: Scene<'static> = Scene {
        free: 0,
        running: &[],
        waiting: &[],
        behind: &[],
        strict: false,
        coming: &[],
        span: 0,
        wants: 1000,
    };

    #[test]
    fn who_is_certain_of_all_before_knows_the_hour() {
        let running = [load(4000, HOUR), load(4000, 3 * HOUR)];
        let scene = Scene { running: &running, wants: 4000, ..NOTHING };
        assert_eq!(scene.waits(), [HOUR; COURSES]);
        assert_eq!(Scene { wants: 5000, ..scene }.waits(), [3 * HOUR; COURSES]);
        let waiting = [load(8000, HOUR), load(4000, 5 * HOUR)];
        let behind_them = Scene { waiting: &waiting, ..scene };
        // in line it waits for the wide one, and takes what the other leaves
        assert_eq!(Scene { strict: true, ..behind_them }.waits(), [4 * HOUR; COURSES]);
        // who may pass goes when the first ends, but for the one before it that fits as well
        assert_eq!(behind_them.waits(), [3 * HOUR; COURSES]);
        assert_eq!(Scene { waiting: &waiting[..1], ..behind_them }.waits(), [HOUR; COURSES]);
    }

    #[test]
    fn courses_spread_as_run_times_do_and_many_jobs_even_out() {
        let mut one = load(1000, 0);
        for (left, n) in one.left.iter_mut().zip(1..) {
            *left = n * HOUR;
        }
        let running = [one];
        let alone = Scene { running: &running, ..NOTHING }.waits();
        assert_eq!(alone, one.left);
        let mut waiting = vec![one; 400];
        waiting.iter_mut().zip(0..).for_each(|(load, seed)| load.seed = seed);
        let many = Scene { running: &running, waiting: &waiting, strict: true, ..NOTHING }.waits();
        let mean = 401 * 17 * HOUR / 2;
        assert!(many[0] > mean * 9 / 10 && many[COURSES - 1] < mean * 11 / 10, "{many:?}");
    }

    #[test]
    fn who_comes_and_goes_first_makes_it_wait_longer() {
        let running = [load(8000, HOUR)];
        let scene = Scene { running: &running, wants: 8000, span: 10 * HOUR, ..NOTHING };
        // one an hour that runs for a quarter of it on half of the GPUs
        let coming: Vec<Comer> =
            (0..10).map(|n| Comer { at: n * HOUR, load: load(4000, HOUR / 4), first: true }).collect();
        let waits = Scene { coming: &coming, ..scene }.waits();
        assert_eq!(scene.waits(), [HOUR; COURSES]);
        assert_eq!(waits, [5 * HOUR / 4; COURSES]);
        // who does not go first takes only what it cannot use
        let coming: Vec<Comer> = coming.into_iter().map(|comer| Comer { first: false, ..comer }).collect();
        let waits = Scene { coming: &coming, ..scene }.waits();
        assert_eq!(waits, [HOUR; COURSES]);
        let free = Scene { coming: &coming, free: 4000, running: &[load(4000, 10 * HOUR)], ..scene }.waits();
        assert!(free[0] >= 10 * HOUR, "{free:?}");
    }

    #[test]
    fn a_line_longer_than_is_played_counts_by_its_work() {
        let waiting = vec![load(1000, HOUR); 4 * DEPTH];
        let running = [load(1000, HOUR)];
        let scene = Scene { running: &running, waiting: &waiting, strict: true, ..NOTHING };
        let all = (4 * DEPTH as i64 + 1) * HOUR;
        let wait = scene.waits()[0];
        assert!((wait - all).abs() < all / 100, "{wait} {all}");
    }
}
