//! The placement replay against the published study, run by run and column by column.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::Read;
mod traces;

use std::path::Path;

use crater_replay::placement::{COLUMNS, Mean, Options, Orders, Outcome, Policy, World, replay};

use traces::traces;

const LISTS: [&str; 9] = [
    "default",
    "cpu050",
    "cpu200",
    "gpushare40",
    "gpushare100",
    "gpuspec10",
    "gpuspec33",
    "multigpu20",
    "multigpu50",
];
/// The published names of the policies that draw no random numbers.
const PUBLISHED: [(&str, Policy); 5] = [
    ("02-DotProd", Policy::DotProduct),
    ("03-GpuClustering", Policy::GpuClustering),
    ("04-GpuPacking", Policy::GpuPacking),
    ("05-BestFit", Policy::BestFit),
    ("06-FGD", Policy::Fgd),
];

fn world(traces: &Path, list: &str) -> (World, Orders) {
    let openb = traces.join("openb");
    let tasks = openb.join(format!("openb_pod_list_{list}.csv"));
    let world = World::read(&openb.join("openb_node_list_gpu_node.csv"), &tasks).unwrap();
    let orders = Orders::read(&openb.join(format!("orders/order_{list}.csv.gz")), &world).unwrap();
    (world, orders)
}

/// Allocated percent by (list, published policy, seed), index = arrived percent.
fn published(traces: &Path) -> BTreeMap<(String, String, u64), Vec<Option<f64>>> {
    let packed = std::fs::read(traces.join("published/fgd_allocated_by_arrival.csv.gz")).unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(packed.as_slice()).read_to_string(&mut text).unwrap();
    let rows = text.lines().skip(1).map(|line| {
        let fields: Vec<&str> = line.split(',').collect();
        let list = fields[0].trim_start_matches("openb_pod_list_").to_owned();
        let curve = fields[5..5 + COLUMNS].iter().map(|field| field.parse().ok()).collect();
        ((list, fields[1].to_owned(), fields[3].parse().unwrap()), curve)
    });
    rows.collect()
}

/// All lists and seeds in a release build; one seed of one list in a debug build, which is many times slower.
#[test]
fn published_policies_come_out_as_published() {
    let Some(traces) = traces() else { return };
    let expected = published(&traces);
    let (mut runs, mut worst, mut off) = (0, 0.0_f64, Vec::new());
    let some = cfg!(debug_assertions);
    for list in if some { &LISTS[..1] } else { &LISTS[..] } {
        let (world, orders) = world(&traces, list);
        for seed in orders.seeds().take(if some { 1 } else { 10 }) {
            for (name, policy) in PUBLISHED {
                let outcome = replay(&world, orders.seed(seed).unwrap(), policy, Options::new(seed));
                let curve = &expected[&((*list).to_owned(), name.to_owned(), seed)];
                runs += 1;
                for (arrived, (ours, theirs)) in outcome.allocated_percent.iter().zip(curve).enumerate() {
                    let Some(theirs) = theirs else { continue };
                    worst = worst.max((ours - theirs).abs());
                    if (ours - theirs).abs() > 0.01 + 1e-9 {
                        off.push(format!("{list} {name} {seed} at {arrived} %: {ours} for {theirs}"));
                    }
                }
            }
        }
    }
    println!("{runs} runs, {COLUMNS} columns each, at most {worst:.3} apart");
    assert!(off.is_empty(), "{} columns are off, such as {:?}", off.len(), &off[..off.len().min(10)]);
    assert_eq!(runs, if some { 5 } else { 450 });
}

/// Ten orders of every list in a release build: fewer GPUs are left than fragmentation gradient descent leaves, and on no list more.
/// The constants of our policy were chosen on the lists of `CHOSEN_ON`; the others are judged apart.
#[test]
fn crater_leaves_fewer_gpus_unallocated_than_fgd() {
    const CHOSEN_ON: [&str; 5] = ["default", "cpu050", "gpushare40", "gpuspec33", "multigpu50"];
    let Some(traces) = traces() else { return };
    let some = cfg!(debug_assertions);
    let (mut base, mut pairs, mut apart) = (Vec::new(), Vec::new(), Vec::new());
    for list in if some { &LISTS[..2] } else { &LISTS[..] } {
        let (world, orders) = world(&traces, list);
        let (mut fgd, mut differences) = (Vec::new(), Vec::new());
        for seed in orders.seeds().take(if some { 1 } else { 10 }) {
            let of = |policy| {
                replay(&world, orders.seed(seed).unwrap(), policy, Options::new(seed)).unallocated(100)
            };
            fgd.push(of(Policy::Fgd));
            differences.push(of(Policy::Crater) - fgd.last().unwrap());
        }
        let (whole, difference) = (Mean::of(&fgd), Mean::of(&differences));
        println!(
            "{list:12} fgd {:.2}, crater {:+.2} ± {:.2}",
            whole.mean, difference.mean, difference.half_width
        );
        assert!(difference.mean <= 0.1, "{list}: {:+.2} on the average", difference.mean);
        if !CHOSEN_ON.contains(list) {
            apart.push((whole.mean, difference.mean));
        }
        base.push(whole.mean);
        pairs.extend(differences);
    }
    let (base, difference) = (Mean::of(&base), Mean::of(&pairs));
    println!("all: fgd {:.3}, crater {:+.3} ± {:.3}", base.mean, difference.mean, difference.half_width);
    assert!(difference.mean < -0.1 * base.mean);
    assert!(some || difference.mean + difference.half_width < -0.1 * base.mean);
    let (fgd, less): (f64, f64) = apart.iter().fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    if !some {
        println!("lists that nothing was chosen on: {:.1} % fewer", -100.0 * less / fgd);
        assert!(less < -0.1 * fgd);
    }
}

#[test]
fn moves_stay_within_their_budget_and_help() {
    let Some(traces) = traces() else { return };
    let (world, orders) = world(&traces, "gpuspec33");
    let run = |policy, migrate_percent| {
        replay(&world, orders.seed(42).unwrap(), policy, Options { seed: 42, migrate_percent })
    };
    let (still, moving) = (run(Policy::Crater, 5), run(Policy::CraterMigrating, 1));
    assert!(moving.moved > 0 && moving.moved * 100 <= moving.placed, "{}", moving.moved);
    assert!(moving.unallocated(100) < still.unallocated(100));
    let none = run(Policy::CraterMigrating, 0);
    assert_eq!((none.moved, none.allocated_percent), (0, still.allocated_percent));
}

#[test]
fn the_same_order_gives_the_same_outcome() {
    let Some(traces) = traces() else { return };
    let (world, orders) = world(&traces, "multigpu20");
    for policy in if cfg!(debug_assertions) { &Policy::ALL[..1] } else { &Policy::ALL[..] } {
        let run = || Outcome {
            seconds: 0.0,
            ..replay(&world, orders.seed(47).unwrap(), *policy, Options::new(47))
        };
        let outcome = run();
        assert_eq!(outcome, run(), "{policy}");
        assert_eq!(outcome.placed + outcome.dropped, orders.seed(47).unwrap().arrivals.len());
    }
}
