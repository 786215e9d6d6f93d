//! How the mesh starts, and how it ends.

use std::net::TcpListener;
use std::time::Duration;

use crater_api::job::v1::JobState;

use crate::harness::{Cli, Ended, Mesh, PASSWORD, PATIENCE, command, is_alive, processes_of, run, until};

fn refused(command: &mut std::process::Command) -> Ended {
    let ended = run(command, "", PATIENCE);
    assert!(ended.code > 0, "{ended:?}");
    assert!(!ended.err.contains("panicked") && !ended.out.contains("Crater is up."), "{ended:?}");
    ended
}

#[test]
fn a_folder_has_one_mesh_at_a_time() {
    let mesh = Mesh::up(&[]);
    let ended = refused(&mut Mesh::command(&mesh.data(), &[]));
    assert!(ended.err.contains("--data") && ended.err.contains("another crater"), "{ended:?}");
    mesh.cli().ok(&["ls"]);
}

#[test]
fn a_taken_port_is_named_by_its_flag() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    for flag in ["--listen", "--kube-listen"] {
        let ended = refused(&mut Mesh::command(&folder.path().join("data"), &[flag, &address]));
        assert!(ended.err.contains(&format!("{flag} {address}")), "{ended:?}");
    }
}

#[test]
fn a_flag_that_makes_no_sense_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a file");
    std::fs::write(&file, "").unwrap();
    let data = folder.path().join("data");
    let table = [
        (vec!["--nodes", "2x8"], "--nodes"),
        (vec!["--nodes", "0x8:A100"], "--nodes"),
        (vec!["--nodes", "no/such/file"], "--nodes"),
        (vec!["--listen", "nowhere"], "--listen"),
        (vec!["--time-scale=-1"], "--time-scale"),
        (vec!["--time-scale", "0"], "--time-scale"),
        (vec!["--time-scale", "NaN"], "--time-scale"),
        (vec!["--kubeconfig", "no/such/file"], "--kubeconfig"),
        (vec!["--database-url", "nonsense://x"], "--database-url"),
        (vec!["--no-such-flag"], "--no-such-flag"),
    ];
    for (args, flag) in table {
        // flags that do not go together would be refused for that
        let ended = refused(command().arg("up").arg("--data").arg(&data).args(&args));
        assert!(ended.err.contains(flag), "{args:?}: {ended:?}");
    }
    let ended = refused(&mut Mesh::command(&file, &[]));
    assert!(ended.err.contains("--data"), "{ended:?}");
}

#[test]
fn sigterm_drains_and_leaves_no_process() {
    let mut mesh = Mesh::up(&[]);
    let (cli, api) = (mesh.cli(), mesh.api());
    let pid_file = mesh.file("pid");
    let script = mesh.write(
        "family.py",
        "import os, subprocess, sys, time\n\
         child = subprocess.Popen(['sleep', '600'])\n\
         open(sys.argv[1] + '.part', 'w').write(f'{os.getpid()} {child.pid}')\n\
         os.rename(sys.argv[1] + '.part', sys.argv[1])\n\
         time.sleep(600)\n",
    );
    cli.submit(&["--name", "family"], &["python3", &script, pid_file.to_str().unwrap()]);
    api.reaches("family", JobState::Running);
    let pids = until("the job's processes", PATIENCE, || std::fs::read_to_string(&pid_file).ok());
    let pids: Vec<i32> = pids.split(' ').map(|pid| pid.parse().unwrap()).collect();
    let mut watch = cli.follow(&["ls", "--watch"]);
    watch.until("the job", PATIENCE, |line| line.contains("family"));
    let (status, took) = mesh.terminate();
    assert!(status.success(), "{status} {}", mesh.log());
    assert!(took < Duration::from_secs(15), "an open stream must not hold the end back: {took:?}");
    for pid in pids {
        until("the end of the job's processes", Duration::from_secs(5), || (!is_alive(pid)).then_some(()));
    }
    assert_eq!(processes_of(&mesh.data()), Vec::<i32>::new());

    // what had not ended starts over
    mesh.start();
    let (cli, api) = (mesh.cli(), mesh.api());
    api.reaches("family", JobState::Running);
    cli.ok(&["cancel", "family"]);
    api.reaches("family", JobState::Cancelled);
}

#[test]
fn a_restart_keeps_users_jobs_and_events() {
    let mut mesh = Mesh::up(&[]);
    let cli = mesh.cli();
    cli.run_with(&["user", "create", "bob", "-A", "default", "--password-stdin"], "a password of bob\n").ok();
    cli.ok(&["submit", "--name", "kept", "--label", "team=blue", "--wait", "--", "echo", "still here"]);
    mesh.terminate();
    mesh.start();
    let bob = Cli::sign_in(&mesh.url, "bob", "a password of bob");
    let job = mesh.api().job("kept");
    assert_eq!((job.state(), job.exit_code), (JobState::Succeeded, Some(0)));
    assert_eq!(job.labels["team"], "blue");
    assert!(bob.ok(&["events", "kept"]).contains("Submitted"));
    assert_eq!(Cli::signed_out().run(&["ls", "--server", &mesh.url]).code, 6);
    let wrong = ["login", "--server", &mesh.url, "--user", "admin", "--password-stdin"];
    assert_eq!(Cli::signed_out().run_with(&wrong, &format!("{PASSWORD}!\n")).code, 6);
}
