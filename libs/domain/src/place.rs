//! Where a job may run: on which nodes, and how near each other.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Labels that a job may ask for.
pub const MAX_NODE_LABELS: usize = 16;

/// On which nodes a job may run, and how near each other its replicas are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Place {
    /// Labels that each node must have, all of them.
    pub node_selector: BTreeMap<String, String>,
    /// All replicas near each other.
    pub topology: Option<Topology>,
}

/// How near each other replicas are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topology {
    /// The label whose value their nodes share.
    pub key: String,
    /// Whether the job waits for that; otherwise it prefers it.
    pub required: bool,
}

impl Place {
    /// What is wrong with it: the field, and why.
    pub(crate) fn violations(&self) -> Vec<(String, &'static str)> {
        let mut found = Vec::new();
        if self.node_selector.len() > MAX_NODE_LABELS {
            found.push(("node_selector".to_owned(), "must be at most 16 labels"));
        }
        for (key, value) in self.node_selector.iter().take(MAX_NODE_LABELS) {
            if !is_label_key(key) {
                found.push((format!("node_selector[{key}]"), KEY));
            } else if !value.is_empty() && !is_label_value(value) {
                found.push((
                    format!("node_selector[{key}]"),
                    "must have a value of at most 63 letters, digits, '-', '_' or '.'",
                ));
            }
        }
        if self.topology.as_ref().is_some_and(|topology| !is_label_key(&topology.key)) {
            found.push(("topology.key".to_owned(), KEY));
        }
        found
    }
}

const KEY: &str = "must be the key of a label of nodes, for example topology.kubernetes.io/zone";

/// 1 to 63 letters, digits, '-', '_' or '.', letters or digits at both ends.
pub(crate) fn is_label_value(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_' || b == b'.';
    let outer = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    text.len() <= 63 && bytes.iter().all(|b| inner(*b)) && outer(bytes.first()) && outer(bytes.last())
}

/// The same, behind a DNS name and a slash or without.
fn is_label_key(text: &str) -> bool {
    let Some((prefix, name)) = text.split_once('/') else { return is_label_value(text) };
    is_dns_name(prefix) && is_label_value(name)
}

/// Parts of lower-case letters, digits and '-', with dots between them.
pub(crate) fn is_dns_name(text: &str) -> bool {
    let part = |part: &str| {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        !part.is_empty() && part.bytes().all(plain) && !part.starts_with('-') && !part.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_are_those_of_kubernetes() {
        for key in ["zone", "topology.kubernetes.io/zone", "a/B_c.d"] {
            assert!(is_label_key(key), "{key}");
        }
        for key in ["", "/zone", "zone/", "A.b/zone", "a..b/zone", "-a/zone", "a b", "a/b/c"] {
            assert!(!is_label_key(key), "{key:?}");
        }
        let wrong = Place {
            node_selector: BTreeMap::from([("disk".into(), "a b".into()), ("!".into(), String::new())]),
            topology: Some(Topology { key: String::new(), required: true }),
        };
        let fields: Vec<String> = wrong.violations().into_iter().map(|(field, _)| field).collect();
        assert_eq!(fields, ["node_selector[!]", "node_selector[disk]", "topology.key"]);
        let present =
            Place { node_selector: BTreeMap::from([("ssd".into(), String::new())]), topology: None };
        assert!(present.violations().is_empty());
    }
}
