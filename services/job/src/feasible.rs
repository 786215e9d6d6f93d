//! What no node of the cluster can ever run is refused when it is submitted. While no node is known, nothing is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

use crater_domain::{
    Devices, Error, FieldViolation, JobSpec, Place, Resources, Result, Role, format_bytes, format_millis,
};
use crater_k8s::node::machine;
use crater_service::Condition;
use futures::TryStreamExt;
use k8s_openapi::api::core::v1::Node;
use kube::runtime::watcher;
use kube::{Api, Client};

/// The shape of a node: nodes of one shape are alike here.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Shape {
    /// Empty without GPUs.
    model: String,
    gpu_millis: i64,
    cpu_millis: i64,
    memory_bytes: i64,
    devices: Devices,
}

impl Shape {
    fn of(node: &Node) -> Seen {
        let machine = machine(node);
        let Resources { cpu_millis, memory_bytes, gpu_millis } = machine.allocatable;
        let shape =
            Self { model: machine.model, gpu_millis, cpu_millis, memory_bytes, devices: machine.devices };
        (shape, machine.labels)
    }
}

/// A node: its shape and its labels.
type Seen = (Shape, Arc<BTreeMap<String, String>>);

/// What there is of nodes.
#[derive(Debug, Default)]
struct Known {
    shapes: BTreeSet<Shape>,
    /// The labels of all nodes.
    labels: BTreeMap<String, BTreeSet<String>>,
}

/// What there is of nodes. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Nodes {
    known: Arc<RwLock<Arc<Known>>>,
}

impl Nodes {
    fn publish(&self, nodes: &BTreeMap<String, Seen>) {
        let mut known = Known::default();
        // a node that has not reported yet says nothing of what there is
        for (shape, labels) in nodes.values().filter(|(shape, _)| shape.cpu_millis > 0) {
            known.shapes.insert(shape.clone());
            for (key, value) in labels.iter() {
                known.labels.entry(key.clone()).or_default().insert(value.clone());
            }
        }
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(known);
    }

    /// Refuses a job of which a replica fits no node, by the path of its field.
    pub fn check(&self, spec: &JobSpec) -> Result<()> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner).clone();
        if known.shapes.is_empty() {
            return Ok(());
        }
        let mut wrong = Vec::new();
        check_place(&spec.place, &known.labels, &mut wrong);
        for (i, role) in spec.roles.iter().enumerate() {
            check_role(role, &format!("job.spec.roles[{i}]"), &known.shapes, &mut wrong);
        }
        if wrong.is_empty() { Ok(()) } else { Err(Error::fields(wrong)) }
    }
}

fn check_place(place: &Place, there: &BTreeMap<String, BTreeSet<String>>, wrong: &mut Vec<FieldViolation>) {
    let mut refuse = |field: String, description: String| wrong.push(FieldViolation { field, description });
    for (key, value) in &place.node_selector {
        let description = match there.get(key) {
            None => format!("no node has the label {key}"),
            Some(values) if !values.contains(value) => {
                let some: Vec<&str> = values.iter().map(String::as_str).take(5).collect();
                let more = if values.len() > some.len() { "..." } else { "" };
                format!("no node has the label {key}={value}: there are {}{more}", some.join(", "))
            }
            Some(_) => continue,
        };
        refuse(format!("job.spec.node_selector[{key}]"), description);
    }
    if let Some(topology) = place.topology.as_ref().filter(|topology| topology.required)
        && !there.contains_key(&topology.key)
    {
        let description = format!("no node has the label {}", topology.key);
        refuse("job.spec.topology.key".to_owned(), description);
    }
}

fn check_role(role: &Role, at: &str, shapes: &BTreeSet<Shape>, wrong: &mut Vec<FieldViolation>) {
    let mut refuse = |field: String, description: String| wrong.push(FieldViolation { field, description });
    let models: BTreeSet<&str> = shapes.iter().map(|s| s.model.as_str()).filter(|m| !m.is_empty()).collect();
    let there = match models.len() {
        0 => "there are no GPUs in the cluster".to_owned(),
        _ => format!("there are {}", models.iter().copied().collect::<Vec<_>>().join(", ")),
    };
    let mut known = true;
    for (j, model) in role.gpu_models.iter().enumerate() {
        if !models.contains(model.as_str()) {
            known = false;
            refuse(
                format!("{at}.gpu_models[{j}]"),
                format!("no node has GPUs of the model {model:?}: {there}"),
            );
        }
    }
    if !known {
        return;
    }
    let asked = |s: &&Shape| role.gpu_models.is_empty() || role.gpu_models.contains(&s.model);
    let fitting: Vec<&Shape> = shapes.iter().filter(asked).collect();
    let r = role.resources;
    let of = if role.gpu_models.is_empty() {
        String::new()
    } else {
        format!(" with {}", role.gpu_models.join(" or "))
    };
    let most = |amount: fn(&Shape) -> i64| fitting.iter().map(|s| amount(s)).max().unwrap_or(0);
    let amounts = [
        ("gpu_millis", "GPUs", r.gpu_millis, most(|s| s.gpu_millis), format_millis as fn(i64) -> String),
        ("cpu_millis", "cores", r.cpu_millis, most(|s| s.cpu_millis), format_millis),
        ("memory_bytes", "bytes of memory", r.memory_bytes, most(|s| s.memory_bytes), format_bytes),
    ];
    let mut each_fits = true;
    for (field, what, ask, has, show) in amounts {
        if ask > has {
            each_fits = false;
            let text = match has {
                0 => format!("{} {what} a replica are asked for, and {there}", show(ask)),
                _ => format!("{} {what} a replica are more than any node{of} has: {}", show(ask), show(has)),
            };
            refuse(format!("{at}.resources.{field}"), text);
        }
    }
    for (name, ask) in &role.devices.0 {
        let has = fitting.iter().map(|s| s.devices.of(name)).max().unwrap_or(0);
        if *ask > has {
            each_fits = false;
            let text = match has {
                0 => format!("no node{of} offers {name}{}", offered(shapes)),
                _ => format!("{ask} {name} a replica are more than any node{of} has: {has}"),
            };
            refuse(format!("{at}.resources.devices[{name}]"), text);
        }
    }
    let whole = |s: &&Shape| {
        s.gpu_millis >= r.gpu_millis
            && s.cpu_millis >= r.cpu_millis
            && s.memory_bytes >= r.memory_bytes
            && role.devices.0.iter().all(|(name, ask)| s.devices.of(name) >= *ask)
    };
    if each_fits && !fitting.iter().any(whole) {
        let what =
            if role.devices.is_empty() { "CPU, memory and GPUs" } else { "CPU, memory, GPUs and devices" };
        refuse(format!("{at}.resources"), format!("no node{of} has so much {what} together"));
    }
}

/// Some devices by name that there are.
fn offered(shapes: &BTreeSet<Shape>) -> String {
    let names: BTreeSet<&str> = shapes.iter().flat_map(|s| s.devices.0.keys()).map(String::as_str).collect();
    let some: Vec<&str> = names.iter().copied().take(5).collect();
    match names.len() {
        0 => String::new(),
        n => format!(": there are {}{}", some.join(", "), if n > some.len() { "..." } else { "" }),
    }
}

/// Follows the cluster's nodes.
pub async fn follow(client: Client, nodes: Nodes, known: Condition) -> Result<(), watcher::Error> {
    let mut events = std::pin::pin!(watcher(Api::<Node>::all(client), watcher::Config::default()));
    let mut all = BTreeMap::new();
    let mut listing = false;
    while let Some(event) = events.try_next().await? {
        let before = all.clone();
        match event {
            watcher::Event::Init => {
                listing = true;
                all.clear();
                continue;
            }
            watcher::Event::InitApply(node) | watcher::Event::Apply(node) => {
                all.insert(node.metadata.name.clone().unwrap_or_default(), Shape::of(&node));
            }
            watcher::Event::Delete(node) => {
                all.remove(&node.metadata.name.unwrap_or_default());
            }
            watcher::Event::InitDone => {
                listing = false;
                nodes.publish(&all);
                known.ready();
            }
        }
        if !listing && all != before {
            nodes.publish(&all);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crater_domain::ServiceClass;

    fn nodes(shapes: &[(&str, i64, i64)]) -> Nodes {
        let nodes = Nodes::default();
        let shape = |(model, gpus, cores): &(&str, i64, i64)| Shape {
            model: (*model).to_owned(),
            gpu_millis: gpus * 1000,
            cpu_millis: cores * 1000,
            memory_bytes: 1 << 40,
            devices: Devices::default(),
        };
        let labels = |i: usize| BTreeMap::from([("rack".to_owned(), format!("r{i}"))]);
        let all = shapes.iter().enumerate();
        let all = all.map(|(i, s)| (format!("n{i}"), (shape(s), Arc::new(labels(i))))).collect();
        nodes.publish(&all);
        nodes
    }

    fn asking(gpus: i64, cores: i64, models: &[&str]) -> JobSpec {
        let role = Role {
            name: "worker".parse().unwrap(),
            replicas: 1,
            min_replicas: 1,
            resources: Resources { cpu_millis: cores * 1000, memory_bytes: 1, gpu_millis: gpus * 1000 },
            devices: Devices::default(),
            gpu_models: models.iter().map(ToString::to_string).collect(),
            image: "i".into(),
            command: vec![],
            args: vec![],
            env: vec![],
            working_dir: String::new(),
            mounts: vec![],
        };
        JobSpec {
            class: ServiceClass::Guaranteed,
            priority: 0,
            roles: vec![role],
            expected_seconds: None,
            max_retries: 0,
            grace_seconds: 30,
            place: Default::default(),
        }
    }

    #[test]
    fn what_fits_no_node_is_refused_by_its_field() {
        let cluster = nodes(&[("A100", 8, 64), ("V100", 4, 128), ("", 0, 256)]);
        let field = |spec: &JobSpec| cluster.check(spec).map_err(|e| e.violations[0].field.clone());
        assert_eq!(field(&asking(8, 64, &["A100"])), Ok(()));
        assert_eq!(field(&asking(0, 256, &[])), Ok(()));
        let cases = [
            (asking(1, 1, &["A100", "H100"]), "job.spec.roles[0].gpu_models[1]"),
            (asking(8, 1, &["V100"]), "job.spec.roles[0].resources.gpu_millis"),
            (asking(9, 1, &[]), "job.spec.roles[0].resources.gpu_millis"),
            (asking(1, 257, &[]), "job.spec.roles[0].resources.cpu_millis"),
            (asking(8, 100, &[]), "job.spec.roles[0].resources"),
        ];
        for (spec, expected) in cases {
            assert_eq!(field(&spec), Err(expected.to_owned()), "{spec:?}");
        }
        assert_eq!(nodes(&[]).check(&asking(9, 9, &["H100"])).map_err(drop), Ok(()));
    }

    #[test]
    fn devices_that_no_node_offers_are_refused_by_their_name() {
        let with = |cores: i64, devices: Devices| {
            let shape = Shape {
                model: String::new(),
                gpu_millis: 0,
                cpu_millis: cores * 1000,
                memory_bytes: 1 << 40,
                devices,
            };
            (format!("n{cores}"), (shape, Arc::default()))
        };
        let nodes = Nodes::default();
        nodes.publish(&BTreeMap::from([with(4, [("rdma/hca", 8)].into()), with(64, Devices::default())]));
        let told = |cores: i64, devices: Devices| {
            let mut spec = asking(0, cores, &[]);
            spec.roles[0].devices = devices;
            nodes
                .check(&spec)
                .map_err(|e| format!("{}: {}", e.violations[0].field, e.violations[0].description))
        };
        let field = "job.spec.roles[0].resources";
        assert_eq!(told(4, [("rdma/hca", 8)].into()), Ok(()));
        assert_eq!(
            told(4, [("rdma/hca", 9)].into()),
            Err(format!("{field}.devices[rdma/hca]: 9 rdma/hca a replica are more than any node has: 8"))
        );
        assert_eq!(
            told(4, [("a/b", 1)].into()),
            Err(format!("{field}.devices[a/b]: no node offers a/b: there are rdma/hca"))
        );
        assert_eq!(
            told(5, [("rdma/hca", 1)].into()),
            Err(format!("{field}: no node has so much CPU, memory, GPUs and devices together"))
        );
    }

    #[test]
    fn labels_that_no_node_has_are_refused_by_their_field() {
        let nodes = nodes(&[("A100", 8, 64), ("A100", 8, 64)]);
        let mut spec = asking(1, 1, &[]);
        spec.place.node_selector.insert("rack".into(), "r1".into());
        spec.place.topology = Some(crater_domain::Topology { key: "rack".into(), required: true });
        assert!(nodes.check(&spec).is_ok());
        spec.place.node_selector.insert("rack".into(), "r7".into());
        spec.place.node_selector.insert("disk".into(), "nvme".into());
        spec.place.topology = Some(crater_domain::Topology { key: "island".into(), required: true });
        let wrong = nodes.check(&spec).unwrap_err();
        let told: Vec<String> =
            wrong.violations.iter().map(|v| format!("{}: {}", v.field, v.description)).collect();
        let expected = [
            "job.spec.node_selector[disk]: no node has the label disk",
            "job.spec.node_selector[rack]: no node has the label rack=r7: there are r0, r1",
            "job.spec.topology.key: no node has the label island",
        ];
        assert_eq!(told, expected);
        // to prefer what is not there harms nobody
        spec.place.node_selector.clear();
        spec.place.topology = Some(crater_domain::Topology { key: "island".into(), required: false });
        assert!(nodes.check(&spec).is_ok());
    }
}
