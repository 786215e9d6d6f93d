//! OpenAPI documents, as much as kubectl needs: which kinds there are and that the server validates fields itself.
//!
//! The schemas are open objects. `kubectl explain` has nothing to show from them.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::types::ResourceType;

fn gvk(ty: &ResourceType, version: &str) -> Value {
    json!({"group": ty.group, "version": version, "kind": ty.kind})
}

/// `io.crater.v1.AIJob`: the name of a schema, its group's labels turned round.
fn schema_name(ty: &ResourceType, version: &str) -> String {
    let group = if ty.group.is_empty() { "core.api.k8s.io" } else { ty.group.as_str() };
    let labels: Vec<&str> = group.split('.').rev().collect();
    format!("{}.{version}.{}", labels.join("."), ty.kind)
}

fn schema(ty: &ResourceType, version: &str) -> Value {
    json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true,
        "x-kubernetes-group-version-kind": [gvk(ty, version)]})
}

fn each(types: &[Arc<ResourceType>]) -> impl Iterator<Item = (&ResourceType, &str)> {
    types.iter().flat_map(|ty| ty.versions.iter().map(move |v| (&**ty, v.as_str())))
}

fn path(ty: &ResourceType, version: &str) -> String {
    let root = if ty.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", ty.group) };
    let namespace = if ty.namespaced { "/namespaces/{namespace}" } else { "" };
    format!("{root}/{version}{namespace}/{}/{{name}}", ty.plural)
}

pub(crate) fn v2(types: &[Arc<ResourceType>]) -> Value {
    let mut definitions = Map::new();
    let mut paths = Map::new();
    for (ty, version) in each(types) {
        definitions.insert(schema_name(ty, version), schema(ty, version));
        let parameters =
            json!([{"name": "fieldValidation", "in": "query", "type": "string", "uniqueItems": true}]);
        paths.insert(
            path(ty, version),
            json!({"patch": {"parameters": parameters, "responses": {"200": {"description": "OK"}},
                "x-kubernetes-group-version-kind": gvk(ty, version)}}),
        );
    }
    json!({"swagger": "2.0", "info": {"title": "Kubernetes", "version": "v1.33.0"},
        "paths": paths, "definitions": definitions})
}

pub(crate) fn v3_index(types: &[Arc<ResourceType>]) -> Value {
    let mut paths = Map::new();
    for (ty, version) in each(types) {
        let at = if ty.group.is_empty() {
            format!("api/{version}")
        } else {
            format!("apis/{}/{version}", ty.group)
        };
        let url = format!("/openapi/v3/{at}");
        paths.insert(at, json!({"serverRelativeURL": url}));
    }
    json!({"paths": paths})
}

pub(crate) fn v3(types: &[Arc<ResourceType>], group: &str, version: &str) -> Option<Value> {
    let mut schemas = Map::new();
    let mut paths = Map::new();
    for (ty, version) in each(types).filter(|(ty, v)| ty.group == group && *v == version) {
        schemas.insert(schema_name(ty, version), schema(ty, version));
        let parameters = json!([{"name": "fieldValidation", "in": "query", "schema": {"type": "string"}}]);
        paths.insert(
            path(ty, version),
            json!({"patch": {"parameters": parameters, "responses": {"200": {"description": "OK"}},
                "x-kubernetes-action": "patch", "x-kubernetes-group-version-kind": gvk(ty, version)}}),
        );
    }
    if paths.is_empty() {
        return None;
    }
    Some(json!({"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "v1.33.0"},
        "paths": paths, "components": {"schemas": schemas}}))
}
