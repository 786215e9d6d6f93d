//! The laws of the snapshot, without a cluster.

use crater_engine::Engine;
use crater_k8s::AIJob;
use crater_k8s::allocation::Placement;
use kube::runtime::watcher::Event;

use super::Known;
use crate::cache::{Cache, Quotas};
use crate::cycle;
use crate::sample::{allocation, framed, full, job};

/// The same frame, made from nothing.
fn afresh(cache: &mut Cache, number: u64) -> std::collections::BTreeSet<String> {
    framed(cache, &mut Known::default(), number).in_words()
}

#[test]
fn where_all_accounts_are_gone_nobodys_ordinals_are_too() {
    let mut cache = full(1, 1);
    let mut known = Known::default();
    assert_eq!(framed(&mut cache, &mut known, 1).snapshot.jobs.len(), 9);
    (0..8).for_each(|at| cache.allocation(Event::Delete(allocation(at, 0, at)), 0));
    for at in 0..9 {
        cache.job(Event::Delete(job(at, "Queued")));
    }
    cache.set_quotas(Quotas::new());
    let empty = framed(&mut cache, &mut known, 2).snapshot;
    assert!(empty.accounts.is_empty());
    crater_engine::decide(&empty).unwrap();
    // and who comes then is found
    cache.job(Event::Apply(job(10, "Queued")));
    let frame = framed(&mut cache, &mut known, 3);
    assert_eq!((frame.snapshot.jobs.len(), frame.by_name.len()), (1, 1));
    assert_eq!(crater_engine::decide(&frame.snapshot).unwrap().grants.len(), 1);
}

/// Roles of one name each, the first replica of each on the first devices of the node.
fn with_roles(roles: &[&str]) -> crater_k8s::Allocation {
    let mut given = allocation(0, 0, 0);
    let place = |(at, role): (i32, &&str)| Placement {
        role: (*role).to_owned(),
        gpus: vec![vec![at]],
        ..given.spec.placements[0].clone()
    };
    given.spec.placements = (0..).zip(roles).map(place).collect();
    given
}

#[test]
fn roles_of_a_job_that_cannot_be_read_hold_each_their_own() {
    let mut unreadable: AIJob = job(0, "Running");
    unreadable.spec.roles.clear();
    for of in [None, Some(unreadable)] {
        let mut cache = full(1, 0);
        cache.job(Event::Init);
        if let Some(of) = of {
            cache.job(Event::InitApply(of));
        }
        cache.job(Event::InitDone);
        cache.allocation(Event::Init, 0);
        cache.allocation(Event::InitApply(with_roles(&["master", "worker"])), 0);
        cache.allocation(Event::InitDone, 0);
        let mut known = Known::default();
        let snapshot = framed(&mut cache, &mut known, 1).snapshot;
        assert_eq!(snapshot.holdings.len(), 2);
        let mut engine: Option<Engine> = None;
        cycle::decide(&mut engine, &snapshot).unwrap();
        assert!(engine.is_some(), "it follows from here");
        // one after the other goes
        cache.allocation(Event::Apply(with_roles(&["worker"])), 0);
        let frame = framed(&mut cache, &mut known, 2);
        assert_eq!(frame.snapshot.holdings.len(), 1);
        assert_eq!(frame.in_words(), afresh(&mut cache, 2));
        engine.as_mut().unwrap().follow(&frame.snapshot).unwrap();
    }
}
