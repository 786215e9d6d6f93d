//! The laws of what is known, without a cluster.

use super::*;
use crate::sample::{self, framed};
use crate::snapshot::Known;
use crater_k8s::AllocationSpec;

fn allocation(name: &str, uid: Option<&str>) -> Allocation {
    let placements = vec![crater_k8s::allocation::Placement {
        node: "n0".into(),
        role: "worker".into(),
        first_replica: 0,
        count: 2,
        gpus: vec![vec![0], vec![1]],
        gpu_millis: 1000,
    }];
    let spec = AllocationSpec {
        job: "j".into(),
        job_uid: String::new(),
        epoch: 1,
        granted_millis: 0,
        placements,
        revoked: Vec::new(),
    };
    let mut made = Allocation::new(name, spec);
    made.metadata.uid = uid.map(str::to_owned);
    made
}

fn listed(cache: &mut Cache, all: &[Allocation]) {
    cache.allocation(Event::Init, 0);
    for each in all {
        cache.allocation(Event::InitApply(each.clone()), 0);
    }
    cache.allocation(Event::InitDone, 0);
}

#[test]
fn what_was_written_counts_until_the_watch_shows_it_and_then_once() {
    let mut cache = Cache::default();
    cache.assume(allocation("a", None));
    assert_eq!(cache.given().count(), 1, "counted before it is answered");
    cache.created(allocation("a", Some("u")));
    cache.allocation(Event::Apply(allocation("a", Some("u"))), 0);
    assert_eq!(cache.given().count(), 1);
    cache.allocation(Event::Delete(allocation("a", Some("u"))), 0);
    assert_eq!(cache.given().count(), 0);
}

#[test]
fn a_list_forgets_only_writes_that_were_answered_before_it_began() {
    let mut cache = Cache::default();
    cache.assume(allocation("a", None));
    cache.allocation(Event::Init, 0);
    // the answer comes while the list is under way: the list may be older than the write
    cache.created(allocation("a", Some("u")));
    cache.allocation(Event::InitDone, 0);
    assert_eq!(cache.given().count(), 1);
    listed(&mut cache, &[]);
    assert_eq!(cache.given().count(), 0, "written, and deleted before it was seen");
    // nobody knows whether it happened: the next list tells
    for (there, count) in [(vec![], 0), (vec![allocation("b", Some("v"))], 1)] {
        cache.assume(allocation("b", None));
        cache.doubt(&Key { namespace: String::new(), name: "b".into() });
        assert_eq!(cache.given().count(), 1);
        listed(&mut cache, &there);
        assert_eq!(cache.given().count(), count);
    }
}

/// One Allocation, and a replica of it that is taken back, which no watch has shown yet.
fn revoking() -> (Cache, Key, Replica) {
    let mut cache = Cache::default();
    listed(&mut cache, &[allocation("a", Some("u"))]);
    let key = Key { namespace: String::new(), name: "a".into() };
    let replica: Replica = ("worker".into(), 1);
    cache.assume_revoked(&key, BTreeSet::from([replica.clone()]));
    (cache, key, replica)
}

#[test]
fn a_revocation_counts_before_the_watch_shows_it() {
    let (mut cache, key, replica) = revoking();
    let given = cache.given_one(&key).cloned().unwrap();
    assert!(cache.is_revoked(&key, &given, &replica));
    cache.unrevoke(&key);
    assert!(!cache.is_revoked(&key, &given, &replica));
}

#[test]
fn what_was_just_written_counts_at_every_moment_of_a_list_that_shows_it() {
    let mut cache = sample::full(1, 1);
    let mut known = Known::default();
    framed(&mut cache, &mut known, 1);
    let (given, last) = (sample::allocation(0, 0, 0), sample::job(8, "Queued"));
    // the job that waits gets the device that the first has just given back
    cache.allocation(Event::Delete(given), 0);
    cache.job(Event::Delete(sample::job(0, "Running")));
    let mut fresh = sample::allocation(8, 0, 0);
    fresh.metadata.resource_version = None;
    cache.assume(fresh);
    cache.created(sample::allocation(8, 0, 0));
    let holds = |cache: &mut Cache, known: &mut Known| {
        // as after a cycle that began before the write was answered
        cache.job(Event::Apply(last.clone()));
        framed(cache, known, 2).snapshot.holdings.len()
    };
    assert_eq!(holds(&mut cache, &mut known), 8);
    // the answer of another write was lost: all is listed anew, in pages
    cache.allocation(Event::Init, 0);
    assert_eq!(holds(&mut cache, &mut known), 8);
    let all = (1..9).map(|at| sample::allocation(at, 0, at % 8));
    for (at, one) in all.enumerate() {
        cache.allocation(Event::InitApply(one), 0);
        assert_eq!(holds(&mut cache, &mut known), 8, "after {} of 8", at + 1);
    }
    cache.allocation(Event::InitDone, 0);
    assert_eq!(holds(&mut cache, &mut known), 8);
    assert!(cache.assumed.is_empty(), "the list has shown it");
    // what a list has shown and the next does not is gone
    listed(&mut cache, &[]);
    assert_eq!(holds(&mut cache, &mut known), 0);
}

#[test]
fn a_revocation_counts_at_every_moment_of_a_list_that_shows_it() {
    let (mut cache, key, replica) = revoking();
    let mut shown = allocation("a", Some("u"));
    shown.spec.revoked = vec![crater_k8s::allocation::Revoked {
        replicas: crater_k8s::allocation::Range { role: "worker".into(), first: 1, count: 1 },
        reason: "R".into(),
        message: String::new(),
    }];
    let is_revoked = |cache: &Cache| cache.is_revoked(&key, cache.given_one(&key).unwrap(), &replica);
    cache.allocation(Event::Init, 0);
    cache.allocation(Event::InitApply(shown), 0);
    assert!(is_revoked(&cache));
    cache.allocation(Event::InitDone, 0);
    assert!(is_revoked(&cache));
    assert!(cache.revoking.is_empty(), "the list has shown it");
}

fn shape() -> crater_engine::Shape {
    crater_engine::Shape { cpu: 1, memory: 1, gpu: 1000, ..crater_engine::Shape::default() }
}

/// A node of so many cores.
fn cores(name: &str, cores: u32) -> Node {
    let mut node = sample::node(0);
    node.metadata.name = Some(name.to_owned());
    let cpu = k8s_openapi::apimachinery::pkg::api::resource::Quantity(cores.to_string());
    node.status.get_or_insert_default().allocatable.get_or_insert_default().insert("cpu".into(), cpu);
    node
}

#[test]
fn a_bar_falls_when_its_node_goes_or_is_another_after_a_list() {
    let mut cache = Cache::default();
    let list = |cache: &mut Cache, nodes: &[(&str, u32)]| {
        cache.node(Event::Init);
        nodes.iter().for_each(|(name, n)| cache.node(Event::InitApply(cores(name, *n))));
        cache.node(Event::InitDone);
    };
    let barred = |cache: &Cache| -> Vec<String> {
        let now = cache.bars.now(0);
        now.get(&shape()).into_iter().flat_map(|nodes| nodes.keys().map(|name| (*name).to_owned())).collect()
    };
    list(&mut cache, &[("same", 8), ("changes", 8), ("goes", 8), ("made-anew", 8)]);
    for name in ["same", "changes", "goes", "made-anew"] {
        cache.bars.add(name, shape(), "no", 0);
    }
    cache.node(Event::Apply(cores("made-anew", 8)));
    assert_eq!(barred(&cache).len(), 4, "it said the same again");
    cache.node(Event::Delete(cores("made-anew", 8)));
    cache.node(Event::Apply(cores("made-anew", 8)));
    assert_eq!(barred(&cache), ["changes", "goes", "same"]);
    list(&mut cache, &[("same", 8), ("changes", 16), ("made-anew", 8)]);
    assert_eq!(barred(&cache), ["same"]);
}

#[test]
fn only_what_changes_a_node_is_news() {
    let mut cache = Cache::default();
    let mut news = |event: Event<Node>| {
        cache.node(event);
        cache.take_news().nodes
    };
    assert!(news(Event::Apply(cores("n", 8))));
    assert!(!news(Event::Apply(cores("n", 8))));
    assert!(news(Event::Apply(cores("n", 16))));
    assert!(!news(Event::Init) && !news(Event::InitApply(cores("n", 16))));
    assert!(news(Event::InitDone));
    assert!(news(Event::Delete(cores("n", 16))) && !news(Event::Delete(cores("n", 16))));
}

#[test]
fn ends_that_only_a_list_tells_of_are_told() {
    let mut cache = Cache::default();
    let list = |cache: &mut Cache, jobs: &[(usize, &str)]| {
        cache.job(Event::Init);
        for (at, phase) in jobs {
            cache.job(Event::InitApply(sample::job(*at, phase)));
        }
        cache.job(Event::InitDone);
    };
    let over = |cache: &mut Cache| {
        let (ended, gone) = cache.take_ended();
        (ended.iter().map(|entry| entry.object.spec.job_uid.clone()).collect::<Vec<_>>(), gone)
    };
    list(&mut cache, &[(0, "Running"), (1, "Running"), (2, "Queued"), (3, "Succeeded"), (4, "Running")]);
    assert_eq!(over(&mut cache), (vec![], vec![]), "what was over before we looked is no news");
    // 4 is gone, and another has its name
    let mut namesake = sample::job(4, "Queued");
    namesake.spec.job_uid = "another".into();
    cache.job(Event::Init);
    for job in [sample::job(0, "Succeeded"), sample::job(1, "Running"), sample::job(3, "Succeeded"), namesake]
    {
        cache.job(Event::InitApply(job));
    }
    assert_eq!(over(&mut cache), (vec![], vec![]), "not before all of it is in");
    cache.job(Event::InitDone);
    assert_eq!(
        over(&mut cache),
        (vec!["job-0".into()], vec!["job-0".into(), "job-2".into(), "job-4".into()])
    );
    list(&mut cache, &[(0, "Succeeded"), (1, "Running")]);
    assert_eq!(over(&mut cache), (vec![], vec!["job-3".into(), "another".into()]), "each end is told once");
}

#[test]
fn what_nobody_asks_for_does_not_pile_up_and_is_not_lost() {
    let mut cache = sample::full(1, 1);
    let mut known = Known::default();
    framed(&mut cache, &mut known, 1);
    for at in 100..100 + NEW {
        cache.job(Event::Apply(sample::job(at, "Queued")));
        cache.job(Event::Delete(sample::job(at, "Queued")));
    }
    assert_eq!((cache.news.jobs.len(), cache.news.all), (NEW, false));
    for at in 0..2 * NEW {
        cache.job(Event::Apply(sample::job(NEW + at, "Queued")));
    }
    assert!(cache.news.jobs.is_empty() && cache.news.all);
    let framed = framed(&mut cache, &mut known, 2);
    assert_eq!(framed.snapshot.jobs.len(), 8 + 1 + 2 * NEW);
    assert!(!cache.news.all);
}
