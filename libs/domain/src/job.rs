//! What a person asks for (a job's spec), checked in one place, and where a job is on its way.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::place::is_label_value;
use crate::{Devices, FieldViolation, MAX_DEVICES, Place, Resources, RoleName, WHOLE_GPU};

/// The bounds of a spec. They keep every object small enough for Kubernetes and every sum inside 64 bits.
pub mod bounds {
    /// Replicas of a role, and of all roles together.
    pub const MAX_REPLICAS: i32 = 10_000;
    /// Roles of a job.
    pub const MAX_ROLES: usize = 16;
    /// Priority, either way from 0.
    pub const MAX_PRIORITY: i32 = 1_000;
    /// Retries.
    pub const MAX_RETRIES: i32 = 100;
    /// CPU of one replica, in thousandths of a core.
    pub const MAX_CPU_MILLIS: i64 = 10_000_000;
    /// Memory of one replica, in bytes (1 PiB).
    pub const MAX_MEMORY_BYTES: i64 = 1 << 50;
    /// GPUs of one replica, in thousandths.
    pub const MAX_GPU_MILLIS: i64 = 1_024_000;
    /// Environment variables of a role.
    pub const MAX_ENV: usize = 1_000;
    /// Arguments of a role, its command's words included.
    pub const MAX_ARGS: usize = 4_000;
    /// Mounts of a role.
    pub const MAX_MOUNTS: usize = 64;
    /// GPU models of a role.
    pub const MAX_GPU_MODELS: usize = 32;
    /// Labels of a job.
    pub const MAX_LABELS: usize = 64;
    /// Bytes of all texts of a role together.
    pub const MAX_TEXT_BYTES: usize = 256 * 1024;
    /// Seconds: one year.
    pub const MAX_DURATION_SECONDS: i64 = 366 * 24 * 3600;
    /// Seconds: one hour.
    pub const MAX_GRACE_SECONDS: i64 = 3600;
}

/// Variables that Crater sets itself; a user's would lie about what the replica was given.
pub const RESERVED_ENV: [&str; 6] =
    ["CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE"];

/// How a job stands to quota and preemption.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ServiceClass {
    /// Counts against quota; never preempted inside the guarantee.
    #[default]
    Guaranteed,
    /// Uses what is idle, may be preempted, is queued again by itself.
    BestEffort,
}

/// Where a job is on its way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum JobState {
    /// Waits for its GPUs.
    #[default]
    Queued,
    /// Has its GPUs; replicas are being started.
    Starting,
    /// All replicas of its gang run.
    Running,
    /// Ended well.
    Succeeded,
    /// Ended badly, retries used up.
    Failed,
    /// Was cancelled.
    Cancelled,
}

impl JobState {
    /// Whether it is an end.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }

    /// The word, as it stands in Kubernetes and in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "Queued",
            Self::Starting => "Starting",
            Self::Running => "Running",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::Cancelled => "Cancelled",
        }
    }

    /// Reads the word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Queued, Self::Starting, Self::Running, Self::Succeeded, Self::Failed, Self::Cancelled]
            .into_iter()
            .find(|s| s.as_str() == word)
    }
}

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSpec {
    /// How it stands to quota and preemption.
    pub class: ServiceClass,
    /// Higher goes first within the account.
    pub priority: i32,
    /// One or more groups of equal replicas.
    pub roles: Vec<Role>,
    /// How long the user thinks it runs, in seconds.
    pub expected_seconds: Option<i64>,
    /// How often a failed job is started again.
    pub max_retries: i32,
    /// Seconds between the polite and the hard signal at the end.
    pub grace_seconds: i64,
    /// On which nodes, and how near each other.
    #[serde(default)]
    pub place: Place,
}

/// A group of equal replicas.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    /// Unique in the job.
    pub name: RoleName,
    /// How many are wanted.
    pub replicas: i32,
    /// How many must start together.
    pub min_replicas: i32,
    /// What each replica gets.
    pub resources: Resources,
    /// What else each replica gets, by name.
    #[serde(default, skip_serializing_if = "Devices::is_empty")]
    pub devices: Devices,
    /// Any of these GPU models; none means any model.
    pub gpu_models: Vec<String>,
    /// The container image.
    pub image: String,
    /// What is run, in place of the image's entry point.
    pub command: Vec<String>,
    /// Its arguments.
    pub args: Vec<String>,
    /// Environment variables.
    pub env: Vec<EnvVar>,
    /// Where it runs inside the container; empty: the image's own.
    pub working_dir: String,
    /// Storage that is mounted.
    pub mounts: Vec<Mount>,
}

/// An environment variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvVar {
    /// Letters, digits and underscores, not starting with a digit.
    pub name: String,
    /// The value.
    pub value: String,
}

/// Storage of the account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// The PersistentVolumeClaim in the account's namespace.
    pub claim: String,
    /// A path inside the claim; empty for its root.
    pub sub_path: String,
    /// Where it appears: an absolute path.
    pub mount_path: String,
    /// Whether it can only be read.
    pub read_only: bool,
}

impl JobSpec {
    /// Replicas of all roles.
    pub fn total_replicas(&self) -> i64 {
        self.roles.iter().map(|r| i64::from(r.replicas)).sum()
    }

    /// What all replicas together ask for; none where the sum does not fit into 64 bits.
    pub fn total_resources(&self) -> Option<Resources> {
        self.roles.iter().try_fold(Resources::ZERO, |sum, role| {
            sum.checked_add(role.resources.checked_mul(i64::from(role.replicas))?)
        })
    }

    /// The devices by name that all replicas together ask for.
    pub fn total_devices(&self) -> Devices {
        let mut sum = Devices::default();
        self.roles.iter().for_each(|role| sum.add(&role.devices, i64::from(role.replicas)));
        sum
    }

    /// What the gang (the minimum of each role) asks for.
    pub fn gang_resources(&self) -> Option<Resources> {
        self.roles.iter().try_fold(Resources::ZERO, |sum, role| {
            sum.checked_add(role.resources.checked_mul(i64::from(role.min_replicas))?)
        })
    }

    /// Everything that is wrong with the spec, each with the path of its field below `path`
    /// (for example `job.spec`). Empty: the spec is sound in itself.
    pub fn violations(&self, path: &str) -> Vec<FieldViolation> {
        let mut out = Check { path: path.to_owned(), found: Vec::new() };
        let max = bounds::MAX_PRIORITY;
        out.that((-max..=max).contains(&self.priority), "priority", || {
            format!("must be from -{max} to {max}")
        });
        out.that((0..=bounds::MAX_RETRIES).contains(&self.max_retries), "max_retries", || {
            format!("must be from 0 to {}", bounds::MAX_RETRIES)
        });
        out.that((0..=bounds::MAX_GRACE_SECONDS).contains(&self.grace_seconds), "grace_period", || {
            format!("must be from 0 to {} s", bounds::MAX_GRACE_SECONDS)
        });
        if let Some(seconds) = self.expected_seconds {
            out.that((1..=bounds::MAX_DURATION_SECONDS).contains(&seconds), "expected_duration", || {
                "must be from 1 s to 366 days".to_owned()
            });
        }
        for (field, why) in self.place.violations() {
            out.that(false, &field, || why.to_owned());
        }
        out.that(!self.roles.is_empty(), "roles", || "must name at least one role".to_owned());
        out.that(self.roles.len() <= bounds::MAX_ROLES, "roles", || {
            format!("must be at most {}", bounds::MAX_ROLES)
        });
        let mut seen = BTreeSet::new();
        for (i, role) in self.roles.iter().enumerate().take(bounds::MAX_ROLES) {
            out.that(seen.insert(&role.name), &format!("roles[{i}].name"), || {
                format!("{} stands twice", role.name)
            });
            role.check(&mut out, &format!("roles[{i}]"));
        }
        out.that(self.total_replicas() <= i64::from(bounds::MAX_REPLICAS), "roles", || {
            format!("all roles together must have at most {} replicas", bounds::MAX_REPLICAS)
        });
        let names: BTreeSet<&String> = self.roles.iter().flat_map(|role| role.devices.0.keys()).collect();
        let naming = self.roles.iter().position(|role| !role.devices.is_empty()).unwrap_or(0);
        out.that(names.len() <= MAX_DEVICES, &format!("roles[{naming}].resources.devices"), || {
            format!("all roles together must name at most {MAX_DEVICES}")
        });
        out.found
    }
}

impl Role {
    fn check(&self, out: &mut Check, at: &str) {
        let max = bounds::MAX_REPLICAS;
        out.that((1..=max).contains(&self.replicas), &format!("{at}.replicas"), || {
            format!("must be from 1 to {max}")
        });
        out.that(
            self.min_replicas >= 1 && self.min_replicas <= self.replicas.max(1),
            &format!("{at}.min_replicas"),
            || format!("must be from 1 to the number of replicas ({})", self.replicas),
        );
        let r = self.resources;
        let amounts = [
            ("cpu_millis", r.cpu_millis, bounds::MAX_CPU_MILLIS),
            ("memory_bytes", r.memory_bytes, bounds::MAX_MEMORY_BYTES),
            ("gpu_millis", r.gpu_millis, bounds::MAX_GPU_MILLIS),
        ];
        for (name, amount, max) in amounts {
            out.that((0..=max).contains(&amount), &format!("{at}.resources.{name}"), || {
                format!("must be from 0 to {max}, not {amount}")
            });
        }
        out.that(
            r.gpu_millis < WHOLE_GPU || r.gpu_millis % WHOLE_GPU == 0,
            &format!("{at}.resources.gpu_millis"),
            || "must be a share of one GPU (less than 1) or whole GPUs".to_owned(),
        );
        out.that(
            r.cpu_millis != 0 || r.memory_bytes != 0 || r.gpu_millis != 0 || !self.devices.is_empty(),
            &format!("{at}.resources"),
            || "must ask for some CPU, memory, GPU or device".to_owned(),
        );
        for (name, why) in self.devices.violations() {
            out.that(false, &format!("{at}.resources.devices[{name}]"), || why);
        }
        out.that(self.gpu_models.len() <= bounds::MAX_GPU_MODELS, &format!("{at}.gpu_models"), || {
            format!("must be at most {}", bounds::MAX_GPU_MODELS)
        });
        out.that(self.gpu_models.is_empty() || r.gpu_millis != 0, &format!("{at}.gpu_models"), || {
            "must be empty when no GPU is asked for".to_owned()
        });
        for (i, model) in self.gpu_models.iter().enumerate().take(bounds::MAX_GPU_MODELS) {
            out.that(is_label_value(model), &format!("{at}.gpu_models[{i}]"), || {
                "must be 1 to 63 letters, digits, '-', '_' or '.'".to_owned()
            });
        }
        out.that(!self.image.is_empty() || !self.command.is_empty(), &format!("{at}.image"), || {
            "must be set when there is no command".to_owned()
        });
        out.that(
            self.image.len() <= 1024 && !self.image.chars().any(|c| c.is_whitespace() || c.is_control()),
            &format!("{at}.image"),
            || "must be an image reference without blanks, of at most 1,024 characters".to_owned(),
        );
        out.that(self.command.len() + self.args.len() <= bounds::MAX_ARGS, &format!("{at}.args"), || {
            format!("must be at most {} words, the command's included", bounds::MAX_ARGS)
        });
        out.that(self.command.first().is_none_or(|c| !c.is_empty()), &format!("{at}.command[0]"), || {
            "must not be empty".to_owned()
        });
        out.that(
            self.working_dir.is_empty() || self.working_dir.starts_with('/'),
            &format!("{at}.working_dir"),
            || "must be an absolute path".to_owned(),
        );
        let nul = self.command.iter().chain(&self.args).chain([&self.working_dir]).any(|t| t.contains('\0'));
        out.that(!nul, &format!("{at}.command"), || "must not contain NUL characters".to_owned());
        self.check_env(out, at);
        self.check_mounts(out, at);
        let texts = self.command.iter().chain(&self.args).map(String::len).sum::<usize>()
            + self.env.iter().map(|e| e.name.len() + e.value.len()).sum::<usize>();
        out.that(texts <= bounds::MAX_TEXT_BYTES, at, || {
            format!("command, args and env together must be at most {} bytes", bounds::MAX_TEXT_BYTES)
        });
    }

    fn check_env(&self, out: &mut Check, at: &str) {
        out.that(self.env.len() <= bounds::MAX_ENV, &format!("{at}.env"), || {
            format!("must be at most {}", bounds::MAX_ENV)
        });
        let mut seen = BTreeSet::new();
        for (i, var) in self.env.iter().enumerate().take(bounds::MAX_ENV) {
            let name = &var.name;
            let field = format!("{at}.env[{i}].name");
            let good = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
                && name.as_bytes().first().is_some_and(|b| !b.is_ascii_digit());
            out.that(good, &field, || {
                format!("{name:?} must be letters, digits and underscores, and not start with a digit")
            });
            out.that(!RESERVED_ENV.contains(&name.as_str()) && !name.starts_with("CRATER_"), &field, || {
                format!("{name} is set by Crater itself")
            });
            out.that(seen.insert(name), &field, || format!("{name} stands twice"));
            out.that(!var.value.contains('\0'), &format!("{at}.env[{i}].value"), || {
                "must not contain NUL characters".to_owned()
            });
        }
    }

    fn check_mounts(&self, out: &mut Check, at: &str) {
        out.that(self.mounts.len() <= bounds::MAX_MOUNTS, &format!("{at}.mounts"), || {
            format!("must be at most {}", bounds::MAX_MOUNTS)
        });
        let mut seen = BTreeSet::new();
        for (i, mount) in self.mounts.iter().enumerate().take(bounds::MAX_MOUNTS) {
            let claim_ok = !mount.claim.is_empty()
                && mount.claim.len() <= 63
                && mount.claim.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
            out.that(claim_ok, &format!("{at}.mounts[{i}].claim"), || {
                "must be 1 to 63 lower-case letters, digits and hyphens".to_owned()
            });
            let climbs = |p: &str| p.split('/').any(|part| part == "..") || p.contains('\0');
            out.that(
                !mount.sub_path.starts_with('/') && !climbs(&mount.sub_path),
                &format!("{at}.mounts[{i}].sub_path"),
                || "must be a relative path without '..'".to_owned(),
            );
            let path_ok =
                mount.mount_path.starts_with('/') && mount.mount_path.len() > 1 && !climbs(&mount.mount_path);
            out.that(path_ok, &format!("{at}.mounts[{i}].mount_path"), || {
                "must be an absolute path without '..', and not the root".to_owned()
            });
            out.that(seen.insert(&mount.mount_path), &format!("{at}.mounts[{i}].mount_path"), || {
                format!("{} stands twice", mount.mount_path)
            });
        }
    }
}

struct Check {
    path: String,
    found: Vec<FieldViolation>,
}

impl Check {
    fn that(&mut self, good: bool, field: &str, description: impl FnOnce() -> String) {
        // a broken spec of 10,000 parts need not be told 10,000 times
        if !good && self.found.len() < 20 {
            self.found
                .push(FieldViolation { field: format!("{}.{field}", self.path), description: description() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound() -> JobSpec {
        JobSpec {
            class: ServiceClass::Guaranteed,
            priority: 0,
            roles: vec![Role {
                name: "worker".parse().unwrap(),
                replicas: 2,
                min_replicas: 2,
                resources: Resources { cpu_millis: 1000, memory_bytes: 1 << 30, gpu_millis: 1000 },
                devices: Devices::default(),
                gpu_models: vec!["A100".into()],
                image: String::new(),
                command: vec!["true".into()],
                args: vec![],
                env: vec![],
                working_dir: String::new(),
                mounts: vec![],
            }],
            expected_seconds: None,
            max_retries: 0,
            grace_seconds: 30,
            place: Place::default(),
        }
    }

    fn fields(spec: &JobSpec) -> Vec<String> {
        spec.violations("job.spec").into_iter().map(|v| v.field).collect()
    }

    #[test]
    fn a_sound_spec_has_no_violations() {
        assert_eq!(fields(&sound()), Vec::<String>::new());
    }

    #[test]
    fn every_violation_names_its_field() {
        type Break = fn(&mut JobSpec);
        let cases: [(&str, Break); 16] = [
            ("job.spec.roles[0].resources.devices[rdma/hca]", |s| {
                s.roles[0].devices = [("rdma/hca", 0)].into();
            }),
            ("job.spec.roles[0].resources.devices[nvidia.com/gpu]", |s| {
                s.roles[0].devices = [("nvidia.com/gpu", 1)].into();
            }),
            ("job.spec.roles[0].resources.devices", |s| {
                s.roles[0].devices = ["a/a", "a/b", "a/c"].map(|name| (name, 1)).into();
                let other = Role { name: "ps".parse().unwrap(), ..s.roles[0].clone() };
                s.roles.push(Role { devices: [("a/c", 1), ("a/d", 1), ("a/e", 1)].into(), ..other });
            }),
            ("job.spec.node_selector[a b]", |s| {
                s.place.node_selector.insert("a b".into(), String::new());
            }),
            ("job.spec.roles[0].replicas", |s| s.roles[0].replicas = 0),
            ("job.spec.roles[0].replicas", |s| s.roles[0].replicas = i32::MAX),
            ("job.spec.roles[0].min_replicas", |s| s.roles[0].min_replicas = 3),
            ("job.spec.roles[0].resources.gpu_millis", |s| s.roles[0].resources.gpu_millis = 1500),
            ("job.spec.roles[0].resources.gpu_millis", |s| s.roles[0].resources.gpu_millis = -1),
            ("job.spec.roles[0].resources.memory_bytes", |s| s.roles[0].resources.memory_bytes = i64::MAX),
            ("job.spec.roles[0].resources", |s| {
                s.roles[0].resources = Resources::ZERO;
                s.roles[0].gpu_models.clear();
            }),
            ("job.spec.roles", |s| s.roles.clear()),
            ("job.spec.priority", |s| s.priority = 5000),
            ("job.spec.roles[0].env[0].name", |s| {
                s.roles[0].env.push(EnvVar { name: "NVIDIA_VISIBLE_DEVICES".into(), value: "all".into() });
            }),
            ("job.spec.roles[0].mounts[0].sub_path", |s| {
                s.roles[0].mounts.push(Mount {
                    claim: "data".into(),
                    sub_path: "a/../../b".into(),
                    mount_path: "/data".into(),
                    read_only: true,
                });
            }),
            ("job.spec.roles[0].image", |s| s.roles[0].command.clear()),
        ];
        for (field, breaks) in cases {
            let mut spec = sound();
            breaks(&mut spec);
            assert!(fields(&spec).iter().any(|f| f == field), "{field}: {:?}", fields(&spec));
        }
    }
}
