//! What conservative backfilling promises, in worlds whose jobs run exactly as long as their owners say.

use std::collections::BTreeMap;
use std::sync::Arc;

use crater_engine::{
    Account, Backfill, Holding, Job, JobIx, KeyIx, Millis, ModelIx, Node, Placement, Placing, Plan, Reason,
    Request, Role, Settings, Shape, Snapshot, Topology, ValueIx, WHOLE_GPU, decide,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::audit::audit;
use crate::cases::GI;

const SECOND: i64 = 1000;

#[derive(Clone, Debug)]
struct World {
    nodes: Vec<Node>,
    /// When each is submitted, after the one before, how long it runs, and what it wants.
    jobs: Vec<(i64, i64, Request)>,
    placement: Placing,
}

fn node() -> impl Strategy<Value = Node> {
    (1u16..=4, 0u32..2, 2i64..=8, 0u32..2).prop_map(|(gpus, model, cpu, rack)| Node {
        cpu: cpu * 1000,
        memory: 64 * GI,
        gpus,
        model: Some(ModelIx(model)),
        open: true,
        labels: vec![(KeyIx(0), ValueIx(rack))],
        ..Node::default()
    })
}

fn role() -> impl Strategy<Value = Role> {
    let gpu = prop_oneof![
        1 => Just(0), 1 => Just(250), 1 => Just(500), 3 => Just(1000), 3 => Just(2000), 2 => Just(4000)
    ];
    (gpu, 1i64..=3, 1u32..=3).prop_map(|(gpu, cpu, replicas)| Role {
        each: Shape { cpu: cpu * 1000, memory: GI, gpu, ..Shape::default() },
        replicas,
        min: replicas,
    })
}

fn request() -> impl Strategy<Value = Request> {
    let roles = prop_oneof![4 => vec(role(), 1), 1 => vec(role(), 2)];
    (roles, option::weighted(0.3, 0u32..2), option::weighted(0.2, any::<bool>())).prop_map(
        |(roles, model, topology)| Request {
            roles,
            models: model.map(ModelIx).into_iter().collect(),
            topology: topology.map(|required| Topology { key: KeyIx(0), required }),
            ..Request::default()
        },
    )
}

fn world() -> impl Strategy<Value = World> {
    let placement = prop_oneof![
        2 => Just(Placing::Pack), 1 => Just(Placing::Spread), 1 => Just(Placing::Crater),
        1 => Just(Placing::Fragmentation)
    ];
    (vec(node(), 1..=4), vec((0i64..=8, 1i64..=20, request()), 1..=24), placement)
        .prop_map(|(nodes, jobs, placement)| World { nodes, jobs, placement })
}

struct Run {
    s: Snapshot,
    plan: Plan,
    started: BTreeMap<JobIx, Millis>,
    /// The first start that each was promised.
    promised: BTreeMap<JobIx, Millis>,
}

impl Run {
    fn new(world: &World, backfill: Backfill) -> Self {
        let s = Snapshot {
            models: 2,
            nodes: world.nodes.clone(),
            accounts: vec![Account::default()],
            settings: Settings {
                consolidate: false,
                backfill,
                placement: world.placement,
                ..Settings::default()
            },
            ..Snapshot::default()
        };
        Self { s, plan: Plan::default(), started: BTreeMap::new(), promised: BTreeMap::new() }
    }

    fn submit(&mut self, runs: i64, request: &Request) {
        let now = self.s.now;
        self.s.jobs.push(Job {
            submitted: now,
            queued_since: now,
            expected_ms: Some(runs * SECOND),
            request: Arc::new(request.clone()),
            ..Job::default()
        });
    }

    fn end(&self, job: JobIx) -> Millis {
        self.started[&job] + self.s.jobs[job.at()].expected_ms.unwrap()
    }

    fn next_end(&self) -> Option<Millis> {
        self.s.holdings.iter().map(|held| self.end(held.job)).min()
    }

    fn cycle(&mut self) {
        let now = self.s.now;
        let over: Vec<JobIx> =
            self.s.holdings.iter().map(|held| held.job).filter(|job| self.end(*job) <= now).collect();
        over.iter().for_each(|job| self.s.jobs[job.at()].closed = true);
        self.s.holdings.retain(|held| !over.contains(&held.job));
        self.plan = decide(&self.s).unwrap();
        audit(&self.s, &self.plan);
        assert!(self.plan.revocations.is_empty() && self.plan.holds.is_empty());
        for grant in &self.plan.grants {
            self.started.insert(grant.job, now);
            let held: Vec<Holding> = self.s.holdings_of(grant).collect();
            self.s.holdings.extend(held);
        }
        self.s.reservations.clone_from(&self.plan.reservations);
        self.s.cycle += 1;
        for kept in &self.plan.reservations {
            if let Some(start) = kept.expected_start {
                self.promised.entry(kept.job).or_insert(start);
            }
        }
    }
}

/// Plays a world to its end; `check` sees it after every cycle.
fn play(world: &World, backfill: Backfill, mut check: impl FnMut(&Run)) -> Run {
    let mut run = Run::new(world, backfill);
    let mut jobs = world.jobs.iter();
    let mut coming = jobs.next();
    let mut at = coming.map(|job| job.0 * SECOND);
    loop {
        let Some(now) = [at, run.next_end()].into_iter().flatten().min() else { return run };
        run.s.now = now;
        while let Some((_, runs, request)) = coming.filter(|_| at == Some(now)) {
            run.submit(*runs, request);
            coming = jobs.next();
            at = coming.map(|job| now + job.0 * SECOND);
        }
        run.cycle();
        check(&run);
    }
}

/// Takes what one replica has.
type Take<'a> = dyn FnMut(&Shape, &[(u16, i64)]) + 'a;

/// Would one replica have room on some node from now to the end, beside what runs and what is reserved? Counted instant by instant.
fn could_pass(run: &Run, job: JobIx) -> bool {
    let (s, of) = (&run.s, &run.s.jobs[job.at()]);
    let each = of.request.roles[0].each;
    let runs = of.expected_ms.unwrap();
    let mut instants: Vec<Millis> = s.holdings.iter().map(|held| run.end(held.job)).collect();
    for kept in &run.plan.reservations {
        let start = kept.expected_start.unwrap();
        instants.extend([start, start + s.jobs[kept.job.at()].expected_ms.unwrap()]);
    }
    instants.retain(|at| *at > s.now && *at < s.now + runs);
    instants.push(s.now);
    let model = |node: &Node| {
        of.request.models.is_empty() || node.model.is_some_and(|m| of.request.models.contains(&m))
    };
    let taken = |at: Millis, node: usize, take: &mut Take<'_>| {
        for held in s.holdings.iter().filter(|held| held.node.at() == node && run.end(held.job) > at) {
            take(&held.each, &held.gpus);
        }
        for kept in run.plan.reservations.iter().filter(|kept| kept.job != job) {
            let (start, of) = (kept.expected_start.unwrap(), &s.jobs[kept.job.at()]);
            let here = |place: &&Placement| place.node.at() == node;
            if start <= at && at < start + of.expected_ms.unwrap() {
                for place in kept.placements.iter().filter(here) {
                    take(&of.request.roles[usize::from(place.role)].each, &place.gpus);
                }
            }
        }
    };
    (0..s.nodes.len()).any(|node| {
        let on = &s.nodes[node];
        // what is free on each device, of cpu and of memory, all the time
        let mut least = (on.cpu, on.memory, vec![WHOLE_GPU; usize::from(on.gpus)]);
        for at in &instants {
            let mut free = (on.cpu, on.memory, vec![WHOLE_GPU; usize::from(on.gpus)]);
            taken(*at, node, &mut |each, gpus| {
                (free.0, free.1) = (free.0 - each.cpu, free.1 - each.memory);
                gpus.iter().for_each(|(device, milli)| free.2[usize::from(*device)] -= milli);
            });
            least.0 = least.0.min(free.0);
            least.1 = least.1.min(free.1);
            least.2.iter_mut().zip(free.2).for_each(|(least, free)| *least = (*least).min(free));
        }
        let whole = i64::try_from(least.2.iter().filter(|free| **free == WHOLE_GPU).count()).unwrap();
        let gpus = match each.gpu {
            0 => true,
            share if share < WHOLE_GPU => least.2.iter().any(|free| *free >= share),
            all => whole * WHOLE_GPU >= all,
        };
        (each.gpu == 0 || model(on)) && gpus && least.0 >= each.cpu && least.1 >= each.memory
    })
}

/// All want any GPU, in one role.
fn in_one_line(mut world: World) -> World {
    for (_, _, request) in &mut world.jobs {
        request.models.clear();
        request.roles.truncate(1);
        request.roles.iter_mut().for_each(|role| role.each.gpu = role.each.gpu.max(250));
    }
    world
}

proptest! {
    #![proptest_config(crate::config())]

    #[test]
    fn nobody_who_was_promised_a_start_starts_later(world in world()) {
        // nobody counts on a gang that no packing of the empty cluster holds, and yet another way of placing it may
        let doubtful = |run: &Run| {
            let never = run.plan.verdicts.iter().filter(|verdict| matches!(verdict.reasons[0], Reason::Infeasible(_)));
            never.map(|verdict| verdict.job).collect::<Vec<_>>()
        };
        let mut doubts = std::collections::BTreeSet::new();
        let trial = play(&world, Backfill::Conservative, |run| doubts.extend(doubtful(run)));
        prop_assume!(doubts.iter().all(|job| !trial.started.contains_key(job)));
        let run = play(&world, Backfill::Conservative, |run| {
            for kept in &run.plan.reservations {
                let first = run.promised[&kept.job];
                assert!(kept.expected_start.is_some_and(|start| start <= first), "{kept:?} was promised {first}");
            }
        });
        for (job, promised) in &run.promised {
            let started = run.started.get(job);
            prop_assert!(started.is_some_and(|at| at <= promised), "{job:?}: {promised} promised, {started:?} came");
        }
    }

    #[test]
    fn the_start_that_the_head_of_a_line_was_told_gets_no_later(world in world()) {
        let world = in_one_line(world);
        let mut told: BTreeMap<JobIx, Millis> = BTreeMap::new();
        let run = play(&world, Backfill::Easy, |run| {
            for kept in &run.plan.reservations {
                let Some(start) = kept.expected_start else { continue };
                let before = told.insert(kept.job, start).unwrap_or(start);
                assert!(start <= before, "{kept:?} was told {before}");
            }
        });
        for (job, told) in told {
            let started = run.started.get(&job);
            prop_assert!(started.is_some_and(|at| *at <= told), "{job:?}: {told} told, {started:?} came");
        }
    }

    #[test]
    fn everybody_who_can_ever_run_has_a_start_and_runs(world in world()) {
        let run = play(&world, Backfill::Conservative, |run| {
            for verdict in &run.plan.verdicts {
                let never = matches!(verdict.reasons[0], Reason::Infeasible(_));
                assert!(never || verdict.expected_start.is_some(), "{verdict:?}");
            }
        });
        for verdict in &run.plan.verdicts {
            prop_assert!(matches!(verdict.reasons[0], Reason::Infeasible(_)), "{verdict:?} at the end");
        }
    }

    #[test]
    fn nobody_waits_who_would_delay_nobody(world in world()) {
        play(&world, Backfill::Conservative, |run| {
            for verdict in &run.plan.verdicts {
                let request = &run.s.jobs[verdict.job.at()].request;
                let alone = request.roles.iter().map(|role| role.replicas).sum::<u32>() == 1;
                let apart = request.topology.is_none_or(|topology| !topology.required);
                if alone && apart && !matches!(verdict.reasons[0], Reason::Infeasible(_)) {
                    assert!(!could_pass(run, verdict.job), "{verdict:?} would delay nobody");
                }
            }
        });
    }

    #[test]
    fn where_nobody_passes_jobs_of_a_line_start_in_order(world in world()) {
        let world = in_one_line(world);
        let run = play(&world, Backfill::None, |_| {});
        let starts: Vec<Millis> = run.started.values().copied().collect();
        prop_assert!(starts.is_sorted(), "{starts:?}");
    }
}
