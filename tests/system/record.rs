//! What the scheduler decided is decided again from its recording.

use crater_api::job::v1::JobState;

use crate::harness::{Cli, Mesh};

#[test]
fn a_recorded_day_is_decided_again_plan_by_plan() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("day.jsonl");
    let file = file.to_str().unwrap();
    let mut mesh = Mesh::played(&["--nodes", "2x4:A100", "--time-scale", "60", "--record", file]);
    let (cli, api) = (mesh.cli(), mesh.api());
    for i in 0..6 {
        let name = format!("gang-{i}");
        let flags =
            ["--name", &name, "--replicas", "2", "--gpu", "2", "--duration", "60s", "--image", "none"];
        cli.submit(&flags, &["train"]);
    }
    for i in 0..6 {
        api.reaches(&format!("gang-{i}"), JobState::Succeeded);
    }
    // a recording that was cut off is one up to there
    mesh.kill();
    let replay = |more: &[&str]| {
        let text = Cli::signed_out().ok(&[&["replay", "--recording", file, "-o", "json"], more].concat());
        serde_json::from_str::<serde_json::Value>(&text).unwrap()
    };
    let again = replay(&[]);
    assert!(again["cycles"].as_u64() >= Some(7), "{again}");
    assert_eq!((&again["different"], &again["first"]), (&0.into(), &serde_json::Value::Null), "{again}");
    assert_eq!(again["grants"][0], 6, "{again}");
    let other = replay(&["--policy", "consolidate=false"]);
    assert_eq!(other["cycles"], again["cycles"]);
    // the next start leaves it alone
    let before = std::fs::read(file).unwrap();
    mesh.start();
    assert_eq!(std::fs::read(file).unwrap(), before);
    assert!(folder.path().join("day.jsonl.1").is_file());
}

#[test]
fn a_setting_that_is_none_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("empty.jsonl");
    std::fs::write(&file, "{\"crater_recording\":1}\n").unwrap();
    let refused =
        Cli::signed_out().run(&["replay", "--recording", file.to_str().unwrap(), "--policy", "haste"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.err.contains("--policy"), "{refused:?}");
}
