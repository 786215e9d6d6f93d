//! What a node has given to which Pod: the admission of a kubelet and its device plugin.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Deserialize;
use serde_json::Value;

use crate::api::object::{annotation, at, list};
use crate::node::{GPU, NodeSpec, PODS};
use crate::quantity;

/// The annotation by which the allocator names devices: a JSON list of `{"index": 3, "milli": 1000}`.
pub(crate) const GPUS_ANNOTATION: &str = "crater.dev/gpus";

/// A share of one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Share {
    pub index: usize,
    /// Thousandths of the device.
    pub milli: u32,
}

/// Why a Pod was not admitted, as the Pod's status says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub reason: String,
    pub message: String,
}

#[derive(Debug)]
struct Holding {
    cpu: i128,
    memory: i128,
    shares: Vec<Share>,
    named: BTreeMap<String, i128>,
}

/// The books of one node.
#[derive(Debug)]
pub(crate) struct Ledger {
    cpu: i128,
    memory: i128,
    /// Thousandths given away, by device.
    devices: Vec<u32>,
    /// What plugins offer by name.
    named: BTreeMap<String, i128>,
    held: HashMap<String, Holding>,
}

impl Ledger {
    pub fn new(node: &NodeSpec) -> Self {
        Self {
            cpu: i128::from(node.cpu_millis),
            memory: i128::from(node.memory_bytes),
            devices: vec![0; usize::try_from(node.gpus).unwrap_or(0)],
            named: node.devices.iter().map(|(name, count)| (name.clone(), i128::from(*count))).collect(),
            held: HashMap::new(),
        }
    }

    /// Gives a Pod what it requests, all of it or nothing. Answers the devices that it got.
    pub fn admit(&mut self, uid: &str, pod: &Value) -> Result<Vec<Share>, Refusal> {
        if self.held.len() as u64 >= PODS {
            return Err(out_of("pods", 1, self.held.len() as i128, i128::from(PODS)));
        }
        let cpu = requested(pod, "cpu");
        // quantities are in thousandths; memory counts in bytes
        let memory = requested(pod, "memory").div_euclid(1000);
        let whole = requested(pod, GPU).div_euclid(1000);
        let (used_cpu, used_memory) =
            self.held.values().fold((0, 0), |(cpu, memory), h| (cpu + h.cpu, memory + h.memory));
        for (name, wanted, used, capacity) in
            [("cpu", cpu, used_cpu, self.cpu), ("memory", memory, used_memory, self.memory)]
        {
            if wanted > 0 && used + wanted > capacity {
                return Err(out_of(name, wanted, used, capacity));
            }
        }
        let named = requested_by_name(pod);
        for (name, wanted) in &named {
            let used = self.held.values().filter_map(|held| held.named.get(name)).sum();
            let capacity = self.named.get(name).copied().unwrap_or(0);
            if used + wanted > capacity {
                return Err(out_of(name, *wanted, used, capacity));
            }
        }
        // a device of which a share is given away is no whole device any more
        let taken = self.devices.iter().filter(|milli| **milli > 0).count() as i128;
        let capacity = self.devices.len() as i128;
        if whole > 0 && taken + whole > capacity {
            return Err(out_of(GPU, whole, taken, capacity));
        }
        let shares = match annotation(pod, GPUS_ANNOTATION) {
            Some(text) => self.chosen(text, whole)?,
            None => self.free_devices(whole)?,
        };
        for share in &shares {
            self.devices[share.index] += share.milli;
        }
        self.held.insert(uid.to_owned(), Holding { cpu, memory, shares: shares.clone(), named });
        Ok(shares)
    }

    /// Takes back what a Pod held.
    pub fn release(&mut self, uid: &str) {
        if let Some(holding) = self.held.remove(uid) {
            for share in holding.shares {
                self.devices[share.index] -= share.milli;
            }
        }
    }

    fn chosen(&self, text: &str, whole: i128) -> Result<Vec<Share>, Refusal> {
        let shares: Vec<Share> = serde_json::from_str(text)
            .map_err(|e| unexpected(format!("reading annotation {GPUS_ANNOTATION}: {e}")))?;
        let full = shares.iter().filter(|s| s.milli == 1000).count() as i128;
        if full != whole {
            let why =
                format!("annotation {GPUS_ANNOTATION} names {full} whole devices, the pod requests {whole}");
            return Err(unexpected(why));
        }
        let mut after = self.devices.clone();
        for share in &shares {
            let Some(used) = after.get_mut(share.index) else {
                let why =
                    format!("device {} does not exist, the node has {}", share.index, self.devices.len());
                return Err(unexpected(why));
            };
            if share.milli == 0 || share.milli > 1000 {
                return Err(unexpected(format!(
                    "{} thousandths of a device are no share of it",
                    share.milli
                )));
            }
            *used += share.milli;
            if *used > 1000 {
                let (index, given) = (share.index, *used - share.milli);
                let why = format!(
                    "device {index} has given {given} of its 1000 thousandths, {} more requested",
                    share.milli
                );
                return Err(unexpected(why));
            }
        }
        Ok(shares)
    }

    fn free_devices(&self, whole: i128) -> Result<Vec<Share>, Refusal> {
        let wanted = usize::try_from(whole).unwrap_or(usize::MAX);
        let free = self.devices.iter().enumerate().filter(|(_, milli)| **milli == 0);
        let shares: Vec<Share> = free.take(wanted).map(|(index, _)| Share { index, milli: 1000 }).collect();
        if shares.len() < wanted {
            let why = format!(
                "requested number of devices unavailable for {GPU}. Requested: {wanted}, Available: {}",
                shares.len()
            );
            return Err(unexpected(why));
        }
        Ok(shares)
    }
}

fn out_of(resource: &str, wanted: i128, used: i128, capacity: i128) -> Refusal {
    Refusal {
        reason: format!("OutOf{resource}"),
        message: format!(
            "Pod was rejected: Node didn't have enough resource: {resource}, requested: {wanted}, used: {used}, capacity: {capacity}"
        ),
    }
}

fn unexpected(why: String) -> Refusal {
    Refusal {
        reason: "UnexpectedAdmissionError".into(),
        message: format!("Pod was rejected: Allocate failed due to {why}, which is unexpected"),
    }
}

/// What a Pod requests of extended resources other than GPUs, in whole numbers.
fn requested_by_name(pod: &Value) -> BTreeMap<String, i128> {
    let containers = ["containers", "initContainers"].into_iter().flat_map(|kind| list(pod, &["spec", kind]));
    let lists = ["requests", "limits"];
    let maps = containers
        .flat_map(|of| lists.into_iter().filter_map(|list| at(of, &["resources", list])?.as_object()));
    let names: BTreeSet<&String> =
        maps.flat_map(|map| map.keys()).filter(|name| name.contains('/') && *name != GPU).collect();
    let wanted = names.into_iter().map(|name| (name.clone(), requested(pod, name).div_euclid(1000)));
    wanted.filter(|(_, wanted)| *wanted > 0).collect()
}

/// What a Pod requests of a resource, in thousandths: its containers together, an init container if that is more.
fn requested(pod: &Value, resource: &str) -> i128 {
    let of = |container: &Value| {
        let amount = at(container, &["resources", "requests", resource])
            .or_else(|| at(container, &["resources", "limits", resource]));
        amount.and_then(Value::as_str).and_then(quantity::milli).unwrap_or(0)
    };
    let together: i128 = list(pod, &["spec", "containers"]).iter().map(of).sum();
    let init = list(pod, &["spec", "initContainers"]).iter().map(of).max().unwrap_or(0);
    let overhead = at(pod, &["spec", "overhead", resource]).and_then(Value::as_str).and_then(quantity::milli);
    together.max(init) + overhead.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node() -> Ledger {
        Ledger::new(&NodeSpec::gpu_server("a", 2, "A100"))
    }
    fn pod(gpus: u32, choice: Option<&str>) -> Value {
        let mut pod =
            json!({"metadata": {"annotations": {}}, "spec": {"containers": [{"resources": {"limits": {}}}]}});
        if gpus > 0 {
            pod["spec"]["containers"][0]["resources"]["limits"][GPU] = gpus.to_string().into();
        }
        if let Some(choice) = choice {
            pod["metadata"]["annotations"][GPUS_ANNOTATION] = choice.into();
        }
        pod
    }

    #[test]
    fn no_device_is_given_beyond_its_whole() {
        let mut node = node();
        let half = pod(0, Some(r#"[{"index": 0, "milli": 500}]"#));
        assert!(node.admit("a", &half).is_ok());
        assert!(node.admit("b", &half).is_ok());
        assert_eq!(node.admit("c", &half).unwrap_err().reason, "UnexpectedAdmissionError");
        assert_eq!(node.admit("d", &pod(2, None)).unwrap_err().reason, "OutOfnvidia.com/gpu");
        assert_eq!(node.admit("e", &pod(1, None)).unwrap(), [Share { index: 1, milli: 1000 }]);
        node.release("a");
        assert!(node.admit("c", &half).is_ok(), "what is released can be given again");
        node.release("b");
        node.release("c");
        node.release("e");
        assert_eq!(node.admit("d", &pod(2, None)).map(|s| s.len()), Ok(2));
    }

    #[test]
    fn a_choice_that_does_not_fit_is_refused_and_takes_nothing() {
        let mut node = node();
        for (gpus, choice) in [
            (1, r#"[{"index": 2, "milli": 1000}]"#),
            (0, r#"[{"index": 0, "milli": 1000}]"#),
            (1, r#"[{"index": 0, "milli": 500}]"#),
            (2, r#"[{"index": 0, "milli": 1000}, {"index": 0, "milli": 1000}]"#),
            (0, r#"[{"index": 0, "milli": 1001}]"#),
            (1, "nonsense"),
        ] {
            let refusal = node.admit("x", &pod(gpus, Some(choice))).unwrap_err();
            assert_eq!(refusal.reason, "UnexpectedAdmissionError", "{choice}");
        }
        assert!(node.admit("y", &pod(2, None)).is_ok());
    }

    #[test]
    fn devices_by_name_are_given_as_far_as_they_go() {
        let mut spec = NodeSpec::gpu_server("a", 0, "");
        spec.devices = BTreeMap::from([("rdma/hca".to_owned(), 3)]);
        let mut node = Ledger::new(&spec);
        let wants = |name: &str, count: &str| json!({"spec": {"containers": [{"resources": {"limits": {name: count}}}]}});
        assert!(node.admit("a", &wants("rdma/hca", "2")).is_ok());
        assert_eq!(node.admit("b", &wants("rdma/hca", "2")).unwrap_err().reason, "OutOfrdma/hca");
        assert_eq!(node.admit("b", &wants("rdma/other", "1")).unwrap_err().reason, "OutOfrdma/other");
        assert!(node.admit("b", &wants("rdma/hca", "1")).is_ok());
        node.release("a");
        assert!(node.admit("c", &wants("rdma/hca", "2")).is_ok());
    }

    #[test]
    fn cpu_is_given_out_to_the_last_thousandth_and_no_further() {
        let mut node = node();
        let mut wants = |cpu: &str| {
            let pod = json!({"spec": {"containers": [{"resources": {"requests": {"cpu": cpu}}}]}});
            node.admit(cpu, &pod).map_err(|r| r.reason)
        };
        assert!(wants("31").is_ok());
        assert!(wants("1000m").is_ok());
        assert_eq!(wants("1m"), Err("OutOfcpu".into()));
    }
}
