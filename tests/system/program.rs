//! One program, submitted by the command line: its output while it runs, and its exit code.

use crater_api::job::v1::JobState;

use crate::harness::{Mesh, PATIENCE};

/// Writes a line every 150 ms; after the fifth it waits until a file is there.
const PROGRAM: &str = r#"
import os, sys, time
for i in range(20):
    print(f"line {i}: {i * i}")
    while i == 4 and not os.path.exists(sys.argv[1]):
        time.sleep(0.02)
    time.sleep(0.15)
"#;

#[test]
fn output_is_read_line_for_line_while_the_program_runs() {
    let mesh = Mesh::up(&[]);
    let (cli, api) = (mesh.cli(), mesh.api());
    let (script, go) = (mesh.write("program.py", PROGRAM), mesh.file("go"));
    let id = cli.submit(&["--name", "program"], &["python3", &script, go.to_str().unwrap()]);
    assert_eq!(id, "program");

    let mut logs = cli.follow(&["logs", "-f", &id]);
    logs.until("the fifth line", PATIENCE, |line| line.starts_with("line 4"));
    // the program cannot go on before this test has read what it wrote so far
    assert_eq!(api.job(&id).state(), JobState::Running);
    std::fs::write(&go, "").unwrap();
    let wanted: Vec<String> = (0..20).map(|i| format!("line {i}: {}", i * i)).collect();
    assert_eq!(logs.end(PATIENCE).lines(), wanted);

    let job = api.reaches(&id, JobState::Succeeded);
    assert_eq!(job.exit_code, Some(0));
    assert_eq!(cli.run(&["logs", &id]).lines(), wanted, "the log stays when the job has ended");
    let timed = cli.run(&["logs", "--timestamps", "--tail", "3", &id]).lines();
    assert_eq!(timed.len(), 3, "{timed:?}");
    let times: Vec<&str> = timed.iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert!(times.is_sorted() && times[0] != times[2], "{timed:?}");
}

#[test]
fn submit_wait_leaves_with_the_exit_code_of_the_job() {
    let mesh = Mesh::up(&[]);
    let cli = mesh.cli();
    for code in [0, 7, 255] {
        let script = format!("print('bye'); raise SystemExit({code})");
        let ended = cli.run(&["submit", "--wait", "--", "python3", "-c", &script]);
        assert_eq!(ended.code, code, "{ended:?}");
        assert!(!ended.out.trim().is_empty(), "the job's name is printed: {ended:?}");
    }
    let ended = cli.run(&["submit", "--wait", "--", "/no/such/program"]);
    assert!(ended.code != 0 && !ended.err.is_empty(), "{ended:?}");
}

#[test]
fn a_failed_job_is_started_again_as_often_as_was_asked() {
    let mesh = Mesh::up(&[]);
    let (cli, api) = (mesh.cli(), mesh.api());
    let count = mesh.file("count");
    let script = "echo x >> $0; test $(wc -l < $0) -ge 3";
    let count = count.to_str().unwrap();
    cli.submit(&["--name", "third-time", "--retries", "5"], &["sh", "-c", script, count]);
    let job = api.reaches("third-time", JobState::Succeeded);
    assert_eq!((job.attempts, job.exit_code), (3, Some(0)));
    cli.submit(&["--name", "never", "--retries", "1"], &["sh", "-c", "exit 5"]);
    let job = api.reaches("never", JobState::Failed);
    assert_eq!((job.attempts, job.exit_code), (2, Some(5)));
}

#[test]
fn a_cancelled_job_is_told_politely_and_then_it_is_over() {
    let mesh = Mesh::up(&[]);
    let (cli, api) = (mesh.cli(), mesh.api());
    let script = "trap 'echo tidied up; exit 0' TERM; echo ready; while :; do sleep 0.05; done";
    cli.submit(&["--name", "polite"], &["sh", "-c", script]);
    let mut logs = cli.follow(&["logs", "-f", "polite"]);
    logs.until("the program", PATIENCE, |line| line == "ready");
    cli.ok(&["cancel", "polite"]);
    // the shell may say beside it that its sleep was ended too
    let lines = logs.end(PATIENCE).lines();
    assert!(lines.iter().any(|line| line == "tidied up"), "{lines:?}");
    api.reaches("polite", JobState::Cancelled);
    cli.ok(&["cancel", "polite"]);
    cli.ok(&["delete", "polite"]);
    assert_eq!(api.names(), Vec::<String>::new());
    assert_eq!(cli.run(&["get", "polite"]).code, 8);
}
