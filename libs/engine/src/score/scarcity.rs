//! Which kinds of nodes are scarce: prices from how the expected tasks would spread over what is left.
//!
//! A task that can go anywhere should not take the GPU that another cannot do without. The expected demand, as much as there is room
//! for, is poured over the kinds of nodes it fits on, so that all are loaded as evenly as the tasks allow (water-filling). Kinds
//! whose load stays above 1 are wanted more than there is of them and get a price; those below get a negative one.

use std::collections::BTreeMap;

use super::outlook::{Outlook, STEP, bump};
use super::{Ask, Spare};

/// Loads and prices are in thousandths.
const ONE: i64 = 1000;
/// The excess of load at which a GPU's price is its whole worth: giving it to a task that has a choice then loses
/// another for certain. Below that the price grows by the square, since small excesses may be chance.
const CERTAIN: i64 = 250;
/// Sweeps over the classes of demand; each is poured anew, given the others.
const SWEEPS: usize = 4;

/// Demand that fits on the same kinds of nodes.
#[derive(Clone, Debug)]
struct Class {
    /// Ascending.
    kinds: Vec<usize>,
    /// Milli-GPU, in any scale common to all classes.
    weight: i128,
}

/// What tasks want of the kinds of nodes, added up: a task more or less is an addition, however many there are. A kind is what nodes are
/// that are equal when empty.
#[derive(Clone, Debug)]
pub struct Demand {
    /// Milli-GPU of each kind.
    kinds: Vec<i64>,
    classes: Vec<Wanted>,
    by_kinds: BTreeMap<Vec<usize>, usize>,
}

/// By tasks that fit on the same kinds.
#[derive(Clone, Debug, Default)]
struct Wanted {
    kinds: Vec<usize>,
    /// Milli-GPU that those kinds have.
    room: i64,
    /// Milli-GPU wanted in all.
    milli: i128,
    /// How many tasks want so many milli of one device.
    shares: BTreeMap<i64, i128>,
}

impl Demand {
    /// For kinds of nodes, given empty; nothing is wanted of them yet.
    pub fn new(kinds: &[Spare<'_>]) -> Self {
        Self {
            kinds: kinds.iter().map(Spare::total).collect(),
            classes: Vec::new(),
            by_kinds: BTreeMap::new(),
        }
    }

    /// Where tasks of a shape are counted, for the same kinds of nodes, given empty; `None`: they want no GPU or fit on none.
    pub fn class(&mut self, kinds: &[Spare<'_>], ask: &Ask) -> Option<usize> {
        let fit = (0..).zip(kinds).filter(|(_, kind)| ask.devices > 0 && kind.fits(ask));
        let on: Vec<usize> = fit.map(|(kind, _)| kind).collect();
        if on.is_empty() {
            return None;
        }
        let Self { kinds, classes, by_kinds } = self;
        Some(*by_kinds.entry(on).or_insert_with_key(|on| {
            let room = on.iter().map(|kind| kinds[*kind]).sum();
            classes.push(Wanted { kinds: on.clone(), room, ..Wanted::default() });
            classes.len() - 1
        }))
    }

    /// So many tasks more of a shape that is counted there; below 0, so many less.
    pub fn add(&mut self, class: usize, ask: &Ask, count: i64) {
        let count = i128::from(count);
        let wanted = &mut self.classes[class];
        wanted.milli += i128::from(ask.total()) * count;
        if ask.is_share() {
            bump(&mut wanted.shares, ask.milli, count);
        }
    }
}

/// The prices of kinds of nodes.
#[derive(Clone, Debug)]
pub struct Scarcity {
    classes: Vec<Class>,
    prices: Vec<i64>,
    wanted: Vec<i64>,
}

impl Scarcity {
    /// For kinds of nodes, given empty, and a mix of tasks. A task of which a share of a device remains unused counts with that.
    pub fn new(kinds: &[Spare<'_>], mix: &[(Ask, u32)], outlook: &Outlook) -> Self {
        let mut demand = Demand::new(kinds);
        for (ask, count) in mix {
            if let Some(class) = demand.class(kinds, ask) {
                demand.add(class, ask, i64::from(*count));
            }
        }
        Self::of(&demand, outlook)
    }

    /// The same for what is wanted in all.
    pub fn of(demand: &Demand, outlook: &Outlook) -> Self {
        let beside =
            |(milli, count): (&i64, &i128)| i128::from(outlook.rest(crate::model::WHOLE_GPU - milli)) * count;
        let mut wanted: Vec<&Wanted> = demand.classes.iter().filter(|wanted| wanted.milli > 0).collect();
        // those with the least choice first
        wanted.sort_by(|a, b| (a.room, &a.kinds).cmp(&(b.room, &b.kinds)));
        let classes = wanted.into_iter().map(|wanted| Class {
            kinds: wanted.kinds.clone(),
            weight: wanted.milli + wanted.shares.iter().map(beside).sum::<i128>(),
        });
        let classes: Vec<Class> = classes.collect();
        let mut wanted = vec![0_i64; demand.kinds.len()];
        for class in &classes {
            let each = class.weight / i128::try_from(class.kinds.len().max(1)).unwrap_or(1);
            let each = i64::try_from(each).unwrap_or(i64::MAX);
            class.kinds.iter().for_each(|kind| wanted[*kind] = wanted[*kind].saturating_add(each));
        }
        Self { classes, prices: vec![0; demand.kinds.len()], wanted }
    }

    /// Sets the prices for what is left of each kind that tasks are expected to use, milli-GPU.
    pub fn update(&mut self, left: &[i64]) {
        let loads = self.loads(left);
        self.prices = loads
            .into_iter()
            .map(|load| {
                let excess = (load - ONE).clamp(-CERTAIN, CERTAIN);
                excess.signum() * (excess * excess * ONE / (CERTAIN * CERTAIN))
            })
            .collect();
    }

    /// The load of each kind, thousandths, when as much arrives as is left.
    fn loads(&self, left: &[i64]) -> Vec<i64> {
        let total: i128 = left.iter().map(|milli| i128::from(*milli)).sum();
        let weight: i128 = self.classes.iter().map(|class| class.weight).sum();
        let mut poured: Vec<Vec<i64>> = self.classes.iter().map(|class| vec![0; class.kinds.len()]).collect();
        let mut loads = vec![0_i64; left.len()];
        for _ in 0..SWEEPS {
            for (class, parts) in self.classes.iter().zip(&mut poured) {
                for (kind, part) in class.kinds.iter().zip(parts.iter_mut()) {
                    loads[*kind] -= std::mem::take(part);
                }
                let amount = class.weight * total / weight.max(1);
                pour(amount, &class.kinds, left, &mut loads, parts);
            }
        }
        loads.iter().zip(left).map(|(load, left)| load.saturating_mul(ONE) / left.max(&1)).collect()
    }

    /// The price of a kind: what a GPU there is worth more than elsewhere, thousandths of it, −1000 to 1000.
    #[inline]
    pub fn price(&self, kind: usize) -> i64 {
        self.prices.get(kind).copied().unwrap_or(0)
    }

    /// What is wanted of a kind if each task takes any that it fits on, milli-GPU: tells kinds of one price apart.
    #[inline]
    pub fn wanted(&self, kind: usize) -> i64 {
        self.wanted.get(kind).copied().unwrap_or(0)
    }

    /// What the price adds to the loss of placing `ask` on a node of this kind, hundredths of a milli-GPU.
    #[inline]
    pub fn surcharge(&self, kind: usize, ask: &Ask) -> i64 {
        self.price(kind) * ask.total() / (ONE / 100)
    }

    /// The cost of placing `ask` on a node of this kind in steps of [`STEP`] milli-GPU, given the node's
    /// [`loss`](Outlook::loss); less is better, and between equals the lower rank.
    #[inline]
    pub fn cost(&self, kind: usize, loss: i64, ask: &Ask) -> i64 {
        steps(loss + self.surcharge(kind, ask))
    }
}

/// Hundredths of a milli-GPU in each step.
const WIDE: i64 = 100 * STEP;

/// To the nearest step.
fn steps(loss: i64) -> i64 {
    (loss + WIDE / 2).div_euclid(WIDE)
}

/// Every loss, surcharge and all, below this one costs no more steps than `least`.
pub fn end_of_step(least: i64) -> i64 {
    (steps(least) + 1) * WIDE - WIDE / 2
}

/// Pours `amount` over `kinds` up to one level of load.
fn pour(amount: i128, kinds: &[usize], left: &[i64], loads: &mut [i64], parts: &mut [i64]) {
    /// Levels are in millionths.
    const FINE: i128 = 1_000_000;
    let level_of = |kind: usize, loads: &[i64]| i128::from(loads[kind]) * FINE / i128::from(left[kind]);
    let mut lowest: Vec<(usize, usize)> =
        kinds.iter().copied().enumerate().filter(|(_, kind)| left[*kind] > 0).collect();
    lowest.sort_by_key(|(_, kind)| (level_of(*kind, loads), *kind));
    let (mut load, mut room, mut level) = (0, 0, 0);
    for (at, (_, kind)) in lowest.iter().enumerate() {
        load += i128::from(loads[*kind]);
        room += i128::from(left[*kind]);
        level = (amount + load) * FINE / room;
        if lowest.get(at + 1).is_some_and(|(_, next)| level <= level_of(*next, loads)) {
            break;
        }
    }
    for (at, kind) in lowest {
        let full = i64::try_from(level * i128::from(left[kind]) / FINE).unwrap_or(i64::MAX);
        let part = (full - loads[kind]).max(0);
        parts[at] = part;
        loads[kind] += part;
    }
}
