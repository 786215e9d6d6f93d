//! What would come of a job, and of more nodes.

use crate::harness::Mesh;

#[test]
fn a_rehearsal_says_where_a_job_would_start_and_what_would_start_one_that_would_wait() {
    let mesh = Mesh::played(&["--nodes", "2x4:A100"]);
    let cli = mesh.cli();
    let small = ["--cpu", "1", "--memory", "1Gi"];
    let dry = |flags: &[&str]| {
        let all = [&["submit", "--dry-run"], &small[..], flags, &["--", "true"]].concat();
        cli.ok(&all)
    };
    let told = dry(&["--gpu", "4"]);
    assert!(told.contains("It would start at once.\n  worker/0 on "), "{told}");
    cli.submit(
        &[&small[..], &["--name", "holds", "--gpu", "4", "--replicas", "2"]].concat(),
        &["sleep", "600"],
    );
    mesh.api().reaches("holds", crater_api::job::v1::JobState::Running);
    let told = dry(&["--gpu", "4"]);
    assert!(told.contains("It would wait: room for 0 of 1 replicas"), "{told}");
    assert!(told.contains("it would start now\n"), "{told}");
    let more =
        told.lines().find(|line| line.contains("with 1 more node like ")).unwrap_or_else(|| panic!("{told}"));
    let node = more.split("like ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap().to_owned();
    // the same once it was submitted, and what is told of nodes is what nodes would do
    cli.submit(&[&small[..], &["--name", "waits", "--gpu", "4"]].concat(), &["true"]);
    let why = cli.ok(&["why", "waits"]);
    assert!(why.contains(&format!("  - with 1 more node like {node} (by an administrator)")), "{why}");
    let started = cli.ok(&["what-if", "--nodes", &format!("1:{node}")]);
    assert_eq!(started, "1 job would start: waits\nno job would be preempted\n");
    let started = cli.ok(&["what-if", "--nodes", "1:gpu=2,gpu-model=A100,cpu=64,memory=256Gi"]);
    assert_eq!(started, "no waiting job would start\nno job would be preempted\n");
    let refused = cli.run(&["what-if", "--nodes", "1:nowhere"]);
    assert_eq!(refused.code, 2, "{}", refused.err);
    assert!(refused.err.contains("there is no node nowhere"), "{}", refused.err);
    assert_eq!(cli.run(&["what-if"]).code, 2);
}
