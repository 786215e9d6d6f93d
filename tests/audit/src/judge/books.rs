//! Who has what of each node: devices by thousandths, and sums.

use std::collections::HashMap;

use crater_domain::Devices;

/// What one owner has of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Whose, for people: an Allocation and a replica, or a Pod.
    pub owner: String,
    /// The node.
    pub node: String,
    /// Devices and thousandths of each.
    pub gpus: Vec<(i32, i64)>,
    /// Thousandths of a core.
    pub cpu: i64,
    /// Bytes.
    pub memory: i64,
    /// Other devices, by name.
    pub named: Devices,
}

/// Sums of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// Thousandths of a core.
    pub cpu: i64,
    /// Bytes.
    pub memory: i64,
    /// Thousandths of GPUs.
    pub gpu: i64,
}

/// All nodes' books.
#[derive(Debug, Default)]
pub struct Books {
    devices: HashMap<String, HashMap<i32, Vec<(String, i64)>>>,
    sums: HashMap<String, Sum>,
    named: HashMap<String, Devices>,
}

impl Books {
    /// Enters a part. Returns the devices that are then given beyond their whole, each with all its owners.
    pub fn add(&mut self, part: &Part) -> Vec<(i32, Vec<String>)> {
        let mut over = Vec::new();
        let devices = self.devices.entry(part.node.clone()).or_default();
        for (device, millis) in &part.gpus {
            let owners = devices.entry(*device).or_default();
            owners.push((part.owner.clone(), *millis));
            if owners.iter().map(|(_, millis)| millis).sum::<i64>() > 1000 {
                over.push((
                    *device,
                    owners.iter().map(|(owner, millis)| format!("{owner} ({millis} of 1000)")).collect(),
                ));
            }
        }
        let sum = self.sums.entry(part.node.clone()).or_default();
        *sum = moved(*sum, part, 1);
        if !part.named.is_empty() {
            self.named.entry(part.node.clone()).or_default().add(&part.named, 1);
        }
        over
    }

    /// Takes a part out again.
    pub fn remove(&mut self, part: &Part) {
        if let Some(devices) = self.devices.get_mut(&part.node) {
            for (device, millis) in &part.gpus {
                let Some(owners) = devices.get_mut(device) else { continue };
                if let Some(at) = owners.iter().position(|(owner, m)| *owner == part.owner && m == millis) {
                    owners.swap_remove(at);
                }
                if owners.is_empty() {
                    devices.remove(device);
                }
            }
        }
        if let Some(named) = self.named.get_mut(&part.node) {
            named.add(&part.named, -1);
            named.0.retain(|_, count| *count != 0);
        }
        if let Some(sum) = self.sums.get_mut(&part.node) {
            *sum = moved(*sum, part, -1);
            if *sum == Sum::default() {
                self.sums.remove(&part.node);
            }
        }
    }

    /// What is given of a node's other devices, each with its name.
    pub fn named(&self, node: &str) -> impl Iterator<Item = (&String, i64)> {
        self.named.get(node).into_iter().flat_map(|named| &named.0).map(|(name, count)| (name, *count))
    }

    /// What is given of a node.
    pub fn sum(&self, node: &str) -> Sum {
        self.sums.get(node).copied().unwrap_or_default()
    }
}

fn moved(sum: Sum, part: &Part, sign: i64) -> Sum {
    let gpu: i64 = part.gpus.iter().map(|(_, millis)| millis).sum();
    Sum { cpu: sum.cpu + sign * part.cpu, memory: sum.memory + sign * part.memory, gpu: sum.gpu + sign * gpu }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_given_beyond_its_whole_names_all_its_owners() {
        let part = |owner: &str, millis| Part {
            owner: owner.into(),
            node: "n".into(),
            gpus: vec![(0, millis)],
            cpu: 1,
            memory: 2,
            named: [("rdma/hca", 1)].into(),
        };
        let mut books = Books::default();
        assert!(books.add(&part("a", 500)).is_empty() && books.add(&part("b", 500)).is_empty());
        assert_eq!(books.add(&part("c", 1))[0].1.len(), 3);
        books.remove(&part("c", 1));
        books.remove(&part("a", 500));
        assert!(books.add(&part("d", 500)).is_empty());
        assert_eq!(books.sum("n"), Sum { cpu: 2, memory: 4, gpu: 1000 });
        assert_eq!(books.named("n").collect::<Vec<_>>(), [(&"rdma/hca".to_owned(), 2)]);
    }
}
