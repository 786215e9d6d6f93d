//! What a placement costs in the end: the GPU that the expected mix of tasks will not be able to use because of it.
//!
//! [`Outlook`] looks at one node: at rests of devices that no task fits, at GPUs for which CPU or memory will be short, and at broken
//! sets of whole devices. [`crate::score::scarcity`] looks at the cluster: at kinds of nodes that others need more. Both
//! in integers. What the rules were weighed by is told in the README of this folder.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Ask, Spare};
use crate::model::WHOLE_GPU;

/// One whole GPU as the length of a table.
const WHOLE: usize = 1000;
/// A rest of a device is filled with the best of so many arrivals.
const DRAWS: u32 = 4;
/// The needs for which a node is judged, percent of the mean need of a device: tasks differ, so the loss sets in gradually.
const NEEDS: [i64; 5] = [40, 70, 100, 130, 160];
/// Weights in percent of a milli-GPU lost for certain.
const OF_REST: i64 = 100;
/// A GPU without CPU may still find a task that wants little.
const OF_STRANDED: i64 = 50;
/// Single tasks fill what broken sets leave, mostly.
const OF_BROKEN: i64 = 10;
/// Differences below this are not worth leaving the first node for, milli-GPU: ties go to the lower rank, and so nodes are
/// filled one after the other.
pub const STEP: i64 = 80;

/// Amounts are cut off here, so that no product overflows.
const MOST: i64 = i64::MAX / 1000;

/// How much of one resource a device's tasks need, on the average over the mix.
#[derive(Clone, Copy, Debug, Default)]
struct Need {
    /// Amounts are shifted so that products fit.
    shift: u32,
    /// For one whole device, shifted; 0 if the mix needs none.
    per_device: i64,
}

impl Need {
    fn new(total: i128, milli: i128) -> Self {
        let per_device = (total * i128::from(WHOLE_GPU)).checked_div(milli).unwrap_or(0).max(0);
        let shift = (128 - per_device.leading_zeros()).saturating_sub(24);
        Self { shift, per_device: i64::try_from(per_device >> shift).unwrap_or(i64::MAX) }
    }

    /// The milli-GPU that `amount` lasts for, at the mean need.
    #[inline]
    fn lasts(self, amount: i64) -> i64 {
        let amount = (amount >> self.shift).clamp(0, MOST / WHOLE_GPU);
        (amount * WHOLE_GPU).checked_div(self.per_device).unwrap_or(MOST)
    }
}

/// All of a mix that an [`Outlook`] depends on, added up: a task more or less is an addition, however many there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Of the tasks with GPUs: milli-cores, memory and milli-GPU in all.
    cpu: i128,
    memory: i128,
    milli: i128,
    /// How many tasks want so many milli of one device.
    shares: BTreeMap<i64, i128>,
    /// Milli-GPU of all tasks of so many devices.
    sets: BTreeMap<u32, i128>,
}

impl Tally {
    /// So many tasks more of a shape; below 0, so many less.
    pub fn add(&mut self, ask: &Ask, count: i64) {
        if ask.devices == 0 {
            return;
        }
        let count = i128::from(count);
        let wanted = i128::from(ask.total()) * count;
        self.cpu += i128::from(ask.cpu) * count;
        self.memory += i128::from(ask.memory) * count;
        self.milli += wanted;
        if ask.is_share() {
            bump(&mut self.shares, ask.milli, count);
        } else if ask.devices > 1 {
            bump(&mut self.sets, ask.devices, wanted);
        }
    }

    /// What will remain of a device when such shares have come.
    pub fn rests(&self) -> Rests {
        Rests(rests(&self.shares).into())
    }
}

/// Adds to what is kept for a key; nothing is kept of what comes to nothing.
pub(super) fn bump<K: Ord>(sums: &mut BTreeMap<K, i128>, key: K, by: i128) {
    match sums.entry(key) {
        std::collections::btree_map::Entry::Vacant(none) => {
            if by != 0 {
                none.insert(by);
            }
        }
        std::collections::btree_map::Entry::Occupied(mut sum) => {
            *sum.get_mut() += by;
            if *sum.get() == 0 {
                sum.remove();
            }
        }
    }
}

/// By the milli-GPU free of a device: how much of it no task will use. Depends on the shares in a mix alone.
#[derive(Clone, Debug)]
pub struct Rests(Arc<[i64]>);

/// What to expect of a node, given the mix of tasks.
#[derive(Clone, Debug)]
pub struct Outlook {
    rest: Rests,
    cpu: Need,
    memory: Need,
    /// Tasks of several devices: how many, and their part of all GPU wanted, in thousandths.
    sets: Vec<(i64, i64)>,
}

impl Outlook {
    /// For a mix of shapes, with how many tasks have each.
    pub fn new(mix: &[(Ask, u32)]) -> Self {
        let mut tally = Tally::default();
        mix.iter().for_each(|(ask, count)| tally.add(ask, i64::from(*count)));
        Self::of(&tally, tally.rests())
    }

    /// For a mix that is added up, and what remains of devices by it ([`Tally::rests`]).
    pub fn of(tally: &Tally, rest: Rests) -> Self {
        let milli = tally.milli;
        let thousandths = |part: i128| i64::try_from(part * 1000 / milli.max(1)).unwrap_or(1000);
        Self {
            rest,
            cpu: Need::new(tally.cpu, milli),
            memory: Need::new(tally.memory, milli),
            sets: tally
                .sets
                .iter()
                .map(|(devices, part)| (i64::from(*devices), thousandths(*part)))
                .collect(),
        }
    }

    /// The milli-GPU of a device with so much free that no task is expected to use.
    #[inline]
    pub fn rest(&self, free: i64) -> i64 {
        let at = usize::try_from(free.clamp(0, WHOLE_GPU)).unwrap_or(0);
        self.rest.0.get(at).copied().unwrap_or(0)
    }

    /// The milli-GPU of a node that tasks are expected to use, CPU and memory left aside.
    pub fn useful(&self, gpus: &[i64]) -> i64 {
        self.digest(gpus).useful
    }

    /// Sums over the devices of a node.
    #[inline]
    pub fn digest(&self, gpus: &[i64]) -> Digest {
        let mut all = Digest::default();
        for free in gpus {
            let (free, rest) = (*free.max(&0), self.rest(*free));
            all.rest += rest;
            all.useful += free - rest;
            all.idle += i64::from(free >= WHOLE_GPU);
        }
        all
    }

    /// What of a node is expected to be lost, in hundredths of a milli-GPU.
    #[inline]
    fn lost(&self, devices: Digest, cpu: i64, memory: i64) -> i64 {
        let Digest { rest, useful, idle } = devices;
        let lasts = self.cpu.lasts(cpu).min(self.memory.lasts(memory)) * 100;
        let stranded: i64 = NEEDS.iter().map(|need| (useful - lasts / need).max(0)).sum();
        let broken: i64 = self.sets.iter().map(|(devices, part)| idle % devices * part).sum();
        OF_REST * rest + OF_STRANDED * stranded / (NEEDS.len() as i64) + OF_BROKEN * broken
    }

    /// How much more of a node will be lost if `ask` goes there: a share on the tightest device, whole devices the first that are
    /// idle. Hundredths of a milli-GPU, below 0 if the node is better off. `ask` must fit.
    pub fn loss(&self, spare: &Spare<'_>, ask: &Ask) -> i64 {
        self.loss_of(self.digest(spare.gpus), spare, ask)
    }

    /// The same where the [`digest`](Outlook::digest) of the devices is known.
    #[inline]
    pub fn loss_of(&self, devices: Digest, spare: &Spare<'_>, ask: &Ask) -> i64 {
        let mut after = devices;
        if ask.is_share() {
            let fit = spare.gpus.iter().copied().filter(|free| *free >= ask.milli);
            if let Some(free) = fit.min() {
                let (before, rest) = (self.rest(free), self.rest(free - ask.milli));
                after.rest += rest - before;
                after.useful += before - rest - ask.milli;
                after.idle -= i64::from(free >= WHOLE_GPU);
            }
        } else {
            // nothing of a whole device is a rest
            let taken = i64::from(ask.devices).min(devices.idle);
            after.useful -= taken * WHOLE_GPU;
            after.idle -= taken;
        }
        let before = self.lost(devices, spare.cpu, spare.memory);
        self.lost(after, spare.cpu - ask.cpu, spare.memory - ask.memory) - before
    }
}

/// What counts of the devices of one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest {
    /// Milli-GPU of parts that no task will use.
    pub rest: i64,
    /// Milli-GPU that tasks are expected to use.
    pub useful: i64,
    /// Devices that are wholly free.
    pub idle: i64,
}

/// For each amount free of a device below a whole one: the least rest that the best of [`DRAWS`] shares, drawn from those that
/// fit, leads to, on the average.
fn rests(shares: &BTreeMap<i64, i128>) -> Vec<i64> {
    let total: u128 = shares.values().map(|count| count.unsigned_abs()).sum();
    // fourth powers of counts up to 2²⁴ fit with room to spare
    let shift = (128 - total.leading_zeros()).saturating_sub(24);
    let mut rest = vec![0; WHOLE + 1];
    let mut ends: Vec<(i64, u128)> = Vec::new();
    for free in 0..WHOLE {
        let left = |milli: i64| usize::try_from(milli).ok().and_then(|milli| free.checked_sub(milli));
        ends.clear();
        ends.extend(
            shares.iter().filter_map(|(milli, count)| {
                Some((*rest.get(left(*milli)?)?, count.unsigned_abs() >> shift))
            }),
        );
        ends.sort_unstable();
        let all: u128 = ends.iter().map(|(_, count)| count).sum();
        if all == 0 {
            rest[free] = free as i64;
            continue;
        }
        let (mut worse, mut sum) = (all, 0);
        for (end, count) in &ends {
            let before = worse.pow(DRAWS);
            worse -= count;
            sum += end.unsigned_abs() as u128 * (before - worse.pow(DRAWS));
        }
        rest[free] = i64::try_from(sum / all.pow(DRAWS)).unwrap_or(0);
    }
    rest
}
