//! What a kubelet writes into a Pod's status.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::api::object::{self, list, text};
use crate::clock::stamp;

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub exit_code: i32,
    pub signal: Option<i32>,
    pub reason: String,
    pub message: String,
}

impl Outcome {
    pub fn exited(exit_code: i32) -> Self {
        let reason = if exit_code == 0 { "Completed" } else { "Error" };
        Self { exit_code, signal: None, reason: reason.into(), message: String::new() }
    }

    pub fn killed(signal: i32) -> Self {
        Self { exit_code: 128 + signal, signal: Some(signal), ..Self::exited(1) }
    }

    /// The container never ran.
    pub fn not_started(reason: &str, message: impl Into<String>) -> Self {
        Self { exit_code: 128, signal: None, reason: reason.into(), message: message.into() }
    }
}

/// Where a Pod is in its life, as its kubelet knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Life {
    Starting,
    Running {
        since: Timestamp,
    },
    /// One outcome for each container; the reason and message are those of the Pod, mostly empty.
    Ended {
        since: Option<Timestamp>,
        at: Timestamp,
        outcomes: Vec<Outcome>,
        reason: String,
        message: String,
    },
}

/// Writes a Pod's life into its status.
pub(crate) fn write(pod: &mut Value, life: &Life, admitted: Timestamp, pod_ip: &str, host_ip: &str) {
    let names: Vec<(String, String)> = list(pod, &["spec", "containers"])
        .iter()
        .map(|c| (text(c, &["name"]).to_owned(), text(c, &["image"]).to_owned()))
        .collect();
    let uid = object::uid(pod).to_owned();
    let (phase, ready, at) = match life {
        Life::Starting => ("Pending", false, admitted),
        Life::Running { since } => ("Running", true, *since),
        Life::Ended { outcomes, at, reason, .. } => {
            let good = reason.is_empty() && outcomes.iter().all(|o| o.exit_code == 0);
            (if good { "Succeeded" } else { "Failed" }, false, *at)
        }
    };
    let containers: Vec<Value> = names
        .iter()
        .enumerate()
        .map(|(i, (name, image))| {
            let id = format!("crater://{uid}/{name}");
            let state = match life {
                Life::Starting => json!({"waiting": {"reason": "ContainerCreating"}}),
                Life::Running { since } => json!({"running": {"startedAt": stamp(*since)}}),
                Life::Ended { since, at, outcomes, .. } => ended(outcomes.get(i), *since, *at, &id),
            };
            json!({"name": name, "image": image, "imageID": "", "containerID": id, "ready": ready,
                "started": ready, "restartCount": 0, "state": state, "lastState": {}})
        })
        .collect();
    let conditions = conditions(pod, phase, ready, at);
    let status = object::map_mut(pod, "status");
    status.insert("phase".into(), phase.into());
    status.insert("conditions".into(), conditions);
    status.insert("containerStatuses".into(), containers.into());
    status.insert("hostIP".into(), host_ip.into());
    status.insert("podIP".into(), pod_ip.into());
    status.insert("podIPs".into(), json!([{"ip": pod_ip}]));
    status.insert("startTime".into(), stamp(admitted).into());
    if let Life::Ended { reason, message, .. } = life
        && !reason.is_empty()
    {
        status.insert("reason".into(), reason.clone().into());
        status.insert("message".into(), message.clone().into());
    }
}

fn ended(outcome: Option<&Outcome>, since: Option<Timestamp>, at: Timestamp, id: &str) -> Value {
    let Some(outcome) = outcome else { return json!({}) };
    let mut state = json!({"exitCode": outcome.exit_code, "reason": outcome.reason, "containerID": id,
        "finishedAt": stamp(at)});
    state["startedAt"] = since.map_or(Value::Null, |since| stamp(since).into());
    if let Some(signal) = outcome.signal {
        state["signal"] = signal.into();
    }
    if !outcome.message.is_empty() {
        state["message"] = outcome.message.clone().into();
    }
    json!({"terminated": state})
}

fn conditions(pod: &Value, phase: &str, ready: bool, at: Timestamp) -> Value {
    let old = list(pod, &["status", "conditions"]);
    let reason = match phase {
        "Succeeded" => "PodCompleted",
        "Failed" => "PodFailed",
        _ => "ContainersNotReady",
    };
    let condition = |kind: &str, holds: bool| {
        let status = if holds { "True" } else { "False" };
        let before = old.iter().find(|c| c["type"] == kind && c["status"] == status);
        let since = before.map(|c| c["lastTransitionTime"].clone()).filter(Value::is_string);
        let mut condition = json!({"type": kind, "status": status,
            "lastTransitionTime": since.unwrap_or_else(|| stamp(at).into())});
        if !holds {
            condition["reason"] = reason.into();
        }
        condition
    };
    json!([
        condition("PodScheduled", true),
        condition("Initialized", true),
        condition("ContainersReady", ready),
        condition("Ready", ready),
    ])
}

/// Writes that a Pod was not admitted.
pub(crate) fn refuse(pod: &mut Value, reason: &str, message: &str, now: Timestamp) {
    let status = object::map_mut(pod, "status");
    status.insert("phase".into(), "Failed".into());
    status.insert("reason".into(), reason.into());
    status.insert("message".into(), message.into());
    status.insert("startTime".into(), stamp(now).into());
}
