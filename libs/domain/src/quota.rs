//! What limits are about: resources by name, and for each a guarantee and a limit.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::{FieldViolation, is_device_name};

/// A resource that can be guaranteed or limited.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceKind {
    /// `cpu`, in thousandths of a core.
    Cpu,
    /// `memory`, in bytes.
    Memory,
    /// `gpu`: GPUs of any model, in thousandths.
    Gpu,
    /// `gpu/{model}`, in thousandths.
    GpuModel(String),
    /// A device by the name by which nodes offer it, `nvidia.com/mig-1g.5gb`, in whole devices.
    Device(String),
    /// `jobs.waiting`: jobs that wait. It can be limited, not guaranteed.
    JobsWaiting,
    /// `jobs.running`: jobs that hold something, best-effort ones too. It can be limited, not guaranteed.
    JobsRunning,
}

impl ResourceKind {
    /// Whether it counts jobs, and is no amount that a job holds.
    pub fn counts_jobs(&self) -> bool {
        matches!(self, Self::JobsWaiting | Self::JobsRunning)
    }
}

/// An account's part of what is borrowed, beside the accounts next to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Weight(i32);

impl Weight {
    /// The greatest; the least is 1.
    pub const MOST: i32 = 1_000_000;

    /// From 1 to [`Weight::MOST`].
    ///
    /// # Errors
    /// In words, where it is outside.
    pub fn new(weight: i32) -> Result<Self, String> {
        match weight {
            1..=Self::MOST => Ok(Self(weight)),
            _ => Err(format!("must be from 1 to {}: {weight}", Self::MOST)),
        }
    }

    /// As a number.
    pub fn get(self) -> i32 {
        self.0
    }
}

impl Default for Weight {
    fn default() -> Self {
        Self(1)
    }
}

impl fmt::Display for ResourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Memory => f.write_str("memory"),
            Self::Gpu => f.write_str("gpu"),
            Self::GpuModel(model) => write!(f, "gpu/{model}"),
            Self::Device(name) => f.write_str(name),
            Self::JobsWaiting => f.write_str("jobs.waiting"),
            Self::JobsRunning => f.write_str("jobs.running"),
        }
    }
}

impl FromStr for ResourceKind {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "cpu" => Ok(Self::Cpu),
            "memory" => Ok(Self::Memory),
            "gpu" => Ok(Self::Gpu),
            "jobs.waiting" => Ok(Self::JobsWaiting),
            "jobs.running" => Ok(Self::JobsRunning),
            _ => match text.strip_prefix("gpu/") {
                Some(model)
                    if (1..=63).contains(&model.len())
                        && model.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) =>
                {
                    Ok(Self::GpuModel(model.to_owned()))
                }
                None if is_device_name(text) => Ok(Self::Device(text.to_owned())),
                _ => Err(format!(
                    "{text:?} must be cpu, memory, gpu, gpu/{{model}}, the name of a device, jobs.waiting or jobs.running"
                )),
            },
        }
    }
}

/// What is guaranteed and what is the most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limit {
    /// Always reachable; none: nothing.
    pub guaranteed: Option<i64>,
    /// Never exceeded by a new start; none: no limit.
    pub limit: Option<i64>,
}

/// All limits of one subject; a resource that is not there has no guarantee and no limit.
pub type Limits = BTreeMap<ResourceKind, Limit>;

impl Limit {
    /// What is wrong with it, at `path` (for example `quota.resources[0]`).
    pub fn violations(&self, kind: &ResourceKind, path: &str) -> Vec<FieldViolation> {
        let mut out = Vec::new();
        let mut wrong = |field: &str, description: String| {
            out.push(FieldViolation { field: format!("{path}.{field}"), description });
        };
        if let Some(g) = self.guaranteed {
            if g < 0 {
                wrong("guaranteed", format!("must not be negative: {g}"));
            }
            if kind.counts_jobs() {
                wrong("guaranteed", format!("{kind} can be limited, not guaranteed"));
            }
        }
        if let Some(l) = self.limit {
            if l < 0 {
                wrong("limit", format!("must not be negative: {l}"));
            }
            if self.guaranteed.is_some_and(|g| g > l) {
                wrong("guaranteed", format!("must not be above the limit ({l})"));
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_read_back_as_written() {
        for text in ["cpu", "memory", "gpu", "gpu/A100-80GB", "rdma/hca", "jobs.waiting", "jobs.running"] {
            assert_eq!(text.parse::<ResourceKind>().map(|k| k.to_string()), Ok(text.to_owned()));
        }
        assert!("gpus".parse::<ResourceKind>().is_err());
        for text in ["gpu/", "nvidia.com/gpu", "hugepages-2Mi"] {
            assert!(text.parse::<ResourceKind>().is_err(), "{text}");
        }
    }

    #[test]
    fn jobs_cannot_be_guaranteed() {
        let limit = Limit { guaranteed: Some(1), limit: Some(2) };
        for kind in [ResourceKind::JobsWaiting, ResourceKind::JobsRunning] {
            assert_eq!(limit.violations(&kind, "r")[0].field, "r.guaranteed");
        }
        assert!(Weight::new(0).is_err() && Weight::new(Weight::MOST + 1).is_err());
        assert_eq!(Weight::new(Weight::MOST).map(Weight::get), Ok(Weight::MOST));
    }

    #[test]
    fn a_guarantee_above_its_limit_is_refused() {
        let limit = Limit { guaranteed: Some(3), limit: Some(2) };
        assert_eq!(limit.violations(&ResourceKind::Gpu, "quota.resources[0]").len(), 1);
    }
}
