//! The laws of the snapshot, without a cluster.

use crater_engine::Engine;
use crater_k8s::AIJob;
use crater_k8s::allocation::Placement;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher::Event;
use serde_json::json;

use super::Known;
use super::nodes::Nodes;
use crate::cache::{Cache, Quotas};
use crate::cycle;
use crate::sample::{self, allocation, framed, full, job};

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

/// A Pod that is not ours takes so many devices of the first node.
fn stranger(gpus: usize) -> Pod {
    let resources = json!({"requests": {"nvidia.com/gpu": gpus.to_string()}});
    sample::read(json!({
        "metadata": {"name": "stranger", "namespace": "elsewhere"},
        "spec": {"nodeName": "node-00000", "containers": [{"name": "c", "resources": resources}]},
    }))
}

/// Whether nodes are as they were after an event; and what they are then is what is found from nothing.
fn stand(cache: &mut Cache, known: &mut Known, event: impl FnOnce(&mut Cache)) -> bool {
    framed(cache, known, 1);
    let nodes = Nodes::new(cache);
    event(cache);
    let news = cache.take_news();
    let stand = nodes.stand(cache, &news);
    assert_eq!(sample::framed_with(cache, known, news, 2).in_words(), afresh(cache, 2));
    stand
}

#[test]
fn nodes_are_found_again_only_when_devices_change_on_one_that_leans_on_them() {
    let given = |at: usize, node: usize, device: usize| {
        move |cache: &mut Cache| cache.allocation(Event::Apply(allocation(at, node, device)), 0)
    };
    let mut cache = full(2, 2);
    let mut known = Known::default();
    let mut stands = |event: &dyn Fn(&mut Cache)| stand(&mut cache, &mut known, event);
    // a device of each node is given back
    for (at, node) in [(7, 0), (15, 1)] {
        assert!(stands(&|cache| cache.allocation(Event::Delete(allocation(at, node, 7)), 0)));
    }
    assert!(!stands(&|cache| cache.pod(Event::Apply(stranger(1)))));
    assert!(
        stands(&|cache| {
            cache.job(Event::Apply(job(17, "Queued")));
        }),
        "it holds nothing"
    );
    assert!(
        stands(&|cache| {
            cache.job(Event::Apply(job(0, "Queued")));
        }),
        "it holds what it did"
    );
    assert!(stands(&given(16, 1, 7)), "nobody else is on that node");
    assert!(!stands(&given(17, 0, 7)), "the stranger is seen on another device");
    assert!(!stands(&|cache| cache.allocation(Event::Delete(allocation(3, 0, 3)), 0)));
    cache.pod(Event::Delete(stranger(1)));
    // a node that is gone, and jobs that are still there
    let mut stands = |event: &dyn Fn(&mut Cache)| stand(&mut cache, &mut known, event);
    assert!(!stands(&|cache| cache.node(Event::Delete(sample::node(1)))));
    assert!(stands(&|cache| cache.allocation(Event::Delete(allocation(0, 0, 0)), 0)));
    for at in 8..15 {
        assert!(!stands(&|cache| cache.allocation(Event::Delete(allocation(at, 1, at - 8)), 0)));
    }
    assert!(!stands(&|cache| cache.allocation(Event::Delete(allocation(16, 1, 7)), 0)));
    assert!(
        stands(&|cache| {
            cache.job(Event::Apply(job(16, "Queued")));
        }),
        "the node is not there"
    );
}
