//! The `crater` program against a server of the tests: signing in, renewing tokens, signing out.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so by failing")]

mod common;

use std::path::Path;
use std::process::Stdio;

use common::{Ended, Fake, ended};
use tokio::io::AsyncWriteExt;

async fn login(fake: &Fake, config: &Path, password: &str) -> Ended {
    let args = ["login", "--user", "ann", "--password-stdin"];
    let mut child = fake.signed_out(config, &args).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(password.as_bytes()).await.unwrap();
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_remembered_until_the_logout() {
    let fake = Fake::start().await;
    let config = tempfile::tempdir().unwrap();
    let wrong = login(&fake, config.path(), "guess\n").await;
    assert_eq!((wrong.code, wrong.stderr.as_str()), (Some(6), "crater: login: user or password is wrong\n"));
    let done = login(&fake, config.path(), "pass word\n").await;
    assert_eq!((done.code, done.stdout.as_str()), (Some(0), ""), "{}", done.stderr);

    // the server of the last login is the default
    let who = ended(fake.signed_out(config.path(), &["whoami"]).env_remove("CRATER_SERVER")).await;
    assert_eq!(who.code, Some(0), "{}", who.stderr);
    assert!(who.stdout.contains("ann") && who.stdout.contains("lab, zoo"), "{}", who.stdout);
    // a token is for its server only
    let other = fake.signed_out(config.path(), &["--server", "http://127.0.0.1:1", "whoami"]).output().await;
    assert_eq!(other.unwrap().status.code(), Some(6));

    assert_eq!(ended(&mut fake.signed_out(config.path(), &["logout"])).await.code, Some(0));
    assert_eq!(ended(&mut fake.signed_out(config.path(), &["whoami"])).await.code, Some(6));
    let file = std::fs::read_to_string(config.path().join("sessions.json")).unwrap();
    assert!(!file.contains("access-0") && !file.contains("refresh-0"), "{file}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_commands_at_once_renew_a_token_once() {
    let fake = Fake::start().await;
    let config = tempfile::tempdir().unwrap();
    assert_eq!(login(&fake, config.path(), "pass word").await.code, Some(0));
    // the access token has ended: by the clock of the file, and by the server's
    let path = config.path().join("sessions.json");
    let mut file: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    file["sessions"][&fake.url]["access_expires"] = 0.into();
    std::fs::write(&path, file.to_string()).unwrap();
    fake.state().valid_tokens.clear();

    let mut commands: Vec<_> = (0..8).map(|_| fake.signed_out(config.path(), &["whoami"])).collect();
    let all = futures::future::join_all(commands.iter_mut().map(ended)).await;
    assert!(all.iter().all(|e| e.code == Some(0)), "{all:?}");
    let state = fake.state();
    assert_eq!((state.refreshes, state.family_revoked), (1, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_the_server_refuses_early_is_renewed() {
    let fake = Fake::start().await;
    let config = tempfile::tempdir().unwrap();
    assert_eq!(login(&fake, config.path(), "pass word").await.code, Some(0));
    fake.state().valid_tokens.clear();
    let who = ended(&mut fake.signed_out(config.path(), &["whoami"])).await;
    assert_eq!(who.code, Some(0), "{}", who.stderr);
    assert_eq!(fake.state().refreshes, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_has_ended_asks_for_a_new_login() {
    let fake = Fake::start().await;
    let config = tempfile::tempdir().unwrap();
    assert_eq!(login(&fake, config.path(), "pass word").await.code, Some(0));
    fake.state().valid_tokens.clear();
    fake.state().family_revoked = true;
    let who = ended(&mut fake.signed_out(config.path(), &["whoami"])).await;
    assert_eq!(who.code, Some(6));
    assert!(who.stderr.contains("crater login"), "{}", who.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_only_the_trusted_server_is_spoken_to() {
    let (fake, certificate) = Fake::start_with_tls().await;
    let config = tempfile::tempdir().unwrap();
    let ca = config.path().join("ca.pem");
    std::fs::write(&ca, certificate).unwrap();
    let ca = ca.to_str().unwrap();
    let who = fake.crater(&["whoami", "-o", "name", "--ca", ca]).await;
    assert_eq!((who.code, who.stdout.as_str()), (Some(0), "users/ann\n"), "{}", who.stderr);

    let (other, _) = Fake::start_with_tls().await;
    let who = other.crater(&["whoami", "--ca", ca, "--timeout", "1s"]).await;
    assert_eq!((who.code, who.stdout.as_str()), (Some(124), ""), "{}", who.stderr);
    assert!(who.stderr.contains("certificate"), "{}", who.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_is_named_and_has_its_exit_code() {
    let fake = Fake::start().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{free}");
    let who = fake.crater(&["whoami", "--server", &url]).await;
    assert_eq!(who.code, Some(4));
    let told: Vec<&str> = who.stderr.lines().collect();
    let [trying, last] = told[..] else { panic!("{told:?}") };
    assert!(trying.contains("trying again"), "{trying}");
    assert!(
        last.starts_with(&format!("crater: whoami: {url} does not answer: Connection refused")),
        "{last}"
    );
}
