//! Shares over time, where what was borrowed is forgotten by half lives: jobs of one GPU, accounts side by side that always want more.

use std::collections::BTreeMap;
use std::sync::Arc;

use crater_engine::usage::decay_all;
use crater_engine::{
    Account, AccountIx, Amounts, Holding, Job, JobIx, ModelIx, Node, Request, Role, Settings, Shape,
    Snapshot, WHOLE_GPU, decide,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::audit::audit;
use crate::cases::GI;

const TICK: i64 = 10_000;
const HALF_LIFE: i64 = 60 * TICK;

/// A cluster of one GPU a job.
struct House {
    s: Snapshot,
    request: Arc<Request>,
    /// How long each job runs once it starts.
    runs: Vec<i64>,
    /// Who started when, and never lost anything.
    started: BTreeMap<JobIx, i64>,
    /// (from whom, to whom): replicas taken by share.
    taken: Vec<(usize, usize)>,
}

impl House {
    fn new(gpus: u16, weights: &[i64], promised: &[i64], half_life_ms: i64) -> Self {
        let each = Shape { cpu: 100, memory: GI, gpu: WHOLE_GPU };
        let accounts = weights.iter().zip(promised).map(|(weight, promised)| Account {
            weight: *weight,
            guaranteed: Amounts {
                gpu: (*promised > 0).then_some(promised * WHOLE_GPU),
                ..Amounts::default()
            },
            ..Account::default()
        });
        let s = Snapshot {
            now: 1_000_000_000,
            models: 1,
            nodes: vec![Node {
                cpu: 64_000,
                memory: 256 * GI,
                gpus,
                model: Some(ModelIx(0)),
                open: true,
                ..Node::default()
            }],
            accounts: accounts.collect(),
            settings: Settings { protection_ms: 0, half_life_ms, ..Settings::default() },
            ..Snapshot::default()
        };
        let roles = vec![Role { each, replicas: 1, min: 1 }];
        let request = Arc::new(Request { roles, ..Request::default() });
        Self { s, request, runs: Vec::new(), started: BTreeMap::new(), taken: Vec::new() }
    }

    fn submit(&mut self, account: usize, runs: i64) -> JobIx {
        self.runs.push(runs);
        self.s.jobs.push(Job {
            account: AccountIx::of(account),
            submitted: self.s.now,
            queued_since: self.s.now,
            request: self.request.clone(),
            ..Job::default()
        });
        JobIx::of(self.s.jobs.len() - 1)
    }

    fn held(&self, account: usize) -> i64 {
        let of = |held: &&Holding| self.s.jobs[held.job.at()].account.at() == account;
        i64::try_from(self.s.holdings.iter().filter(of).count()).unwrap()
    }

    fn waiting(&self, account: usize) -> usize {
        let waits = |(ix, job): &(usize, &Job)| {
            !job.closed && job.account.at() == account && !self.started.contains_key(&JobIx::of(*ix))
        };
        self.s.jobs.iter().enumerate().filter(waits).count()
    }

    /// Average milli-GPU borrowed lately, by weight.
    fn lately(&self, account: usize) -> i64 {
        let nano = self.s.lately.get(account).and_then(|all| all.all.gpu.first()).copied().unwrap_or(0);
        nano / 1_000_000 / self.s.accounts[account].weight
    }

    /// A cycle, and a tick of time.
    fn tick(&mut self) {
        let now = self.s.now;
        let over: Vec<JobIx> = self
            .started
            .iter()
            .filter(|(job, at)| **at + self.runs[job.at()] <= now)
            .map(|(job, _)| *job)
            .collect();
        self.s.holdings.retain(|held| !over.contains(&held.job));
        for job in &over {
            self.s.jobs[job.at()].closed = true;
            self.started.remove(job);
        }
        let mut borrowed = Vec::new();
        for _ in 0..20 {
            let plan = decide(&self.s).unwrap();
            audit(&self.s, &plan);
            borrowed = plan.borrowed;
            for revocation in &plan.revocations {
                let to = self.s.jobs[revocation.beneficiary.unwrap().at()].account.at();
                self.taken.push((self.s.jobs[revocation.job.at()].account.at(), to));
                self.s.holdings.retain(|held| held.job != revocation.job);
                self.started.remove(&revocation.job);
            }
            for grant in &plan.grants {
                let held: Vec<Holding> = self.s.holdings_of(grant).collect();
                self.s.holdings.extend(held);
                self.started.insert(grant.job, now);
            }
            self.s.holds = plan.holds;
            self.s.cycle += 1;
            if plan.grants.is_empty() && plan.revocations.is_empty() {
                break;
            }
        }
        decay_all(&mut self.s.lately, &borrowed, TICK, self.s.settings.half_life_ms.max(1));
        self.s.now += TICK;
        // who is over is not looked at again
        if self.s.jobs.iter().filter(|job| job.closed).count() > 200 {
            self.forget();
        }
    }

    /// Numbers the jobs anew, without those that are over.
    fn forget(&mut self) {
        let mut new = BTreeMap::new();
        let mut runs = Vec::new();
        let mut jobs = Vec::new();
        for (ix, job) in
            std::mem::take(&mut self.s.jobs).into_iter().enumerate().filter(|(_, job)| !job.closed)
        {
            new.insert(JobIx::of(ix), JobIx::of(jobs.len()));
            runs.push(self.runs[ix]);
            jobs.push(job);
        }
        (self.s.jobs, self.runs) = (jobs, runs);
        self.s.holdings.iter_mut().for_each(|held| held.job = new[&held.job]);
        self.s.holds.clear();
        self.started =
            std::mem::take(&mut self.started).into_iter().map(|(job, at)| (new[&job], at)).collect();
    }
}

/// Jobs of these lengths, in turn, so that an account always has as many waiting as there are GPUs.
fn fill(house: &mut House, account: usize, lengths: &mut impl Iterator<Item = i64>) {
    let gpus = usize::from(house.s.nodes[0].gpus);
    while house.waiting(account) < gpus {
        house.submit(account, lengths.next().unwrap());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: crate::config().cases / 8, ..crate::config() })]

    #[test]
    fn whoever_had_the_cluster_alone_pays_it_back_and_then_all_have_the_same_over_time(
        gpus in 2u16..=8,
        lengths in vec(1i64..=12, 1..=9),
        weights in vec(1i64..=3, 2..=3),
        alone in 1i64..=4,
    ) {
        let mut house = House::new(gpus, &weights, &vec![0; weights.len()], HALF_LIFE);
        let mut lengths = lengths.iter().cycle().map(|ticks| ticks * TICK);
        for _ in 0..alone * HALF_LIFE / TICK {
            fill(&mut house, 0, &mut lengths);
            house.tick();
        }
        prop_assert!(house.lately(0) > 0 && house.lately(1) == 0);
        // at first the others have more, where a job is less than what they are behind
        let (mut had, begin) = (vec![0i64; weights.len()], house.s.now);
        for _ in 0..HALF_LIFE / TICK {
            (0..weights.len()).for_each(|account| fill(&mut house, account, &mut lengths));
            house.tick();
            (0..weights.len()).for_each(|account| had[account] += house.held(account));
        }
        for other in 1..weights.len() {
            let (theirs, its) = (had[other] * weights[0], had[0] * weights[other]);
            let tells = gpus >= 4 && alone >= 2;
            prop_assert!(theirs > its || (!tells && theirs == its), "{had:?} by {weights:?}");
        }
        for _ in 0..6 * HALF_LIFE / TICK {
            (0..weights.len()).for_each(|account| fill(&mut house, account, &mut lengths));
            house.tick();
            had[0] += house.held(0);
            // by then it has had no more than a seventh, which is the least that is due to it by weight
            prop_assert!(had[0] > 0 || house.s.now < begin + 3 * HALF_LIFE, "nothing for three half lives");
        }
        for _ in 0..HALF_LIFE / TICK {
            (0..weights.len()).for_each(|account| fill(&mut house, account, &mut lengths));
            house.tick();
            for a in 0..weights.len() {
                for b in 0..weights.len() {
                    // one job, and what is not forgotten of the time alone
                    let gap = house.lately(a) - house.lately(b);
                    let rest = (i64::from(gpus) * WHOLE_GPU) >> 6;
                    prop_assert!(gap <= WHOLE_GPU + rest, "account {a} is {gap} milli-GPU ahead of {b}");
                }
            }
        }
        // once all have the same, nobody takes anything: what ends is enough
        house.taken.clear();
        for _ in 0..HALF_LIFE / TICK {
            (0..weights.len()).for_each(|account| fill(&mut house, account, &mut lengths));
            house.tick();
        }
        for (from, to) in &house.taken {
            prop_assert!(!house.taken.contains(&(*to, *from)), "they take from each other: {:?}", house.taken);
        }
    }

    #[test]
    fn work_that_never_ends_is_not_taken_back_and_forth(
        gpus in 2u16..=8,
        weights in vec(1i64..=3, 2..=4),
        lately in vec(0i64..=8, 4),
        half_life in prop_oneof![Just(HALF_LIFE / 20), Just(HALF_LIFE), Just(20 * HALF_LIFE)],
    ) {
        let mut house = House::new(gpus, &weights, &vec![0; weights.len()], half_life);
        for had in &lately[..weights.len()] {
            let mut past = crater_engine::Borrowed::default();
            past.all.add_gpu(ModelIx(0), had.min(&i64::from(gpus)) * 1_000_000_000);
            house.s.lately.push(past);
        }
        for account in 0..weights.len() {
            (0..gpus).for_each(|_| { house.submit(account, i64::MAX / 4); });
        }
        let mut last = 0;
        for tick in 0..12 * half_life.min(10 * HALF_LIFE) / TICK {
            let before = house.taken.len();
            house.tick();
            if house.taken.len() > before {
                last = tick;
            }
        }
        prop_assert!(house.taken.len() <= 2 * usize::from(gpus), "{:?}, the last at {last}", house.taken);
    }

    #[test]
    fn history_takes_no_guarantee_away(
        gpus in 2u16..=8,
        promised in vec(0i64..=3, 2..=3),
        jobs in vec((0usize..3, 1i64..=30), 1..=40),
    ) {
        let mut left = i64::from(gpus);
        let promised: Vec<i64> = promised.iter().map(|gpus| { let part = left.min(*gpus); left -= part; part }).collect();
        let mut house = House::new(gpus, &vec![1; promised.len()], &promised, HALF_LIFE);
        for (account, ticks) in jobs {
            house.submit(account % promised.len(), ticks * TICK);
            house.tick();
            for (account, promised) in promised.iter().enumerate() {
                let due = (*promised).min(house.held(account) + i64::try_from(house.waiting(account)).unwrap());
                prop_assert!(house.held(account) >= due, "account {account} has {} of {due}", house.held(account));
            }
        }
    }

    #[test]
    fn a_gang_waits_no_longer_than_the_past_lasts(
        gpus in 2u16..=6,
        lengths in vec(1i64..=6, 1..=9),
    ) {
        // an account that had everything wants all of it at once again, beside one that had nothing and always wants more
        let mut house = House::new(gpus, &[1, 1], &[0, 0], HALF_LIFE);
        let mut lengths = lengths.iter().cycle().map(|ticks| ticks * TICK);
        for _ in 0..4 * HALF_LIFE / TICK {
            fill(&mut house, 0, &mut lengths);
            house.tick();
        }
        let waits: Vec<usize> = (0..house.s.jobs.len()).filter(|ix| !house.started.contains_key(&JobIx::of(*ix))).collect();
        waits.into_iter().for_each(|ix| house.s.jobs[ix].closed = true);
        let each = house.request.roles[0].each;
        let roles = vec![Role { each, replicas: u32::from(gpus), min: u32::from(gpus) }];
        let gang = Arc::new(Request { roles, ..Request::default() });
        let mut waited = 0;
        house.submit(0, TICK);
        house.s.jobs.last_mut().unwrap().request = gang.clone();
        let started = |house: &House| house.s.holdings.iter().any(|held| Arc::ptr_eq(&house.s.jobs[held.job.at()].request, &gang));
        while !started(&house) {
            fill(&mut house, 1, &mut lengths);
            house.tick();
            waited += 1;
            prop_assert!(waited <= 4 * HALF_LIFE / TICK, "it still waits");
        }
    }
}
