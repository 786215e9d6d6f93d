//! The environment and the command line of a container, as Kubernetes makes them from a Pod.

use std::collections::BTreeMap;

use base64::Engine;
use serde_json::Value;

use super::ledger::Share;
use crate::api::object::{self, at, list, text};
use crate::api::store::Store;

/// Variables of this process that a container gets too; everything else, secrets included, stays here.
const INHERITED: &[&str] = &["PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH"];

/// The environment of a container, or what it names that is not there.
pub(crate) fn environment(
    store: &Store,
    pod: &Value,
    container: &Value,
    shares: &[Share],
) -> Result<BTreeMap<String, String>, String> {
    let mut env: BTreeMap<String, String> = BTreeMap::new();
    for name in INHERITED {
        if let Ok(value) = std::env::var(name) {
            env.insert((*name).to_owned(), value);
        }
    }
    env.insert("HOSTNAME".into(), object::name(pod).to_owned());
    // images for containers set it too: without it a Python program's output comes when its buffer is full
    env.insert("PYTHONUNBUFFERED".into(), "1".into());
    for source in list(container, &["envFrom"]) {
        let prefix = text(source, &["prefix"]);
        for (kind, ty) in [("configMapRef", "configmaps"), ("secretRef", "secrets")] {
            let name = text(source, &[kind, "name"]);
            if name.is_empty() {
                continue;
            }
            match store.lookup(ty, object::namespace(pod), name) {
                Some(found) => {
                    env.extend(data(ty, found).into_iter().map(|(k, v)| (format!("{prefix}{k}"), v)))
                }
                None if at(source, &[kind, "optional"]) == Some(&Value::Bool(true)) => {}
                None => return Err(format!("{ty} {name:?} not found")),
            }
        }
    }
    let mut own: BTreeMap<String, String> = BTreeMap::new();
    for variable in list(container, &["env"]) {
        let name = text(variable, &["name"]).to_owned();
        let value = match at(variable, &["valueFrom"]).filter(|v| v.is_object()) {
            Some(source) => match referenced(store, pod, container, source)? {
                Some(value) => value,
                None => continue,
            },
            None => expand(text(variable, &["value"]), &own),
        };
        let value = local_address(store, pod, &value).unwrap_or(value);
        own.insert(name, value);
    }
    env.extend(own);
    let devices: Vec<String> = shares.iter().map(|share| share.index.to_string()).collect();
    env.insert("CUDA_VISIBLE_DEVICES".into(), devices.join(","));
    let visible = if devices.is_empty() { "void".to_owned() } else { devices.join(",") };
    env.insert("NVIDIA_VISIBLE_DEVICES".into(), visible);
    Ok(env)
}

/// The command line: `command` and `args` with the variables of the container's environment filled in.
pub(crate) fn command_line(container: &Value, env: &BTreeMap<String, String>) -> Vec<String> {
    let words = list(container, &["command"]).iter().chain(list(container, &["args"]));
    words.filter_map(Value::as_str).map(|word| expand(word, env)).collect()
}

/// Replaces `$(NAME)`; `$$` stands for a dollar sign, and a name that is not known stays as it is written.
fn expand(text: &str, env: &BTreeMap<String, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(i) = rest.find('$') {
        out.push_str(&rest[..i]);
        rest = &rest[i..];
        if let Some(after) = rest.strip_prefix("$$") {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix("$(").and_then(|r| r.split_once(')')) {
            match env.get(name) {
                Some(value) => out.push_str(value),
                None => out.push_str(&rest[..name.len() + 3]),
            }
            rest = after;
        } else {
            out.push('$');
            rest = &rest[1..];
        }
    }
    out.push_str(rest);
    out
}

fn data(ty: &str, object: &Value) -> BTreeMap<String, String> {
    let entries = object.get("data").and_then(Value::as_object).into_iter().flatten();
    entries
        .filter_map(|(name, value)| {
            let value = value.as_str()?;
            if ty == "configmaps" {
                return Some((name.clone(), value.to_owned()));
            }
            let bytes = base64::engine::general_purpose::STANDARD.decode(value).ok()?;
            Some((name.clone(), String::from_utf8(bytes).ok()?))
        })
        .collect()
}

fn referenced(
    store: &Store,
    pod: &Value,
    container: &Value,
    source: &Value,
) -> Result<Option<String>, String> {
    let path = text(source, &["fieldRef", "fieldPath"]);
    if !path.is_empty() {
        return field(pod, path).map(Some);
    }
    let resource = text(source, &["resourceFieldRef", "resource"]);
    if let Some((kind, name)) = resource.split_once('.') {
        let amount = at(container, &["resources", kind, name]).and_then(Value::as_str).unwrap_or("0");
        let milli = crate::quantity::milli(amount).unwrap_or(0);
        // the default divisor is one; parts are rounded up
        return Ok(Some(((milli + 999) / 1000).to_string()));
    }
    for (kind, ty) in [("configMapKeyRef", "configmaps"), ("secretKeyRef", "secrets")] {
        let Some(reference) = at(source, &[kind]) else { continue };
        let (name, key) = (text(reference, &["name"]), text(reference, &["key"]));
        let found = store.lookup(ty, object::namespace(pod), name).and_then(|o| data(ty, o).remove(key));
        return match found {
            Some(value) => Ok(Some(value)),
            None if reference["optional"] == true => Ok(None),
            None => Err(format!("key {key:?} of {ty} {name:?} not found")),
        };
    }
    Err("valueFrom names no source that is known here".into())
}

fn field(pod: &Value, path: &str) -> Result<String, String> {
    if let Some((map, key)) = path.strip_suffix("']").and_then(|p| p.split_once("['")) {
        let map = map.strip_prefix("metadata.").filter(|m| matches!(*m, "labels" | "annotations"));
        let map = map.ok_or_else(|| format!("fieldPath {path:?} is not supported"))?;
        return Ok(text(pod, &["metadata", map, key]).to_owned());
    }
    Ok(match path {
        "status.podIP" | "status.podIPs" | "status.hostIP" => "127.0.0.1".to_owned(),
        "metadata.name"
        | "metadata.namespace"
        | "metadata.uid"
        | "spec.nodeName"
        | "spec.serviceAccountName" => {
            let path: Vec<&str> = path.split('.').collect();
            text(pod, &path).to_owned()
        }
        _ => return Err(format!("fieldPath {path:?} is not supported")),
    })
}

/// All Pods that run here share the loopback network, where cluster names do not resolve: a value that is the DNS name
/// of a Pod or a Service becomes the loopback address.
fn local_address(store: &Store, pod: &Value, value: &str) -> Option<String> {
    let labels: Vec<&str> = value.split('.').collect();
    let (host, service, namespace) = match labels.as_slice() {
        [host, service, namespace, "svc"] | [host, service, namespace, "svc", "cluster", "local"] => {
            (Some(*host), *service, *namespace)
        }
        [service, namespace, "svc"] | [service, namespace, "svc", "cluster", "local"] => {
            (None, *service, *namespace)
        }
        [host, service] => (Some(*host), *service, object::namespace(pod)),
        _ => return None,
    };
    let known_service = store.lookup("services", namespace, service).is_some();
    let known_pod = || {
        host.is_some_and(|host| {
            let named = |pod: &Value| [object::name(pod), text(pod, &["spec", "hostname"])].contains(&host);
            store.list("pods", namespace).any(|pod| named(pod))
        })
    };
    // a text of two words with a dot between them is often something else
    let known = if labels.len() == 2 { known_service && known_pod() } else { known_service || known_pod() };
    known.then(|| "127.0.0.1".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_filled_in_as_kubernetes_does() {
        let env = BTreeMap::from([("RANK".to_owned(), "3".to_owned())]);
        for (text, want) in [
            ("--rank=$(RANK)", "--rank=3"),
            ("$$(RANK)", "$(RANK)"),
            ("$(GONE) $RANK $", "$(GONE) $RANK $"),
            ("$(RANK", "$(RANK"),
            ("$$$(RANK)é", "$3é"),
        ] {
            assert_eq!(expand(text, &env), want);
        }
    }
}
