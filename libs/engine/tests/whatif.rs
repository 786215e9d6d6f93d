//! What would start a job that waits: worlds with known answers.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use crater_engine::whatif::{Amendment, Fate, Remedy, Scope, WhatIf};
use crater_engine::{
    Account, AccountIx, Amounts, Class, ExtendedIx, Holder, Holding, Job, JobIx, KeyIx, ModelIx, Node,
    NodeIx, Request, Resource, Role, Shape, Snapshot, Topology, ValueIx, decide,
};

const GI: i64 = 1 << 30;

fn node(model: u32, rack: u32) -> Node {
    Node {
        cpu: 64_000,
        memory: 512 * GI,
        gpus: 8,
        model: Some(ModelIx(model)),
        open: true,
        labels: vec![(KeyIx(0), ValueIx(rack))],
        ..Node::default()
    }
}

fn job(gpu: i64, replicas: u32) -> Job {
    let each = Shape { cpu: 4000, memory: 16 * GI, gpu, ..Shape::default() };
    let request = Request { roles: vec![Role { each, replicas, min: replicas }], ..Request::default() };
    Job { account: AccountIx(0), request: Arc::new(request), ..Job::default() }
}

fn with(job: Job, change: impl FnOnce(&mut Request)) -> Job {
    let mut request = (*job.request).clone();
    change(&mut request);
    Job { request: Arc::new(request), ..job }
}

fn world(nodes: Vec<Node>, jobs: Vec<Job>) -> Snapshot {
    let accounts = vec![Account::default(), Account::default()];
    Snapshot { now: 1_000_000, models: 2, nodes, accounts, jobs, ..Snapshot::default() }
}

/// Carries out what is decided until nothing moves.
fn settled(mut s: Snapshot) -> Snapshot {
    loop {
        let plan = decide(&s).unwrap();
        if plan.grants.is_empty() && plan.revocations.is_empty() {
            return s;
        }
        let held: Vec<Holding> = plan.grants.iter().flat_map(|grant| s.holdings_of(grant)).collect();
        s.holdings.extend(held);
        s.holds = plan.holds;
        s.now += 100_000;
    }
}

/// The remedies for the last job of a world that came to rest.
fn remedies(s: Snapshot) -> Vec<Remedy> {
    let last = JobIx::of(s.jobs.len() - 1);
    let mut what = WhatIf::new(settled(s)).unwrap();
    what.remedies(last, &Scope { priorities: -1000..=1000 }, &mut || true)
}

fn free(amendment: Amendment) -> Remedy {
    Remedy { amendment, evicts: Vec::new() }
}

#[test]
fn a_gang_that_is_too_large_is_told_the_largest_that_fits_and_the_nodes_that_lack() {
    let nodes = vec![node(0, 0), node(0, 0), node(0, 1), node(0, 1)];
    let found = remedies(world(nodes, vec![job(8000, 1), job(8000, 5)]));
    let expected = [
        free(Amendment::Replicas { role: 0, from: 5, to: 3 }),
        free(Amendment::Each { role: 0, resource: Resource::Gpu, from: 8000, to: 4000 }),
        free(Amendment::Nodes { like: NodeIx(0), count: 2 }),
    ];
    assert_eq!(found, expected);
    // who may start smaller keeps all its replicas
    let elastic = with(job(8000, 5), |request| request.roles[0].replicas = 9);
    let found = remedies(world(vec![node(0, 0); 4], vec![job(8000, 1), elastic]));
    assert!(found.contains(&free(Amendment::MinReplicas { role: 0, from: 5, to: 3 })), "{found:?}");
}

#[test]
fn a_limit_is_raised_to_what_is_needed_and_best_effort_passes_it() {
    let mut s = world(vec![node(0, 0); 4], vec![job(8000, 1), job(8000, 2)]);
    s.accounts[0].limit.gpu = Some(16_000);
    s.accounts[1].limit = Amounts { gpu: Some(20_000), ..Amounts::default() };
    s.accounts[0].parent = Some(AccountIx(1));
    let found = remedies(s);
    let limits = vec![
        (Holder::Account(AccountIx(0)), Resource::Gpu, 24_000),
        (Holder::Account(AccountIx(1)), Resource::Gpu, 24_000),
    ];
    let expected = [
        free(Amendment::Replicas { role: 0, from: 2, to: 1 }),
        free(Amendment::Each { role: 0, resource: Resource::Gpu, from: 8000, to: 4000 }),
        free(Amendment::Class(Class::BestEffort)),
        Remedy { amendment: Amendment::Priority(1), evicts: vec![JobIx(0)] },
        free(Amendment::Limits(limits)),
    ];
    assert_eq!(found, expected);
}

#[test]
fn cpu_and_memory_are_lowered_to_what_is_there() {
    let hungry = with(job(1000, 1), |request| {
        request.roles[0].each = Shape { cpu: 100_000, memory: 600 * GI, gpu: 1000, ..Shape::default() }
    });
    // two things are wrong at once: neither alone helps, nor does another node
    assert_eq!(remedies(world(vec![node(0, 0)], vec![hungry.clone()])), []);
    let cpu = with(hungry.clone(), |request| request.roles[0].each.memory = 8 * GI);
    let found = remedies(world(vec![node(0, 0)], vec![cpu]));
    let expected = Amendment::Each { role: 0, resource: Resource::Cpu, from: 100_000, to: 64_000 };
    assert_eq!(found, [free(expected)]);
    let memory = with(hungry, |request| request.roles[0].each.cpu = 8000);
    let found = remedies(world(vec![node(0, 0)], vec![memory]));
    let expected = Amendment::Each { role: 0, resource: Resource::Memory, from: 600 * GI, to: 512 * GI };
    assert_eq!(found, [free(expected)]);
}

#[test]
fn fewer_devices_by_name_are_told_like_any_other_resource() {
    let name = ExtendedIx(0);
    let node = Node { extended: vec![(name, 4)], ..node(0, 0) };
    let asking = with(job(0, 1), |request| {
        request.roles[0].each.extended.add(name, 6);
    });
    let found = remedies(Snapshot { extended: 1, ..world(vec![node], vec![asking]) });
    let expected = Amendment::Each { role: 0, resource: Resource::Extended(name), from: 6, to: 4 };
    assert_eq!(found, [free(expected)]);
}

#[test]
fn another_model_and_another_rack_are_named() {
    let only = |model: u32| with(job(8000, 1), |request| request.models = vec![ModelIx(model)]);
    let found = remedies(world(vec![node(0, 0), node(1, 0)], vec![only(0), only(0)]));
    assert_eq!(found.first(), Some(&free(Amendment::Models(vec![ModelIx(1)]))));
    let near = with(job(8000, 2), |request| {
        request.topology = Some(Topology { key: KeyIx(0), required: true });
    });
    let found = remedies(world(vec![node(0, 0), node(0, 1)], vec![near]));
    assert_eq!(found.first(), Some(&free(Amendment::PreferTopology)));
}

#[test]
fn who_would_be_gone_in_time_is_told_in_what_time() {
    // one node is held for an hour; the second job waits for both, and room is kept for it
    let first = Job { expected_ms: Some(3_600_000), ..job(8000, 1) };
    let s = world(vec![node(0, 0); 2], vec![first, job(8000, 2), job(8000, 1)]);
    let found = remedies(s);
    assert_eq!(found.first(), Some(&free(Amendment::Duration(3_500_000))), "{found:?}");
    // or it goes before that one
    assert!(found.contains(&free(Amendment::Priority(1))), "{found:?}");
}

#[test]
fn what_a_change_would_cost_others_is_told() {
    let spare = Job { class: Class::BestEffort, ..job(8000, 1) };
    let s = world(vec![node(0, 0)], vec![spare.clone(), spare]);
    let found = remedies(s);
    let costs = Remedy { amendment: Amendment::Class(Class::Guaranteed), evicts: vec![JobIx(0)] };
    assert!(found.contains(&costs), "{found:?}");
}

#[test]
fn a_search_that_is_stopped_keeps_what_it_found() {
    let s = settled(world(vec![node(0, 0); 4], vec![job(8000, 1), job(8000, 5)]));
    let mut what = WhatIf::new(s).unwrap();
    let mut left = 4;
    let mut go_on = || {
        left -= 1;
        left >= 0
    };
    let found = what.remedies(JobIx(1), &Scope { priorities: -1000..=1000 }, &mut go_on);
    assert_eq!(found, [free(Amendment::Replicas { role: 0, from: 5, to: 3 })]);
    assert!(matches!(what.fate(JobIx(1)), Fate::Waits(_)));
    assert!(matches!(what.fate(JobIx(0)), Fate::Settled));
}
