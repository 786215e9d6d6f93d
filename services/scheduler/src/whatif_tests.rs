//! What is thought of leaves nothing behind, and is judged by what is there.

use std::time::SystemTime;

use crater_auth::Directory;
use crater_domain::{Limit, ResourceKind};
use crater_engine::Settings;
use k8s_openapi::api::core::v1::Node;
use kube::runtime::watcher::Event;

use super::*;
use crate::sample;

/// A node with a label.
fn labelled(at: usize, key: &str, value: &str) -> Node {
    let mut node = sample::node(at);
    node.metadata.labels.get_or_insert_default().insert(key.into(), value.into());
    node
}

/// Two free nodes, the second with a fast disk, and a job that once waited.
fn house() -> Shared {
    let shared = Shared::new(Directory::new(), Arc::new(SystemTime::now), Settings::default());
    let mut cache = sample::full(0, 1);
    cache.node(Event::Apply(sample::node(0)));
    cache.node(Event::Apply(labelled(1, "disk", "nvme")));
    *shared.cache() = cache;
    shared
}

fn thought(change: impl FnOnce(&mut JobSpec)) -> Option<Thought> {
    let mut spec = sample::job(0, "Queued").spec.parse().unwrap();
    change(&mut spec);
    Some(Thought { account: "team-000".parse().unwrap(), creator: "ann".parse().unwrap(), spec })
}

fn nodes(like: Option<&str>, devices: Devices, model: &str) -> NodeGroup {
    let has = Resources { cpu_millis: 64_000, memory_bytes: 1 << 40, gpu_millis: 8000 };
    NodeGroup {
        count: 1,
        like: like.map(str::to_owned),
        allocatable: Some((has, devices)),
        model: Some(model.to_owned()),
    }
}

/// All names that anybody has heard.
fn names(shared: &Shared) -> Vec<Vec<String>> {
    let words = shared.cache().words.clone();
    vec![words.models.names(), words.devices.names(), words.labels.keys(), words.labels.values()]
}

#[test]
fn names_that_are_only_thought_of_are_heard_by_nobody() {
    let shared = house();
    let before = shared.frame(1).snapshot;
    let heard = names(&shared);
    let kinds = [ResourceKind::GpuModel("Z9".into()), ResourceKind::Device("example.com/quota".into())];
    let limit = Limit { guaranteed: Some(1000), limit: None };
    let question = Question {
        job: thought(|spec| {
            spec.roles[0].devices = Devices::from([("example.com/job", 1)]);
            spec.roles[0].gpu_models = vec!["Z8".into()];
            spec.place.node_selector.insert("example.com/key".into(), "value".into());
        }),
        nodes: vec![nodes(None, Devices::from([("example.com/node", 1)]), "Z7")],
        quotas: vec![("accounts/team-000/quota".parse().unwrap(), kinds.map(|kind| (kind, limit)).into())],
        remedies: true,
    };
    for _ in 0..2 {
        let answer = answer(&shared, &Sight::All, &question).unwrap();
        assert!(answer.job.unwrap().placements.is_empty());
        assert_eq!(names(&shared), heard);
    }
    let after = shared.frame(2).snapshot;
    assert_eq!((after.models, after.extended, after.nodes), (before.models, before.extended, before.nodes));
}

#[test]
fn a_label_that_nobody_has_asked_for_counts_for_a_job_that_is_thought_of() {
    let shared = house();
    let on = |value: &str| {
        let job = thought(|spec| drop(spec.place.node_selector.insert("disk".into(), value.into())));
        answer(&shared, &Sight::All, &Question { job, ..Question::default() }).unwrap().job.unwrap()
    };
    assert_eq!(on("nvme").placements[0].node, "node-00001");
    assert!(on("tape").placements.is_empty());
    // a node that is thought of is like the other in its labels too
    let job = thought(|spec| {
        spec.roles[0].devices = Devices::from([("rdma/hca", 1)]);
        spec.place.node_selector.insert("disk".into(), "nvme".into());
    });
    let nodes = vec![nodes(Some("node-00001"), Devices::from([("rdma/hca", 2)]), "H100")];
    let answer = answer(&shared, &Sight::All, &Question { job, nodes, ..Question::default() }).unwrap();
    assert_eq!(answer.job.unwrap().placements[0].node, "new-1-1");
}

#[test]
fn names_that_a_frame_is_the_first_to_hear_are_not_those_of_a_job_that_is_thought_of() {
    let shared = house();
    // the device of the node is heard only now, and the one that is thought of with it
    let mut node = sample::node(0);
    let offers = node.status.get_or_insert_default().allocatable.get_or_insert_default();
    let two = k8s_openapi::apimachinery::pkg::api::resource::Quantity("2".into());
    offers.insert("rdma/hca".into(), two);
    shared.cache().node(Event::Apply(node));
    let with = |device: &str| {
        let job = thought(|spec| spec.roles[0].devices = Devices::from([(device, 1)]));
        answer(&shared, &Sight::All, &Question { job, ..Question::default() }).unwrap().job.unwrap()
    };
    assert!(with("example.com/none").placements.is_empty());
    assert_eq!(with("rdma/hca").placements[0].node, "node-00000");
}
