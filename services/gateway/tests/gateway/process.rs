//! The gateway as a process: what it says of bad flags, and how it leaves.

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

use crate::door::within;

fn gateway(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_crater-gateway"));
    command
        .args(arguments)
        .env("RUST_BACKTRACE", "0")
        .env_remove("CRATER_LOG")
        .env("CRATER_LOG_FORMAT", "json");
    command
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const TARGETS: [&str; 8] = [
    "--user",
    "http://127.0.0.1:1",
    "--quota",
    "http://127.0.0.1:1",
    "--job",
    "http://127.0.0.1:1",
    "--scheduling",
    "http://127.0.0.1:1",
];

#[test]
fn what_is_wrong_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("gateway.toml");
    std::fs::write(&config, "lisen = 1\n").unwrap();
    let absent = dir.path().join("mesh.key");
    let (config, absent) = (config.to_str().unwrap(), absent.to_str().unwrap());
    let with_targets =
        |more: &[&'static str]| TARGETS.iter().copied().chain(more.iter().copied()).collect::<Vec<_>>();
    for (arguments, named) in [
        (vec![], "user"),
        (vec!["--config", config], "lisen"),
        (vec!["--listen", "nowhere"], "--listen"),
        (vec!["--user", "ftp://a"], "--user"),
        (vec!["--tls-key", "a.pem"], "--tls-certificate"),
        (with_targets(&[]), "mesh-key"),
        ([&TARGETS[..], &["--mesh-key", absent]].concat(), absent),
    ] {
        let output = gateway(&arguments).output().unwrap();
        assert!(!output.status.success());
        assert!(text(&output).contains(named), "{arguments:?}: {}", text(&output));
    }
}

#[tokio::test]
async fn it_leaves_cleanly_on_sigterm() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("mesh.key");
    crater_auth::MeshKey::load_or_create(&key).unwrap();
    let listen = ["--listen", "127.0.0.1:0", "--mesh-key", key.to_str().unwrap()];
    let mut child = gateway(&[&TARGETS[..], &listen].concat()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let left = tokio::task::spawn_blocking(move || {
        let listens = lines.any(|line| line.unwrap().contains("\"message\":\"listening\""));
        assert!(listens, "it says that it listens, in JSON");
        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        // The pipe is read to its end so that the process never waits for us.
        lines.for_each(drop);
        child.wait().unwrap()
    });
    assert!(within(left).await.unwrap().success());
}
