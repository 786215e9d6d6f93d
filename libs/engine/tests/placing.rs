//! Where jobs go among the nodes that have room, by [`Settings::placement`].
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use crater_engine::{
    Account, AccountIx, Job, JobIx, ModelIx, Node, Placement, Placing, Request, Role, Settings, Shape,
    Snapshot, decide,
};
use proptest::collection::vec;
use proptest::prelude::*;

const SCORED: [Placing; 4] = [Placing::BestFit, Placing::Spread, Placing::Fragmentation, Placing::Crater];

/// GPUs and milli-cores; `used`: what others hold of each device.
fn node(gpus: u16, cpu: i64, used: &[i64]) -> Node {
    Node {
        cpu,
        memory: 1 << 40,
        gpus,
        model: (gpus > 0).then_some(ModelIx(0)),
        open: true,
        others_gpus: (0..).zip(used.iter().copied()).collect(),
        ..Node::default()
    }
}

fn role(gpu: i64, cpu: i64, replicas: u32) -> Role {
    Role { each: Shape { cpu, memory: 1 << 20, gpu, ..Shape::default() }, replicas, min: replicas }
}

fn job(priority: i32, roles: Vec<Role>) -> Job {
    Job {
        account: AccountIx(0),
        priority,
        submitted: 0,
        queued_since: 0,
        request: Arc::new(Request { roles, ..Request::default() }),
        ..Job::default()
    }
}

fn world(placement: Placing, nodes: &[Node], jobs: &[Job]) -> Snapshot {
    Snapshot {
        models: 2,
        settings: Settings { placement, ..Settings::default() },
        nodes: nodes.to_vec(),
        accounts: vec![Account::default()],
        jobs: jobs.to_vec(),
        ..Snapshot::default()
    }
}

/// Where the first job goes.
fn placed(placement: Placing, nodes: &[Node], jobs: &[Job]) -> Vec<Placement> {
    let plan = decide(&world(placement, nodes, jobs)).unwrap();
    let grant = plan.grants.into_iter().find(|grant| grant.job == JobIx(0));
    grant.map(|grant| grant.placements).unwrap_or_default()
}

fn on(placement: Placing, nodes: &[Node], jobs: &[Job]) -> Vec<u32> {
    placed(placement, nodes, jobs).iter().map(|place| place.node.0).collect()
}

#[test]
fn best_fit_leaves_the_least_of_both_resources() {
    let nodes = [node(2, 100_000, &[]), node(3, 4000, &[])];
    let jobs = [job(0, vec![role(1000, 2000, 1)])];
    // fewest GPUs free; but much CPU would stay unused beside the one that is left
    assert_eq!(on(Placing::Pack, &nodes, &jobs), [0]);
    assert_eq!(on(Placing::BestFit, &nodes, &jobs), [1]);
}

#[test]
fn spread_takes_the_emptiest_nodes_and_devices() {
    let nodes = [node(4, 64_000, &[1000, 1000]), node(4, 64_000, &[]), node(2, 64_000, &[])];
    let three = [job(0, vec![role(1000, 1000, 3)])];
    assert_eq!(on(Placing::Pack, &nodes, &three), [1, 1, 1]);
    assert_eq!(on(Placing::Spread, &nodes, &three), [1, 2, 1]);
    let shares = [job(0, vec![role(250, 1000, 4)])];
    let devices = |placement| {
        let places = placed(placement, &[node(2, 64_000, &[500])], &shares);
        places.iter().map(|place| place.gpus[0].0).collect::<Vec<_>>()
    };
    assert_eq!(devices(Placing::Pack), [0, 0, 1, 1]);
    assert_eq!(devices(Placing::Spread), [1, 1, 0, 1]);
    // work without GPUs spreads over nodes without
    let nodes = [node(4, 64_000, &[]), node(0, 8000, &[]), node(0, 16_000, &[])];
    assert_eq!(on(Placing::Spread, &nodes, &[job(0, vec![role(0, 2000, 2)])]), [2, 1]);
}

#[test]
fn fragmentation_leaves_what_the_waiting_jobs_can_use() {
    // one device with 500 free, one with 700
    let nodes = [node(1, 64_000, &[500]), node(1, 64_000, &[300])];
    let asks = |waiting: i64| {
        let mut jobs = vec![job(1, vec![role(200, 1000, 1)])];
        jobs.resize_with(20, || job(0, vec![role(waiting, 1000, 1)]));
        jobs
    };
    // 500s would not fit beside it on the first, 300s fit on either
    assert_eq!(on(Placing::Pack, &nodes, &asks(500)), [0]);
    assert_eq!(on(Placing::Fragmentation, &nodes, &asks(500)), [1]);
    assert_eq!(on(Placing::Crater, &nodes, &asks(500)), [1]);
    assert_eq!(on(Placing::Fragmentation, &nodes, &asks(300)), [0]);
    // and so among the devices of one node
    let both = [node(2, 64_000, &[500, 300])];
    assert_eq!(placed(Placing::Pack, &both, &asks(500))[0].gpus, [(0, 200)]);
    assert_eq!(placed(Placing::Fragmentation, &both, &asks(500))[0].gpus, [(1, 200)]);
}

#[test]
fn crater_spares_the_model_that_others_cannot_do_without() {
    let other = Node { model: Some(ModelIx(1)), ..node(4, 64_000, &[]) };
    let nodes = [node(4, 64_000, &[]), other];
    let only = |model| {
        let any = job(0, vec![role(1000, 1000, 1)]);
        let request = Request { models: vec![ModelIx(model)], ..(*any.request).clone() };
        Job { request: Arc::new(request), ..any }
    };
    for (wanted, spared) in [(0, 1), (1, 0)] {
        let mut jobs = vec![job(1, vec![role(1000, 1000, 1)])];
        jobs.resize_with(20, || only(wanted));
        assert_eq!(on(Placing::Crater, &nodes, &jobs), [spared]);
        assert_eq!(on(Placing::Pack, &nodes, &jobs), [0]);
        // who names models gets the first named
        let named = Request { models: vec![ModelIx(wanted), ModelIx(spared)], ..(*jobs[0].request).clone() };
        jobs[0].request = Arc::new(named);
        assert_eq!(on(Placing::Crater, &nodes, &jobs), [wanted]);
    }
}

#[test]
fn crater_puts_work_that_wants_much_cpu_where_there_is_much() {
    let nodes = [node(4, 40_000, &[]), node(4, 120_000, &[])];
    let mut jobs = vec![job(1, vec![role(1000, 36_000, 1)])];
    jobs.resize_with(20, || job(0, vec![role(1000, 9000, 1)]));
    assert_eq!(on(Placing::Pack, &nodes, &jobs), [0]);
    assert_eq!(on(Placing::Crater, &nodes, &jobs), [1]);
}

#[test]
fn a_gang_stays_together_unless_it_is_spread() {
    let used = |used: usize| vec![1000; used];
    let nodes = [node(4, 64_000, &used(3)), node(4, 64_000, &used(2)), node(4, 64_000, &[])];
    let jobs = [job(0, vec![role(1000, 1000, 2)])];
    for placement in [Placing::Pack, Placing::BestFit, Placing::Fragmentation] {
        assert_eq!(on(placement, &nodes, &jobs), [1, 1], "{placement:?}");
    }
    let crater = on(Placing::Crater, &nodes, &jobs);
    assert_eq!(crater[0], crater[1]);
    // half of that node is left then, a quarter of the next would be
    assert_eq!(on(Placing::Spread, &nodes, &jobs), [2, 2]);
}

#[test]
fn the_default_is_what_loses_least() {
    assert_eq!(Settings::default().placement, Placing::Crater);
}

proptest! {
    /// Whoever finds a place by packing finds one under every policy, gangs of several roles too.
    #[test]
    fn no_policy_refuses_what_can_be_packed(
        nodes in vec((0u16..=4, 1i64..=8, vec(0i64..=4, 4)), 1..5),
        roles in vec((prop_oneof![Just(0i64), Just(250), Just(750), Just(1000), Just(2000)], 1i64..=4, 1u32..=3), 1..4),
        waiting in vec(prop_oneof![Just(250i64), Just(1000), Just(3000)], 0..6)
    ) {
        let nodes: Vec<Node> = nodes
            .iter()
            .map(|(gpus, cpu, used)| {
                let used: Vec<i64> = used.iter().take(usize::from(*gpus)).map(|used| used * 250).collect();
                node(*gpus, cpu * 1000, &used)
            })
            .collect();
        let roles = roles.into_iter().map(|(gpu, cpu, replicas)| role(gpu, cpu * 500, replicas)).collect();
        let mut jobs = vec![job(1, roles)];
        jobs.extend(waiting.into_iter().map(|gpu| job(0, vec![role(gpu, 500, 1)])));
        let packed = placed(Placing::Pack, &nodes, &jobs).len();
        for placement in SCORED {
            let here = placed(placement, &nodes, &jobs).len();
            prop_assert!(here >= packed, "{placement:?} places {here} of {packed}");
        }
    }
}
