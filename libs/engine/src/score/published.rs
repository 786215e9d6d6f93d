//! Rules of other schedulers, as the placement study of Weng et al. ("Beware of Fragmentation", USENIX ATC '23) ran them.
//!
//! Each gives a node that fits an integer, more is better. They are yardsticks: floats where the originals have floats,
//! so that they come out as published. The spans are those of the largest node of that cluster.

use super::{Ask, Spare};
use crate::model::WHOLE_GPU;

const CPU_SPAN: f64 = 128_000.0;
const GPU_SPAN: f64 = 8_000.0;

/// Amounts are far below 2⁵³, where a float is exact.
#[allow(clippy::cast_precision_loss)]
fn real(amount: i64) -> f64 {
    amount as f64
}

/// Towards zero, as the originals round; the values are within ±10⁶.
#[allow(clippy::cast_possible_truncation)]
pub(super) fn truncated(value: f64) -> i64 {
    value as i64
}

/// The least left over of CPU and GPU, weighed evenly.
pub fn best_fit(spare: &Spare<'_>, ask: &Ask) -> i64 {
    let cpu = 0.5 * real(spare.cpu - ask.cpu) / CPU_SPAN;
    let gpu = 0.5 * real(spare.total() - ask.total()) / GPU_SPAN;
    truncated((1.0 - (cpu + gpu)) * 100.0)
}

/// The smallest product of what is free and what is wanted (Tetris turned round, as the study has it).
pub fn dot_product(spare: &Spare<'_>, ask: &Ask) -> i64 {
    let cpu = real(spare.cpu) / CPU_SPAN * (real(ask.cpu) / CPU_SPAN);
    let gpu = real(spare.total()) / GPU_SPAN * (real(ask.total()) / GPU_SPAN);
    truncated(100.0 * (1.0 - (cpu + gpu) / 2.0))
}

/// Devices that are in use before idle devices, idle devices of nodes in use before idle nodes.
pub fn gpu_packing(spare: &Spare<'_>, ask: &Ask) -> i64 {
    if ask.devices == 0 {
        return 0;
    }
    let count = |amount: usize| i64::try_from(amount).unwrap_or(i64::MAX);
    let idle = count(spare.gpus.iter().filter(|free| **free == WHOLE_GPU).count());
    if idle == count(spare.gpus.len()) {
        return (33 - idle).max(idle);
    }
    let mut used: Vec<i64> = spare.gpus.iter().copied().filter(|free| *free >= ask.milli).collect();
    used.sort_unstable();
    used.truncate(ask.devices as usize);
    let fresh = count(used.iter().filter(|free| **free == WHOLE_GPU).count());
    if fresh > 0 {
        return (50 - fresh).max(33);
    }
    let percent: i64 = used.iter().map(|free| free * 100 / WHOLE_GPU).sum();
    (100 - percent / 10).max(50)
}

/// How many kinds of tasks [`Kinds`] tells apart: shares, and whole devices by their number.
const KINDS: usize = 66;

/// Which kinds of GPU tasks a node holds: shares of a device, one device, two devices and so on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds(u128);

impl Kinds {
    /// The kinds with that of `ask` among them; a task without GPUs has none.
    #[must_use]
    pub fn with(self, ask: &Ask) -> Self {
        Self(self.0 | Self::bit(ask))
    }

    fn bit(ask: &Ask) -> u128 {
        match ask.devices as usize {
            0 => 0,
            _ if ask.is_share() => 1,
            devices => 1 << devices.min(KINDS - 1),
        }
    }
}

/// Nodes that hold only tasks of the same kind, then nodes that hold others too, then empty ones; fuller ones first.
pub fn gpu_clustering(spare: &Spare<'_>, ask: &Ask, kinds: Kinds) -> i64 {
    if ask.devices == 0 {
        return 0;
    }
    let base = (25 * (8 * WHOLE_GPU - spare.total())).div_euclid(8 * WHOLE_GPU);
    let own = Kinds::bit(ask);
    base + match kinds.0 {
        0 => 25,
        held if held == own => 75,
        held if held & own != 0 => 50,
        _ => 0,
    }
}
