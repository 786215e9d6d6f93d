//! A job in words: one line, one row, or one page.

use std::collections::BTreeMap;

use crater_api::common::v1::Resources;
use crater_api::convert::unix_millis;
use crater_api::job::v1::{Job, JobEvent, Role, ServiceClass};
use crater_domain::{format_bytes, format_millis};

use crate::names::{account_of, short};
use crate::output::table::plain;
use crate::output::time::{age, moment, span};
use crate::output::{Format, state_word};

/// The columns of a list of jobs.
pub fn headers(format: Format) -> &'static [&'static str] {
    if format == Format::Wide {
        &[
            "NAME", "ACCOUNT", "CLASS", "STATE", "GPUS", "MODEL", "CPU", "MEMORY", "REPLICAS", "PRIORITY",
            "CREATOR", "STARTS", "NODES", "AGE", "REASON", "MESSAGE",
        ]
    } else {
        &["NAME", "ACCOUNT", "CLASS", "STATE", "GPUS", "NODES", "AGE", "REASON"]
    }
}

/// The cells of a job under [`headers`].
pub fn row(format: Format, job: &Job, now: i64) -> Vec<String> {
    let total = total(job);
    let name = short(&job.name).to_owned();
    let account = account_of(&job.name).to_owned();
    let class = class_word(job).to_owned();
    let state = match () {
        () if job.cancelling && job.end_time.is_none() => "Cancelling",
        () if job.suspended => "Suspended",
        () => state_word(job.state),
    };
    let gpus = format_millis(total.gpu_millis);
    let age = age(job.create_time.as_ref(), now);
    if format != Format::Wide {
        return vec![name, account, class, state.to_owned(), gpus, few(&job.nodes), age, job.reason.clone()];
    }
    let roles = job.spec.as_ref().map(|s| s.roles.as_slice()).unwrap_or_default();
    let mut models: Vec<&str> = roles.iter().flat_map(|r| &r.gpu_models).map(String::as_str).collect();
    models.dedup();
    let replicas: i64 = roles.iter().map(|r| i64::from(r.replicas)).sum();
    vec![
        name,
        account,
        class,
        state.to_owned(),
        gpus,
        models.join(","),
        format_millis(total.cpu_millis),
        format_bytes(total.memory_bytes),
        replicas.to_string(),
        job.spec.as_ref().map_or(0, |s| s.priority).to_string(),
        short(&job.creator).to_owned(),
        job.attempts.to_string(),
        job.nodes.join(","),
        age,
        job.reason.clone(),
        job.message.clone(),
    ]
}

/// The job in a line: what it asks for.
pub fn in_a_line(job: &Job) -> String {
    let roles = job.spec.as_ref().map(|s| s.roles.as_slice()).unwrap_or_default();
    let roles: Vec<String> = roles.iter().map(|r| format!("{} {}", r.name, wants(r))).collect();
    let id = short(&job.name);
    let id = if id.is_empty() { "a job" } else { id };
    format!("{id} in account {}, {}: {}", account_of(&job.name), class_word(job), roles.join("; "))
}

/// The page of `crater get`.
pub fn page(job: &Job, events: &[JobEvent], now: i64) -> String {
    let mut page = Page::default();
    let spec = job.spec.clone().unwrap_or_default();
    page.line("Name", &job.name);
    page.line("Creator", short(&job.creator));
    let mut state = state_word(job.state).to_owned();
    if job.cancelling && job.end_time.is_none() {
        state.push_str(" (being cancelled)");
    } else if job.suspended {
        state.push_str(" (suspended)");
    }
    page.line("State", &state);
    page.line("Reason", &job.reason);
    page.line("Message", &job.message);
    if let Some(code) = job.exit_code {
        page.line("Exit code", &code.to_string());
    }
    page.line("Class", class_word(job));
    page.line("Priority", &spec.priority.to_string());
    let mut selector: Vec<String> =
        spec.node_selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
    selector.sort_unstable();
    page.line("Nodes with", &selector.join(", "));
    if let Some(topology) = &spec.topology {
        page.line(if topology.required { "Within" } else { "Near" }, &topology.key);
    }
    if let Some(d) = &spec.expected_duration {
        page.line("Duration", &format!("{} expected", span(d.seconds.saturating_mul(1000))));
    }
    if job.attempts > 0 || spec.max_retries > 0 {
        page.line("Starts", &format!("{} (at most {} retries)", job.attempts, spec.max_retries));
    }
    if job.preemptions > 0 {
        page.line("Preempted", &format!("{} times", job.preemptions));
    }
    page.line("Nodes", &job.nodes.join(", "));
    let mut labels: Vec<String> = job.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    labels.sort();
    page.line("Labels", &labels.join(", "));
    page.line("Submitted", &when(job.create_time.as_ref(), now));
    page.line("Started", &when(job.start_time.as_ref(), now));
    page.line("Saved", &when(job.checkpoint_time.as_ref(), now));
    page.line("Ended", &when(job.end_time.as_ref(), now));
    if let (Some(start), Some(end)) = (&job.start_time, &job.end_time)
        && let (Some(start), Some(end)) = (unix_millis(start), unix_millis(end))
    {
        page.line("Ran for", &span(end - start));
    }
    for role in &spec.roles {
        page.text.push_str(&format!("\nRole {}\n", plain(&role.name)));
        describe_role(&mut page, role, job);
    }
    if !events.is_empty() {
        page.text.push_str("\nEvents\n");
        for e in events {
            let time = moment(e.time.as_ref());
            page.text.push_str(&format!("  {time}  {:<14} {}\n", plain(&e.reason), plain(&e.message)));
        }
    }
    page.text
}

fn describe_role(page: &mut Page, role: &Role, job: &Job) {
    let mut replicas = role.replicas.to_string();
    if role.min_replicas != role.replicas && role.min_replicas > 0 {
        replicas.push_str(&format!(" (at least {} at once)", role.min_replicas));
    }
    if let Some(s) = job.roles.iter().find(|s| s.role == role.name) {
        let counts = [
            (s.waiting, "waiting"),
            (s.starting, "starting"),
            (s.running, "running"),
            (s.succeeded, "succeeded"),
            (s.failed, "failed"),
        ];
        let told: Vec<String> =
            counts.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")).collect();
        if !told.is_empty() {
            replicas.push_str(&format!(": {}", told.join(", ")));
        }
    }
    page.line("  Replicas", &replicas);
    page.line("  Each", &amounts(role.resources.as_ref(), &role.gpu_models));
    page.line("  Image", &role.image);
    let words: Vec<String> = role.command.iter().chain(&role.args).map(|w| quoted(w)).collect();
    page.line("  Command", &words.join(" "));
    page.line("  Directory", &role.working_dir);
    let env: Vec<String> = role.env.iter().map(|e| format!("{}={}", e.name, e.value)).collect();
    page.line("  Env", &env.join(", "));
    let mounts: Vec<String> =
        role.mounts.iter().map(|m| format!("{} at {}", m.claim, m.mount_path)).collect();
    page.line("  Mounts", &mounts.join(", "));
}

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    /// A line, unless there is nothing to say.
    fn line(&mut self, key: &str, value: &str) {
        if !value.is_empty() {
            self.text.push_str(&format!("{key:<12} {}\n", plain(value)));
        }
    }
}

/// All replicas together; what does not fit is shown as the most that does.
fn total(job: &Job) -> Resources {
    let mut sum = Resources::default();
    for role in job.spec.iter().flat_map(|s| &s.roles) {
        let n = i64::from(role.replicas);
        let Some(r) = &role.resources else { continue };
        let add = |sum: i64, each: i64| sum.saturating_add(each.saturating_mul(n));
        sum = Resources {
            cpu_millis: add(sum.cpu_millis, r.cpu_millis),
            memory_bytes: add(sum.memory_bytes, r.memory_bytes),
            gpu_millis: add(sum.gpu_millis, r.gpu_millis),
            devices: BTreeMap::new(),
        };
    }
    sum
}

/// `1 GPU (A100), 2 CPU, 4Gi memory, 2 rdma/hca`.
pub fn amounts(resources: Option<&Resources>, models: &[String]) -> String {
    let Some(r) = resources else { return String::new() };
    let mut parts = Vec::new();
    if r.gpu_millis != 0 {
        let models = if models.is_empty() { String::new() } else { format!(" ({})", models.join(" or ")) };
        parts.push(format!("{} GPU{models}", format_millis(r.gpu_millis)));
    }
    if r.cpu_millis != 0 {
        parts.push(format!("{} CPU", format_millis(r.cpu_millis)));
    }
    if r.memory_bytes != 0 {
        parts.push(format!("{} memory", format_bytes(r.memory_bytes)));
    }
    let named = r.devices.iter().filter(|(_, count)| **count != 0);
    parts.extend(named.map(|(name, count)| format!("{count} {name}")));
    parts.join(", ")
}

fn wants(role: &Role) -> String {
    format!("{} × {}", role.replicas.max(1), amounts(role.resources.as_ref(), &role.gpu_models))
}

fn class_word(job: &Job) -> &'static str {
    let class = job.spec.as_ref().map_or(0, |s| s.service_class);
    if class == i32::from(ServiceClass::BestEffort) { "best-effort" } else { "guaranteed" }
}

/// At most two nodes, and how many more.
fn few(nodes: &[String]) -> String {
    match nodes {
        [] | [_] | [_, _] => nodes.join(","),
        [first, rest @ ..] => format!("{first},+{}", rest.len()),
    }
}

fn when(t: Option<&prost_types::Timestamp>, now: i64) -> String {
    t.map(|t| format!("{} ({} ago)", moment(Some(t)), age(Some(t), now))).unwrap_or_default()
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let bare =
        !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./=:,+@%".contains(&b));
    if bare { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
#[path = "describe_tests.rs"]
mod tests;
