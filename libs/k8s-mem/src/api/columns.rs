//! What `kubectl get` shows of an object: the columns of the built-in types, and those a definition declares.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::jsonpath::{JsonPath, plain};
use super::object::{self, at, list, text};

/// Where the cell of a column comes from.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    Computed(fn(&Value, Timestamp) -> Value),
    Path(JsonPath),
}

/// One column of a table.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub name: String,
    pub ty: String,
    pub format: String,
    pub description: String,
    /// 0: always shown; above: with `-o wide`.
    pub priority: i64,
    pub source: Source,
}

impl Column {
    fn computed(name: &str, priority: i64, cell: fn(&Value, Timestamp) -> Value) -> Self {
        Self {
            name: name.into(),
            ty: "string".into(),
            format: if name == "Name" { "name".into() } else { String::new() },
            description: String::new(),
            priority,
            source: Source::Computed(cell),
        }
    }

    pub fn definition(&self) -> Value {
        json!({"name": self.name, "type": self.ty, "format": self.format,
            "description": self.description, "priority": self.priority})
    }

    pub fn cell(&self, object: &Value, now: Timestamp) -> Value {
        match &self.source {
            Source::Computed(cell) => cell(object, now),
            Source::Path(path) => {
                let found = path.find(object);
                let Some(first) = found.first() else { return Value::Null };
                match (self.ty.as_str(), first) {
                    ("integer", Value::Number(n)) if found.len() == 1 => n.clone().into(),
                    ("number", Value::Number(n)) if found.len() == 1 => n.clone().into(),
                    ("boolean", Value::Bool(b)) if found.len() == 1 => (*b).into(),
                    ("date", Value::String(date)) => since(date, now).into(),
                    _ => found.into_iter().map(plain).collect::<Vec<_>>().join(",").into(),
                }
            }
        }
    }
}

/// The columns of a version of a CustomResourceDefinition: the name, those declared, and an age if none are.
pub(crate) fn declared(columns: &[Value]) -> Vec<Column> {
    let mut all = vec![name_column()];
    for column in columns {
        let Some(path) = JsonPath::parse(text(column, &["jsonPath"])) else { continue };
        all.push(Column {
            name: text(column, &["name"]).into(),
            ty: text(column, &["type"]).into(),
            format: text(column, &["format"]).into(),
            description: text(column, &["description"]).into(),
            priority: at(column, &["priority"]).and_then(Value::as_i64).unwrap_or(0),
            source: Source::Path(path),
        });
    }
    if columns.is_empty() {
        all.push(age_column());
    }
    all
}

fn name_column() -> Column {
    Column::computed("Name", 0, |o, _| object::name(o).into())
}
fn age_column() -> Column {
    Column::computed("Age", 0, |o, now| since(text(o, &["metadata", "creationTimestamp"]), now).into())
}

/// The columns of a built-in type.
pub(crate) fn builtin(plural: &str) -> Vec<Column> {
    let col = Column::computed;
    let mut all = vec![name_column()];
    match plural {
        "pods" => all.extend([
            col("Ready", 0, |o, _| pod_ready(o).into()),
            col("Status", 0, |o, _| pod_status(o).into()),
            col("Restarts", 0, |o, _| restarts(o).into()),
            age_column(),
            col("IP", 1, |o, _| or_none(text(o, &["status", "podIP"]))),
            col("Node", 1, |o, _| or_none(object::node_name(o))),
            col("Nominated Node", 1, |o, _| or_none(text(o, &["status", "nominatedNodeName"]))),
            col("Readiness Gates", 1, |_, _| "<none>".into()),
        ]),
        "nodes" => all.extend([
            col("Status", 0, |o, _| node_status(o).into()),
            col("Roles", 0, |_, _| "<none>".into()),
            age_column(),
            col("Version", 0, |o, _| text(o, &["status", "nodeInfo", "kubeletVersion"]).into()),
            col("GPUs", 0, |o, _| text(o, &["status", "allocatable", "nvidia.com/gpu"]).into()),
            col("Internal-IP", 1, |o, _| node_ip(o)),
            col("GPU-Model", 1, |o, _| or_none(text(o, &["metadata", "labels", "nvidia.com/gpu.product"]))),
            col("CPUs", 1, |o, _| text(o, &["status", "allocatable", "cpu"]).into()),
            col("Memory", 1, |o, _| text(o, &["status", "allocatable", "memory"]).into()),
        ]),
        "namespaces" => {
            all.extend([col("Status", 0, |o, _| text(o, &["status", "phase"]).into()), age_column()]);
        }
        "services" => all.extend([
            col("Type", 0, |o, _| text(o, &["spec", "type"]).into()),
            col("Cluster-IP", 0, |o, _| or_none(text(o, &["spec", "clusterIP"]))),
            col("Port(s)", 0, |o, _| service_ports(o)),
            age_column(),
        ]),
        "configmaps" => all.extend([col("Data", 0, |o, _| count(o, "data").into()), age_column()]),
        "secrets" => all.extend([
            col("Type", 0, |o, _| text(o, &["type"]).into()),
            col("Data", 0, |o, _| count(o, "data").into()),
            age_column(),
        ]),
        "leases" => {
            all.extend([col("Holder", 0, |o, _| text(o, &["spec", "holderIdentity"]).into()), age_column()]);
        }
        "priorityclasses" => all.extend([
            col("Value", 0, |o, _| at(o, &["value"]).cloned().unwrap_or_default()),
            col("Global-Default", 0, |o, _| {
                at(o, &["globalDefault"]).and_then(Value::as_bool).unwrap_or(false).into()
            }),
            age_column(),
        ]),
        "persistentvolumeclaims" => all.extend([
            col("Status", 0, |o, _| text(o, &["status", "phase"]).into()),
            col("Volume", 0, |o, _| text(o, &["spec", "volumeName"]).into()),
            col("StorageClass", 0, |o, _| text(o, &["spec", "storageClassName"]).into()),
            age_column(),
        ]),
        "events" => {
            all = vec![
                col("Last Seen", 0, |o, now| since(text(o, &["lastTimestamp"]), now).into()),
                col("Type", 0, |o, _| text(o, &["type"]).into()),
                col("Reason", 0, |o, _| text(o, &["reason"]).into()),
                col("Object", 0, |o, _| {
                    let kind = text(o, &["involvedObject", "kind"]).to_lowercase();
                    format!("{kind}/{}", text(o, &["involvedObject", "name"])).into()
                }),
                col("Message", 0, |o, _| text(o, &["message"]).trim().into()),
            ];
        }
        "customresourcedefinitions" => {
            all.push(col("Created At", 0, |o, _| text(o, &["metadata", "creationTimestamp"]).into()));
        }
        _ => all.push(age_column()),
    }
    all
}

fn or_none(text: &str) -> Value {
    if text.is_empty() { "<none>".into() } else { text.into() }
}

fn count(object: &Value, field: &str) -> String {
    object.get(field).and_then(Value::as_object).map_or(0, serde_json::Map::len).to_string()
}

fn pod_ready(pod: &Value) -> String {
    let ready = list(pod, &["status", "containerStatuses"]).iter().filter(|c| c["ready"] == true).count();
    format!("{ready}/{}", list(pod, &["spec", "containers"]).len())
}

fn restarts(pod: &Value) -> String {
    let counts = list(pod, &["status", "containerStatuses"]).iter();
    counts.filter_map(|c| c["restartCount"].as_i64()).sum::<i64>().to_string()
}

/// As kubectl says it: the most telling container state, else the reason, else the phase.
fn pod_status(pod: &Value) -> String {
    if object::is_deleting(pod) {
        let lost = text(pod, &["status", "reason"]) == "NodeLost";
        return if lost { "Unknown" } else { "Terminating" }.into();
    }
    let mut status = object::phase(pod);
    let reason = text(pod, &["status", "reason"]);
    if !reason.is_empty() {
        return reason.into();
    }
    for container in list(pod, &["status", "containerStatuses"]) {
        let waiting = text(container, &["state", "waiting", "reason"]);
        let ended = text(container, &["state", "terminated", "reason"]);
        status = [waiting, ended, status].into_iter().find(|s| !s.is_empty()).unwrap_or(status);
    }
    status.into()
}

fn node_status(node: &Value) -> String {
    let ready = list(node, &["status", "conditions"]).iter().find(|c| c["type"] == "Ready");
    let mut status = match ready.map(|c| text(c, &["status"])) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if at(node, &["spec", "unschedulable"]) == Some(&Value::Bool(true)) {
        status.push_str(",SchedulingDisabled");
    }
    status
}

fn node_ip(node: &Value) -> Value {
    let address = list(node, &["status", "addresses"]).iter().find(|a| a["type"] == "InternalIP");
    or_none(address.map(|a| text(a, &["address"])).unwrap_or_default())
}

fn service_ports(service: &Value) -> Value {
    let ports = list(service, &["spec", "ports"]).iter();
    let ports: Vec<_> = ports.map(|p| format!("{}/{}", plain(&p["port"]), text(p, &["protocol"]))).collect();
    or_none(&ports.join(","))
}

/// How long ago, as kubectl writes durations.
fn since(date: &str, now: Timestamp) -> String {
    let Ok(then) = date.parse::<Timestamp>() else { return "<unknown>".into() };
    human(now.duration_since(then).unsigned_abs())
}

fn human(age: Duration) -> String {
    let seconds = age.as_secs();
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let pair = |big: u64, unit: &str, small: u64, sub: &str| {
        if small == 0 { format!("{big}{unit}") } else { format!("{big}{unit}{small}{sub}") }
    };
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => pair(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => pair(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => pair(hours / 24, "d", hours % 24, "h"),
        _ => format!("{}d", hours / 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_read_as_kubectl_writes_them() {
        let said = |s| human(Duration::from_secs(s));
        assert_eq!([said(5), said(119), said(125), said(600)], ["5s", "119s", "2m5s", "10m"]);
        assert_eq!([said(10_800), said(11_000), said(100_000), said(180_000)], ["3h", "3h3m", "27h", "2d2h"]);
    }

    #[test]
    fn a_pod_being_deleted_is_shown_terminating() {
        let mut pod = json!({"metadata": {"name": "a"}, "status": {"phase": "Running"}});
        assert_eq!(pod_status(&pod), "Running");
        pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        assert_eq!(pod_status(&pod), "Terminating");
    }
}
