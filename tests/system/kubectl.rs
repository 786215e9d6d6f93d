//! kubectl against the cluster in memory.

use crater_api::job::v1::JobState;

use crate::harness::{Mesh, PATIENCE, run, tools};

#[test]
fn kubectl_lists_and_watches_what_crater_made() {
    let mesh = Mesh::up(&["--nodes", "2x4:A100"]);
    let (cli, api) = (mesh.cli(), mesh.api());
    let kubectl = |args: &[&str]| run(&mut tools::kubectl(&mesh.kubeconfig, args), "", PATIENCE);
    let mut nodes = kubectl(&["get", "nodes", "-o", "name"]).lines();
    nodes.sort();
    assert_eq!(nodes, ["node/a100-0", "node/a100-1"]);

    let watch = ["get", "pods", "-A", "--watch", "--no-headers"];
    let mut pods = crate::harness::Follower::start(&mut tools::kubectl(&mesh.kubeconfig, &watch));
    let go = mesh.file("go");
    let script = "import os, sys, time\nwhile not os.path.exists(sys.argv[1]): time.sleep(0.02)";
    cli.submit(&["--name", "seen", "--gpu", "1"], &["python3", "-c", script, go.to_str().unwrap()]);
    let running = pods.until("a running Pod", PATIENCE, |line| line.contains("Running"));
    assert!(running.starts_with("crater-default ") && running.contains("seen"), "{running}");

    let all = kubectl(&["get", "aijobs,allocations,pods,nodes", "-A"]).ok();
    for kind in ["aijob.crater.dev/seen", "allocation.crater.dev/seen", "pod/seen", "node/a100-0"] {
        assert!(all.contains(kind), "{kind} is missing in:\n{all}");
    }
    let node = kubectl(&["get", "pods", "-A", "-o", "jsonpath={.items[0].spec.nodeName}"]).ok();
    assert_eq!(api.explain("seen").placements[0].node, node);

    std::fs::write(&go, "").unwrap();
    pods.until("the Pod's end", PATIENCE, |line| line.contains("Completed") || line.contains("Succeeded"));
    api.reaches("seen", JobState::Succeeded);
}

#[test]
fn kubectl_delete_of_an_aijob_means_cancel() {
    let mesh = Mesh::up(&["--nodes", "1x1:A100"]);
    let (cli, api) = (mesh.cli(), mesh.api());
    cli.submit(&["--name", "gone", "--gpu", "1"], &["sleep", "600"]);
    api.reaches("gone", JobState::Running);
    let args = ["delete", "aijob", "gone", "-n", "crater-default", "--wait=false"];
    run(&mut tools::kubectl(&mesh.kubeconfig, &args), "", PATIENCE).ok();
    api.reaches("gone", JobState::Cancelled);
}
