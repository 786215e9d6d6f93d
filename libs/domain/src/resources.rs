//! Amounts of CPU, memory and GPU in whole numbers, with sums that cannot overflow unseen.

use serde::{Deserialize, Serialize};

/// One whole GPU, in the unit of [`Resources::gpu_millis`].
pub const WHOLE_GPU: i64 = 1000;

/// An amount of each resource.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Resources {
    /// Thousandths of a core.
    pub cpu_millis: i64,
    /// Bytes.
    pub memory_bytes: i64,
    /// Thousandths of one device: below [`WHOLE_GPU`] a share of a single device, from there on a multiple of it.
    pub gpu_millis: i64,
}

impl Resources {
    /// Nothing.
    pub const ZERO: Self = Self { cpu_millis: 0, memory_bytes: 0, gpu_millis: 0 };

    /// The sum, or none where it does not fit.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        Some(Self {
            cpu_millis: self.cpu_millis.checked_add(other.cpu_millis)?,
            memory_bytes: self.memory_bytes.checked_add(other.memory_bytes)?,
            gpu_millis: self.gpu_millis.checked_add(other.gpu_millis)?,
        })
    }

    /// `times` as much, or none where it does not fit.
    pub fn checked_mul(self, times: i64) -> Option<Self> {
        Some(Self {
            cpu_millis: self.cpu_millis.checked_mul(times)?,
            memory_bytes: self.memory_bytes.checked_mul(times)?,
            gpu_millis: self.gpu_millis.checked_mul(times)?,
        })
    }

    /// Whole GPUs, if it asks for whole ones; 0 for a share.
    pub fn whole_gpus(self) -> i64 {
        self.gpu_millis / WHOLE_GPU
    }

    /// Whether it asks for a share of one GPU.
    pub fn is_gpu_share(self) -> bool {
        self.gpu_millis > 0 && self.gpu_millis < WHOLE_GPU
    }
}
