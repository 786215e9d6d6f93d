//! Reading Kubernetes objects that are kept as JSON.

use serde_json::{Map, Value};

/// The value at a path of field names.
pub(crate) fn at<'a>(object: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(object, |value, field| value.get(field))
}

/// The text at a path; empty where there is none.
pub(crate) fn text<'a>(object: &'a Value, path: &[&str]) -> &'a str {
    at(object, path).and_then(Value::as_str).unwrap_or_default()
}

pub(crate) fn name(object: &Value) -> &str {
    text(object, &["metadata", "name"])
}
pub(crate) fn namespace(object: &Value) -> &str {
    text(object, &["metadata", "namespace"])
}
pub(crate) fn uid(object: &Value) -> &str {
    text(object, &["metadata", "uid"])
}
pub(crate) fn version(object: &Value) -> &str {
    text(object, &["metadata", "resourceVersion"])
}
pub(crate) fn node_name(pod: &Value) -> &str {
    text(pod, &["spec", "nodeName"])
}
pub(crate) fn phase(pod: &Value) -> &str {
    text(pod, &["status", "phase"])
}
pub(crate) fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    at(object, &["metadata", "annotations", key]).and_then(Value::as_str)
}
pub(crate) fn is_deleting(object: &Value) -> bool {
    at(object, &["metadata", "deletionTimestamp"]).is_some_and(|v| !v.is_null())
}
pub(crate) fn is_terminal(pod: &Value) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}
pub(crate) fn list<'a>(object: &'a Value, path: &[&str]) -> &'a [Value] {
    at(object, path).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}
pub(crate) fn finalizers(object: &Value) -> impl Iterator<Item = &str> {
    list(object, &["metadata", "finalizers"]).iter().filter_map(Value::as_str)
}
pub(crate) fn owners(object: &Value) -> &[Value] {
    list(object, &["metadata", "ownerReferences"])
}

/// The map at a field, made if it is not there. A field of another type is replaced.
pub(crate) fn map_mut<'a>(object: &'a mut Value, field: &str) -> &'a mut Map<String, Value> {
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    // both arms below were just made sure of; the fallback keeps the function total
    match object {
        Value::Object(map) => {
            let slot = map.entry(field.to_owned()).or_insert_with(|| Value::Object(Map::new()));
            if !slot.is_object() {
                *slot = Value::Object(Map::new());
            }
            match slot {
                Value::Object(inner) => inner,
                _ => unreachable!("the slot was just made an object"),
            }
        }
        _ => unreachable!("the value was just made an object"),
    }
}

pub(crate) fn metadata_mut(object: &mut Value) -> &mut Map<String, Value> {
    map_mut(object, "metadata")
}

/// Takes a field out of `from` into `to`, or out of `to` when `from` has none.
pub(crate) fn carry(from: &Value, to: &mut Value, field: &str) {
    if let Some(map) = to.as_object_mut() {
        match from.get(field) {
            Some(value) => map.insert(field.to_owned(), value.clone()),
            None => map.remove(field),
        };
    }
}

pub(crate) fn remove_finalizer(object: &mut Value, finalizer: &str) {
    let meta = metadata_mut(object);
    if let Some(list) = meta.get_mut("finalizers").and_then(Value::as_array_mut) {
        list.retain(|f| f.as_str() != Some(finalizer));
        if list.is_empty() {
            meta.remove("finalizers");
        }
    }
}
