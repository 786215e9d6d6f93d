//! Limits, as a user meets them.

use crater_api::job::v1::JobState;

use crate::harness::{Mesh, PATIENCE, until};

#[test]
fn a_limit_holds_and_the_reason_names_it() {
    let mesh = Mesh::up(&["--nodes", "1x8:A100"]);
    let (cli, api) = (mesh.cli(), mesh.api());
    cli.ok(&["quota", "set", "-A", "default", "--limit", "gpu=2"]);
    let go = mesh.file("go");
    let script = "import os, sys, time\nwhile not os.path.exists(sys.argv[1]): time.sleep(0.02)";
    for name in ["first", "second"] {
        let flags = ["--name", name, "--gpu", "2", "--cpu", "0.1", "--memory", "64Mi"];
        cli.submit(&flags, &["python3", "-c", script, go.to_str().unwrap()]);
    }
    api.reaches("first", JobState::Running);
    let why = until("the limit as the reason", PATIENCE, || {
        let why = cli.ok(&["why", "second"]);
        (why.contains("limit") && why.contains("default")).then_some(why)
    });
    assert!(why.contains("gpu") || why.contains("GPU"), "{why}");
    assert_eq!(api.job("second").state(), JobState::Queued);
    let usage = cli.ok(&["quota", "get", "-A", "default"]);
    assert!(usage.contains("gpu"), "{usage}");
    assert!(cli.ok(&["queue"]).contains("second"));
    // a raised limit reaches the scheduler without anybody asking again
    cli.ok(&["quota", "set", "-A", "default", "--limit", "gpu=4"]);
    api.reaches("second", JobState::Running);
    std::fs::write(&go, "").unwrap();
    for name in ["first", "second"] {
        api.reaches(name, JobState::Succeeded);
    }
}

#[test]
fn a_guarantee_above_the_limit_is_refused_and_changes_nothing() {
    let mesh = Mesh::up(&["--nodes", "1x8:A100"]);
    let cli = mesh.cli();
    cli.ok(&["quota", "set", "-A", "default", "--limit", "gpu=2"]);
    let before = cli.ok(&["quota", "get", "-A", "default", "-o", "json"]);
    for (flag, value) in
        [("guaranteed", "gpu=3"), ("limit", "gpu=-1"), ("limit", "bananas=1"), ("limit", "gpu")]
    {
        let ended = cli.run(&["quota", "set", "-A", "default", &format!("--{flag}"), value]);
        assert!(ended.code == 2 && ended.err.contains(flag), "{flag} {value}: {ended:?}");
    }
    assert_eq!(cli.ok(&["quota", "get", "-A", "default", "-o", "json"]), before);
}

#[test]
fn so_many_jobs_run_at_a_time_and_quotas_are_listed() {
    let mesh = Mesh::up(&["--nodes", "1x8:A100"]);
    let (cli, api) = (mesh.cli(), mesh.api());
    cli.ok(&["quota", "set", "-A", "default", "--limit", "jobs.running=1", "--weight", "3"]);
    let go = mesh.file("go");
    let script = "import os, sys, time\nwhile not os.path.exists(sys.argv[1]): time.sleep(0.02)";
    for name in ["first", "second"] {
        let flags = ["--name", name, "--cpu", "0.1", "--memory", "64Mi"];
        cli.submit(&flags, &["python3", "-c", script, go.to_str().unwrap()]);
    }
    api.reaches("first", JobState::Running);
    until("the limit as the reason", PATIENCE, || {
        let why = cli.ok(&["why", "second"]);
        why.contains("1 job running, at most 1 may").then_some(())
    });
    until("what runs and waits in the list", PATIENCE, || {
        let list = cli.ok(&["quota", "ls"]);
        let row = |kind: &str| list.lines().find(|line| line.contains(kind)).map(str::to_owned);
        let (running, waiting) = (row("jobs.running")?, row("jobs.waiting")?);
        let cells = |row: &str| row.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let running = cells(&running);
        (running[0] == "default"
            && running[2] == "3"
            && running[4] == "1"
            && running[6] == "1"
            && cells(&waiting)[4] == "1")
            .then_some(())
    });
    std::fs::write(&go, "").unwrap();
    for name in ["first", "second"] {
        api.reaches(name, JobState::Succeeded);
    }
}
