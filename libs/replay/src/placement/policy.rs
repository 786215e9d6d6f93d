//! The policies that can be replayed, by name.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::input::InputError;

/// Where tasks go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// Any node that fits, any device.
    Random,
    /// [`crater_engine::score::published::dot_product`].
    DotProduct,
    /// [`crater_engine::score::published::gpu_clustering`].
    GpuClustering,
    /// [`crater_engine::score::published::gpu_packing`].
    GpuPacking,
    /// [`crater_engine::score::published::best_fit`].
    BestFit,
    /// [`crater_engine::score::fragmentation::gradient`].
    Fgd,
    /// Ours: [`crater_engine::score::outlook`] and [`crater_engine::score::scarcity`].
    Crater,
    /// The same, but tasks that are placed may be moved, within a budget.
    CraterMigrating,
}

impl Policy {
    /// Every policy, the yardsticks first.
    pub const ALL: [Self; 8] = [
        Self::Random,
        Self::DotProduct,
        Self::GpuClustering,
        Self::GpuPacking,
        Self::BestFit,
        Self::Fgd,
        Self::Crater,
        Self::CraterMigrating,
    ];

    /// Whether it is ours.
    pub fn is_ours(self) -> bool {
        matches!(self, Self::Crater | Self::CraterMigrating)
    }

    /// Its name on the command line and in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::DotProduct => "dot-product",
            Self::GpuClustering => "gpu-clustering",
            Self::GpuPacking => "gpu-packing",
            Self::BestFit => "best-fit",
            Self::Fgd => "fgd",
            Self::Crater => "crater",
            Self::CraterMigrating => "crater-migrating",
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Policy {
    type Err = InputError;

    fn from_str(name: &str) -> Result<Self, InputError> {
        Self::ALL.into_iter().find(|policy| policy.name() == name).ok_or_else(|| {
            let known: Vec<&str> = Self::ALL.iter().map(|policy| policy.name()).collect();
            InputError::in_option("--policy", format!("{name:?} is none of {}", known.join(", ")))
        })
    }
}
