//! Devices that jobs ask for by name, and work that they have saved, as a user meets them.

use crater_api::job::v1::JobState;

use crate::harness::{Mesh, PATIENCE, until};

const NODES: &str = "
- {name: mig-0, cpu: 16, memory: 64Gi, devices: {nvidia.com/mig-1g.5gb: 7}}
- {name: net-0, cpu: 16, memory: 64Gi, devices: {rdma/hca: 4}}
";

#[test]
fn devices_by_name_are_asked_for_given_shown_and_limited_like_any_resource() {
    let folder = tempfile::tempdir().unwrap();
    let nodes = folder.path().join("nodes.yaml");
    std::fs::write(&nodes, NODES).unwrap();
    let mesh = Mesh::played(&["--nodes", nodes.to_str().unwrap()]);
    let (cli, api) = (mesh.cli(), mesh.api());
    let submit = |name: &str, flags: &[&str]| {
        cli.submit(&[&["--name", name, "--cpu", "1", "--duration", "10h"], flags].concat(), &["train"])
    };
    submit("gang", &["--replicas", "2", "--device", "rdma/hca=2"]);
    assert_eq!(api.reaches("gang", JobState::Running).nodes, ["net-0"]);
    assert!(cli.ok(&["get", "gang"]).contains("2 rdma/hca"));
    assert!(cli.ok(&["nodes", "-o", "wide"]).contains("rdma/hca:4/4"));
    submit("waits", &["--device", "rdma/hca=1"]);
    let why = until("what it waits for", PATIENCE, || {
        let why = cli.ok(&["why", "waits"]);
        why.contains("short of rdma/hca").then_some(why)
    });
    assert!(why.contains("a replica needs 1 rdma/hca"), "{why}");
    let refused = cli.run(&["submit", "--device", "rdma/none=1", "--", "train"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(
        refused.err.contains("--device") && refused.err.contains("no node offers rdma/none"),
        "{refused:?}"
    );
    cli.ok(&["cancel", "gang"]);
    api.reaches("waits", JobState::Running);
    cli.ok(&["quota", "set", "-A", "default", "--limit", "nvidia.com/mig-1g.5gb=2"]);
    submit("two", &["--device", "nvidia.com/mig-1g.5gb=2"]);
    assert_eq!(api.reaches("two", JobState::Running).nodes, ["mig-0"]);
    submit("more", &["--device", "nvidia.com/mig-1g.5gb=1"]);
    until("the limit as the reason", PATIENCE, || {
        cli.ok(&["why", "more"]).contains("limit 2 nvidia.com/mig-1g.5gb").then_some(())
    });
    let quota = cli.ok(&["quota", "get", "-A", "default"]);
    let row = quota
        .lines()
        .find(|line| line.starts_with("nvidia.com/mig-1g.5gb"))
        .unwrap_or_else(|| panic!("{quota}"));
    assert_eq!(row.split_whitespace().collect::<Vec<_>>(), ["nvidia.com/mig-1g.5gb", "2", "-", "2", "0"]);
}

#[test]
fn a_job_that_has_saved_its_work_yields_before_one_that_has_not() {
    let mesh = Mesh::played(&["--nodes", "1x8:A100"]);
    let (cli, api) = (mesh.cli(), mesh.api());
    let submit = |name: &str, flags: &[&str]| {
        cli.submit(&[&["--name", name, "--gpu", "4", "--duration", "100h"], flags].concat(), &["train"])
    };
    cli.ok(&["quota", "set", "-A", "default", "--guaranteed", "gpu=4"]);
    for name in ["first", "second"] {
        submit(name, &["--class", "best-effort"]);
        api.reaches(name, JobState::Running);
    }
    let future = cli.run(&["checkpoint", "first", "--at", "2999-01-01T00:00:00Z"]);
    assert!(
        future.code == 2 && future.err.contains("--at") && future.err.contains("is in the future"),
        "{future:?}"
    );
    let past = cli.run(&["checkpoint", "first", "--at", "1999-01-01T00:00:00Z"]);
    assert!(past.code == 2 && past.err.contains("is before the job began to run"), "{past:?}");
    let told = cli.ok(&["checkpoint", "first"]);
    assert!(told.starts_with("first loses only what it did since "), "{told}");
    assert!(cli.ok(&["get", "first"]).contains("Saved "));
    submit("owed", &[]);
    api.reaches("owed", JobState::Running);
    assert_eq!((api.job("first").preemptions, api.job("second").preemptions), (1, 0));
    assert_eq!(api.job("second").state(), JobState::Running);
    let late = cli.run(&["checkpoint", "first"]);
    assert!(late.err.contains("is queued: it has no work to save before it runs"), "{late:?}");
}
