//! CustomResourceDefinitions: what they must say, and the resource type that one makes.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::columns;
use super::object::{self, at, list, text};
use super::schema::Schema;
use super::status::Cause;
use super::types::{ResourceType, Shape, qualified};
use crate::clock::stamp;

/// The type that a definition makes, or what is wrong with the definition.
pub(crate) fn compile(crd: &Value) -> Result<ResourceType, Vec<Cause>> {
    let mut causes = Vec::new();
    let group = text(crd, &["spec", "group"]).to_owned();
    let names = |field: &str| text(crd, &["spec", "names", field]).to_owned();
    let (plural, kind) = (names("plural"), names("kind"));
    for (field, value) in [("spec.group", &group), ("spec.names.plural", &plural), ("spec.names.kind", &kind)]
    {
        if value.is_empty() {
            causes.push(Cause::required(field));
        }
    }
    if object::name(crd) != format!("{plural}.{group}") {
        causes.push(Cause::invalid("metadata.name", "must be spec.names.plural+\".\"+spec.group"));
    }
    let namespaced = match text(crd, &["spec", "scope"]) {
        "Namespaced" => true,
        "Cluster" => false,
        _ => {
            causes.push(Cause::invalid("spec.scope", "must be Cluster or Namespaced"));
            true
        }
    };
    let mut served = Vec::new();
    let (mut schemas, mut shown) = (BTreeMap::new(), BTreeMap::new());
    let mut storage = Vec::new();
    let (mut status, mut selectable) = (false, Vec::new());
    for (i, version) in list(crd, &["spec", "versions"]).iter().enumerate() {
        let name = text(version, &["name"]).to_owned();
        match at(version, &["schema", "openAPIV3Schema"]).map(Schema::compile) {
            Some(Ok(schema)) => {
                schemas.insert(name.clone(), Arc::new(schema));
            }
            Some(Err(why)) => causes.push(Cause::invalid(format!("spec.versions[{i}].schema"), why)),
            None => causes.push(Cause::required(format!("spec.versions[{i}].schema.openAPIV3Schema"))),
        }
        shown.insert(name.clone(), columns::declared(list(version, &["additionalPrinterColumns"])));
        status |= at(version, &["subresources", "status"]).is_some();
        let fields = list(version, &["selectableFields"]).iter();
        selectable.extend(fields.map(|f| text(f, &["jsonPath"]).trim_start_matches('.').to_owned()));
        if version["storage"] == true {
            storage.push(name.clone());
        }
        if version["served"] == true {
            served.push(name);
        }
    }
    if storage.len() != 1 {
        causes
            .push(Cause::invalid("spec.versions", "must have exactly one version marked as storage version"));
    }
    let Some(storage_version) = storage.pop().filter(|_| causes.is_empty()) else { return Err(causes) };
    let or = |value: String, other: String| if value.is_empty() { other } else { value };
    let texts = |field| {
        let all = list(crd, &["spec", "names", field]).iter();
        all.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    served.sort_by_key(|v| std::cmp::Reverse(priority(v)));
    Ok(ResourceType {
        singular: or(names("singular"), kind.to_lowercase()),
        list_kind: or(names("listKind"), format!("{kind}List")),
        short_names: texts("shortNames"),
        categories: texts("categories"),
        versions: served,
        storage_version,
        namespaced,
        status,
        unconditional_update: false,
        generation: true,
        shape: Shape::Schemas(schemas),
        columns: shown,
        selectable,
        custom: true,
        qualified: qualified(&group, &plural),
        group,
        plural,
        kind,
    })
}

/// The order of versions: v2 over v1 over v1beta2 over v1alpha1.
fn priority(version: &str) -> (u8, u64, u64) {
    let number = |text: &str| text.parse::<u64>().unwrap_or(0);
    let Some(rest) = version.strip_prefix('v') else { return (0, 0, 0) };
    if let Some((major, minor)) = rest.split_once("beta") {
        (2, number(major), number(minor))
    } else if let Some((major, minor)) = rest.split_once("alpha") {
        (1, number(major), number(minor))
    } else {
        (3, number(rest), 0)
    }
}

/// Fills in what the API server itself says of a definition that it has taken.
pub(crate) fn establish(crd: &mut Value, ty: &ResourceType, now: Timestamp) {
    let names = object::map_mut(crd, "spec").get_mut("names");
    if let Some(names) = names.and_then(Value::as_object_mut) {
        names.entry("singular").or_insert_with(|| ty.singular.clone().into());
        names.entry("listKind").or_insert_with(|| ty.list_kind.clone().into());
    }
    let condition = |kind: &str, reason: &str, message: &str| {
        json!({"type": kind, "status": "True", "reason": reason, "message": message,
            "lastTransitionTime": stamp(now)})
    };
    crd["status"] = json!({
        "acceptedNames": at(crd, &["spec", "names"]).cloned().unwrap_or_default(),
        "storedVersions": [ty.storage_version],
        "conditions": [
            condition("NamesAccepted", "NoConflicts", "no conflicts found"),
            condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        ],
    });
}
