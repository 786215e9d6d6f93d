//! The resource types that the server knows: the built-in ones, and those that CustomResourceDefinitions add.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::columns::{self, Column};
use super::schema::Schema;

/// How an object of the type is brought into its proper shape.
#[derive(Debug, Clone)]
pub(crate) enum Shape {
    /// Through the typed struct: unknown fields go, wrong types are refused.
    Typed(fn(Value) -> Result<Value, String>),
    /// By the schema of each served version.
    Schemas(BTreeMap<String, Arc<Schema>>),
}

/// One resource type.
#[derive(Debug, Clone)]
pub(crate) struct ResourceType {
    pub group: String,
    /// Served versions, the preferred one first.
    pub versions: Vec<String>,
    pub storage_version: String,
    pub plural: String,
    pub singular: String,
    pub kind: String,
    pub list_kind: String,
    pub short_names: Vec<String>,
    pub categories: Vec<String>,
    pub namespaced: bool,
    /// Whether the status is written through `/status` only.
    pub status: bool,
    /// Whether a PUT without resourceVersion is taken.
    pub unconditional_update: bool,
    pub generation: bool,
    pub shape: Shape,
    /// Printer columns by version.
    pub columns: BTreeMap<String, Vec<Column>>,
    /// Field selectors beyond metadata.name and metadata.namespace.
    pub selectable: Vec<String>,
    pub custom: bool,
    /// `pods`, `aijobs.crater.dev`: how the store and messages name the type.
    pub qualified: Arc<str>,
}

impl ResourceType {
    pub fn api_version(&self, version: &str) -> String {
        if self.group.is_empty() { version.to_owned() } else { format!("{}/{version}", self.group) }
    }

    pub fn verbs(&self) -> &'static [&'static str] {
        &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
    }

    /// The subresources with the kind and the verbs of each.
    pub fn subresources(&self) -> Vec<(&'static str, String, &'static [&'static str])> {
        let mut all: Vec<(&'static str, String, &'static [&'static str])> = Vec::new();
        if self.status {
            all.push(("status", self.kind.clone(), &["get", "patch", "update"]));
        }
        if &*self.qualified == "pods" {
            all.push(("binding", "Binding".into(), &["create"]));
            all.push(("eviction", "Eviction".into(), &["create"]));
            all.push(("log", "Pod".into(), &["get"]));
        }
        if &*self.qualified == "namespaces" {
            all.push(("finalize", "Namespace".into(), &["update"]));
        }
        all
    }
}

/// `pods`, or `aijobs.crater.dev`.
pub(crate) fn qualified(group: &str, plural: &str) -> Arc<str> {
    if group.is_empty() { plural.into() } else { format!("{plural}.{group}").into() }
}

/// Through the typed struct and back.
pub(super) fn typed<T: Serialize + DeserializeOwned>(value: Value) -> Result<Value, String> {
    let object: T = serde_json::from_value(value).map_err(|e| e.to_string())?;
    serde_json::to_value(object).map_err(|e| e.to_string())
}

struct Builtin {
    group: &'static str,
    version: &'static str,
    plural: &'static str,
    kind: &'static str,
    short: &'static [&'static str],
    namespaced: bool,
    status: bool,
    shape: fn(Value) -> Result<Value, String>,
    selectable: &'static [&'static str],
}

const EVENT_FIELDS: &[&str] = &[
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
];
const POD_FIELDS: &[&str] = &[
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
    "status.nominatedNodeName",
];

/// The built-in types.
pub(crate) fn builtins() -> Vec<ResourceType> {
    let core = |plural, kind, short, namespaced, status, shape, selectable| Builtin {
        group: "",
        version: "v1",
        plural,
        kind,
        short,
        namespaced,
        status,
        shape,
        selectable,
    };
    let all = [
        core("namespaces", "Namespace", &["ns"], false, true, typed::<core::Namespace>, &["status.phase"]),
        core("nodes", "Node", &["no"], false, true, typed::<core::Node>, &["spec.unschedulable"]),
        core("pods", "Pod", &["po"], true, true, typed::<core::Pod>, POD_FIELDS),
        core(
            "services",
            "Service",
            &["svc"],
            true,
            true,
            typed::<core::Service>,
            &["spec.type", "spec.clusterIP"],
        ),
        core("endpoints", "Endpoints", &["ep"], true, false, typed::<core::Endpoints>, &[]),
        core("events", "Event", &["ev"], true, false, typed::<core::Event>, EVENT_FIELDS),
        core("configmaps", "ConfigMap", &["cm"], true, false, typed::<core::ConfigMap>, &[]),
        core("secrets", "Secret", &[], true, false, typed::<core::Secret>, &["type"]),
        core("serviceaccounts", "ServiceAccount", &["sa"], true, false, typed::<core::ServiceAccount>, &[]),
        core(
            "persistentvolumeclaims",
            "PersistentVolumeClaim",
            &["pvc"],
            true,
            true,
            typed::<core::PersistentVolumeClaim>,
            &[],
        ),
        Builtin {
            group: "coordination.k8s.io",
            version: "v1",
            plural: "leases",
            kind: "Lease",
            short: &[],
            namespaced: true,
            status: false,
            shape: typed::<Lease>,
            selectable: &[],
        },
        Builtin {
            group: "scheduling.k8s.io",
            version: "v1",
            plural: "priorityclasses",
            kind: "PriorityClass",
            short: &["pc"],
            namespaced: false,
            status: false,
            shape: typed::<PriorityClass>,
            selectable: &[],
        },
        Builtin {
            group: "apiextensions.k8s.io",
            version: "v1",
            plural: "customresourcedefinitions",
            kind: "CustomResourceDefinition",
            short: &["crd", "crds"],
            namespaced: false,
            status: true,
            shape: typed::<CustomResourceDefinition>,
            selectable: &[],
        },
    ];
    all.into_iter().map(builtin).collect()
}

fn builtin(b: Builtin) -> ResourceType {
    let everyday = ["pods", "services"].contains(&b.plural);
    ResourceType {
        group: b.group.into(),
        versions: vec![b.version.into()],
        storage_version: b.version.into(),
        plural: b.plural.into(),
        singular: b.kind.to_lowercase(),
        kind: b.kind.into(),
        // Endpoints is the one whose list is not named by a plain suffix of a singular, and it still ends in List
        list_kind: format!("{}List", b.kind),
        short_names: b.short.iter().map(|s| (*s).to_owned()).collect(),
        categories: if everyday { vec!["all".into()] } else { Vec::new() },
        namespaced: b.namespaced,
        status: b.status,
        unconditional_update: !matches!(b.plural, "leases" | "customresourcedefinitions"),
        generation: matches!(b.plural, "pods" | "customresourcedefinitions" | "priorityclasses"),
        shape: Shape::Typed(b.shape),
        columns: BTreeMap::from([(b.version.to_owned(), columns::builtin(b.plural))]),
        selectable: b.selectable.iter().map(|s| (*s).to_owned()).collect(),
        custom: false,
        qualified: qualified(b.group, b.plural),
    }
}
