//! Proto ⇄ domain. Messages become domain types once, at a service's edge; what is wrong is said by the path of its field.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crater_domain::{
    Devices, EnvVar, Error, FieldViolation, JobSpec, JobState, Limit, Limits, Mount, Place, ResourceKind,
    Resources, Role, ServiceClass, Topology, Weight,
};

use crate::{common, job::v1 as job, quota::v1 as quota};

/// Milliseconds since 1970 → a timestamp.
pub fn timestamp(unix_millis: i64) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: unix_millis.div_euclid(1000),
        nanos: i32::try_from(unix_millis.rem_euclid(1000) * 1_000_000).unwrap_or(0),
    }
}

/// A timestamp → milliseconds since 1970, rounded down; none where it does not fit.
pub fn unix_millis(t: &prost_types::Timestamp) -> Option<i64> {
    t.seconds.checked_mul(1000)?.checked_add(i64::from(t.nanos.clamp(0, 999_999_999)) / 1_000_000)
}

/// Now, in milliseconds since 1970.
pub fn to_unix_millis(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Amounts.
pub fn resources(r: Resources) -> common::v1::Resources {
    with_devices(r, &Devices::default())
}

/// Amounts, and devices by name beside them.
pub fn with_devices(r: Resources, devices: &Devices) -> common::v1::Resources {
    common::v1::Resources {
        cpu_millis: r.cpu_millis,
        memory_bytes: r.memory_bytes,
        gpu_millis: r.gpu_millis,
        devices: devices.0.clone(),
    }
}

/// Amounts; an absent message is nothing of anything.
pub fn parse_resources(r: Option<&common::v1::Resources>) -> Resources {
    r.map_or(Resources::ZERO, |r| Resources {
        cpu_millis: r.cpu_millis,
        memory_bytes: r.memory_bytes,
        gpu_millis: r.gpu_millis,
    })
}

/// The devices by name among amounts; an absent message is none.
pub fn parse_devices(r: Option<&common::v1::Resources>) -> Devices {
    r.map(|r| Devices(r.devices.clone())).unwrap_or_default()
}

/// A service class.
pub fn class(c: ServiceClass) -> job::ServiceClass {
    match c {
        ServiceClass::Guaranteed => job::ServiceClass::Guaranteed,
        ServiceClass::BestEffort => job::ServiceClass::BestEffort,
    }
}

/// A state.
pub fn state(s: JobState) -> job::JobState {
    match s {
        JobState::Queued => job::JobState::Queued,
        JobState::Starting => job::JobState::Starting,
        JobState::Running => job::JobState::Running,
        JobState::Succeeded => job::JobState::Succeeded,
        JobState::Failed => job::JobState::Failed,
        JobState::Cancelled => job::JobState::Cancelled,
    }
}

/// The states of a filter, at `field`.
pub fn parse_states(states: &[i32], field: &str) -> Result<Vec<JobState>, Error> {
    states
        .iter()
        .map(|s| match job::JobState::try_from(*s) {
            Ok(job::JobState::Queued) => Ok(JobState::Queued),
            Ok(job::JobState::Starting) => Ok(JobState::Starting),
            Ok(job::JobState::Running) => Ok(JobState::Running),
            Ok(job::JobState::Succeeded) => Ok(JobState::Succeeded),
            Ok(job::JobState::Failed) => Ok(JobState::Failed),
            Ok(job::JobState::Cancelled) => Ok(JobState::Cancelled),
            Ok(job::JobState::Unspecified) | Err(_) => {
                Err(Error::field(field, format!("{s} is no state of a job")))
            }
        })
        .collect()
}

/// A spec.
pub fn job_spec(spec: &JobSpec) -> job::JobSpec {
    job::JobSpec {
        service_class: class(spec.class).into(),
        priority: spec.priority,
        roles: spec.roles.iter().map(role).collect(),
        expected_duration: spec.expected_seconds.map(|seconds| prost_types::Duration { seconds, nanos: 0 }),
        max_retries: spec.max_retries,
        grace_period: Some(prost_types::Duration { seconds: spec.grace_seconds, nanos: 0 }),
        node_selector: spec.place.node_selector.clone(),
        topology: spec
            .place
            .topology
            .as_ref()
            .map(|t| job::Topology { key: t.key.clone(), required: t.required }),
    }
}

fn role(r: &Role) -> job::Role {
    job::Role {
        name: r.name.to_string(),
        replicas: r.replicas,
        min_replicas: r.min_replicas,
        resources: Some(with_devices(r.resources, &r.devices)),
        gpu_models: r.gpu_models.clone(),
        image: r.image.clone(),
        command: r.command.clone(),
        args: r.args.clone(),
        env: r.env.iter().map(|e| job::EnvVar { name: e.name.clone(), value: e.value.clone() }).collect(),
        working_dir: r.working_dir.clone(),
        mounts: r
            .mounts
            .iter()
            .map(|m| job::Mount {
                claim: m.claim.clone(),
                sub_path: m.sub_path.clone(),
                mount_path: m.mount_path.clone(),
                read_only: m.read_only,
            })
            .collect(),
    }
}

/// Grace between the polite and the hard signal where the user names none, in seconds.
pub const DEFAULT_GRACE_SECONDS: i64 = 30;

/// Reads a spec at `path` (for example `job.spec`), fills in the defaults and checks it whole.
///
/// # Errors
/// Every violation found, each with the path of its field.
pub fn parse_job_spec(spec: Option<&job::JobSpec>, path: &str) -> Result<JobSpec, Error> {
    let Some(spec) = spec else {
        return Err(Error::field(path, "must be set"));
    };
    let mut wrong = Vec::new();
    let class = match job::ServiceClass::try_from(spec.service_class) {
        Ok(job::ServiceClass::BestEffort) => ServiceClass::BestEffort,
        Ok(job::ServiceClass::Guaranteed | job::ServiceClass::Unspecified) => ServiceClass::Guaranteed,
        Err(_) => {
            wrong.push(violation(format!("{path}.service_class"), "is no service class"));
            ServiceClass::Guaranteed
        }
    };
    let mut roles = Vec::with_capacity(spec.roles.len().min(64));
    for (i, r) in spec.roles.iter().enumerate() {
        match parse_role(r) {
            Ok(role) => roles.push(role),
            Err(text) => wrong.push(violation(format!("{path}.roles[{i}].name"), text)),
        }
    }
    let mut seconds = |d: Option<&prost_types::Duration>, field: &str| {
        d.map(|d| {
            if d.nanos < 0 || d.seconds < 0 {
                wrong.push(violation(format!("{path}.{field}"), "must not be negative"));
            }
            // a started second counts whole
            d.seconds.saturating_add(i64::from(d.nanos > 0))
        })
    };
    let expected_seconds = seconds(spec.expected_duration.as_ref(), "expected_duration");
    let grace_seconds = seconds(spec.grace_period.as_ref(), "grace_period").unwrap_or(DEFAULT_GRACE_SECONDS);
    let parsed = JobSpec {
        class,
        priority: spec.priority,
        roles,
        expected_seconds,
        max_retries: spec.max_retries,
        grace_seconds,
        place: Place {
            node_selector: spec.node_selector.clone(),
            topology: spec.topology.as_ref().map(|t| Topology { key: t.key.clone(), required: t.required }),
        },
    };
    if wrong.is_empty() {
        wrong = parsed.violations(path);
    }
    if wrong.is_empty() { Ok(parsed) } else { Err(Error::fields(wrong)) }
}

fn violation(field: String, description: impl Into<String>) -> FieldViolation {
    FieldViolation { field, description: description.into() }
}

fn parse_role(r: &job::Role) -> Result<Role, String> {
    let name = if r.name.is_empty() { "worker" } else { &r.name };
    let replicas = if r.replicas == 0 { 1 } else { r.replicas };
    Ok(Role {
        name: name.parse().map_err(|e| format!("{name:?} {e}"))?,
        replicas,
        min_replicas: if r.min_replicas == 0 { replicas } else { r.min_replicas },
        resources: parse_resources(r.resources.as_ref()),
        devices: parse_devices(r.resources.as_ref()),
        gpu_models: r.gpu_models.clone(),
        image: r.image.clone(),
        command: r.command.clone(),
        args: r.args.clone(),
        env: r.env.iter().map(|e| EnvVar { name: e.name.clone(), value: e.value.clone() }).collect(),
        working_dir: r.working_dir.clone(),
        mounts: r
            .mounts
            .iter()
            .map(|m| Mount {
                claim: m.claim.clone(),
                sub_path: m.sub_path.clone(),
                mount_path: m.mount_path.clone(),
                read_only: m.read_only,
            })
            .collect(),
    })
}

/// Limits.
pub fn limits(limits: &Limits) -> Vec<quota::ResourceQuota> {
    limits
        .iter()
        .map(|(kind, l)| quota::ResourceQuota {
            resource: kind.to_string(),
            guaranteed: l.guaranteed,
            limit: l.limit,
        })
        .collect()
}

/// Reads limits at `path` (for example `quota.resources`); a resource that stands twice is refused.
pub fn parse_limits(rows: &[quota::ResourceQuota], path: &str) -> Result<Limits, Error> {
    let mut wrong = Vec::new();
    let mut out = Limits::new();
    for (i, row) in rows.iter().enumerate() {
        let at = format!("{path}[{i}]");
        match row.resource.parse::<ResourceKind>() {
            Err(text) => wrong.push(violation(format!("{at}.resource"), text)),
            Ok(kind) => {
                let limit = Limit { guaranteed: row.guaranteed, limit: row.limit };
                wrong.extend(limit.violations(&kind, &at));
                if out.insert(kind.clone(), limit).is_some() {
                    wrong.push(violation(format!("{at}.resource"), format!("{kind} stands twice")));
                }
            }
        }
    }
    if wrong.is_empty() { Ok(out) } else { Err(Error::fields(wrong)) }
}

/// Reads an account's weight: 0 is 1.
///
/// # Errors
/// In words, where it is outside of its bounds.
pub fn parse_weight(weight: i32) -> Result<Weight, String> {
    if weight == 0 { Ok(Weight::default()) } else { Weight::new(weight) }
}

/// The size of a page: 0 is 100; negative or above 1,000 is refused.
pub fn parse_page_size(page_size: i32) -> Result<usize, Error> {
    match page_size {
        0 => Ok(100),
        1..=1000 => Ok(usize::try_from(page_size).unwrap_or(100)),
        _ => Err(Error::field("page_size", "must be from 1 to 1,000, or 0 for 100")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> job::JobSpec {
        job::JobSpec {
            roles: vec![job::Role {
                command: vec!["true".into()],
                resources: Some(common::v1::Resources {
                    cpu_millis: 100,
                    memory_bytes: 1 << 20,
                    gpu_millis: 0,
                    devices: [("rdma/hca".to_owned(), 2)].into(),
                }),
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    #[test]
    fn defaults_are_filled_in() {
        let parsed = parse_job_spec(Some(&spec()), "job.spec").unwrap();
        assert_eq!(parsed.roles[0].name.as_str(), "worker");
        assert_eq!((parsed.roles[0].replicas, parsed.roles[0].min_replicas), (1, 1));
        assert_eq!(parsed.roles[0].devices.of("rdma/hca"), 2);
        assert_eq!(parsed.grace_seconds, DEFAULT_GRACE_SECONDS);
        assert_eq!(parse_job_spec(Some(&job_spec(&parsed)), "job.spec").unwrap(), parsed);
    }

    #[test]
    fn what_is_wrong_is_named_by_its_path() {
        let mut bad = spec();
        bad.roles[0].replicas = -1;
        bad.roles[0].resources.get_or_insert_default().devices.insert("cpu".to_owned(), 1);
        bad.expected_duration = Some(prost_types::Duration { seconds: 0, nanos: 0 });
        let error = parse_job_spec(Some(&bad), "job.spec").unwrap_err();
        let fields: Vec<_> = error.violations.iter().map(|v| v.field.as_str()).collect();
        assert!(fields.contains(&"job.spec.roles[0].replicas"), "{fields:?}");
        assert!(fields.contains(&"job.spec.roles[0].resources.devices[cpu]"), "{fields:?}");
        assert!(fields.contains(&"job.spec.expected_duration"), "{fields:?}");
    }

    #[test]
    fn times_before_1970_and_absurd_ones_do_not_wrap() {
        assert_eq!(unix_millis(&timestamp(-1)), Some(-1));
        assert_eq!(unix_millis(&prost_types::Timestamp { seconds: i64::MAX, nanos: 0 }), None);
    }
}
