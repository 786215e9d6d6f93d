//! Laws of the placement scores, on cases small enough to work out by hand and on random ones against plain recounts.
#![allow(clippy::unwrap_used)]

use crater_engine::score::fragmentation::{Mix, Scratch, gradient};
use crater_engine::score::outlook::Outlook;
use crater_engine::score::scarcity::Scarcity;
use crater_engine::score::{Ask, Models, Spare};
use proptest::prelude::*;

fn share(cpu: i64, milli: i64) -> Ask {
    Ask { cpu, memory: 1, devices: 1, milli, models: Models::default() }
}

fn whole(cpu: i64, devices: u32) -> Ask {
    Ask { cpu, memory: 1, devices, milli: 1000, models: Models::default() }
}

fn spare(cpu: i64, gpus: &[i64]) -> Spare<'_> {
    Spare { cpu, memory: 1 << 40, gpus, model: 0 }
}

#[test]
fn the_rest_of_a_device_is_what_no_share_fills() {
    let outlook = Outlook::new(&[(share(1, 470), 3), (whole(1, 1), 1)]);
    let rests: Vec<i64> = [0, 60, 469, 470, 530, 939, 940, 999, 1000].map(|free| outlook.rest(free)).to_vec();
    assert_eq!(rests, [0, 60, 469, 0, 60, 469, 0, 59, 0]);
}

#[test]
fn a_rare_filler_counts_for_less_than_a_common_one() {
    let rare = Outlook::new(&[(share(1, 160), 1), (share(1, 100), 99)]);
    let common = Outlook::new(&[(share(1, 160), 99), (share(1, 100), 1)]);
    // 190 is filled up best by a 160; after a 100 a rest of 90 stays
    assert!(rare.rest(190) > common.rest(190), "{} {}", rare.rest(190), common.rest(190));
    assert!((30..=90).contains(&common.rest(190)) && (30..=90).contains(&rare.rest(190)));
}

#[test]
fn work_without_gpus_costs_nothing_where_the_gpus_are_gone() {
    let outlook = Outlook::new(&[(whole(10_000, 1), 1)]);
    let cpu_only = Ask { cpu: 8_000, memory: 1, ..Ask::default() };
    assert_eq!(outlook.loss(&spare(9_000, &[0, 0]), &cpu_only), 0);
    assert!(outlook.loss(&spare(9_000, &[1000, 0]), &cpu_only) > 0);
    assert_eq!(outlook.loss(&spare(100_000, &[1000, 0]), &cpu_only), 0);
}

#[test]
fn a_task_that_wants_much_cpu_goes_where_there_is_much() {
    let outlook = Outlook::new(&[(whole(10_000, 1), 9), (whole(30_000, 1), 1)]);
    let hungry = whole(30_000, 1);
    let (short, plenty) = (spare(40_000, &[1000; 4]), spare(200_000, &[1000; 4]));
    assert!(outlook.loss(&short, &hungry) > outlook.loss(&plenty, &hungry));
    // and one that wants little relieves the node that is short
    assert!(outlook.loss(&short, &whole(1_000, 1)) < outlook.loss(&plenty, &whole(1_000, 1)));
}

#[test]
fn memory_strands_gpus_as_cpu_does() {
    let each = |memory| Ask { memory, ..whole(1_000, 1) };
    let outlook = Outlook::new(&[(each(64 << 30), 1)]);
    let gpus = [1000; 4];
    let short = Spare { cpu: 1 << 40, memory: 256 << 30, gpus: &gpus, model: 0 };
    assert!(outlook.loss(&short, &each(200 << 30)) > outlook.loss(&short, &each(64 << 30)));
}

#[test]
fn a_broken_set_is_broken_further_before_a_whole_one() {
    let outlook = Outlook::new(&[(whole(1, 8), 1), (whole(1, 1), 8)]);
    let (set, broken) = ([1000; 8], [0, 1000, 1000, 1000, 1000, 1000, 1000, 1000]);
    assert!(
        outlook.loss(&spare(1 << 30, &broken), &whole(1, 1))
            < outlook.loss(&spare(1 << 30, &set), &whole(1, 1))
    );
}

fn of_model(ask: Ask, model: u32) -> Ask {
    Ask { models: Models::default().with(model), ..ask }
}

#[test]
fn what_only_some_tasks_can_use_is_kept_for_them() {
    let outlook = Outlook::new(&[(whole(1, 1), 1)]);
    let gpus = [1000; 4];
    let kinds = [0, 1].map(|model| Spare { cpu: 1 << 30, memory: 1 << 40, gpus: &gpus, model });
    // more than a third of all wants model 1, of which there is a third
    let mix = [(of_model(whole(1, 1), 1), 45), (whole(1, 1), 55)];
    let mut scarcity = Scarcity::new(&kinds, &mix, &outlook);
    scarcity.update(&[2_000_000, 1_000_000]);
    assert_eq!(scarcity.price(1), 1000, "a load of 1.35 is beyond doubt");
    assert!(scarcity.price(0) < 0);
    assert!(scarcity.cost(1, 0, &whole(1, 1)) > scarcity.cost(0, 0, &whole(1, 1)));
    // if fewer want it, the others make up for it and nothing is scarce
    let mut even = Scarcity::new(&kinds, &[(of_model(whole(1, 1), 1), 20), (whole(1, 1), 80)], &outlook);
    even.update(&[2_000_000, 1_000_000]);
    assert_eq!((even.price(0), even.price(1)), (0, 0));
}

#[test]
fn small_differences_do_not_tell_nodes_apart() {
    let outlook = Outlook::new(&[(whole(1, 1), 1)]);
    let kinds = [spare(1, &[1000])];
    let scarcity = Scarcity::new(&kinds, &[(whole(1, 1), 1)], &outlook);
    assert_eq!(scarcity.cost(0, 3_900, &whole(1, 1)), scarcity.cost(0, -3_900, &whole(1, 1)));
    assert!(scarcity.cost(0, 4_100, &whole(1, 1)) > scarcity.cost(0, 0, &whole(1, 1)));
}

prop_compose! {
    fn asks()(cpu in 0..40_000_i64, memory in 0..1000_i64, devices in 0..4_u32, milli in 1..=1000_i64, model in 0..4_u32) -> Ask {
        let models = if model == 3 { Models::default() } else { Models::default().with(model) };
        match devices {
            0 => Ask { cpu, memory, ..Ask::default() },
            1 => Ask { cpu, memory, devices, milli, models },
            _ => Ask { cpu, memory, devices, milli: 1000, models },
        }
    }
}

/// The average waste, counted task by task instead of shape by shape.
fn plain_waste(mix: &[(Ask, u32)], node: &Spare<'_>) -> f64 {
    let idle: i64 = node.gpus.iter().sum();
    let wasted = |ask: &Ask| {
        let big = node.gpus.iter().filter(|free| **free >= ask.milli).count();
        let can = ask.devices > 0
            && ask.models.allow(node.model)
            && node.cpu >= ask.cpu
            && big >= ask.devices as usize;
        if can { node.gpus.iter().filter(|free| **free < ask.milli).sum() } else { idle }
    };
    let count: u32 = mix.iter().map(|(_, count)| count).sum();
    let sum: i64 = mix.iter().map(|(ask, count)| wasted(ask) * i64::from(*count)).sum();
    sum as f64 / f64::from(count)
}

proptest! {
    #[test]
    fn fragmentation_is_the_waste_of_an_average_task(
        mix in prop::collection::vec((asks(), 1..9_u32), 1..12),
        gpus in prop::collection::vec(0..=1000_i64, 0..9),
        cpu in 0..60_000_i64,
        model in 0..3_u32,
    ) {
        let node = Spare { cpu, memory: 1000, gpus: &gpus, model };
        let counted = Mix::new(&mix, 100).fragmentation(&node, &mut Scratch::default());
        prop_assert!((counted - plain_waste(&mix, &node)).abs() < 1e-6);
    }

    #[test]
    fn the_gradient_takes_the_first_device_that_loses_least(
        mix in prop::collection::vec((asks(), 1..9_u32), 1..12),
        gpus in prop::collection::vec(0..=1000_i64, 1..9),
        milli in 1..1000_i64,
    ) {
        let (node, ask) = (spare(50_000, &gpus), share(1_000, milli));
        prop_assume!(node.fits(&ask));
        let before = plain_waste(&mix, &node);
        let mixed = Mix::new(&mix, 100);
        let (score, device) = gradient(&mixed, &node, &ask, before, &mut Vec::new(), &mut Scratch::default());
        let squashed = |device: usize| {
            let mut after = gpus.clone();
            after[device] -= milli;
            let gain = before - plain_waste(&mix, &Spare { cpu: 49_000, gpus: &after, ..node });
            100.0 / (1.0 + (-gain / 1000.0).exp())
        };
        // float noise may flip a step; the device is one of the best up to a step
        let best = (0..gpus.len()).filter(|device| gpus[*device] >= milli).map(squashed).fold(0.0, f64::max);
        prop_assert!((score as f64 - best.floor()).abs() <= 1.0);
        prop_assert!(squashed(device.unwrap()) > best - 1.001);
    }

    /// Whatever the mix and the node: nothing overflows, and what a node loses is never more than it has.
    #[test]
    fn losses_are_bounded(
        mix in prop::collection::vec((asks(), 1..1_000_000_u32), 0..12),
        gpus in prop::collection::vec(0..=1000_i64, 0..9),
        cpu in 0..60_000_i64,
        ask in asks(),
    ) {
        let node = Spare { cpu, memory: 1000, gpus: &gpus, model: 0 };
        prop_assume!(node.fits(&ask));
        let outlook = Outlook::new(&mix);
        let most = 100 * (node.total() + 1000 * 9);
        prop_assert!(outlook.loss(&node, &ask).abs() <= most);
        prop_assert!((0..=node.total()).contains(&outlook.useful(&gpus)));
    }

    /// Loads are even: no class could be poured over from a kind with a price to one with a lower price that it fits.
    #[test]
    fn nobody_with_a_choice_is_counted_where_it_is_scarce(
        left in prop::collection::vec(1_000..1_000_000_i64, 3),
        counts in prop::collection::vec(0..100_u32, 4),
    ) {
        let gpus = [1000; 4];
        let kinds: Vec<Spare<'_>> =
            (0..3).map(|model| Spare { cpu: 1 << 30, memory: 1 << 40, gpus: &gpus, model }).collect();
        let mut mix: Vec<(Ask, u32)> =
            (0..3).zip(&counts).map(|(model, count)| (of_model(whole(1, 1), model), *count)).collect();
        mix.push((whole(1, 1), counts[3]));
        let mut scarcity = Scarcity::new(&kinds, &mix, &Outlook::new(&mix));
        scarcity.update(&left);
        let all: i64 = left.iter().sum();
        let weight: i64 = counts.iter().map(|count| i64::from(*count)).sum();
        for kind in 0..3 {
            // a kind's own demand in excess of what is left of it makes it scarce, whatever else
            let own = all * i64::from(counts[kind]) / weight.max(1);
            if own * 100 > left[kind] * 110 {
                prop_assert!(scarcity.price(kind) > 0, "{own} wanted of {}", left[kind]);
            }
        }
    }
}
