//! What the API server itself fills in and refuses: names, and the defaults and rules of the built-in types.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Map, Value, json};

use super::object::{self, at, list, text};
use super::status::{ApiError, ApiResult, Cause};
use super::store::Store;
use super::types::{ResourceType, Shape, typed};
use crate::quantity;

/// A DNS-1123 subdomain: what almost every object may be called.
pub(crate) fn is_subdomain(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(|label| !label.is_empty() && is_label_chars(label))
}

fn is_label_chars(label: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    edge(label.chars().next()) && edge(label.chars().last()) && label.chars().all(inner)
}

const NAME_RULE: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
    and must start and end with an alphanumeric character";
const LABEL_RULE: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', start and \
    end with an alphanumeric character, and have at most 63 characters";

/// What is wrong with an object's metadata.
pub(crate) fn check_metadata(ty: &ResourceType, object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let name = object::name(object);
    let short = matches!(&*ty.qualified, "namespaces" | "services");
    if short && !(name.len() <= 63 && is_label_chars(name)) {
        causes.push(Cause::invalid("metadata.name", format!("Invalid value: {name:?}: {LABEL_RULE}")));
    } else if !is_subdomain(name) {
        causes.push(Cause::invalid("metadata.name", format!("Invalid value: {name:?}: {NAME_RULE}")));
    }
    for (key, value) in at(object, &["metadata", "labels"]).and_then(Value::as_object).into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        let inner = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let edges = value.chars().next().into_iter().chain(value.chars().last());
        let fits = value.len() <= 63 && value.chars().all(inner);
        if !(fits && edges.into_iter().all(|c| c.is_ascii_alphanumeric())) {
            causes
                .push(Cause::invalid(format!("metadata.labels.{key}"), format!("Invalid value: {value:?}")));
        }
    }
    for (i, owner) in object::owners(object).iter().enumerate() {
        for field in ["apiVersion", "kind", "name", "uid"] {
            if text(owner, &[field]).is_empty() {
                causes.push(Cause::required(format!("metadata.ownerReferences[{i}].{field}")));
            }
        }
    }
    causes
}

/// Brings an object into the shape of its type, or says what is wrong with it.
pub(crate) fn shape(ty: &ResourceType, version: &str, mut object: Value, strict: bool) -> ApiResult<Value> {
    let name = object::name(&object).to_owned();
    object["apiVersion"] = ty.api_version(&ty.storage_version).into();
    object["kind"] = ty.kind.clone().into();
    let given = strict.then(|| object.clone());
    let shaped = match &ty.shape {
        Shape::Typed(typed) => typed(object).map_err(|why| {
            let kind = &ty.kind;
            ApiError::bad_request(format!(
                "{kind} in version {version:?} cannot be handled as a {kind}: {why}"
            ))
        }),
        Shape::Schemas(schemas) => {
            let meta = typed::<ObjectMeta>(object["metadata"].take());
            object["metadata"] = meta.map_err(|why| ApiError::bad_request(format!("metadata: {why}")))?;
            if let Some(schema) = schemas.get(version) {
                schema.shape(&mut object);
                let causes = schema.validate(&object);
                if !causes.is_empty() {
                    return Err(ApiError::invalid(ty, &name, &causes));
                }
            }
            Ok(object)
        }
    }?;
    if let Some(given) = given {
        let mut unknown = Vec::new();
        find_lost(&given, &shaped, "", &mut unknown);
        if !unknown.is_empty() {
            let fields: Vec<String> = unknown.iter().map(|f| format!("unknown field {f:?}")).collect();
            return Err(ApiError::bad_request(format!("strict decoding error: {}", fields.join(", "))));
        }
    }
    Ok(shaped)
}

/// The fields that were given and did not survive the shaping.
fn find_lost(given: &Value, shaped: &Value, path: &str, lost: &mut Vec<String>) {
    match (given, shaped) {
        (Value::Object(given), Value::Object(shaped)) => {
            for (name, value) in given.iter().filter(|(_, value)| !value.is_null()) {
                let here = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                match shaped.get(name) {
                    Some(kept) => find_lost(value, kept, &here, lost),
                    None => lost.push(here),
                }
            }
        }
        (Value::Array(given), Value::Array(shaped)) => {
            for (i, (value, kept)) in given.iter().zip(shaped).enumerate() {
                find_lost(value, kept, &format!("{path}[{i}]"), lost);
            }
        }
        _ => {}
    }
}

/// Fills in and checks a new object of a built-in type.
pub(crate) fn admit(store: &Store, ty: &ResourceType, object: &mut Value) -> ApiResult<()> {
    match &*ty.qualified {
        "pods" => admit_pod(store, ty, object),
        "namespaces" => {
            object["spec"] = json!({"finalizers": ["kubernetes"]});
            object["status"] = json!({"phase": "Active"});
            let name = object::name(object).to_owned();
            let labels = object::metadata_mut(object).entry("labels").or_insert_with(|| json!({}));
            if let Some(labels) = labels.as_object_mut() {
                labels.insert("kubernetes.io/metadata.name".into(), name.into());
            }
            Ok(())
        }
        "services" => {
            let spec = object::map_mut(object, "spec");
            spec.entry("type").or_insert_with(|| "ClusterIP".into());
            spec.entry("sessionAffinity").or_insert_with(|| "None".into());
            for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
                let number = port["port"].clone();
                if let Some(port) = port.as_object_mut() {
                    port.entry("protocol").or_insert_with(|| "TCP".into());
                    port.entry("targetPort").or_insert(number);
                }
            }
            Ok(())
        }
        "persistentvolumeclaims" => {
            object["status"] = json!({"phase": "Pending"});
            Ok(())
        }
        _ => Ok(()),
    }
}

fn admit_pod(store: &Store, ty: &ResourceType, pod: &mut Value) -> ApiResult<()> {
    let name = object::name(pod).to_owned();
    let mut causes = Vec::new();
    if list(pod, &["spec", "containers"]).is_empty() {
        causes.push(Cause::required("spec.containers"));
    }
    let mut seen = Vec::new();
    for (i, container) in list(pod, &["spec", "containers"]).iter().enumerate() {
        let path = format!("spec.containers[{i}]");
        let container_name = text(container, &["name"]);
        if container_name.is_empty() {
            causes.push(Cause::required(format!("{path}.name")));
        } else if !(container_name.len() <= 63 && is_label_chars(container_name)) {
            causes.push(Cause::invalid(format!("{path}.name"), LABEL_RULE));
        } else if seen.contains(&container_name) {
            causes
                .push(Cause::invalid(format!("{path}.name"), format!("Duplicate value: {container_name:?}")));
        }
        seen.push(container_name);
        if text(container, &["image"]).is_empty() {
            causes.push(Cause::required(format!("{path}.image")));
        }
        check_resources(container, &path, &mut causes);
    }
    if !matches!(text(pod, &["spec", "restartPolicy"]), "" | "Always" | "OnFailure" | "Never") {
        causes.push(Cause::invalid(
            "spec.restartPolicy",
            "supported values: \"Always\", \"OnFailure\", \"Never\"",
        ));
    }
    if !causes.is_empty() {
        return Err(ApiError::invalid(ty, &name, &causes));
    }
    let class = text(pod, &["spec", "priorityClassName"]).to_owned();
    let priority = if class.is_empty() {
        let default =
            store.list("priorityclasses.scheduling.k8s.io", "").find(|c| c["globalDefault"] == true);
        default.map_or(0.into(), |c| c["value"].clone())
    } else {
        match store.lookup("priorityclasses.scheduling.k8s.io", "", &class) {
            Some(found) => found["value"].clone(),
            None if class == "system-node-critical" => 2_000_001_000.into(),
            None if class == "system-cluster-critical" => 2_000_000_000.into(),
            None => {
                let why = format!("no PriorityClass with name {class} was found");
                return Err(ApiError::forbidden(ty, &name, why));
            }
        }
    };
    let assigned = !object::node_name(pod).is_empty();
    let spec = object::map_mut(pod, "spec");
    default_pod_spec(spec, priority);
    let qos = qos_class(pod);
    let mut status = json!({"phase": "Pending", "qosClass": qos});
    if assigned {
        status["conditions"] = json!([{"type": "PodScheduled", "status": "True"}]);
    }
    pod["status"] = status;
    Ok(())
}

fn check_resources(container: &Value, path: &str, causes: &mut Vec<Cause>) {
    for kind in ["limits", "requests"] {
        for (name, amount) in
            at(container, &["resources", kind]).and_then(Value::as_object).into_iter().flatten()
        {
            let field = format!("{path}.resources.{kind}[{name}]");
            let amount = amount.as_str().unwrap_or_default();
            match quantity::milli(amount) {
                None => {
                    causes.push(Cause::invalid(field, format!("Invalid value: {amount:?}: not a quantity")))
                }
                Some(milli) if milli < 0 => {
                    causes.push(Cause::invalid(field, "must be greater than or equal to 0"));
                }
                Some(milli) if name.contains('/') && milli % 1000 != 0 => {
                    causes.push(Cause::invalid(field, "must be an integer"));
                }
                Some(milli) if kind == "requests" => {
                    let limit = at(container, &["resources", "limits", name]).and_then(Value::as_str);
                    let limit = limit.and_then(quantity::milli);
                    if limit.is_some_and(|limit| milli > limit) {
                        causes.push(Cause::invalid(
                            field,
                            format!("must be less than or equal to {name} limit"),
                        ));
                    } else if name.contains('/') && limit != Some(milli) {
                        causes.push(Cause::invalid(field, format!("must be equal to {name} limit")));
                    }
                }
                Some(_) => {}
            }
        }
    }
}

fn default_pod_spec(spec: &mut Map<String, Value>, priority: Value) {
    for (field, value) in [
        ("restartPolicy", json!("Always")),
        ("terminationGracePeriodSeconds", json!(30)),
        ("dnsPolicy", json!("ClusterFirst")),
        ("schedulerName", json!("default-scheduler")),
        ("serviceAccountName", json!("default")),
        ("enableServiceLinks", json!(true)),
        ("securityContext", json!({})),
        ("preemptionPolicy", json!("PreemptLowerPriority")),
    ] {
        spec.entry(field).or_insert(value);
    }
    spec.insert("priority".into(), priority);
    for container in spec.get_mut("containers").and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(container) = container.as_object_mut() else { continue };
        container.entry("imagePullPolicy").or_insert_with(|| "IfNotPresent".into());
        container.entry("terminationMessagePath").or_insert_with(|| "/dev/termination-log".into());
        container.entry("terminationMessagePolicy").or_insert_with(|| "File".into());
        let resources = container.entry("resources").or_insert_with(|| json!({}));
        let limits = resources.get("limits").and_then(Value::as_object).cloned();
        if let (Some(limits), Some(resources)) = (limits, resources.as_object_mut()) {
            let requests = resources.entry("requests").or_insert_with(|| json!({}));
            for (name, amount) in limits {
                if let Some(requests) = requests.as_object_mut() {
                    requests.entry(name).or_insert(amount);
                }
            }
        }
    }
    let tolerations = spec.entry("tolerations").or_insert_with(|| json!([]));
    if let Some(tolerations) = tolerations.as_array_mut() {
        for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
            if !tolerations.iter().any(|t| matches!(text(t, &["key"]), k if k == key || k.is_empty())) {
                tolerations.push(json!({"key": key, "operator": "Exists", "effect": "NoExecute",
                    "tolerationSeconds": 300}));
            }
        }
    }
}

fn qos_class(pod: &Value) -> &'static str {
    let (mut any, mut guaranteed) = (false, true);
    for container in list(pod, &["spec", "containers"]) {
        for resource in ["cpu", "memory"] {
            let of = |kind| at(container, &["resources", kind, resource]);
            any |= of("requests").is_some() || of("limits").is_some();
            guaranteed &= of("limits").is_some() && of("requests") == of("limits");
        }
    }
    match (any, guaranteed) {
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
        (false, _) => "BestEffort",
    }
}

/// What may not change in an update of a built-in type.
pub(crate) fn check_update(ty: &ResourceType, old: &Value, new: &Value) -> Vec<Cause> {
    match &*ty.qualified {
        "pods" => {
            let fixed = |pod: &Value| {
                let mut spec = pod.get("spec").cloned().unwrap_or_default();
                for field in ["activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds"] {
                    spec.as_object_mut().map(|s| s.remove(field));
                }
                for container in
                    spec.get_mut("containers").and_then(Value::as_array_mut).into_iter().flatten()
                {
                    container.as_object_mut().map(|c| c.remove("image"));
                }
                spec
            };
            if fixed(old) == fixed(new) {
                return Vec::new();
            }
            let why = "pod updates may not change fields other than `spec.containers[*].image`, \
                `spec.activeDeadlineSeconds`, `spec.tolerations` and `spec.terminationGracePeriodSeconds`";
            vec![Cause::forbidden("spec", why)]
        }
        "configmaps" | "secrets" if old["immutable"] == true => {
            let same = ["data", "binaryData", "immutable"].iter().all(|f| old.get(f) == new.get(f));
            if same { Vec::new() } else { vec![Cause::forbidden("data", "field is immutable")] }
        }
        "customresourcedefinitions.apiextensions.k8s.io" => ["group", "scope"]
            .iter()
            .filter(|f| at(old, &["spec", f]) != at(new, &["spec", f]))
            .map(|f| Cause::invalid(format!("spec.{f}"), "field is immutable"))
            .collect(),
        _ => Vec::new(),
    }
}
