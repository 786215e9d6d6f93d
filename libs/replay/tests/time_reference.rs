//! The time replay against the reference replay in Python and its figures.
#![allow(clippy::unwrap_used)]

mod traces;

use std::process::Command;

use crater_replay::time::{ListFormat, Nodes, Policy, load, replay};

use traces::traces;

/// (mean JCT, p50, p99, mean queueing, makespan in s; preemptions) of one policy.
type Figures = (Policy, f64, f64, f64, f64, f64, u64);

struct List {
    format: ListFormat,
    file: &'static str,
    vc: Option<&'static str>,
    nodes: u32,
    lower_bound: f64,
    figures: [Figures; 5],
}

/// `ref_jct.py --policies fifo,las,sjf,srtf,srsf --model clean` and `bounds.py`, 30 s restart, as printed (whole seconds).
#[rustfmt::skip]
const LISTS: [List; 6] = [
    List { format: ListFormat::Muri, file: "muri/trace1.csv", vc: None, nodes: 8, lower_bound: 789_237.0, figures: [
        (Policy::Fifo, 10_999_825.0, 12_151_960.0, 14_739_991.0, 10_749_373.0, 24_606_309.0, 0),
        (Policy::Las, 2_895_346.0, 138_562.0, 14_404_622.0, 2_644_894.0, 23_214_850.0, 3737),
        (Policy::OracleSjf, 1_917_140.0, 147_803.0, 14_973_887.0, 1_666_689.0, 24_956_577.0, 0),
        (Policy::OracleSrsf, 952_434.0, 14_393.0, 15_074_990.0, 701_983.0, 25_702_967.0, 2628),
        (Policy::OracleSrtf, 1_333_584.0, 14_393.0, 16_324_505.0, 1_083_132.0, 25_765_367.0, 2528)] },
    List { format: ListFormat::Muri, file: "muri/trace3.csv", vc: None, nodes: 8, lower_bound: 126_931.0, figures: [
        (Policy::Fifo, 991_200.0, 1_143_194.0, 1_696_698.0, 944_335.0, 8_171_961.0, 0),
        (Policy::Las, 310_710.0, 6963.0, 4_933_584.0, 263_845.0, 8_171_961.0, 1082),
        (Policy::OracleSjf, 241_103.0, 21_102.0, 5_040_076.0, 194_238.0, 8_171_961.0, 0),
        (Policy::OracleSrsf, 172_517.0, 3628.0, 3_479_431.0, 125_652.0, 8_171_961.0, 751),
        (Policy::OracleSrtf, 181_017.0, 3628.0, 4_276_611.0, 134_153.0, 8_171_961.0, 1025)] },
    List { format: ListFormat::Elasticflow, file: "elasticflow/cluster06.csv", vc: None, nodes: 14, lower_bound: 24_434.0, figures: [
        (Policy::Fifo, 156_034.0, 96_302.0, 694_817.0, 131_601.0, 5_242_592.0, 0),
        (Policy::Las, 48_681.0, 8363.0, 530_679.0, 24_248.0, 5_245_013.0, 1695),
        (Policy::OracleSjf, 49_657.0, 11_452.0, 538_381.0, 25_223.0, 5_220_107.0, 0),
        (Policy::OracleSrsf, 33_121.0, 4700.0, 462_427.0, 8688.0, 5_363_967.0, 690),
        (Policy::OracleSrtf, 33_123.0, 4675.0, 485_283.0, 8689.0, 5_376_122.0, 911)] },
    List { format: ListFormat::Elasticflow, file: "elasticflow/cluster03.csv", vc: None, nodes: 24, lower_bound: 27_824.0, figures: [
        (Policy::Fifo, 150_184.0, 82_518.0, 511_844.0, 128_036.0, 5_630_915.0, 0),
        (Policy::Las, 60_764.0, 16_808.0, 555_184.0, 38_616.0, 6_055_332.0, 2473),
        (Policy::OracleSjf, 49_917.0, 17_783.0, 564_988.0, 27_769.0, 5_848_115.0, 0),
        (Policy::OracleSrsf, 36_563.0, 10_438.0, 500_640.0, 14_415.0, 6_192_871.0, 1240),
        (Policy::OracleSrtf, 37_707.0, 10_540.0, 533_186.0, 15_559.0, 6_170_494.0, 1441)] },
    List { format: ListFormat::Helios, file: "helios/helios_venus_2vc_sept.csv", vc: Some("vcvGl"), nodes: 20, lower_bound: 4606.0, figures: [
        (Policy::Fifo, 18_497.0, 19_807.0, 169_224.0, 13_891.0, 2_590_097.0, 0),
        (Policy::Las, 6278.0, 80.0, 169_501.0, 1672.0, 2_557_487.0, 622),
        (Policy::OracleSjf, 4813.0, 81.0, 159_696.0, 207.0, 2_555_132.0, 0),
        (Policy::OracleSrsf, 4809.0, 80.0, 166_024.0, 203.0, 2_555_126.0, 448),
        (Policy::OracleSrtf, 4814.0, 80.0, 166_612.0, 208.0, 2_555_126.0, 501)] },
    List { format: ListFormat::Helios, file: "helios/helios_venus_2vc_sept.csv", vc: Some("vcvlY"), nodes: 2, lower_bound: 9307.0, figures: [
        (Policy::Fifo, 9667.0, 198.0, 163_820.0, 360.0, 2_381_159.0, 0),
        (Policy::Las, 9607.0, 193.0, 163_820.0, 300.0, 2_381_159.0, 25),
        (Policy::OracleSjf, 9667.0, 198.0, 163_820.0, 360.0, 2_381_159.0, 0),
        (Policy::OracleSrsf, 9735.0, 192.0, 163_820.0, 428.0, 2_381_159.0, 48),
        (Policy::OracleSrtf, 9663.0, 192.0, 163_820.0, 357.0, 2_381_159.0, 49)] },
];

/// Within 0.1 % of a figure that was rounded to a whole second.
fn near(have: f64, wanted: f64) -> bool {
    (have - wanted).abs() <= 0.5 + wanted * 0.001
}

#[test]
fn every_shared_list_comes_out_as_in_the_reference() {
    let Some(traces) = traces() else { return };
    let mut wrong = Vec::new();
    for list in LISTS {
        let workload = load(list.format, &traces.join(list.file), list.vc, None).unwrap();
        for (policy, jct, p50, p99, queue, makespan, stops) in list.figures {
            let nodes = Nodes { count: list.nodes, gpus_each: 8 };
            let report = replay(&workload, nodes, policy, &mut |_, _| {}).report;
            let figures = [
                ("mean JCT", report.mean_jct_s, jct),
                ("p50 JCT", report.p50_jct_s, p50),
                ("p99 JCT", report.p99_jct_s, p99),
                ("mean queueing", report.mean_queue_s, queue),
                ("makespan", report.makespan_s, makespan),
                ("bound", report.lower_bound_s, list.lower_bound),
                ("preemptions", report.preemptions as f64, stops as f64),
            ];
            assert_eq!(report.unfinished, 0);
            for (what, have, wanted) in figures {
                if !near(have, wanted) {
                    wrong.push(format!("{} {}: {what} {have}, not {wanted}", list.file, policy.name()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_small_list_comes_out_as_in_the_reference_run_now() {
    let Some(traces) = traces() else { return };
    let script = traces.join("ref_jct.py");
    // three nodes and thirty jobs that crowd them, of all sizes
    let mut list = "job_id,submission_time,duration,num_gpu\n".to_owned();
    let mut x = 12_345u64;
    for job in 0..30 {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (duration, gpus) = (60 + (x >> 33) % 9000, [1, 1, 2, 4, 8, 12, 16][(x >> 50) as usize % 7]);
        list += &format!("j{job},{},{duration},{gpus}\n", job * 120);
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("list.csv");
    std::fs::write(&file, list).unwrap();
    let run = Command::new("python3")
        .arg("-B")
        .arg(script)
        .args(["--policies", "fifo,las,sjf,srtf,srsf", "--model", "clean", "--nodes", "3", "--csv"])
        .arg(&file)
        .output();
    let Ok(run) = run else {
        println!("note: there is no python3; the reference was not run");
        return;
    };
    let text = String::from_utf8(run.stdout).unwrap();
    let workload = load(ListFormat::Elasticflow, &file, None, None).unwrap();
    let mut judged = 0;
    for line in text.lines().skip(1) {
        let cells: Vec<&str> = line.split_whitespace().collect();
        let name = if ["fifo", "las"].contains(&cells[0]) {
            cells[0].into()
        } else {
            format!("oracle-{}", cells[0])
        };
        let policy = Policy::named(&name).unwrap();
        let report = replay(&workload, Nodes { count: 3, gpus_each: 8 }, policy, &mut |_, _| {}).report;
        let figures =
            [report.mean_jct_s, report.p50_jct_s, report.p99_jct_s, report.mean_queue_s, report.makespan_s];
        for (have, cell) in figures.iter().zip(&cells[2..]) {
            assert!(near(*have, cell.parse().unwrap()), "{name}: {have}, not {cell}\n{text}");
        }
        assert_eq!(report.preemptions.to_string(), cells[8], "{name}");
        judged += 1;
    }
    assert_eq!(judged, 5, "{text}{}", String::from_utf8_lossy(&run.stderr));
}
