//! What a node's free GPUs are worth to the tasks that are expected, and the policy that loses least of it.
//!
//! The measure is that of Weng et al., "Beware of Fragmentation: Scheduling GPU-Sharing Workloads with Fragmentation Gradient
//! Descent" (USENIX ATC '23): the milli-GPU of a node that a task drawn from the mix cannot use, averaged over the mix.

use super::published::truncated;
use super::{Ask, Models, Spare};
use crate::model::WHOLE_GPU;

/// One shape of the mix, made ready for counting.
#[derive(Clone, Debug)]
struct Typical {
    /// The part of all tasks that have it, of those in the mix; 0 to 1.
    popularity: f64,
    cpu: i64,
    devices: usize,
    /// Index into [`Mix::sizes`]; none for a task without GPUs.
    size: Option<usize>,
    models: Models,
}

/// The shapes that are expected, and how often.
#[derive(Clone, Debug, Default)]
pub struct Mix {
    shapes: Vec<Typical>,
    /// The distinct amounts wanted of one device, ascending, milli-GPU.
    sizes: Vec<i64>,
}

/// Amounts and counts are far below 2⁵³, where a float is exact.
#[allow(clippy::cast_precision_loss)]
fn real(amount: i64) -> f64 {
    amount as f64
}

impl Mix {
    /// The mix of `counted` shapes (how many tasks of each), in the order of preference among equally frequent ones: the most
    /// frequent that together make up at least `percent` of all tasks. Memory is ignored.
    pub fn new(counted: &[(Ask, u32)], percent: u32) -> Self {
        let mut ranked: Vec<&(Ask, u32)> = counted.iter().filter(|(_, count)| *count > 0).collect();
        ranked.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let total: i64 = ranked.iter().map(|(_, count)| i64::from(*count)).sum();
        let mut covered = 0;
        let kept: Vec<&(Ask, u32)> = ranked
            .into_iter()
            .take_while(|(_, count)| {
                let wanted = covered * 100 < total * i64::from(percent);
                covered += if wanted { i64::from(*count) } else { 0 };
                wanted
            })
            .collect();
        let mut sizes: Vec<i64> =
            kept.iter().filter(|(ask, _)| ask.devices > 0).map(|(ask, _)| ask.milli).collect();
        sizes.sort_unstable();
        sizes.dedup();
        let part = real(covered) / real(total.max(1));
        let shapes = kept
            .into_iter()
            .map(|(ask, count)| Typical {
                popularity: real(i64::from(*count)) / real(total) / part,
                cpu: ask.cpu,
                devices: ask.devices as usize,
                size: (ask.devices > 0).then(|| sizes.partition_point(|size| *size < ask.milli)),
                models: ask.models,
            })
            .collect();
        Self { shapes, sizes }
    }

    /// How many shapes it has.
    pub fn len(&self) -> usize {
        self.shapes.len()
    }

    /// Whether nothing is expected.
    pub fn is_empty(&self) -> bool {
        self.shapes.is_empty()
    }

    /// The milli-GPU of the node that a task drawn from the mix cannot use, on the average. `scratch` is room for the count.
    ///
    /// A task without GPUs, one of another model, one that lacks CPU or devices can use none of it; another cannot use
    /// the devices that have less free than it wants of one. Kinds of waste are summed apart: so the
    /// floats come out as published.
    pub fn fragmentation(&self, spare: &Spare<'_>, scratch: &mut Scratch) -> f64 {
        let idle: i64 = spare.total();
        if idle == 0 {
            return 0.0;
        }
        // for each size: how many devices are too small for it, and what is free on them
        scratch.0.clear();
        scratch.0.extend(self.sizes.iter().map(|size| {
            spare
                .gpus
                .iter()
                .filter(|free| *free < size)
                .fold((0, 0.0), |(count, milli), free| (count + 1, milli + real(*free)))
        }));
        let idle = real(idle);
        let (mut none, mut low_gpu, mut low_cpu, mut cpu_ok, mut cpu_no, mut model_no) =
            (0.0, 0.0, 0.0, 0.0, 0.0, 0.0);
        for shape in &self.shapes {
            let enough_cpu = spare.cpu >= shape.cpu;
            let part = shape.popularity;
            let Some((small, milli)) = shape.size.and_then(|size| scratch.0.get(size)) else {
                *(if enough_cpu { &mut cpu_ok } else { &mut cpu_no }) += part * idle;
                continue;
            };
            if !shape.models.allow(spare.model) {
                model_no += part * idle;
            } else if spare.gpus.len() - small >= shape.devices {
                if enough_cpu {
                    low_gpu += part * milli;
                } else {
                    low_cpu += part * idle;
                }
            } else if enough_cpu {
                low_gpu += part * idle;
            } else {
                none += part * idle;
            }
        }
        none + low_gpu + low_cpu + cpu_ok + cpu_no + model_no
    }
}

/// Room for [`Mix::fragmentation`] to count in, so that it allocates nothing.
#[derive(Clone, Debug, Default)]
pub struct Scratch(Vec<(usize, f64)>);

/// A change of fragmentation in milli-GPU squashed to 0 (worst) to 100; 50 where nothing changes.
fn squashed(gain: f64) -> i64 {
    truncated(100.0 / (1.0 + (-gain / 1000.0).exp()))
}

/// Fragmentation gradient descent: the score of the node, and for a share the device, the first of the best.
///
/// `before` is the node's fragmentation, `gpus` room for a copy of its devices. The truncation to 101 steps belongs to the policy: it
/// makes ties, and the rank of nodes turns them into first fit.
pub fn gradient(
    mix: &Mix,
    spare: &Spare<'_>,
    ask: &Ask,
    before: f64,
    gpus: &mut Vec<i64>,
    scratch: &mut Scratch,
) -> (i64, Option<usize>) {
    gpus.clear();
    gpus.extend_from_slice(spare.gpus);
    let cpu = spare.cpu - ask.cpu;
    let mut value =
        |gpus: &[i64]| squashed(before - mix.fragmentation(&Spare { cpu, gpus, ..*spare }, scratch));
    if !ask.is_share() {
        for device in spare.whole(ask.devices) {
            if let Some(free) = gpus.get_mut(device) {
                *free -= WHOLE_GPU;
            }
        }
        return (value(gpus), None);
    }
    let mut best: (i64, Option<usize>) = (-1, None);
    for (device, free) in spare.gpus.iter().enumerate() {
        let seen = spare.gpus.iter().take(device).any(|before| before == free);
        if *free < ask.milli || seen {
            continue;
        }
        if let Some(left) = gpus.get_mut(device) {
            *left -= ask.milli;
        }
        let score = value(gpus);
        if score > best.0 {
            best = (score, Some(device));
        }
        if let Some(left) = gpus.get_mut(device) {
            *left += ask.milli;
        }
    }
    best
}
