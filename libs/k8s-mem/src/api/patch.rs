//! The four patch formats.
//!
//! Server-side apply is a merge here: there is no field ownership, so a field that an applier leaves out stays.

use serde_json::{Map, Value};

use super::object::text;
use super::status::{ApiError, ApiResult, Cause};
use super::types::ResourceType;

/// How a patch body is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Merge,
    Strategic,
    Apply,
}

impl Format {
    pub fn of(content_type: &str) -> ApiResult<Self> {
        match content_type.split(';').next().unwrap_or_default().trim() {
            "application/json-patch+json" => Ok(Self::Json),
            "application/merge-patch+json" => Ok(Self::Merge),
            "application/strategic-merge-patch+json" => Ok(Self::Strategic),
            "application/apply-patch+yaml" => Ok(Self::Apply),
            other => {
                Err(ApiError::unsupported_media_type(format!("the patch format {other:?} is not supported")))
            }
        }
    }
}

/// The object that a patch makes of another.
pub(crate) fn apply(
    ty: &ResourceType,
    name: &str,
    format: Format,
    object: &Value,
    patch: &Value,
) -> ApiResult<Value> {
    let mut object = object.clone();
    match format {
        Format::Merge => json_patch::merge(&mut object, patch),
        Format::Apply => merge_strategic(&mut object, patch, ""),
        Format::Strategic if ty.custom => {
            let why = "strategic merge patch is not supported for custom resources";
            return Err(ApiError::unsupported_media_type(why));
        }
        Format::Strategic => merge_strategic(&mut object, patch, ""),
        Format::Json => {
            let patch: json_patch::Patch = serde_json::from_value(patch.clone())
                .map_err(|e| ApiError::bad_request(format!("reading the JSON patch: {e}")))?;
            json_patch::patch(&mut object, &patch).map_err(|e| {
                ApiError::invalid(
                    ty,
                    name,
                    &[Cause::invalid("patch", format!("applying the JSON patch: {e}"))],
                )
            })?;
        }
    }
    Ok(object)
}

/// The key by which a list of objects is merged; `None`: the list is replaced.
fn merge_key(field: &str, items: &[Value]) -> Option<&'static str> {
    let key = match field {
        "containers" | "initContainers" | "env" | "volumes" | "imagePullSecrets" => "name",
        "conditions" | "addresses" => "type",
        "ownerReferences" => "uid",
        "volumeMounts" => "mountPath",
        _ => return None,
    };
    items.iter().all(|item| item.get(key).is_some()).then_some(key)
}

fn merge_strategic(target: &mut Value, patch: &Value, field: &str) {
    match patch {
        Value::Object(patch) => {
            if patch.get("$patch").and_then(Value::as_str) == Some("replace") {
                let rest = patch.iter().filter(|(name, _)| *name != "$patch");
                *target = rest.map(|(n, v)| (n.clone(), v.clone())).collect::<Map<_, _>>().into();
                return;
            }
            if !target.is_object() {
                *target = Value::Object(Map::new());
            }
            let Some(target) = target.as_object_mut() else { return };
            for (name, value) in patch {
                if let Some(primitive) = name.strip_prefix("$deleteFromPrimitiveList/") {
                    let gone = value.as_array().map(Vec::as_slice).unwrap_or_default();
                    if let Some(list) = target.get_mut(primitive).and_then(Value::as_array_mut) {
                        list.retain(|item| !gone.contains(item));
                    }
                } else if name.starts_with("$setElementOrder/") || name.starts_with("$retainKeys") {
                    // order and retained keys are hints for lists that are replaced here anyway
                } else if value.is_null() {
                    target.remove(name);
                } else {
                    merge_strategic(target.entry(name.clone()).or_insert(Value::Null), value, name);
                }
            }
        }
        Value::Array(items) => merge_list(target, items, field),
        scalar => *target = scalar.clone(),
    }
}

fn merge_list(target: &mut Value, items: &[Value], field: &str) {
    let current = target.as_array().cloned().unwrap_or_default();
    if field == "finalizers" {
        let new = items.iter().filter(|item| !current.contains(item)).cloned();
        *target = current.iter().cloned().chain(new).collect();
        return;
    }
    let Some(key) = merge_key(field, items) else {
        *target = Value::Array(items.to_vec());
        return;
    };
    let mut merged = current;
    for item in items {
        let same = |other: &Value| text(other, &[key]) == text(item, &[key]);
        if item.get("$patch").and_then(Value::as_str) == Some("delete") {
            merged.retain(|other| !same(other));
        } else if let Some(found) = merged.iter_mut().find(|other| same(other)) {
            merge_strategic(found, item, "");
        } else {
            let mut new = Value::Null;
            merge_strategic(&mut new, item, "");
            merged.push(new);
        }
    }
    *target = Value::Array(merged);
}
