//! The clock of a time replay: whole-GPU gangs on one pool of identical nodes, in integer milliseconds.
//!
//! At one instant ends come before arrivals, and both before the decision. Moving to other nodes is free, as in the reference. Work that is stopped keeps what it has computed and
//! pays its pause when it starts again.

use crater_engine::Millis;
use crater_engine::forecast::Forecast;

use super::foretell::{Before, Foreteller, Way};
use super::pool::{Places, Pool};
use super::workload::{Asked, Truth, Workload};

/// What a scheduler sees of a job that came and has not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// How long it has held its GPUs, pauses included, in milliseconds.
    pub held: Millis,
    /// Does it hold GPUs now?
    pub running: bool,
    /// Since when it runs, or waits.
    pub since: Millis,
    /// Did it ever run?
    pub started: bool,
    /// How often it was stopped.
    pub stopped: u32,
}

/// What a policy without an oracle is handed.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    pub now: Millis,
    /// GPUs of the pool.
    pub gpus: u64,
    pub asked: &'a [Asked],
    pub progress: &'a [Progress],
}

/// Orders the jobs that have come and not ended; all of them are placed anew in that order at every event.
pub(super) trait Ranker {
    fn arrived(&mut self, view: &View<'_>, job: usize);
    /// A job ended after so long a run, which is no secret any more.
    fn ended(&mut self, view: &View<'_>, job: usize, ran: Millis);
    /// All that have come and not ended, those to be served first first.
    fn order(&mut self, view: &View<'_>) -> &[usize];
    /// After they were placed: when the order may change though nothing happens.
    fn settled(&mut self, view: &View<'_>) -> Option<Millis>;
    /// Are owners' estimates heard?
    fn heard(&self) -> bool {
        false
    }
    /// What is in the way of a job that waits.
    fn way(&self, view: &View<'_>, job: usize) -> Way;
    /// How would one that comes as another came lately be in the way of a job that waits?
    fn passes(&self, view: &View<'_>, job: usize, other: usize) -> Option<Before>;
}

/// Orders jobs by what is left of their true durations. The bounds, not a policy.
pub(super) struct Oracle {
    live: Vec<usize>,
    /// By time left × GPUs instead of time left?
    service: bool,
}

impl Oracle {
    pub fn new(service: bool) -> Self {
        Self { live: Vec::new(), service }
    }

    fn order(&mut self, asked: &[Asked], left: &[Millis]) -> &[usize] {
        // stable: equal jobs stay as they were
        self.live.sort_by_key(|job| {
            if self.service { left[*job] * Millis::from(asked[*job].gpus) } else { left[*job] }
        });
        &self.live
    }
}

/// Who orders.
pub(super) enum Who<'a> {
    Blind(&'a mut dyn Ranker),
    Oracle(Oracle),
}

/// What became of one job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fate {
    /// `None`: it could never be placed.
    pub end: Option<Millis>,
    pub first: Option<Millis>,
    pub stopped: u32,
    pub moved: u32,
    /// Milliseconds it held GPUs in pauses.
    pub lost: Millis,
}

/// What came of a replay.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    /// Of each job.
    pub fates: Vec<Fate>,
    /// (instant, milli-GPU taken or given back).
    pub held: Vec<(Millis, i64)>,
    /// Of each job, what it was told first of its start, where anything was.
    pub told: Vec<Option<Forecast>>,
}

struct State {
    left: Millis,
    hold: Millis,
    marked: Millis,
}

/// Called now and then with (jobs ended, jobs in all).
pub(super) type Watch<'a> = &'a mut dyn FnMut(usize, usize);

/// Jobs that some pool could never hold are left out; the others in order of arrival.
fn arrivals(workload: &Workload, pool: &Pool) -> Vec<usize> {
    let mut order: Vec<usize> =
        (0..workload.len()).filter(|job| pool.could_hold(workload.asked[*job].gpus)).collect();
    order.sort_by_key(|job| (workload.asked[*job].submitted, *job));
    order
}

/// What orders a line in which a job that started runs to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// By submission; the first that does not fit blocks all behind it.
    Fifo,
    /// By true duration; what does not fit is passed over.
    OracleSjf,
}

/// Replays a line.
pub(super) fn run_line(workload: &Workload, mut pool: Pool, line: Line, watch: Watch<'_>) -> Outcome {
    let coming = arrivals(workload, &pool);
    let gpus = pool.total();
    let mut teller = (line == Line::Fifo).then(|| Foreteller::new(false, workload.len()));
    let mut progress = vec![Progress::default(); workload.len()];
    let mut held = Vec::new();
    let mut fates = vec![Fate::default(); workload.len()];
    let mut places = vec![Places::new(); workload.len()];
    let mut ends: std::collections::BTreeSet<(Millis, usize)> = std::collections::BTreeSet::new();
    let mut queue: Vec<usize> = Vec::new();
    let (mut next, mut done) = (0, 0);
    while let Some(now) =
        soonest(coming.get(next).map(|job| workload.asked[*job].submitted), ends.first().map(|(end, _)| *end))
    {
        while let Some((_, job)) = ends.first().copied().filter(|(end, _)| *end <= now) {
            ends.pop_first();
            pool.release(&places[job]);
            held.push((now, -workload.asked[job].milli()));
            fates[job].end = Some(now);
            progress[job].running = false;
            if let Some(teller) = &mut teller {
                teller.ended(&workload.asked[job], workload.truth[job].0);
            }
            done += 1;
        }
        while let Some(job) = coming.get(next).filter(|job| workload.asked[**job].submitted <= now) {
            queue.push(*job);
            if let Some(teller) = &mut teller {
                teller.arrived(*job, now);
            }
            next += 1;
        }
        if line == Line::OracleSjf {
            queue.sort_by_key(|job| (workload.truth[*job].0, *job));
        }
        let mut blocked = false;
        queue.retain(|job| {
            if blocked || pool.total() == 0 {
                return true;
            }
            if !pool.place(workload.asked[*job].gpus, &mut places[*job]) {
                blocked = line == Line::Fifo;
                return true;
            }
            fates[*job].first = Some(now);
            progress[*job] = Progress { running: true, started: true, since: now, ..Progress::default() };
            if let Some(teller) = &mut teller {
                teller.started(*job, now);
            }
            held.push((now, workload.asked[*job].milli()));
            ends.insert((now + workload.truth[*job].0, *job));
            false
        });
        if let Some(teller) = &mut teller {
            for (_, job) in &ends {
                progress[*job].held = now - progress[*job].since;
            }
            for (at, job) in
                queue.iter().enumerate().filter(|(_, job)| workload.asked[**job].submitted == now)
            {
                let mut running: Vec<usize> = ends.iter().map(|(_, job)| *job).collect();
                // in the order of their ends would tell how long they run
                running.sort_unstable();
                let before = running.into_iter().chain(queue[..at].iter().copied());
                let before = before.map(|job| Before { job, at_most: None, first: true }).collect();
                let view = View { now, gpus, asked: &workload.asked, progress: &progress };
                teller.tell(&view, *job, &Way { before, strict: true }, |_| None);
            }
        }
        watch(done, coming.len());
    }
    Outcome { fates, held, told: teller.map(|teller| teller.told).unwrap_or_default() }
}

fn soonest(a: Option<Millis>, b: Option<Millis>) -> Option<Millis> {
    [a, b].into_iter().flatten().min()
}

/// Replays with preemption: at every arrival, every end, and whenever the policy asks to be woken, all jobs are placed anew in
/// the policy's order; what finds no place is stopped.
pub(super) fn run_packed(workload: &Workload, mut pool: Pool, mut who: Who<'_>, watch: Watch<'_>) -> Outcome {
    let coming = arrivals(workload, &pool);
    let mut held = Vec::new();
    let gpus = pool.total();
    let asked = &workload.asked;
    let mut fates = vec![Fate::default(); workload.len()];
    let mut progress = vec![Progress::default(); workload.len()];
    let mut left: Vec<Millis> = workload.truth.iter().map(|Truth(runs)| *runs).collect();
    let mut states: Vec<State> = left.iter().map(|left| State { left: *left, hold: 0, marked: 0 }).collect();
    let mut live: Vec<usize> = Vec::new();
    let mut ending: Vec<usize> = Vec::new();
    let (mut ends_at, mut wake) = (None, None);
    let (mut next, mut done) = (0, 0);
    let mut room = Places::new();
    let mut teller = match &who {
        Who::Blind(ranker) => Some(Foreteller::new(ranker.heard(), workload.len())),
        Who::Oracle(_) => None,
    };
    loop {
        let arrived = next;
        let arrives = coming.get(next).map(|job| asked[*job].submitted);
        let Some(event) = soonest(arrives, ends_at) else { break };
        let now = wake.filter(|wake| *wake < event).unwrap_or(event);
        for job in &live {
            advance(&mut states[*job], &mut progress[*job], &mut fates[*job], now);
            left[*job] = states[*job].left;
        }
        if ends_at == Some(now) {
            for job in ending.drain(..) {
                fates[job].end = Some(now);
                progress[job].running = false;
                held.push((now, -asked[job].milli()));
                live.retain(|other| *other != job);
                done += 1;
                let view = View { now, gpus, asked, progress: &progress };
                match &mut who {
                    Who::Blind(ranker) => {
                        ranker.ended(&view, job, workload.truth[job].0);
                        if let Some(teller) = &mut teller {
                            teller.ended(&asked[job], workload.truth[job].0);
                        }
                    }
                    Who::Oracle(oracle) => oracle.live.retain(|other| *other != job),
                }
            }
        }
        while let Some(job) = coming.get(next).copied().filter(|job| asked[*job].submitted == now) {
            next += 1;
            live.push(job);
            states[job].marked = now;
            if let Some(teller) = &mut teller {
                teller.arrived(job, now);
            }
            progress[job].since = now;
            let view = View { now, gpus, asked, progress: &progress };
            match &mut who {
                Who::Blind(ranker) => ranker.arrived(&view, job),
                Who::Oracle(oracle) => oracle.live.push(job),
            }
        }
        let view = View { now, gpus, asked, progress: &progress };
        let order = match &mut who {
            Who::Blind(ranker) => ranker.order(&view),
            Who::Oracle(oracle) => oracle.order(asked, &left),
        };
        pool.reset();
        for job in order.iter().copied() {
            let (state, seen, fate) = (&mut states[job], &mut progress[job], &mut fates[job]);
            if pool.place(asked[job].gpus, &mut room) {
                if !seen.running {
                    held.push((now, asked[job].milli()));
                    if let Some(teller) = teller.as_mut().filter(|_| fate.first.is_none()) {
                        teller.started(job, now);
                    }
                    start(state, seen, fate, now, asked[job].restart);
                }
            } else if seen.running {
                held.push((now, -asked[job].milli()));
                seen.running = false;
                seen.since = now;
                seen.stopped += 1;
                fate.stopped += 1;
            }
        }
        wake = match &mut who {
            Who::Blind(ranker) => ranker.settled(&View { now, gpus, asked, progress: &progress }),
            Who::Oracle(_) => None,
        };
        if let (Who::Blind(ranker), Some(teller)) = (&who, &mut teller) {
            let view = View { now, gpus, asked, progress: &progress };
            for job in coming[arrived..next].iter().filter(|job| !progress[**job].running) {
                teller.tell(&view, *job, &ranker.way(&view, *job), |other| ranker.passes(&view, *job, other));
            }
        }
        ends_at = None;
        ending.clear();
        for job in live.iter().filter(|job| progress[**job].running) {
            let end = now + states[*job].hold + states[*job].left;
            if ends_at.is_none_or(|first| end < first) {
                ends_at = Some(end);
                ending.clear();
            }
            if ends_at == Some(end) {
                ending.push(*job);
            }
        }
        watch(done, coming.len());
    }
    Outcome { fates, held, told: teller.map(|teller| teller.told).unwrap_or_default() }
}

fn advance(state: &mut State, seen: &mut Progress, fate: &mut Fate, now: Millis) {
    if seen.running {
        let passed = now - state.marked;
        let paused = passed.min(state.hold);
        state.hold -= paused;
        state.left -= passed - paused;
        seen.held += passed;
        fate.lost += paused;
    }
    state.marked = now;
}

fn start(state: &mut State, seen: &mut Progress, fate: &mut Fate, now: Millis, restart: Millis) {
    if fate.first.is_none() {
        fate.first = Some(now);
    } else {
        state.hold = restart;
    }
    seen.running = true;
    seen.started = true;
    seen.since = now;
}
