//! Who gets which GPUs, as the programs see it.

use std::collections::{BTreeMap, BTreeSet};

use crater_api::job::v1::JobState;

use crate::harness::{Api, Mesh, PATIENCE, until};

/// Says what it sees, then runs until a file is there.
const HOLD: &str = r#"
import os, sys, time
print("devices", os.environ["CUDA_VISIBLE_DEVICES"], "rank", os.environ.get("RANK", "0"))
while not os.path.exists(sys.argv[1]):
    time.sleep(0.02)
"#;

/// Node and device of every whole GPU that the job holds, by replica.
fn granted(api: &Api, id: &str) -> BTreeMap<i32, Vec<(String, i32)>> {
    let mut found = BTreeMap::new();
    for place in api.explain(id).placements {
        for (i, gpus) in place.gpus.iter().enumerate() {
            assert_eq!(gpus.millis, 1000, "{place:?}");
            let devices = gpus.indexes.iter().map(|&index| (place.node.clone(), index)).collect();
            found.insert(place.first_replica + i32::try_from(i).unwrap(), devices);
        }
    }
    found
}

#[test]
fn a_replica_sees_its_gpus_and_no_device_is_given_twice() {
    let mesh = Mesh::up(&["--nodes", "2x8:A100"]);
    let (cli, api) = (mesh.cli(), mesh.api());
    let (script, go) = (mesh.write("hold.py", HOLD), mesh.file("go"));
    let command = ["python3", &script, go.to_str().unwrap()];
    let small = ["--cpu", "0.1", "--memory", "64Mi"];
    let shapes = [("a", "1", "5"), ("b", "4", "2"), ("c", "1", "3")];
    for (name, replicas, gpus) in shapes {
        let flags = [&small[..], &["--name", name, "--replicas", replicas, "--gpu", gpus]].concat();
        cli.submit(&flags, &command);
    }
    cli.submit(&[&small[..], &["--name", "none"]].concat(), &command);
    let mut taken = BTreeSet::new();
    for (name, replicas, gpus) in shapes {
        api.reaches(name, JobState::Running);
        let granted = granted(&api, name);
        assert_eq!(granted.len().to_string(), replicas);
        for (replica, devices) in &granted {
            assert_eq!(devices.len().to_string(), gpus);
            assert!(devices.iter().all(|(node, _)| *node == devices[0].0), "{devices:?}");
            for device in devices {
                assert!(taken.insert(device.clone()), "{device:?} is given twice");
            }
            let indexes: Vec<String> = devices.iter().map(|(_, index)| index.to_string()).collect();
            let wanted = format!("devices {} rank {replica}", indexes.join(","));
            let number = replica.to_string();
            let seen = until("the replica's first line", PATIENCE, || {
                let lines = cli.run(&["logs", "--role", "worker", "--replica", &number, name]).lines();
                // python writes its words one by one
                lines.first().filter(|line| line.contains("rank ")).cloned()
            });
            assert_eq!(seen, wanted, "replica {replica} of {name}");
        }
    }
    assert_eq!(taken.len(), 16);
    api.reaches("none", JobState::Running);
    let seen = until("the line of the job without GPUs", PATIENCE, || {
        cli.run(&["logs", "none"]).lines().first().filter(|line| line.contains("rank ")).cloned()
    });
    assert!(seen.starts_with("devices  rank"), "a job without GPUs sees none: {seen}");
    // all are held: one more must wait, and be told why
    cli.submit(&[&small[..], &["--name", "late", "--gpu", "1"]].concat(), &["true"]);
    until("the reason", PATIENCE, || cli.ok(&["why", "late"]).contains("(NotEnoughGpus)").then_some(()));
    assert_eq!(api.job("late").state(), JobState::Queued);
    std::fs::write(&go, "").unwrap();
    for name in ["a", "b", "c", "none", "late"] {
        api.reaches(name, JobState::Succeeded);
    }
}

#[test]
fn best_effort_yields_to_a_guarantee_and_comes_back_by_itself() {
    let mesh = Mesh::up(&["--nodes", "1x2:A100"]);
    let (cli, api) = (mesh.cli(), mesh.api());
    cli.ok(&["quota", "set", "-A", "default", "--guaranteed", "gpu=2"]);
    let script = mesh.write("hold.py", HOLD);
    let hold = |name: &str, class: &str| {
        let go = mesh.file(name);
        let flags = ["--name", name, "--class", class, "--gpu", "2", "--cpu", "0.1", "--memory", "64Mi"];
        cli.submit(&flags, &["python3", &script, go.to_str().unwrap()]);
    };
    let release = |name: &str| std::fs::write(mesh.file(name), "").unwrap();
    hold("low", "best-effort");
    api.reaches("low", JobState::Running);
    hold("high", "guaranteed");
    api.reaches("high", JobState::Running);
    let low = api.job("low");
    assert_eq!((low.state(), low.preemptions), (JobState::Queued, 1), "{low:#?}");
    let why = cli.ok(&["why", "low"]);
    assert!(why.to_lowercase().contains("gpu"), "{why}");
    assert!(cli.ok(&["events", "low"]).contains("Preempted"));
    release("high");
    api.reaches("high", JobState::Succeeded);
    assert_eq!(api.reaches("low", JobState::Running).attempts, 2);
    release("low");
    api.reaches("low", JobState::Succeeded);
}
