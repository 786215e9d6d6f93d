//! The placement replay against the published study, run by run and column by column.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use crater_replay::placement::{COLUMNS, Options, Orders, Policy, World, replay};

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

fn traces() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/traces");
    let folder = std::env::var_os("CRATER_TRACES").map_or(beside, PathBuf::from);
    if folder.is_dir() {
        Some(folder)
    } else {
        println!(
            "note: {} is absent; set CRATER_TRACES to the folder of recorded workloads",
            folder.display()
        );
        None
    }
}

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

/// All lists and seeds in a release build; one seed of three lists in a debug build, which is many times slower.
#[test]
fn published_policies_come_out_as_published() {
    let Some(traces) = traces() else { return };
    let expected = published(&traces);
    let (mut runs, mut worst, mut off) = (0, 0.0_f64, Vec::new());
    let some = cfg!(debug_assertions);
    for list in if some { &LISTS[..3] } else { &LISTS[..] } {
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
    assert_eq!(runs, if some { 15 } else { 450 });
}
