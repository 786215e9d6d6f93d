//! A node is emptied by an admin, as whoever runs there meets it.

use crater_api::job::v1::JobState;

use crate::harness::{Mesh, PATIENCE, until};

#[test]
fn a_drained_node_is_left_for_another_and_opened_again() {
    let mesh = Mesh::up(&["--nodes", "2x2:A100"]);
    let (cli, api) = (mesh.cli(), mesh.api());
    let go = mesh.file("go");
    let script = "import os, sys, time\nwhile not os.path.exists(sys.argv[1]): time.sleep(0.02)";
    let flags = ["--name", "train", "--gpu", "2", "--cpu", "0.1", "--memory", "64Mi"];
    cli.submit(&flags, &["python3", "-c", script, go.to_str().unwrap()]);
    api.reaches("train", JobState::Running);
    let node = api.job("train").nodes.first().cloned().unwrap();

    let dry = cli.run(&["node", "drain", &node, "--dry-run"]);
    assert!(dry.code == 0 && dry.err.contains("1 job would leave"), "{dry:?}");
    assert_eq!(api.job("train").preemptions, 0);
    let drained = cli.run(&["node", "drain", &node, "--reason", "the fan"]);
    assert!(drained.code == 0 && drained.out.contains("is drained"), "{drained:?}");
    assert!(drained.err.contains("accounts/default/jobs/train"), "{drained:?}");
    // it runs again elsewhere, at no cost of a retry
    let moved = until("the job on another node", PATIENCE, || {
        let job = api.job("train");
        (job.state() == JobState::Running && !job.nodes.contains(&node)).then_some(job)
    });
    // it had no retry to spend
    assert_eq!(moved.preemptions, 1);
    let events = cli.ok(&["events", "train"]);
    assert!(events.contains("Preempted") && events.contains("the fan"), "{events}");
    let nodes = cli.ok(&["nodes", "-o", "wide"]);
    assert!(nodes.contains("Drained") && nodes.contains("is drained by users/admin: the fan"), "{nodes}");

    // nothing starts there until it is opened
    cli.submit(&["--name", "next", "--gpu", "2", "--cpu", "0.1", "--memory", "64Mi"], &["true"]);
    until("the next waits", PATIENCE, || cli.ok(&["queue"]).contains("next").then_some(()));
    cli.ok(&["node", "uncordon", &node]);
    api.reaches("next", JobState::Succeeded);
    let refused = cli.run(&["node", "cordon", "nil"]);
    assert!(refused.code == 8, "{refused:?}");
    std::fs::write(&go, "").unwrap();
    api.reaches("train", JobState::Succeeded);
}
