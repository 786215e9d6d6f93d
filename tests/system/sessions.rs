//! What a person's session is worth, and when it ends.

use std::time::{Duration, Instant};

use crater_api::user::v1::auth_service_client::AuthServiceClient;
use crater_api::user::v1::{LogoutRequest, RefreshTokenRequest, TokenPair, WhoAmIRequest};
use tonic::{Code, Status};

use crate::harness::{Api, Cli, Follower, Mesh, PATIENCE, tools, until};

/// What a suspension or a revocation may take.
const AT_ONCE: Duration = Duration::from_secs(5);

fn refresh(api: &Api, token: &str) -> Result<TokenPair, Status> {
    let request = RefreshTokenRequest { refresh_token: token.into() };
    let answer = api.call(request, |c, r| async move { AuthServiceClient::new(c).refresh_token(r).await });
    answer.map(|a| a.tokens.unwrap())
}

fn who_am_i(api: &Api) -> Result<String, Status> {
    let answer =
        api.call(WhoAmIRequest {}, |c, r| async move { AuthServiceClient::new(c).who_am_i(r).await });
    answer.map(|a| a.user.unwrap().name)
}

#[test]
fn the_second_use_of_a_refresh_token_ends_the_whole_session() {
    let mesh = Mesh::up(&[]);
    let mut api = mesh.api();
    let other = mesh.api();
    let first = api.tokens.refresh_token.clone();
    api.tokens = refresh(&api, &first).unwrap();
    assert_eq!(who_am_i(&api).unwrap(), "users/admin");
    assert_eq!(refresh(&api, &first).unwrap_err().code(), Code::Unauthenticated);
    let second = api.tokens.refresh_token.clone();
    assert_eq!(refresh(&api, &second).unwrap_err().code(), Code::Unauthenticated, "the family is revoked");
    let refused =
        until("the access token of the revoked session is refused", AT_ONCE, || who_am_i(&api).err());
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert_eq!(who_am_i(&other).unwrap(), "users/admin", "another session of the same user goes on");
}

#[test]
fn logout_ends_the_session_and_no_other() {
    let mesh = Mesh::up(&[]);
    let (api, other) = (mesh.api(), mesh.api());
    api.call(LogoutRequest {}, |c, r| async move { AuthServiceClient::new(c).logout(r).await }).unwrap();
    until("the access token is refused", AT_ONCE, || who_am_i(&api).err());
    assert_eq!(refresh(&api, &api.tokens.refresh_token).unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(who_am_i(&other).unwrap(), "users/admin");
}

#[test]
fn a_suspension_cuts_open_streams_within_five_seconds() {
    let mesh = Mesh::up(&[]);
    let admin = mesh.cli();
    let create = ["user", "create", "bob", "-A", "default", "--password-stdin"];
    admin.run_with(&create, "a password of bob\n").ok();
    let bob = Cli::sign_in(&mesh.url, "bob", "a password of bob");
    let api = Api::sign_in(&mesh.url, "bob", "a password of bob");
    bob.submit(&["--name", "long"], &["sleep", "300"]);

    let mut ls = bob.follow(&["ls", "--watch"]);
    ls.until("bob's job", PATIENCE, |line| line.contains("long"));
    let parent = "{\"parent\": \"accounts/default\"}";
    let args = ["-d", parent, mesh.address(), "crater.job.v1.JobService/WatchJobs"];
    let mut watch = Follower::start(&mut tools::grpcurl(Some(&api.tokens.access_token), &args));
    watch.until("the first bookmark", PATIENCE, |line| line.contains("\"bookmark\""));
    let logs = bob.follow(&["logs", "-f", "long"]);

    let suspended = Instant::now();
    admin.ok(&["user", "suspend", "bob"]);
    let ended = watch.end(AT_ONCE);
    assert!(ended.code != 0 && ended.err.contains("Unauthenticated"), "{ended:?}");
    for ended in [ls.end(AT_ONCE), logs.end(AT_ONCE)] {
        assert_eq!(ended.code, 6, "{ended:?}");
    }
    assert!(suspended.elapsed() < AT_ONCE + Duration::from_secs(1), "{:?}", suspended.elapsed());
    assert_eq!(bob.run(&["ls"]).code, 6);
    let login = ["login", "--server", &mesh.url, "--user", "bob", "--password-stdin"];
    assert_eq!(bob.run_with(&login, "a password of bob\n").code, 6);

    admin.ok(&["user", "resume", "bob"]);
    bob.run_with(&login, "a password of bob\n").ok();
    assert!(bob.ok(&["ls"]).contains("long"), "the job of a suspended user is not lost");
}

#[test]
fn a_lost_membership_and_a_deletion_act_on_open_streams_within_five_seconds() {
    let mesh = Mesh::up(&[]);
    let admin = mesh.cli();
    admin.ok(&["account", "create", "lab"]);
    for user in ["bob", "eve"] {
        let create = ["user", "create", user, "-A", "lab", "--password-stdin"];
        admin.run_with(&create, "a good password\n").ok();
    }
    let bob = Cli::sign_in(&mesh.url, "bob", "a good password");
    let eve = Cli::sign_in(&mesh.url, "eve", "a good password");
    bob.submit(&["--name", "long"], &["sleep", "300"]);
    let mut watches =
        [bob.follow(&["ls", "--watch", "-A", "lab"]), eve.follow(&["ls", "--watch", "-A", "lab"])];
    for watch in &mut watches {
        watch.until("the job", PATIENCE, |line| line.contains("long"));
    }
    let [bobs, eves] = watches;
    assert_eq!(admin.ok(&["member", "ls", "-A", "lab", "-o", "name"]), "users/bob\nusers/eve\n");

    admin.ok(&["member", "rm", "bob", "-A", "lab"]);
    let ended = bobs.end(AT_ONCE);
    assert_eq!(ended.code, 8, "an account that one is not in is as absent: {ended:?}");
    admin.ok(&["user", "delete", "eve"]);
    let ended = eves.end(AT_ONCE);
    assert_eq!(ended.code, 6, "{ended:?}");
    assert_eq!(bob.run(&["member", "ls", "-A", "lab"]).code, 8);
    assert_eq!(admin.run_with(&["user", "create", "eve", "--password-stdin"], "a good password\n").code, 9);
}

#[test]
fn one_changes_ones_password_and_acts_where_one_switched_to() {
    let mesh = Mesh::up(&[]);
    let admin = mesh.cli();
    for account in ["lab", "den"] {
        admin.ok(&["account", "create", account]);
    }
    let create = ["user", "create", "bob", "-A", "lab", "-A", "den", "--password-stdin"];
    admin.run_with(&create, "a good password\n").ok();
    let bob = Cli::sign_in(&mesh.url, "bob", "a good password");
    let other = Cli::sign_in(&mesh.url, "bob", "a good password");
    assert_eq!(bob.ok(&["account", "-o", "name"]), "accounts/den\n");
    bob.ok(&["account", "switch", "lab"]);
    assert_eq!(other.ok(&["account", "-o", "name"]), "accounts/lab\n");
    bob.submit(&["--name", "mine"], &["true"]);
    assert!(bob.ok(&["get", "mine", "-o", "name"]).starts_with("accounts/lab/"));
    assert_eq!(bob.run(&["account", "switch", "default"]).code, 8);

    let passwd = ["passwd", "--password-stdin"];
    assert_eq!(bob.run_with(&passwd, "a good password\n").code, 2);
    assert_eq!(bob.run_with(&passwd, "wrong password\na better password\n").code, 2);
    bob.run_with(&passwd, "a good password\na better password\n").ok();
    bob.ok(&["whoami"]);
    until("the other session is over", AT_ONCE, || (other.run(&["whoami"]).code == 6).then_some(()));
    let login = ["login", "--server", &mesh.url, "--user", "bob", "--password-stdin"];
    assert_eq!(other.run_with(&login, "a good password\n").code, 6);
    other.run_with(&login, "a better password\n").ok();
}

#[test]
fn another_accounts_job_and_an_absent_one_answer_alike() {
    let mesh = Mesh::up(&[]);
    let admin = mesh.cli();
    admin.ok(&["account", "create", "lab"]);
    admin.run_with(&["user", "create", "eve", "-A", "lab", "--password-stdin"], "a password of eve\n").ok();
    let eve = Cli::sign_in(&mesh.url, "eve", "a password of eve");
    admin.submit(&["--name", "secret", "--account", "default"], &["true"]);
    for verb in ["get", "logs", "why", "cancel", "delete", "events"] {
        let there = eve.run(&[verb, "default/secret"]);
        let absent = eve.run(&[verb, "default/nowhere"]);
        assert_ne!(there.code, 0, "{verb}: {there:?}");
        assert_eq!(there.code, absent.code, "{verb}: {there:?} {absent:?}");
        assert_eq!(there.err.replace("secret", "nowhere"), absent.err, "{verb}");
    }
    assert!(!eve.ok(&["ls"]).contains("secret"));
    assert_ne!(eve.run(&["submit", "--account", "default", "--", "true"]).code, 0);
    let create = ["user", "create", "mallory", "--password-stdin"];
    assert_eq!(eve.run_with(&create, "a password of mallory\n").code, 6);
}
