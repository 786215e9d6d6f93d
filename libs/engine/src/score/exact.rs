//! Rules of placement in integers, for the live loop: what is left over, and what of a node the expected tasks cannot use.

use std::cmp::Reverse;

use super::{Ask, Spare};

/// The mix is made of the most frequent shapes up to this part of all tasks, percent.
const POPULAR: u64 = 95;
/// And of no more shapes than this.
const MOST_SHAPES: usize = 64;

/// The largest amounts of one node in a cluster, by which CPU and GPU are made alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Milli-cores.
    pub cpu: i64,
    /// Milli-GPU.
    pub gpu: i64,
}

/// Best fit: the CPU and the GPU of a node that stay unused, each in millionths of the largest node's. Less is better.
pub fn left_over(after: &Spare<'_>, span: Span) -> i64 {
    millionths(after.cpu, span.cpu) + millionths(after.total(), span.gpu)
}

/// An amount in millionths of another.
pub fn millionths(amount: i64, of: i64) -> i64 {
    let part = i128::from(amount) * 1_000_000 / i128::from(of.max(1));
    i64::try_from(part).unwrap_or(i64::MAX / 4)
}

/// The shapes that are expected, with how many tasks have each: the measure of Weng et al. (see [`super::fragmentation`]) without
/// floats, memory included, and without the rounding that turns small differences into first fit.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    shapes: Vec<(Ask, u32)>,
    tasks: i128,
}

impl Expected {
    /// The most frequent of these shapes. Work without GPUs is left out: it can use the GPUs of no node.
    pub fn new(mix: &[(Ask, u32)]) -> Self {
        let mut shapes: Vec<(Ask, u32)> =
            mix.iter().copied().filter(|(ask, count)| ask.devices > 0 && *count > 0).collect();
        shapes.sort_by_key(|(ask, count)| (Reverse(*count), *ask));
        let all: u64 = shapes.iter().map(|(_, count)| u64::from(*count)).sum();
        let (mut covered, mut kept) = (0, 0);
        while kept < shapes.len().min(MOST_SHAPES) && covered * 100 < all * POPULAR {
            covered += u64::from(shapes[kept].1);
            kept += 1;
        }
        shapes.truncate(kept);
        Self { shapes, tasks: i128::from(covered) }
    }

    /// What of a node a task drawn from the mix cannot use, on the average: thousandths of a milli-GPU.
    pub fn wasted(&self, spare: &Spare<'_>) -> i64 {
        let idle: i64 = spare.gpus.iter().map(|free| free.max(&0)).sum();
        if idle == 0 {
            return 0;
        }
        let wasted = |ask: &Ask| {
            if !spare.fits(ask) {
                return idle;
            }
            spare.gpus.iter().filter(|free| (1..ask.milli).contains(*free)).sum()
        };
        let sum: i128 =
            self.shapes.iter().map(|(ask, count)| i128::from(*count) * i128::from(wasted(ask))).sum();
        i64::try_from(sum * 1000 / self.tasks.max(1)).unwrap_or(i64::MAX / 4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::Models;
    use crate::score::fragmentation::{Mix, Scratch};
    use proptest::prelude::*;

    fn ask(cpu: i64, devices: u32, milli: i64) -> Ask {
        Ask { cpu, memory: 0, devices, milli, models: Models::default() }
    }

    #[test]
    fn what_is_left_over_counts_both_resources_alike() {
        let span = Span { cpu: 10_000, gpu: 4000 };
        let left = |cpu, gpus: &[i64]| left_over(&Spare { cpu, memory: 0, gpus, model: 0 }, span);
        assert_eq!(left(0, &[0, 0]), 0);
        assert_eq!(left(5000, &[1000]), 750_000);
        assert_eq!(left(10_000, &[]), left(0, &[1000, 1000, 1000, 1000]));
    }

    proptest! {
        /// The same as published, but for rounding.
        #[test]
        fn it_is_the_published_measure(
            gpus in prop::collection::vec(0i64..=1000, 1..8), cpu in 0i64..20_000,
            shapes in prop::collection::vec((0i64..12_000, prop_oneof![
                (1i64..1000).prop_map(|milli| (1, milli)), (1u32..=8).prop_map(|devices| (devices, 1000))
            ], 1u32..50), 1..6)
        ) {
            let mut mix: Vec<(Ask, u32)> = Vec::new();
            for (cpu, (devices, milli), count) in shapes {
                let ask = ask(cpu, devices, milli);
                if mix.iter().all(|(other, _)| *other != ask) {
                    mix.push((ask, count));
                }
            }
            mix.sort_by_key(|(ask, count)| (Reverse(*count), *ask));
            let spare = Spare { cpu, memory: 0, gpus: &gpus, model: 0 };
            let published = Mix::new(&mix, 95).fragmentation(&spare, &mut Scratch::default());
            #[allow(clippy::cast_precision_loss)]
            let exact = Expected::new(&mix).wasted(&spare) as f64 / 1000.0;
            prop_assert!((published - exact).abs() < 0.01, "{published} {exact}");
        }
    }
}
