//! What a Node offers to jobs, and what a Pod that is not ours takes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crater_domain::{Devices, Resources, is_device_name};
use k8s_openapi::api::core::v1::{Node, Pod, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::names::{CORDONED, DRAINED, GPU_MODEL, GPU_PRODUCT, GPU_RESOURCE};
use crate::quantity::{millis, units};

/// The model of GPUs whose node does not name it.
pub const UNKNOWN_MODEL: &str = "unknown";

/// Labels of nodes that say where they are, of one source the coarsest first: Kubernetes itself; Topograph, by its older names and its newer ones
/// (switches, then domains of a faster interconnect); the network layers of EKS; the blocks of GKE; the GPU operator's cliques of NVLink.
pub const PLACES: [&str; 20] = [
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "network.topology.nvidia.com/core",
    "network.topology.nvidia.com/spine",
    "network.topology.nvidia.com/leaf",
    "network.topology.nvidia.com/accelerator",
    "fabric.topograph.run/tier-3",
    "fabric.topograph.run/tier-2",
    "fabric.topograph.run/tier-1",
    "fabric.topograph.run/tier-0",
    "accelerator.topograph.run/domain",
    "accelerator.topograph.run/sub-domain",
    "topology.k8s.aws/network-node-layer-1",
    "topology.k8s.aws/network-node-layer-2",
    "topology.k8s.aws/network-node-layer-3",
    "topology.k8s.aws/network-node-layer-4",
    "cloud.google.com/gce-topology-block",
    "cloud.google.com/gce-topology-subblock",
    "cloud.google.com/gce-topology-host",
    "nvidia.com/gpu.clique",
];
/// The same for keys that have no one prefix: what clusters call racks, blocks of racks, and islands of fast interconnect.
const KINDS_OF_PLACES: [&str; 3] = ["rack", "block", "island"];

/// An admin's word on a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Word {
    /// Who said it: `users/ann`.
    pub by: String,
    /// Why; may be empty.
    pub reason: String,
    /// When, in milliseconds since 1970.
    pub millis: i64,
}

impl Word {
    /// `by users/ann: the disk is failing`.
    pub fn sentence(&self) -> String {
        match (self.by.as_str(), self.reason.as_str()) {
            ("", "") => String::new(),
            ("", reason) => format!(": {reason}"),
            (by, "") => format!(" by {by}"),
            (by, reason) => format!(" by {by}: {reason}"),
        }
    }
}

/// A change of whether a node takes jobs, as a merge patch of the Node. Each says all that it is about: twice is once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nothing new starts there.
    Cordon(Word),
    /// Nothing new starts there, and what runs there leaves.
    Drain(Word),
    /// It is open, and no longer drained.
    Open,
}

impl Turn {
    /// The merge patch.
    pub fn patch(&self) -> Value {
        let (annotations, closed) = match self {
            Self::Cordon(word) => (json!({CORDONED: json!(word).to_string()}), json!(true)),
            Self::Drain(word) => (json!({DRAINED: json!(word).to_string()}), json!(true)),
            Self::Open => (json!({CORDONED: null, DRAINED: null}), Value::Null),
        };
        json!({"metadata": {"annotations": annotations}, "spec": {"unschedulable": closed}})
    }

    /// Whether the node is so already, by the same person and for the same reason.
    pub fn is_done(&self, machine: &Machine) -> bool {
        let same = |is: &Option<Word>, word: &Word| {
            is.as_ref().is_some_and(|is| (&is.by, &is.reason) == (&word.by, &word.reason))
        };
        match self {
            Self::Cordon(word) => same(&machine.cordoned, word),
            Self::Drain(word) => same(&machine.drained, word),
            Self::Open => machine.cordoned.is_none(),
        }
    }
}

/// A node as a scheduler sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Its name.
    pub name: String,
    /// What Pods may request in all.
    pub allocatable: Resources,
    /// Other devices that Pods may request, by name.
    pub devices: Devices,
    /// Whole GPUs, numbered from 0.
    pub gpus: u16,
    /// The model of all its GPUs; empty without.
    pub model: String,
    /// Why no new replica may start there, for people; none: it may.
    pub closed: Option<String>,
    /// Its kubelet does not report: what runs there may still run.
    pub lost: bool,
    /// An admin closed it, with nothing known of whom and why where that was not through Crater.
    pub cordoned: Option<Word>,
    /// Jobs are taken off it.
    pub drained: Option<Word>,
    /// Where it is: labels by key, those of [`PLACES`] and what ends in `/rack`, `/block` or `/island`.
    pub topology: BTreeMap<String, String>,
    /// All its labels.
    pub labels: Arc<BTreeMap<String, String>>,
}

/// Reads a Node.
pub fn machine(node: &Node) -> Machine {
    let none = BTreeMap::new();
    let status = node.status.as_ref();
    let allocatable = status.and_then(|s| s.allocatable.as_ref()).unwrap_or(&none);
    let gpus = amount(allocatable, GPU_RESOURCE, units).min(i64::from(u16::MAX));
    let gpus = u16::try_from(gpus).unwrap_or(u16::MAX);
    let labels = node.metadata.labels.as_ref();
    let model = labels.and_then(|l| l.get(GPU_MODEL).or_else(|| l.get(GPU_PRODUCT))).cloned();
    let ready = status
        .and_then(|s| s.conditions.as_ref())
        .and_then(|all| all.iter().find(|c| c.type_ == "Ready"))
        .is_some_and(|c| c.status == "True");
    let cordoned = node.spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true));
    let word = |key: &str| {
        let text = node.metadata.annotations.as_ref().and_then(|all| all.get(key)).filter(|_| cordoned)?;
        // somebody's own scribble there is a word, too
        Some(serde_json::from_str(text).unwrap_or_else(|_| Word { reason: text.clone(), ..Word::default() }))
    };
    let drained: Option<Word> = word(DRAINED);
    let cordoned = cordoned.then(|| word(CORDONED).or_else(|| drained.clone()).unwrap_or_default());
    let topology = labels.into_iter().flatten().filter(|(key, _)| says_where(key));
    let devices = allocatable.iter().filter(|(name, _)| is_device_name(name));
    let devices = devices.map(|(name, count)| (name.clone(), units(count))).filter(|(_, count)| *count > 0);
    Machine {
        name: node.metadata.name.clone().unwrap_or_default(),
        allocatable: Resources {
            cpu_millis: amount(allocatable, "cpu", millis),
            memory_bytes: amount(allocatable, "memory", units),
            gpu_millis: i64::from(gpus) * 1000,
        },
        devices: Devices(devices.collect()),
        gpus,
        model: if gpus == 0 { String::new() } else { model.unwrap_or_else(|| UNKNOWN_MODEL.to_owned()) },
        closed: closed(node, ready, cordoned.as_ref(), drained.as_ref()),
        lost: !ready,
        topology: topology.map(|(key, value)| (key.clone(), value.clone())).collect(),
        labels: Arc::new(labels.cloned().unwrap_or_default()),
        cordoned,
        drained,
    }
}

fn says_where(key: &str) -> bool {
    PLACES.contains(&key) || key.rsplit_once('/').is_some_and(|(_, kind)| KINDS_OF_PLACES.contains(&kind))
}

/// Our Pods tolerate the taint of GPU nodes and no other.
fn closed(node: &Node, ready: bool, cordoned: Option<&Word>, drained: Option<&Word>) -> Option<String> {
    if node.metadata.deletion_timestamp.is_some() {
        return Some("the node is being deleted".to_owned());
    }
    if !ready {
        return Some("the node does not answer (not Ready)".to_owned());
    }
    if let Some(word) = drained {
        return Some(format!("the node is drained{}", word.sentence()));
    }
    if let Some(word) = cordoned {
        return Some(format!("the node is cordoned{}", word.sentence()));
    }
    let spec = node.spec.as_ref()?;
    let binds = |effect: &str| effect == "NoSchedule" || effect == "NoExecute";
    let taint = spec.taints.iter().flatten().find(|t| t.key != GPU_RESOURCE && binds(&t.effect))?;
    Some(format!("the node has the taint {}:{}", taint.key, taint.effect))
}

/// What a Pod takes of its node while it is neither finished nor unassigned, with devices by name.
pub fn occupied(pod: &Pod) -> Option<(String, Resources, Devices)> {
    let spec = pod.spec.as_ref()?;
    let node = spec.node_name.clone().filter(|n| !n.is_empty())?;
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or_default();
    if phase == "Succeeded" || phase == "Failed" {
        return None;
    }
    let took = Resources {
        cpu_millis: requested(spec, "cpu", millis),
        memory_bytes: requested(spec, "memory", units),
        gpu_millis: requested(spec, GPU_RESOURCE, units).saturating_mul(1000),
    };
    let named = devices_named(spec).into_iter().map(|name| (name.to_owned(), requested(spec, name, units)));
    Some((node, took, Devices(named.filter(|(_, count)| *count > 0).collect())))
}

fn devices_named(spec: &PodSpec) -> BTreeSet<&str> {
    let inits = spec.init_containers.iter().flatten();
    let all = inits.chain(&spec.containers).filter_map(|container| container.resources.as_ref());
    let maps = all.flat_map(|of| [of.requests.as_ref(), of.limits.as_ref()]).flatten();
    maps.flat_map(BTreeMap::keys).map(String::as_str).filter(|name| is_device_name(name)).collect()
}

/// As kube-scheduler counts: all containers together, or the largest init container if that is more; sidecars run beside both.
fn requested(spec: &PodSpec, name: &str, read: fn(&Quantity) -> i64) -> i64 {
    let of = |r: Option<&ResourceRequirements>| {
        let r = r?;
        let asked = r.requests.as_ref().and_then(|r| r.get(name));
        asked.or_else(|| r.limits.as_ref()?.get(name)).map(read)
    };
    let mut beside = 0i64;
    let mut first = 0i64;
    for init in spec.init_containers.iter().flatten() {
        let each = of(init.resources.as_ref()).unwrap_or(0);
        if init.restart_policy.as_deref() == Some("Always") {
            beside = beside.saturating_add(each);
            first = first.max(beside);
        } else {
            first = first.max(beside.saturating_add(each));
        }
    }
    let run = spec
        .containers
        .iter()
        .fold(beside, |sum, c| sum.saturating_add(of(c.resources.as_ref()).unwrap_or(0)));
    let overhead = spec.overhead.as_ref().and_then(|o| o.get(name)).map_or(0, read);
    run.max(first).saturating_add(overhead)
}

fn amount(of: &BTreeMap<String, Quantity>, name: &str, read: fn(&Quantity) -> i64) -> i64 {
    of.get(name).map_or(0, read)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(ready: &str, taint: &str, unschedulable: bool) -> Node {
        serde_json::from_value(json!({
            "metadata": {"name": "n", "labels": {"nvidia.com/gpu.product": "A100"}},
            "spec": {"unschedulable": unschedulable, "taints": [{"key": taint, "effect": "NoSchedule"}]},
            "status": {"allocatable": {"cpu": "8", "memory": "16Gi", "nvidia.com/gpu": "4"},
                "conditions": [{"type": "Ready", "status": ready}]},
        }))
        .unwrap()
    }

    #[test]
    fn a_node_is_open_when_ready_uncordoned_and_without_strange_taints() {
        let open = machine(&node("True", GPU_RESOURCE, false));
        assert_eq!((open.gpus, open.model.as_str(), open.closed.as_deref()), (4, "A100", None));
        assert_eq!(open.allocatable.memory_bytes, 16 << 30);
        assert!(machine(&node("True", GPU_RESOURCE, true)).closed.is_some());
        assert!(machine(&node("True", "mine", false)).closed.is_some_and(|why| why.contains("mine")));
        let lost = machine(&node("Unknown", GPU_RESOURCE, false));
        assert!(lost.lost && lost.closed.is_some());
    }

    #[test]
    fn a_node_offers_devices_by_name_beside_what_has_its_own_words() {
        let mut node = node("True", GPU_RESOURCE, false);
        let allocatable = json!({"cpu": "8", "memory": "16Gi", "pods": "110", "ephemeral-storage": "1Ti",
            "hugepages-2Mi": "0", "attachable-volumes-csi-x": "9", "nvidia.com/gpu": "4", "rdma/hca": "1k",
            "nvidia.com/mig-1g.5gb": "7", "example.com/gone": "0"});
        node.status.get_or_insert_default().allocatable = serde_json::from_value(allocatable).unwrap();
        assert_eq!(machine(&node).devices, [("nvidia.com/mig-1g.5gb", 7), ("rdma/hca", 1000)].into());
    }

    #[test]
    fn a_node_is_turned_by_patches_and_says_by_whom_and_why() {
        let with = |patch: &Value| {
            let mut node = serde_json::to_value(node("True", GPU_RESOURCE, false)).unwrap();
            for (key, value) in patch["metadata"]["annotations"].as_object().unwrap() {
                node["metadata"]["annotations"][key] = value.clone();
            }
            node["spec"]["unschedulable"] = patch["spec"]["unschedulable"].clone();
            node["metadata"]["annotations"].as_object_mut().unwrap().retain(|_, v| !v.is_null());
            machine(&serde_json::from_value(node).unwrap())
        };
        let word = Word { by: "users/root".into(), reason: "the disk".into(), millis: 7 };
        let cordoned = with(&Turn::Cordon(word.clone()).patch());
        assert_eq!((cordoned.cordoned.as_ref(), cordoned.drained.as_ref()), (Some(&word), None));
        assert_eq!(cordoned.closed.as_deref(), Some("the node is cordoned by users/root: the disk"));
        let drain = Turn::Drain(word.clone());
        let drained = with(&drain.patch());
        assert_eq!((drained.drained.as_ref(), drained.cordoned.is_some()), (Some(&word), true));
        assert!(drain.is_done(&drained) && !Turn::Open.is_done(&drained));
        let open = with(&Turn::Open.patch());
        assert!(open.closed.is_none() && Turn::Open.is_done(&open));
        // by kubectl: cordoned by nobody known; a word without it means nothing
        let kubectl = machine(&node("True", GPU_RESOURCE, true));
        assert_eq!(kubectl.cordoned, Some(Word::default()));
        let mut left = drain.patch();
        left["spec"]["unschedulable"] = Value::Null;
        assert_eq!((with(&left).drained, with(&left).closed), (None, None));
    }

    #[test]
    fn a_nodes_place_is_told_by_its_labels() {
        let mut node = node("True", GPU_RESOURCE, false);
        let leaf = "network.topology.nvidia.com/leaf";
        let labels =
            [("topology.kubernetes.io/zone", "z1"), ("example.com/rack", "r7"), ("app", "x"), (leaf, "s3")];
        node.metadata.labels =
            Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into_iter().collect());
        let keys: Vec<String> = machine(&node).topology.into_keys().collect();
        assert_eq!(keys, ["example.com/rack", leaf, "topology.kubernetes.io/zone"]);
    }

    #[test]
    fn a_pod_takes_what_its_containers_request_until_it_ends() {
        let mut pod: Pod = serde_json::from_value(json!({
            "spec": {"nodeName": "n",
                "initContainers": [{"name": "i", "resources": {"requests": {"cpu": "3"}}}],
                "containers": [{"name": "a", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}},
                    {"name": "b", "resources": {"limits": {"nvidia.com/gpu": "2", "rdma/hca": "3"}}}]},
        }))
        .unwrap();
        let (node, took, devices) = occupied(&pod).unwrap();
        assert_eq!(devices, [("rdma/hca", 3)].into());
        assert_eq!((node.as_str(), took.cpu_millis, took.gpu_millis), ("n", 3000, 2000));
        pod.status = serde_json::from_value(json!({"phase": "Succeeded"})).unwrap();
        assert_eq!(occupied(&pod), None);
    }
}
