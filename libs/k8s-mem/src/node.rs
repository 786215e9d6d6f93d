//! Nodes: what one has, and the Node object that says so.

use std::collections::BTreeMap;
use std::process::Command;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::api::object::map_mut;
use crate::error::Error;

/// The machine that a kubelet stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeSpec {
    /// A DNS-1123 subdomain.
    pub name: String,
    /// Thousandths of a core.
    pub cpu_millis: u64,
    /// Bytes.
    pub memory_bytes: u64,
    /// Whole devices.
    #[serde(default)]
    pub gpus: u32,
    /// The model of every device; ignored where there are none.
    #[serde(default)]
    pub gpu_model: String,
    /// Other devices that its plugins offer, by the name of the extended resource.
    #[serde(default)]
    pub devices: BTreeMap<String, u32>,
    /// Further labels, for instance zone, rack or island.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// How many Pods a node takes.
pub(crate) const PODS: u64 = 250;
pub(crate) const GPU: &str = "nvidia.com/gpu";

impl NodeSpec {
    /// A node in the shape of a GPU server: 16 cores and 128 GiB for every device, 8 cores and 64 GiB for none.
    pub fn gpu_server(name: impl Into<String>, gpus: u32, model: impl Into<String>) -> Self {
        const GIB: u64 = 1 << 30;
        let per = u64::from(gpus);
        Self {
            name: name.into(),
            cpu_millis: if gpus == 0 { 8_000 } else { 16_000 * per },
            memory_bytes: if gpus == 0 { 64 * GIB } else { 128 * GIB * per },
            gpus,
            gpu_model: model.into(),
            devices: BTreeMap::new(),
            labels: BTreeMap::new(),
        }
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let bad = |why: &str| Err(Error::BadNode { name: self.name.clone(), why: why.into() });
        if !crate::api::admission::is_subdomain(&self.name) {
            return bad("the name is not a DNS-1123 subdomain");
        }
        if self.cpu_millis == 0 || self.memory_bytes == 0 {
            return bad("cpu and memory must be above zero");
        }
        let native = |name: &String| !name.contains('/') || name.contains("kubernetes.io/") || *name == GPU;
        if self.devices.keys().any(native) {
            return bad("devices must have the names of extended resources, and GPUs stand apart");
        }
        Ok(())
    }

    /// The Node object, ready.
    pub(crate) fn object(&self, address: &str, now: &str) -> Value {
        let mut labels: BTreeMap<String, String> = BTreeMap::from([
            ("kubernetes.io/hostname".into(), self.name.clone()),
            ("kubernetes.io/os".into(), "linux".into()),
            ("kubernetes.io/arch".into(), "amd64".into()),
        ]);
        let mut resources = json!({
            "cpu": format!("{}m", self.cpu_millis),
            "memory": self.memory_bytes.to_string(),
            "pods": PODS.to_string(),
        });
        for (name, count) in &self.devices {
            resources[name] = count.to_string().into();
        }
        if self.cpu_millis.is_multiple_of(1000) {
            resources["cpu"] = (self.cpu_millis / 1000).to_string().into();
        }
        let mut spec = json!({});
        if self.gpus > 0 {
            let model = label_value(&self.gpu_model);
            labels.insert("nvidia.com/gpu.product".into(), model.clone());
            labels.insert("crater.dev/gpu-model".into(), model);
            labels.insert("nvidia.com/gpu.count".into(), self.gpus.to_string());
            resources[GPU] = self.gpus.to_string().into();
            spec = json!({"taints": [{"key": GPU, "value": "present", "effect": "NoSchedule"}]});
        }
        labels.extend(self.labels.clone());
        json!({
            "metadata": {"name": self.name, "labels": labels},
            "spec": spec,
            "status": {
                "capacity": resources,
                "allocatable": resources,
                "conditions": [ready(true, now)],
                "addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": self.name}],
                "nodeInfo": {"architecture": "amd64", "bootID": "", "containerRuntimeVersion": "crater://0",
                    "kernelVersion": "", "kubeProxyVersion": "", "kubeletVersion": "v1.33.0+crater",
                    "machineID": "", "operatingSystem": "linux", "osImage": "crater-k8s-mem", "systemUUID": ""},
            },
        })
    }
}

/// The Ready condition of a node whose kubelet reports, or has stopped reporting.
pub(crate) fn ready(up: bool, now: &str) -> Value {
    let (status, reason, message) = if up {
        ("True", "KubeletReady", "kubelet is posting ready status")
    } else {
        ("Unknown", "NodeStatusUnknown", "Kubelet stopped posting node status.")
    };
    json!({"type": "Ready", "status": status, "reason": reason, "message": message,
        "lastHeartbeatTime": now, "lastTransitionTime": now})
}

/// Writes into a Node object that its kubelet has stopped reporting, or reports again.
pub(crate) fn report_power(node: &mut Value, up: bool, now: &str) {
    const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
    let status = map_mut(node, "status");
    let conditions = status.entry("conditions").or_insert_with(|| json!([]));
    if let Some(conditions) = conditions.as_array_mut() {
        conditions.retain(|c| c["type"] != "Ready");
        conditions.push(ready(up, now));
    }
    let spec = map_mut(node, "spec");
    let taints = spec.entry("taints").or_insert_with(|| json!([]));
    if let Some(taints) = taints.as_array_mut() {
        taints.retain(|t| t["key"] != UNREACHABLE);
        if !up {
            for effect in ["NoSchedule", "NoExecute"] {
                taints.push(json!({"key": UNREACHABLE, "effect": effect, "timeAdded": now}));
            }
        }
        if taints.is_empty() {
            spec.remove("taints");
        }
    }
}

/// Text as a label may hold it: `NVIDIA A100-SXM4-80GB` becomes `NVIDIA-A100-SXM4-80GB`.
fn label_value(text: &str) -> String {
    let fits = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    let value: String = text.trim().chars().map(fits).take(63).collect();
    value.trim_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned()
}

/// This machine, as a node named `local`: its cores, its memory, and the GPUs that `nvidia-smi` lists.
pub fn this_machine() -> NodeSpec {
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let listed = Command::new("nvidia-smi").arg("-L").output().ok().filter(|out| out.status.success());
    let models = listed.map(|out| gpu_models(&String::from_utf8_lossy(&out.stdout))).unwrap_or_default();
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    NodeSpec {
        name: "local".into(),
        cpu_millis: cores * 1000,
        memory_bytes: total_memory(&meminfo).unwrap_or(1 << 30),
        gpus: u32::try_from(models.len()).unwrap_or(0),
        gpu_model: models.into_iter().next().unwrap_or_default(),
        devices: BTreeMap::new(),
        labels: BTreeMap::new(),
    }
}

/// `GPU 0: NVIDIA A100-SXM4-80GB (UUID: GPU-…)`, one line a device.
fn gpu_models(listing: &str) -> Vec<String> {
    let lines = listing.lines().filter(|line| line.starts_with("GPU "));
    let names = lines.filter_map(|line| Some(line.split_once(": ")?.1.split(" (UUID").next()?.trim()));
    names.map(|name| name.strip_prefix("NVIDIA ").unwrap_or(name).to_owned()).collect()
}

fn total_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_read_from_what_the_system_prints() {
        let listing =
            "GPU 0: NVIDIA A100-SXM4-80GB (UUID: GPU-1)\nGPU 1: NVIDIA A100-SXM4-80GB (UUID: GPU-2)\n";
        assert_eq!(gpu_models(listing), ["A100-SXM4-80GB", "A100-SXM4-80GB"]);
        assert_eq!(total_memory("MemTotal:       24674500 kB\nMemFree: 1 kB\n"), Some(24_674_500 * 1024));
        assert_eq!(label_value("Tesla V100 (PCIe)"), "Tesla-V100--PCIe");
        assert!(this_machine().check().is_ok());
    }
}
