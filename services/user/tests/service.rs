//! The laws of the user service, through real gRPC over an in-process channel.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so by failing")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use crater_api::status::from_status;
use crater_api::user::v1 as pb;
use crater_api::user::v1::auth_service_client::AuthServiceClient;
use crater_api::user::v1::identity_service_client::IdentityServiceClient;
use crater_api::user::v1::user_service_client::UserServiceClient;
use crater_api::user::v1::watch_identities_response::Event;
use crater_auth::{Authority, MeshKey};
use crater_domain::Code;
use crater_mariadb::{again_on_mariadb, database_for};
use crater_service::{Bind, Channel, InProcess, Running, Shutdown, Target};
use crater_user::{Config, Deps, build};
use tempfile::TempDir;
use tonic::{Request, Status, Streaming};

const PASSWORD: &str = "correct horse";

struct House {
    channel: Channel,
    authority: Authority,
    ahead: Arc<AtomicU64>,
    running: Option<Running>,
    dir: TempDir,
}

type Auth = AuthServiceClient<Channel>;
type Users = UserServiceClient<Channel>;

impl House {
    async fn new() -> Self {
        Self::on(TempDir::new().unwrap()).await
    }

    async fn on(dir: TempDir) -> Self {
        let authority = Authority::new(MeshKey::generate().unwrap());
        let mut deps = Deps::new(authority.clone(), database_for(dir.path()).parse().unwrap());
        let ahead = Arc::new(AtomicU64::new(0));
        let seconds = ahead.clone();
        deps.clock =
            Arc::new(move || SystemTime::now() + Duration::from_secs(seconds.load(Ordering::SeqCst)));
        let service = build(Config::default(), deps).await.unwrap();
        service.app().bootstrap_admin(PASSWORD.into()).await.unwrap();
        let place = InProcess::new("user");
        let channel = Target::InProcess(place.clone()).channel().unwrap();
        let readiness = service.readiness().clone();
        let running = service.spawn(Bind::InProcess(place), Shutdown::new()).await.unwrap();
        tokio::time::timeout(Duration::from_secs(10), readiness.ready()).await.unwrap();
        Self { channel, authority, ahead, running: Some(running), dir }
    }

    async fn restart(mut self) -> Self {
        self.running.take().unwrap().stop().await.unwrap();
        Self::on(self.dir).await
    }

    fn auth(&self) -> Auth {
        Auth::new(self.channel.clone())
    }

    fn users(&self) -> Users {
        Users::new(self.channel.clone())
    }

    async fn login(&self, user: &str) -> pb::TokenPair {
        self.try_login(user, PASSWORD).await.unwrap()
    }

    async fn try_login(&self, user: &str, password: &str) -> Result<pb::TokenPair, Status> {
        let request = pb::LoginRequest { user_id: user.into(), password: password.into() };
        Ok(self.auth().login(request).await?.into_inner().tokens.unwrap())
    }

    async fn refresh(&self, token: &str) -> Result<pb::TokenPair, Status> {
        let request = pb::RefreshTokenRequest { refresh_token: token.into() };
        Ok(self.auth().refresh_token(request).await?.into_inner().tokens.unwrap())
    }

    async fn who_am_i(&self, tokens: &pb::TokenPair) -> Result<pb::WhoAmIResponse, Status> {
        Ok(self.auth().who_am_i(signed(tokens, pb::WhoAmIRequest {})).await?.into_inner())
    }

    async fn watch(&self) -> Streaming<pb::WatchIdentitiesResponse> {
        let channel = self.authority.identity("job").channel(self.channel.clone());
        let mut client = IdentityServiceClient::new(channel);
        client.watch_identities(pb::WatchIdentitiesRequest {}).await.unwrap().into_inner()
    }
}

fn signed<T>(tokens: &pb::TokenPair, body: T) -> Request<T> {
    let mut request = Request::new(body);
    let value = format!("Bearer {}", tokens.access_token).parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    request
}

fn new_user(id: &str) -> pb::CreateUserRequest {
    pb::CreateUserRequest {
        user_id: id.into(),
        password: PASSWORD.into(),
        accounts: vec!["accounts/default".into()],
        ..Default::default()
    }
}

fn suspend(user: &str, state: pb::UserState) -> pb::UpdateUserRequest {
    pb::UpdateUserRequest {
        user: Some(pb::User { name: user.into(), state: state.into(), ..Default::default() }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["state".into()] }),
        ..Default::default()
    }
}

fn reason(status: &Status) -> String {
    from_status(status).metadata.get("reason").cloned().unwrap_or_default()
}

fn fields(status: &Status) -> Vec<String> {
    from_status(status).violations.into_iter().map(|v| v.field).collect()
}

async fn next(stream: &mut Streaming<pb::WatchIdentitiesResponse>) -> Event {
    let message = tokio::time::timeout(Duration::from_secs(10), stream.message()).await;
    message.expect("no event").unwrap().expect("the stream ended").event.unwrap()
}

/// The next event that is no heartbeat.
async fn news(stream: &mut Streaming<pb::WatchIdentitiesResponse>) -> Event {
    loop {
        match next(stream).await {
            Event::Heartbeat(_) => {}
            event => return event,
        }
    }
}

#[tokio::test]
async fn the_first_user_signs_in_and_is_told_who_it_is() {
    let house = House::new().await;
    let me = house.who_am_i(&house.login("admin").await).await.unwrap();
    let user = me.user.unwrap();
    assert_eq!((user.name.as_str(), user.platform_admin), ("users/admin", true));
    assert_eq!(me.memberships.len(), 1);
    assert_eq!(me.memberships[0].account, "accounts/default");
    assert_eq!(me.memberships[0].role(), pb::MemberRole::Manager);
}

#[tokio::test]
async fn a_restart_keeps_users_keys_and_sessions() {
    let house = House::new().await;
    let tokens = house.login("admin").await;
    let house = house.restart().await;
    house.who_am_i(&tokens).await.unwrap();
    house.refresh(&tokens.refresh_token).await.unwrap();
}

#[tokio::test]
async fn a_wrong_name_and_a_wrong_password_read_alike() {
    let house = House::new().await;
    let absent = house.try_login("nobody", PASSWORD).await.unwrap_err();
    let wrong = house.try_login("admin", "battery staple").await.unwrap_err();
    assert_eq!(absent.code(), tonic::Code::Unauthenticated);
    assert_eq!((absent.code(), absent.message()), (wrong.code(), wrong.message()));
    assert_eq!(reason(&absent), reason(&wrong));
    let malformed = house.try_login("No Body", "").await.unwrap_err();
    assert_eq!(fields(&malformed), ["user_id", "password"]);
}

#[tokio::test]
async fn guesses_are_limited_and_the_wait_is_told() {
    let house = House::new().await;
    let mut last = None;
    for _ in 0..21 {
        last = house.try_login("admin", "wrong password").await.err();
    }
    let refused = from_status(&last.unwrap());
    assert_eq!(refused.code, Code::ResourceExhausted);
    assert!(refused.retry_after.is_some_and(|wait| wait > Duration::ZERO && wait <= Duration::from_secs(6)));
    // the right password does not help before that, and does after it
    assert_eq!(reason(&house.try_login("admin", PASSWORD).await.unwrap_err()), "LOGIN_ATTEMPTS");
    house.ahead.store(7, Ordering::SeqCst);
    house.try_login("admin", PASSWORD).await.unwrap();
}

#[tokio::test]
async fn a_refresh_token_is_good_once_and_its_second_use_ends_the_session() {
    let house = House::new().await;
    let first = house.login("admin").await;
    let other = house.login("admin").await;
    let second = house.refresh(&first.refresh_token).await.unwrap();
    let third = house.refresh(&second.refresh_token).await.unwrap();
    house.who_am_i(&third).await.unwrap();

    let mut stream = house.watch().await;
    while !matches!(next(&mut stream).await, Event::Synced(_)) {}
    let reused = house.refresh(&first.refresh_token).await.unwrap_err();
    assert_eq!(reason(&reused), "REFRESH_TOKEN_REUSED");
    assert_eq!(fields(&reused), ["refresh_token"]);
    // everybody hears of it, and by then the session is over for thief and owner
    assert!(matches!(news(&mut stream).await, Event::Identity(i) if i.revoked_sessions.len() == 1));
    let ended = house.refresh(&third.refresh_token).await.unwrap_err();
    assert_eq!(reason(&ended), "SESSION_ENDED");
    eventually(async || house.who_am_i(&third).await.is_err_and(|s| reason(&s) == "SESSION_REVOKED")).await;
    // and the user's other session goes on
    house.who_am_i(&other).await.unwrap();
    house.refresh(&other.refresh_token).await.unwrap();
}

#[tokio::test]
async fn of_two_uses_at_once_one_wins() {
    let house = House::new().await;
    let first = house.login("admin").await;
    let (one, two) = tokio::join!(house.refresh(&first.refresh_token), house.refresh(&first.refresh_token));
    let lost = match (one, two) {
        (Ok(_), Err(lost)) | (Err(lost), Ok(_)) => lost,
        both => panic!("not one winner: {both:?}"),
    };
    assert_eq!(reason(&lost), "REFRESH_TOKEN_REUSED");
}

#[tokio::test]
async fn a_token_of_the_wrong_kind_is_named() {
    let house = House::new().await;
    let tokens = house.login("admin").await;
    let wrong = house.refresh(&tokens.access_token).await.unwrap_err();
    assert_eq!(wrong.code(), tonic::Code::InvalidArgument);
    assert_eq!(fields(&wrong), ["refresh_token"]);
    assert!(wrong.message().contains("access token"), "{}", wrong.message());
    let forged = format!("{}x", &tokens.refresh_token[..tokens.refresh_token.len() - 2]);
    assert_eq!(fields(&house.refresh(&forged).await.unwrap_err()), ["refresh_token"]);
    let swapped = pb::TokenPair { access_token: tokens.refresh_token.clone(), ..tokens };
    assert_eq!(house.who_am_i(&swapped).await.unwrap_err().code(), tonic::Code::Unauthenticated);
}

#[tokio::test]
async fn a_session_ends_by_itself() {
    let house = House::new().await;
    let tokens = house.login("admin").await;
    house.ahead.store(31 * 24 * 3600, Ordering::SeqCst);
    assert_eq!(reason(&house.refresh(&tokens.refresh_token).await.unwrap_err()), "SESSION_ENDED");
}

#[tokio::test]
async fn after_logout_neither_token_is_good() {
    let house = House::new().await;
    let tokens = house.login("admin").await;
    house.auth().logout(signed(&tokens, pb::LogoutRequest {})).await.unwrap();
    assert_eq!(reason(&house.refresh(&tokens.refresh_token).await.unwrap_err()), "SESSION_ENDED");
    eventually(async || house.who_am_i(&tokens).await.is_err_and(|s| reason(&s) == "SESSION_REVOKED")).await;
}

#[tokio::test]
async fn a_suspended_user_is_refused_and_resumes_with_a_new_sign_in() {
    let house = House::new().await;
    let admin = house.login("admin").await;
    house.users().create_user(signed(&admin, new_user("ann"))).await.unwrap();
    let ann = house.login("ann").await;
    house.who_am_i(&ann).await.unwrap();
    let mut stream = house.watch().await;
    while !matches!(next(&mut stream).await, Event::Synced(_)) {}

    let mut users = house.users();
    let request = suspend("users/ann", pb::UserState::Suspended);
    let told = users.update_user(signed(&admin, request)).await.unwrap().into_inner().user.unwrap();
    assert_eq!(told.state(), pb::UserState::Suspended);
    match news(&mut stream).await {
        Event::Identity(i) => {
            assert_eq!(i.user.as_ref().unwrap().state(), pb::UserState::Suspended);
            assert_eq!(i.epoch, 2);
        }
        other => panic!("{other:?}"),
    }
    eventually(async || house.who_am_i(&ann).await.is_err_and(|s| reason(&s) == "USER_SUSPENDED")).await;
    assert_eq!(reason(&house.try_login("ann", PASSWORD).await.unwrap_err()), "USER_SUSPENDED");
    assert!(house.refresh(&ann.refresh_token).await.is_err());

    users.update_user(signed(&admin, suspend("users/ann", pb::UserState::Active))).await.unwrap();
    let again = house.login("ann").await;
    eventually(async || house.who_am_i(&again).await.is_ok()).await;
    assert_eq!(reason(&house.who_am_i(&ann).await.unwrap_err()), "SESSION_REVOKED", "an old token came back");
    assert!(house.refresh(&ann.refresh_token).await.is_err());
}

#[tokio::test]
async fn no_admin_locks_itself_out() {
    let house = House::new().await;
    let admin = house.login("admin").await;
    let request = suspend("users/admin", pb::UserState::Suspended);
    let refused = house.users().update_user(signed(&admin, request)).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (tonic::Code::FailedPrecondition, "LAST_ADMIN"));
}

#[tokio::test]
async fn the_same_request_acts_once_and_another_body_is_refused() {
    let house = House::new().await;
    let admin = house.login("admin").await;
    let mut users = house.users();
    let request = pb::CreateUserRequest {
        request_id: "0190a2f4-0000-7000-8000-000000000001".into(),
        ..new_user("ann")
    };
    let first = users.create_user(signed(&admin, request.clone())).await.unwrap().into_inner();
    let second = users.create_user(signed(&admin, request.clone())).await.unwrap().into_inner();
    assert_eq!(first, second);
    let other_body = pb::CreateUserRequest { user_id: "bob".into(), ..request.clone() };
    let other_password = pb::CreateUserRequest { password: "another password".into(), ..request.clone() };
    for other in [other_body, other_password] {
        let refused = users.create_user(signed(&admin, other)).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::InvalidArgument);
        assert_eq!(fields(&refused), ["request_id"]);
    }
    let unnamed = pb::CreateUserRequest { request_id: String::new(), ..request.clone() };
    assert_eq!(
        users.create_user(signed(&admin, unnamed)).await.unwrap_err().code(),
        tonic::Code::AlreadyExists
    );
    let garbled = pb::CreateUserRequest { request_id: "1".into(), ..request };
    assert_eq!(fields(&users.create_user(signed(&admin, garbled)).await.unwrap_err()), ["request_id"]);
}

#[tokio::test]
async fn validate_only_checks_and_writes_nothing() {
    let house = House::new().await;
    let admin = house.login("admin").await;
    let mut users = house.users();
    let request_id = "0190a2f4-0000-7000-8000-000000000002".to_owned();
    let check = pb::CreateUserRequest { validate_only: true, request_id, ..new_user("ann") };
    let answer = users.create_user(signed(&admin, check.clone())).await.unwrap().into_inner();
    assert_eq!(answer.user.unwrap().name, "users/ann");
    assert_eq!(reason(&house.try_login("ann", PASSWORD).await.unwrap_err()), "WRONG_CREDENTIALS");
    let bad = pb::CreateUserRequest { accounts: vec!["accounts/none".into()], ..check.clone() };
    assert_eq!(fields(&users.create_user(signed(&admin, bad)).await.unwrap_err()), ["accounts[0]"]);
    // the check did not use the request's name up
    users.create_user(signed(&admin, pb::CreateUserRequest { validate_only: false, ..check })).await.unwrap();
    house.login("ann").await;
}

#[tokio::test]
async fn a_stale_etag_is_refused() {
    let house = House::new().await;
    let admin = house.login("admin").await;
    let mut users = house.users();
    let made = users.create_user(signed(&admin, new_user("ann"))).await.unwrap().into_inner().user.unwrap();
    let rename = |etag: &str, name: &str| pb::UpdateUserRequest {
        user: Some(pb::User {
            name: made.name.clone(),
            display_name: name.into(),
            etag: etag.into(),
            ..Default::default()
        }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["display_name".into()] }),
        ..Default::default()
    };
    users.update_user(signed(&admin, rename(&made.etag, "One"))).await.unwrap();
    for stale in [made.etag.as_str(), "nonsense"] {
        let refused = users.update_user(signed(&admin, rename(stale, "Two"))).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (tonic::Code::Aborted, "STALE_ETAG"));
    }
    let absent = pb::UpdateUserRequest {
        user: Some(pb::User { name: "users/nobody".into(), ..Default::default() }),
        ..rename("", "Two")
    };
    assert_eq!(users.update_user(signed(&admin, absent)).await.unwrap_err().code(), tonic::Code::NotFound);
}

#[tokio::test]
async fn only_admins_make_users_and_a_strangers_account_is_as_absent() {
    let house = House::new().await;
    let admin = house.login("admin").await;
    let mut users = house.users();
    for id in ["ann", "bob"] {
        users.create_user(signed(&admin, new_user(id))).await.unwrap();
    }
    let lab = pb::CreateAccountRequest {
        account_id: "lab".into(),
        account: Some(pb::Account { parent: "accounts/default".into(), ..Default::default() }),
        ..Default::default()
    };
    let made = users.create_account(signed(&admin, lab)).await.unwrap().into_inner().account.unwrap();
    assert_eq!((made.parent.as_str(), made.namespace.as_str()), ("accounts/default", "crater-lab"));

    let ann = house.login("ann").await;
    eventually(async || house.who_am_i(&ann).await.is_ok()).await;
    let refused = users.create_user(signed(&ann, new_user("eve"))).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::PermissionDenied);

    let put = |account: &str, user: &str, role: pb::MemberRole| pb::AddMemberRequest {
        membership: Some(pb::Membership { account: account.into(), user: user.into(), role: role.into() }),
        ..Default::default()
    };
    let member = pb::MemberRole::Member;
    let strangers =
        users.add_member(signed(&ann, put("accounts/lab", "users/bob", member))).await.unwrap_err();
    let absent = users.add_member(signed(&ann, put("accounts/nil", "users/bob", member))).await.unwrap_err();
    assert_eq!(strangers.code(), tonic::Code::NotFound);
    assert_eq!(strangers.message().replace("lab", "nil"), absent.message());
    assert_eq!(reason(&strangers), reason(&absent));
    let own = users.add_member(signed(&ann, put("accounts/default", "users/bob", member))).await.unwrap_err();
    assert_eq!(own.code(), tonic::Code::PermissionDenied, "a member is told that it is no manager");

    users
        .add_member(signed(&admin, put("accounts/lab", "users/ann", pb::MemberRole::Manager)))
        .await
        .unwrap();
    users.add_member(signed(&ann, put("accounts/lab", "users/bob", member))).await.unwrap();
    let nobody = users.add_member(signed(&ann, put("accounts/lab", "users/nil", member))).await.unwrap_err();
    assert_eq!(nobody.code(), tonic::Code::NotFound);
    let bob = house.who_am_i(&house.login("bob").await).await.unwrap();
    let accounts: Vec<_> = bob.memberships.iter().map(|m| m.account.as_str()).collect();
    assert_eq!(accounts, ["accounts/default", "accounts/lab"]);
}

#[tokio::test]
async fn a_watcher_hears_the_whole_then_changes_then_heartbeats() {
    let house = House::new().await;
    let admin = house.login("admin").await;
    let mut stream = house.watch().await;
    assert!(matches!(next(&mut stream).await, Event::SnapshotStart(_)));
    assert!(matches!(next(&mut stream).await, Event::Account(a) if a.name == "accounts/default"));
    assert!(
        matches!(next(&mut stream).await, Event::Identity(i) if i.user.as_ref().unwrap().name == "users/admin")
    );
    assert!(matches!(next(&mut stream).await, Event::Synced(_)));
    house.users().create_user(signed(&admin, new_user("ann"))).await.unwrap();
    match news(&mut stream).await {
        Event::Identity(i) => {
            assert_eq!(i.user.unwrap().name, "users/ann");
            assert_eq!(i.memberships[0].account, "accounts/default");
        }
        other => panic!("{other:?}"),
    }
    let start = std::time::Instant::now();
    assert!(matches!(next(&mut stream).await, Event::Heartbeat(_)));
    assert!(start.elapsed() < Duration::from_secs(4));
}

#[tokio::test]
async fn users_do_not_watch_identities() {
    let house = House::new().await;
    let admin = house.login("admin").await;
    let mut client = IdentityServiceClient::new(house.channel.clone());
    let refused = client.watch_identities(signed(&admin, pb::WatchIdentitiesRequest {})).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::PermissionDenied);
    assert!(client.watch_identities(pb::WatchIdentitiesRequest {}).await.is_err());
}

#[tokio::test]
async fn anybody_can_fetch_the_key_that_a_token_names() {
    use base64::Engine;
    let house = House::new().await;
    let access = house.login("admin").await.access_token;
    let header = access.split('.').next().unwrap();
    let header = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(header).unwrap();
    let header = String::from_utf8(header).unwrap();
    let keys = house.auth().list_signing_keys(pb::ListSigningKeysRequest {}).await.unwrap().into_inner().keys;
    assert_eq!(keys.len(), 1);
    assert_eq!((keys[0].algorithm.as_str(), keys[0].public_key.len()), ("EdDSA", 32));
    assert!(header.contains(&format!("\"{}\"", keys[0].key_id)), "{header}");
}

/// Asks until it is so; the limit is the five seconds in which a suspension must be heard.
async fn eventually(so: impl AsyncFn() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
    while !so().await {
        assert!(tokio::time::Instant::now() < deadline, "not within five seconds");
        tokio::task::yield_now().await;
    }
}

#[test]
fn the_same_laws_hold_on_mariadb() {
    again_on_mariadb(&[
        "token",
        "session",
        "logout",
        "suspended",
        "two_uses",
        "restart",
        "request",
        "etag",
        "watcher",
    ]);
}
