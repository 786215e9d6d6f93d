//! What clients ask first: the version, the groups, and the resources of each.

use std::sync::Arc;

use serde_json::{Value, json};

use super::types::ResourceType;

pub(crate) fn version() -> Value {
    json!({"major": "1", "minor": "33", "gitVersion": "v1.33.0+crater-k8s-mem", "gitCommit": "", "gitTreeState": "",
        "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "", "platform": "linux/amd64"})
}

pub(crate) fn core_versions() -> Value {
    json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})
}

pub(crate) fn groups(types: &[Arc<ResourceType>]) -> Value {
    let mut names: Vec<&str> = types.iter().map(|t| t.group.as_str()).filter(|g| !g.is_empty()).collect();
    names.dedup();
    let groups: Vec<Value> = names.into_iter().filter_map(|name| group(types, name)).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

pub(crate) fn group(types: &[Arc<ResourceType>], name: &str) -> Option<Value> {
    let mut versions: Vec<&str> = Vec::new();
    for ty in types.iter().filter(|t| t.group == name && !name.is_empty()) {
        versions.extend(
            ty.versions.iter().map(String::as_str).filter(|v| !versions.contains(v)).collect::<Vec<_>>(),
        );
    }
    let versions: Vec<Value> =
        versions.iter().map(|v| json!({"groupVersion": format!("{name}/{v}"), "version": v})).collect();
    let preferred = versions.first()?.clone();
    Some(json!({"kind": "APIGroup", "apiVersion": "v1", "name": name, "versions": versions,
        "preferredVersion": preferred}))
}

pub(crate) fn resources(types: &[Arc<ResourceType>], group: &str, version: &str) -> Option<Value> {
    let mut all: Vec<Value> = Vec::new();
    let here = types.iter().filter(|t| t.group == group && t.versions.iter().any(|v| v == version));
    for ty in here {
        all.push(json!({"name": ty.plural, "singularName": ty.singular, "namespaced": ty.namespaced,
            "kind": ty.kind, "verbs": ty.verbs(), "shortNames": ty.short_names, "categories": ty.categories}));
        for (name, kind, verbs) in ty.subresources() {
            all.push(json!({"name": format!("{}/{name}", ty.plural), "singularName": "",
                "namespaced": ty.namespaced, "kind": kind, "verbs": verbs}));
        }
    }
    if all.is_empty() {
        return None;
    }
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    Some(
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": all}),
    )
}
