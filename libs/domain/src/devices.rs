//! Devices that are asked for by name and by whole count, beside GPUs: MIG profiles, RDMA adapters.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::place::{is_dns_name, is_label_value};

/// The extended resource of whole GPUs. Crater has its own words for it, so it is no device by name.
pub const GPU_RESOURCE: &str = "nvidia.com/gpu";

/// So many names a job may ask for, all its roles together.
pub const MAX_DEVICES: usize = 4;
/// So many devices of a name a replica may ask for.
pub const MAX_DEVICE_COUNT: i64 = 100_000;

/// Whole counts of devices by name, as a Node's allocatable and a Pod's limits name them: `nvidia.com/mig-1g.5gb`, `rdma/hca`. What is not
/// named is not there.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Devices(pub BTreeMap<String, i64>);

impl Devices {
    /// Whether nothing is named.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many of a name.
    pub fn of(&self, name: &str) -> i64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// Adds `times` as many as the other has (saturating).
    pub fn add(&mut self, other: &Self, times: i64) {
        for (name, count) in &other.0 {
            let sum = self.0.entry(name.clone()).or_default();
            *sum = sum.saturating_add(count.saturating_mul(times));
        }
    }

    /// What is wrong with them as a request of one replica: the name, and why.
    pub(crate) fn violations(&self) -> impl Iterator<Item = (&str, String)> {
        self.0.iter().filter_map(|(name, count)| {
            let why = match why_no_device(name) {
                Some(why) => why.to_owned(),
                None if !(1..=MAX_DEVICE_COUNT).contains(count) => {
                    format!("must be from 1 to {MAX_DEVICE_COUNT}, not {count}")
                }
                None => return None,
            };
            Some((name.as_str(), why))
        })
    }
}

impl<N: Into<String>, const HOW_MANY: usize> From<[(N, i64); HOW_MANY]> for Devices {
    fn from(pairs: [(N, i64); HOW_MANY]) -> Self {
        Self(pairs.into_iter().map(|(name, count)| (name.into(), count)).collect())
    }
}

/// Whether a resource of this name is a device by name: an extended resource of Kubernetes, and not that of GPUs.
pub fn is_device_name(name: &str) -> bool {
    why_no_device(name).is_none()
}

/// The rules are those of Kubernetes for extended resources (`IsExtendedResourceName`): a DNS name, a slash and a label's value, and nothing that
/// Kubernetes keeps for itself.
fn why_no_device(name: &str) -> Option<&'static str> {
    if name == GPU_RESOURCE {
        return Some("must not be that of GPUs: they are asked for as GPUs");
    }
    let Some((domain, device)) = name.split_once('/') else { return Some(SHAPE) };
    if domain == "kubernetes.io" || domain.ends_with(".kubernetes.io") || domain.starts_with("requests.") {
        return Some("must not be a name that Kubernetes keeps for itself");
    }
    if domain == "gpu" {
        return Some("must not begin with gpu/: quotas name models of GPUs so");
    }
    (!is_dns_name(domain) || !is_label_value(device)).then_some(SHAPE)
}

const SHAPE: &str =
    "must be the name of a device that nodes offer, for example nvidia.com/mig-1g.5gb or rdma/hca";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_extended_resources() {
        for name in ["nvidia.com/mig-1g.5gb", "rdma/hca", "amd.com/gpu", "example.com/A_b.c"] {
            assert!(is_device_name(name), "{name}");
        }
        let kept = ["kubernetes.io/x", "storage.kubernetes.io/x", "requests.example.com/x"];
        let native =
            ["cpu", "memory", "pods", "ephemeral-storage", "hugepages-2Mi", "attachable-volumes-csi-x"];
        let broken =
            ["", "/hca", "rdma/", "a/b/c", "A.com/x", "rdma/h ca", "-a/x", "nvidia.com/gpu", "gpu/A100"];
        for name in kept.into_iter().chain(native).chain(broken) {
            assert!(!is_device_name(name), "{name:?}");
        }
    }

    #[test]
    fn counts_are_whole_and_bounded() {
        let wrong = Devices::from([("rdma/hca", 0), ("a/b", MAX_DEVICE_COUNT + 1), ("a/c", -1), ("a/d", 1)]);
        let named: Vec<&str> = wrong.violations().map(|(name, _)| name).collect();
        assert_eq!(named, ["a/b", "a/c", "rdma/hca"]);
    }

    #[test]
    fn sums_name_what_either_names() {
        let mut sum = Devices::from([("rdma/hca", 1)]);
        sum.add(&Devices::from([("rdma/hca", 2), ("a/b", 1)]), 3);
        assert_eq!(sum, Devices::from([("a/b", 3), ("rdma/hca", 7)]));
        assert_eq!((sum.of("a/b"), sum.of("a/c")), (3, 0));
    }
}
