//! What a Pod says about its replica.

use k8s_openapi::api::core::v1::{ContainerStateTerminated, Pod, PodStatus};
use kube::ResourceExt;

use crater_k8s::names;

/// How much of what a kubelet says is told on.
const LONGEST_WORDS: usize = 300;

/// How a replica stands, as its kubelet reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Not running yet.
    Starting {
        /// What keeps its kubelet from starting it, if it says so: an image that cannot be pulled, a missing volume.
        stuck: Option<String>,
    },
    /// Runs.
    Running,
    /// Ended with exit code 0.
    Succeeded,
    /// Ran and ended otherwise.
    Failed {
        /// Its exit code; 128 + n for signal n.
        exit_code: i32,
        /// What the kubelet says.
        message: String,
    },
    /// The kubelet or admission would not have it: nothing ran.
    Refused {
        /// Its words.
        message: String,
    },
}

/// One replica's Pod.
#[derive(Debug, Clone)]
pub struct Replica {
    /// The Pod's name.
    pub name: String,
    /// The Pod's uid.
    pub uid: String,
    /// Its role.
    pub role: String,
    /// Its number in the role.
    pub replica: i32,
    /// Its node.
    pub node: String,
    /// The Allocation that it fills.
    pub allocation: String,
    /// Which start of the job it belongs to.
    pub attempt: i32,
    /// How it stands.
    pub state: State,
    /// Whether its end is under way.
    pub going: bool,
    /// When it began to run, in milliseconds since 1970.
    pub started_millis: Option<i64>,
    /// When it ended, in milliseconds since 1970.
    pub ended_millis: Option<i64>,
    /// What it says of when its job saved its work.
    pub checkpointed_at: Option<String>,
}

impl Replica {
    /// Reads a Pod of ours; none where it lacks our labels.
    pub fn of(pod: &Pod) -> Option<Self> {
        let labels = pod.labels();
        Some(Self {
            name: pod.name_any(),
            uid: pod.uid()?,
            role: labels.get(names::ROLE)?.clone(),
            replica: labels.get(names::REPLICA)?.parse().ok()?,
            node: pod.spec.as_ref()?.node_name.clone()?,
            allocation: labels.get(names::ALLOCATION)?.clone(),
            attempt: labels.get(names::ATTEMPT)?.parse().ok()?,
            state: state(pod),
            going: pod.metadata.deletion_timestamp.is_some(),
            started_millis: started(pod),
            checkpointed_at: pod.annotations().get(names::CHECKPOINTED_AT).cloned(),
            ended_millis: terminated(pod).and_then(|t| Some(t.finished_at.as_ref()?.0.as_millisecond())),
        })
    }

    /// Whether its kubelet has said that nothing of it runs any more.
    pub fn ended(&self) -> bool {
        matches!(self.state, State::Succeeded | State::Failed { .. } | State::Refused { .. })
    }
}

fn terminated(pod: &Pod) -> Option<&ContainerStateTerminated> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    statuses.iter().find_map(|c| c.state.as_ref()?.terminated.as_ref())
}

fn state(pod: &Pod) -> State {
    let status = pod.status.as_ref();
    let phase = status.and_then(|s| s.phase.as_deref()).unwrap_or("Pending");
    let words = |fallback: &str| {
        let text = |s: &Option<String>| s.clone().filter(|t| !t.is_empty());
        status
            .and_then(|s| text(&s.message).or_else(|| text(&s.reason)))
            .unwrap_or_else(|| fallback.to_owned())
    };
    match (phase, terminated(pod)) {
        ("Succeeded", _) => State::Succeeded,
        ("Failed", Some(end)) => State::Failed {
            exit_code: end.exit_code,
            message: end.message.clone().filter(|m| !m.is_empty()).unwrap_or_else(|| {
                end.reason
                    .clone()
                    .filter(|r| r != "Error")
                    .unwrap_or_else(|| format!("exit code {}", end.exit_code))
            }),
        },
        ("Failed", None) => State::Refused { message: words("the kubelet gave no reason") },
        ("Running", _) => State::Running,
        _ => State::Starting { stuck: stuck(status) },
    }
}

fn stuck(status: Option<&PodStatus>) -> Option<String> {
    let containers = status?.container_statuses.as_ref()?;
    let waiting = containers.iter().find_map(|c| c.state.as_ref()?.waiting.as_ref())?;
    let reason =
        waiting.reason.as_deref().filter(|r| !matches!(*r, "ContainerCreating" | "PodInitializing"))?;
    let words: String = waiting.message.iter().flat_map(|m| m.chars()).take(LONGEST_WORDS).collect();
    Some(if words.is_empty() { reason.to_owned() } else { format!("{reason}: {words}") })
}

fn started(pod: &Pod) -> Option<i64> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    statuses.iter().find_map(|c| {
        let state = c.state.as_ref()?;
        let running = state.running.as_ref().and_then(|r| r.started_at.as_ref());
        let ended = state.terminated.as_ref().and_then(|t| t.started_at.as_ref());
        running.or(ended).map(|t| t.0.as_millisecond())
    })
}
