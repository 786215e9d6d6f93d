//! The worlds in this folder, and those of the folder that `CRATER_SCENARIOS` names.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use crater_replay::scenario::{Format, Outcome, files, run_scenario, scenario_main};

fn all_pass(folder: &Path) {
    let outcomes: Vec<Outcome> =
        files(folder).unwrap().iter().map(|file| run_scenario(file).unwrap()).collect();
    let failed: Vec<String> = outcomes
        .iter()
        .filter(|outcome| !outcome.pass)
        .map(|outcome| format!("{}: {} {:?}", outcome.name, outcome.failures.join("; "), outcome.pending))
        .collect();
    assert!(failed.is_empty(), "{} of {} fail:\n{}", failed.len(), outcomes.len(), failed.join("\n"));
}

#[test]
fn our_own_worlds_come_out_right() {
    all_pass(&Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios"));
}

#[test]
fn the_shared_worlds_come_out_right() {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/scenarios");
    let folder = std::env::var_os("CRATER_SCENARIOS").map_or(beside, PathBuf::from);
    if folder.is_dir() {
        all_pass(&folder);
    } else {
        println!(
            "note: {} is absent; set CRATER_SCENARIOS to a folder of scenarios to run them",
            folder.display()
        );
    }
}

fn main_on(text: &str) -> (i32, String, String) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("world.yaml");
    std::fs::write(&file, text).unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = scenario_main(&[file], Format::Json, &mut out, &mut err).unwrap();
    (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

const WORLD: &str = "
name: one-job
law: A job that fits runs.
kind: invariant
nodes: [{name: n0, cpu: 4, memory: 8Gi, gpu: 1, gpu_model: A100}]
jobs: [{name: train, each: {gpu: 1}}]
";

#[test]
fn a_key_that_is_not_known_is_refused_by_file_and_name() {
    let (code, out, err) = main_on(&format!("{WORLD}expect: {{placd: {{train: [n0]}}}}\n"));
    assert_eq!(code, 2);
    assert!(out.is_empty());
    assert!(err.contains("world.yaml") && err.contains("placd"), "{err}");
    let (code, _, err) =
        main_on(&format!("{WORLD}expect: {{}}\n").replace("gpu: 1, gpu_model", "gpus: 1, gpu_model"));
    assert_eq!(code, 2);
    assert!(err.contains("world.yaml") && err.contains("gpus") && err.contains("nodes[0]"), "{err}");
}

#[test]
fn a_world_that_makes_no_sense_is_refused_by_file_and_field() {
    let cases = [
        (WORLD.replace("train,", "train, account: nobody,"), "jobs[0].account"),
        (WORLD.replace("gpu: 1}", "gpu: 1.5}"), "jobs[0].each.gpu"),
        (WORLD.replace("gpu: 1}", "cpu: -1}"), "jobs[0].each.cpu"),
        (WORLD.replace("train,", "train, running_on: [n9],"), "jobs[0].running_on"),
        (WORLD.replace("nodes: [", "nodes: [{name: n0}, "), "nodes[1].name"),
    ];
    for (world, field) in cases {
        let (code, _, err) = main_on(&format!("{world}expect: {{}}\n"));
        assert_eq!(code, 2, "{world}");
        assert!(err.contains("world.yaml") && err.contains(field), "{field}: {err}");
    }
}

#[test]
fn a_wrong_expectation_fails_with_what_came() {
    let (code, out, _) = main_on(&format!("{WORLD}expect: {{pending: {{train: \"\"}}}}\n"));
    assert_eq!(code, 1);
    assert!(out.contains(r#""pass":false"#) && out.contains("train waits, came [n0]"), "{out}");
    let (code, out, _) = main_on(&format!("{WORLD}expect: {{placed: {{train: [n0]}}, evicted: []}}\n"));
    assert_eq!(code, 0, "{out}");
    assert!(out.contains(r#""placements":{"train":["n0"]}"#), "{out}");
}

#[test]
fn the_order_in_which_nodes_are_listed_does_not_matter() {
    let world = |nodes: &str| {
        format!(
            "name: order\nlaw: x\nkind: policy\nnodes: [{nodes}]\njobs: [{{name: a, each: {{gpu: 2}}}}, {{name: b, each: {{gpu: 2}}}}]\nexpect: {{}}\n"
        )
    };
    let (x, y) = ("{name: x, gpu: 2, gpu_model: A100}", "{name: y, gpu: 2, gpu_model: A100}");
    let (_, one, _) = main_on(&world(&format!("{x}, {y}")));
    let (_, other, _) = main_on(&world(&format!("{y}, {x}")));
    assert_eq!(one, other);
    assert!(one.contains(r#""placements":{"a":["x"],"b":["y"]}"#), "{one}");
}

#[test]
fn what_the_documentation_shows_is_so() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/scheduling.md");
    let text = std::fs::read_to_string(docs).unwrap();
    let section = text.split_once("### A world with a known answer").unwrap().1;
    let world = section.split_once("```yaml\n").unwrap().1.split_once("```").unwrap().0;
    let (code, out, err) = main_on(world);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
}
