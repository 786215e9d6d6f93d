//! What would start a job, in words, and as changes that a program can make.

use crater_domain::{AccountId, format_bytes, format_millis};
use crater_engine::whatif::{Amendment, Remedy as Found};
use crater_engine::{AccountIx, Class, Holder, Names, Resource};

use crate::frame::Frame;
use crate::jobs::JobEntry;

/// One thing that would be different.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Of what; empty for the job.
    pub target: String,
    /// Which field.
    pub field: String,
    /// What it would be.
    pub value: String,
}

/// What would start a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remedy {
    /// All of it.
    pub changes: Vec<Change>,
    /// For people.
    pub message: String,
    /// Whether only an administrator can do it.
    pub needs_admin: bool,
    /// Jobs that would be preempted for it.
    pub preempted_jobs: usize,
}

/// Puts what was found for a job into words.
pub fn remedy(frame: &Frame, entry: &JobEntry, found: &Found) -> Option<Remedy> {
    let (changes, mut message) = words(frame, entry, &found.amendment)?;
    match found.evicts.len() {
        0 => {}
        1 => message.push_str(", once 1 job that is preempted for it has gone"),
        n => message.push_str(&format!(", once {n} jobs that are preempted for it have gone")),
    }
    let needs_admin = !found.amendment.is_owners();
    if needs_admin {
        message.push_str(" (by an administrator)");
    }
    Some(Remedy { changes, message, needs_admin, preempted_jobs: found.evicts.len() })
}

fn words(frame: &Frame, entry: &JobEntry, amendment: &Amendment) -> Option<(Vec<Change>, String)> {
    let wanted = entry.wanted.as_ref().ok()?;
    let role = |role: u16| Some(wanted.spec.roles.get(usize::from(role))?.name.as_str());
    // names that belong to nobody in particular
    let names = frame.names_for(AccountIx(u32::MAX));
    let of_job = |field: String, value: String| vec![Change { target: String::new(), field, value }];
    Some(match amendment {
        Amendment::Replicas { role: ix, from, to } => (
            of_job(format!("spec.roles[{ix}].replicas"), to.to_string()),
            format!("with {} of {} instead of {from}", replicas(*to), role(*ix)?),
        ),
        Amendment::MinReplicas { role: ix, from, to } => (
            of_job(format!("spec.roles[{ix}].min_replicas"), to.to_string()),
            format!("if {} of {} may begin instead of {from}", replicas(*to), role(*ix)?),
        ),
        Amendment::Each { role: ix, resource, from, to } => {
            let (field, wanted, had) = match resource {
                Resource::Cpu => ("cpu_millis", cores(*to), format_millis(*from)),
                Resource::Memory => {
                    ("memory_bytes", format!("{} of memory", format_bytes(*to)), format_bytes(*from))
                }
                Resource::Gpu | Resource::GpuModel(_) => ("gpu_millis", gpus(*to), format_millis(*from)),
                Resource::Extended(device) => {
                    let device = names.extended(*device);
                    let field = format!("spec.roles[{ix}].resources.devices[{device}]");
                    let word = format!("with {to} {device} instead of {from} for each {}", role(*ix)?);
                    return Some((of_job(field, to.to_string()), word));
                }
                Resource::Jobs => return None,
            };
            let field = format!("spec.roles[{ix}].resources.{field}");
            (of_job(field, to.to_string()), format!("with {wanted} instead of {had} for each {}", role(*ix)?))
        }
        Amendment::Models(more) => {
            let more: Vec<&str> = more.iter().map(|model| names.model(*model)).collect();
            let with = |(ix, role): (usize, &crater_domain::Role)| {
                let all: Vec<&str> =
                    role.gpu_models.iter().map(String::as_str).chain(more.iter().copied()).collect();
                let field = format!("spec.roles[{ix}].gpu_models");
                Change { target: String::new(), field, value: all.join(",") }
            };
            let roles = wanted.spec.roles.iter().enumerate();
            let roles = roles.filter(|(_, role)| !role.gpu_models.is_empty());
            (roles.map(with).collect(), format!("if it took {} too", more.join(" and ")))
        }
        Amendment::Class(class) => {
            let (value, word) = match class {
                Class::BestEffort => ("SERVICE_CLASS_BEST_EFFORT", "as best effort, which may be preempted"),
                Class::Guaranteed => {
                    ("SERVICE_CLASS_GUARANTEED", "as guaranteed, which counts against quota")
                }
            };
            (of_job("spec.service_class".into(), value.into()), word.to_owned())
        }
        Amendment::Priority(priority) => {
            (of_job("spec.priority".into(), priority.to_string()), format!("with priority {priority}"))
        }
        Amendment::Duration(ms) => {
            let seconds = ms.div_euclid(1000).max(1);
            let field = of_job("spec.expected_duration".into(), format!("{seconds}s"));
            (field, format!("if it were expected to take at most {}", duration(seconds)))
        }
        Amendment::PreferTopology => {
            let key = wanted.spec.place.topology.as_ref().map(|topology| topology.key.as_str())?;
            let word = format!("if its replicas need not share {key}, but prefer to");
            (of_job("spec.topology.required".into(), "false".into()), word)
        }
        Amendment::Limits(limits) => {
            let mut changes = Vec::new();
            let mut said = Vec::new();
            for (holder, resource, to) in limits {
                let (kind, amount) = match resource {
                    Resource::Cpu => ("cpu".to_owned(), cores(*to)),
                    Resource::Memory => ("memory".to_owned(), format!("{} of memory", format_bytes(*to))),
                    Resource::Gpu => ("gpu".to_owned(), gpus(*to)),
                    Resource::GpuModel(model) => {
                        let model = names.model(*model);
                        (format!("gpu/{model}"), format!("{} {model}", format_millis(*to)))
                    }
                    Resource::Extended(device) => {
                        let device = names.extended(*device);
                        (device.to_owned(), format!("{to} {device}"))
                    }
                    Resource::Jobs => ("jobs.running".to_owned(), format!("{to} running jobs")),
                };
                let (target, whose) = match holder {
                    Holder::Account(account) => {
                        let account: AccountId = names.account(*account).parse().ok()?;
                        (format!("{}/quota", account.resource_name()), format!("account {account}"))
                    }
                    Holder::User(user) => {
                        let account = frame.snapshot.users.get(user.at())?.account;
                        let (account, user) = (names.account(account), names.user(*user));
                        (format!("accounts/{account}/users/{user}/quota"), format!("user {user}"))
                    }
                };
                changes.push(Change {
                    target,
                    field: format!("resources[{kind}].limit"),
                    value: to.to_string(),
                });
                said.push(format!("the limit of {whose} raised to {amount}"));
            }
            (changes, format!("with {}", said.join(" and ")))
        }
        Amendment::Nodes { like, count } => {
            let node = names.node(*like);
            let change =
                Change { target: format!("nodes/{node}"), field: "count".into(), value: count.to_string() };
            let more = if *count == 1 { "1 more node".to_owned() } else { format!("{count} more nodes") };
            (vec![change], format!("with {more} like {node}"))
        }
    })
}

fn replicas(n: u32) -> String {
    if n == 1 { "1 replica".to_owned() } else { format!("{n} replicas") }
}

fn gpus(millis: i64) -> String {
    format!("{} {}", format_millis(millis), if millis == 1000 { "GPU" } else { "GPUs" })
}

fn cores(millis: i64) -> String {
    format!("{} {}", format_millis(millis), if millis == 1000 { "core" } else { "cores" })
}

/// The two greatest units: `2 h 5 min`.
fn duration(seconds: i64) -> String {
    let units = [("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)];
    let Some(first) = units.iter().position(|(_, size)| seconds >= *size) else { return "0 s".to_owned() };
    let mut left = seconds;
    let mut parts = Vec::new();
    for (unit, size) in units.iter().skip(first).take(2) {
        if left / size > 0 {
            parts.push(format!("{} {unit}", left / size));
        }
        left %= size;
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn durations_read_like_speech() {
        let cases = [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (3_661, "1 h 1 min"),
            (90_000, "1 d 1 h"),
            (7_205, "2 h"),
        ];
        for (seconds, text) in cases {
            assert_eq!(duration(seconds), text);
        }
    }
}
