//! How good a node is for a task: pure functions over what the node has free, shared by the live loop and the replays.
//!
//! [`published`]: the rules of other schedulers, as they were published. [`fragmentation`]: what a node's free GPUs are worth
//! to the mix of tasks that is expected, and [`exact`] the same in integers. [`outlook`] and [`scarcity`]: our own policy, `crater`.

pub mod exact;
pub mod fragmentation;
pub mod outlook;
pub mod published;
pub mod scarcity;

use serde::{Deserialize, Serialize};

use crate::model::WHOLE_GPU;

/// A set of GPU models, by ordinal, up to 64 of them. The empty set asks for nothing: any model does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Models(u64);

impl Models {
    /// How many models can be told apart.
    pub const MOST: u32 = 64;

    /// With `model` in it; one past [`Models::MOST`] is left out.
    #[must_use]
    pub fn with(self, model: u32) -> Self {
        Self(self.0 | 1u64.checked_shl(model).unwrap_or(0))
    }

    /// Whether a device of this model will do.
    #[inline]
    pub fn allow(self, model: u32) -> bool {
        self.0 == 0 || self.0 & 1u64.checked_shl(model).unwrap_or(0) != 0
    }

    /// Whether every model will do.
    pub fn any(self) -> bool {
        self.0 == 0
    }
}

/// What one task wants of one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ask {
    /// Milli-cores.
    pub cpu: i64,
    /// In the unit of [`Spare::memory`].
    pub memory: i64,
    /// How many devices.
    pub devices: u32,
    /// Milli-GPU of each device: 1 to 1000, and less than 1000 of one device only.
    pub milli: i64,
    /// Which models will do.
    pub models: Models,
}

impl Ask {
    /// Milli-GPU of all devices together.
    #[inline]
    pub fn total(&self) -> i64 {
        i64::from(self.devices) * self.milli
    }

    /// Whether it wants a part of one device.
    #[inline]
    pub fn is_share(&self) -> bool {
        self.devices == 1 && self.milli < WHOLE_GPU
    }
}

/// What is free on one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spare<'a> {
    /// Milli-cores.
    pub cpu: i64,
    /// In any unit, the same everywhere.
    pub memory: i64,
    /// Milli-GPU free of each device.
    pub gpus: &'a [i64],
    /// The model of its devices.
    pub model: u32,
}

impl Spare<'_> {
    /// Milli-GPU free in all.
    pub fn total(&self) -> i64 {
        self.gpus.iter().sum()
    }

    /// Whether there is room for CPU, the model and the devices of `ask`; memory is a question of its own.
    #[inline]
    pub fn fits_without_memory(&self, ask: &Ask) -> bool {
        self.cpu >= ask.cpu
            && (ask.devices == 0
                || (ask.models.allow(self.model)
                    && self.gpus.iter().filter(|free| **free >= ask.milli).count() >= ask.devices as usize))
    }

    /// Whether there is room.
    pub fn fits(&self, ask: &Ask) -> bool {
        self.memory >= ask.memory && self.fits_without_memory(ask)
    }

    /// The device with the least room that still takes `milli`, the first of equals.
    #[inline]
    pub fn tightest(&self, milli: i64) -> Option<usize> {
        let fit = self.gpus.iter().enumerate().filter(|(_, free)| **free >= milli);
        fit.min_by_key(|(device, free)| (**free, *device)).map(|(device, _)| device)
    }

    /// The first `count` devices that are wholly free.
    pub fn whole(&self, count: u32) -> impl Iterator<Item = usize> {
        let idle = self.gpus.iter().enumerate().filter(|(_, free)| **free >= WHOLE_GPU);
        idle.map(|(device, _)| device).take(count as usize)
    }
}
