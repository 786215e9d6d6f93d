//! Users.

use crater_api::user::v1 as pb;
use crater_api::user::v1::watch_identities_response::Event;

use crate::house::{
    House, PASSWORD, eventually, fields, mask, new_user, news, next, reason, request_id, signed, suspend,
};

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

async fn users(house: &House, admin: &pb::TokenPair, request: pb::ListUsersRequest) -> pb::ListUsersResponse {
    house.users().list_users(signed(admin, request)).await.unwrap().into_inner()
}

fn names(page: &pb::ListUsersResponse) -> Vec<&str> {
    page.users.iter().map(|u| u.name.as_str()).collect()
}

#[tokio::test]
async fn users_are_listed_by_pages_by_state_and_by_what_they_are_called() {
    let house = House::new().await;
    let admin = house.login("admin").await;
    for id in ["ann", "bob", "cy", "dan"] {
        house.user(&admin, id, false).await;
    }
    let rename = pb::UpdateUserRequest {
        user: Some(pb::User {
            name: "users/cy".into(),
            display_name: "Ärztin_100%".into(),
            ..Default::default()
        }),
        update_mask: mask(&["display_name"]),
        ..Default::default()
    };
    house.users().update_user(signed(&admin, rename)).await.unwrap();
    house.users().update_user(signed(&admin, suspend("users/bob", pb::UserState::Suspended))).await.unwrap();

    let first = users(&house, &admin, pb::ListUsersRequest { page_size: 2, ..Default::default() }).await;
    assert_eq!(names(&first), ["users/admin", "users/ann"]);
    // one who comes between two pages hides nobody
    house.user(&admin, "anna", false).await;
    let token = first.next_page_token;
    let request = pb::ListUsersRequest { page_size: 3, page_token: token.clone(), ..Default::default() };
    let second = users(&house, &admin, request).await;
    assert_eq!(names(&second), ["users/anna", "users/bob", "users/cy"]);
    let request =
        pb::ListUsersRequest { page_size: 2, page_token: second.next_page_token, ..Default::default() };
    let last = users(&house, &admin, request).await;
    assert_eq!((names(&last), last.next_page_token.as_str()), (vec!["users/dan"], ""));

    let of = |state: pb::UserState| pb::ListUsersRequest { state: state.into(), ..Default::default() };
    assert_eq!(names(&users(&house, &admin, of(pb::UserState::Suspended)).await), ["users/bob"]);
    assert_eq!(users(&house, &admin, of(pb::UserState::Active)).await.users.len(), 5);
    for (query, found) in [
        ("AN", vec!["users/ann", "users/anna", "users/dan"]),
        ("äRZT", vec!["users/cy"]),
        ("n_1", vec!["users/cy"]),
        ("00%", vec!["users/cy"]),
        ("%", vec!["users/cy"]),
        ("a_", vec![]),
        ("nobody", vec![]),
    ] {
        let request = pb::ListUsersRequest { query: query.into(), ..Default::default() };
        assert_eq!(names(&users(&house, &admin, request).await), found, "{query}");
    }

    let wrong = |request| async { house.users().list_users(signed(&admin, request)).await.unwrap_err() };
    let other = pb::ListUsersRequest { page_token: token, query: "a".into(), ..Default::default() };
    assert_eq!(fields(&wrong(other).await), ["page_token"]);
    assert_eq!(
        fields(&wrong(pb::ListUsersRequest { page_size: -1, ..Default::default() }).await),
        ["page_size"]
    );
    let long = pb::ListUsersRequest { query: "x".repeat(121), state: 9, ..Default::default() };
    assert_eq!(fields(&wrong(long).await), ["query", "state"]);
}

#[tokio::test]
async fn one_sees_oneself_and_those_whom_one_manages_and_only_admins_see_the_last_login() {
    let house = House::new().await;
    let admin = house.login("admin").await;
    for id in ["ann", "mia", "bob"] {
        house.user(&admin, id, false).await;
    }
    for id in ["lab", "den"] {
        house.account(&admin, id, "").await;
        house.join(&admin, id, "ann", pb::MemberRole::Member).await;
    }
    house.join(&admin, "lab", "mia", pb::MemberRole::Manager).await;
    house.join(&admin, "den", "mia", pb::MemberRole::Member).await;
    house.join(&admin, "lab", "bob", pb::MemberRole::Member).await;
    assert_eq!(house.get_user(&admin, "ann").await.unwrap().user.unwrap().last_login_time, None);
    let (ann, mia) = (house.login("ann").await, house.login("mia").await);

    let own = house.get_user(&ann, "ann").await.unwrap();
    assert_eq!((own.memberships.len(), own.user.unwrap().last_login_time), (2, None));
    let managed = house.get_user(&mia, "ann").await.unwrap();
    assert_eq!(managed.memberships.len(), 1, "of another account a manager learns nothing");
    assert_eq!(managed.memberships[0].account, "accounts/lab");
    assert_eq!(managed.user.unwrap().last_login_time, None);
    let full = house.get_user(&admin, "ann").await.unwrap();
    let seconds = full.user.unwrap().last_login_time.unwrap().seconds;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!(now - u64::try_from(seconds).unwrap() < 60);
    assert_eq!(full.memberships.len(), 2);

    // a colleague's and an absent one read alike
    let (there, absent) =
        (house.get_user(&ann, "bob").await.unwrap_err(), house.get_user(&ann, "nil").await.unwrap_err());
    assert_eq!(there.code(), tonic::Code::NotFound);
    assert_eq!(there.message().replace("bob", "nil"), absent.message());
    assert_eq!(reason(&there), reason(&absent));
}

#[tokio::test]
async fn who_is_suspended_twice_is_suspended_and_comes_back_by_a_reinstatement() {
    let house = House::new().await;
    let admin = house.login("admin").await;
    let made = house.user(&admin, "ann", false).await;
    let ann = house.login("ann").await;
    let mut users = house.users();
    let request = |etag: &str| pb::SuspendUserRequest {
        name: "users/ann".into(),
        etag: etag.into(),
        request_id: request_id(),
        ..Default::default()
    };
    let check = pb::SuspendUserRequest { validate_only: true, ..request(&made.etag) };
    users.suspend_user(signed(&admin, check)).await.unwrap();
    house.refresh(&ann.refresh_token).await.unwrap();

    let first = request(&made.etag);
    let told = users.suspend_user(signed(&admin, first.clone())).await.unwrap().into_inner().user.unwrap();
    assert_eq!(told.state(), pb::UserState::Suspended);
    let again = users.suspend_user(signed(&admin, first.clone())).await.unwrap().into_inner().user.unwrap();
    assert_eq!(again, told);
    let stale = users.suspend_user(signed(&admin, request(&made.etag))).await.unwrap_err();
    assert_eq!(reason(&stale), "STALE_ETAG");
    let twice = users.suspend_user(signed(&admin, request(""))).await.unwrap().into_inner().user.unwrap();
    assert_eq!(twice.etag, told.etag);
    assert_eq!(reason(&house.try_login("ann", PASSWORD).await.unwrap_err()), "USER_SUSPENDED");

    let back = |etag: &str| pb::ReinstateUserRequest {
        name: "users/ann".into(),
        etag: etag.into(),
        request_id: request_id(),
        ..Default::default()
    };
    let stale = users.reinstate_user(signed(&admin, back(&made.etag))).await.unwrap_err();
    assert_eq!(reason(&stale), "STALE_ETAG");
    let check = pb::ReinstateUserRequest { validate_only: true, ..back("") };
    users.reinstate_user(signed(&admin, check)).await.unwrap();
    assert!(house.try_login("ann", PASSWORD).await.is_err(), "a check let somebody in");
    let request = back(&told.etag);
    let told =
        users.reinstate_user(signed(&admin, request.clone())).await.unwrap().into_inner().user.unwrap();
    assert_eq!(told.state(), pb::UserState::Active);
    users.reinstate_user(signed(&admin, request)).await.unwrap();
    house.login("ann").await;
}

#[tokio::test]
async fn a_deleted_user_is_gone_and_the_id_is_never_given_again() {
    let house = House::new().await;
    let admin = house.login("admin").await;
    let made =
        house.users().create_user(signed(&admin, new_user("ann"))).await.unwrap().into_inner().user.unwrap();
    let ann = house.login("ann").await;
    house.who_am_i(&ann).await.unwrap();
    let mut stream = house.watch().await;
    while !matches!(next(&mut stream).await, Event::Synced(_)) {}
    let mut users = house.users();
    let request = |etag: &str| pb::DeleteUserRequest {
        name: "users/ann".into(),
        etag: etag.into(),
        request_id: request_id(),
        ..Default::default()
    };
    let stale = users.delete_user(signed(&admin, request("v9"))).await.unwrap_err();
    assert_eq!(reason(&stale), "STALE_ETAG");
    let check = pb::DeleteUserRequest { validate_only: true, ..request("") };
    users.delete_user(signed(&admin, check)).await.unwrap();
    house.get_user(&admin, "ann").await.unwrap();

    let first = request(&made.etag);
    users.delete_user(signed(&admin, first.clone())).await.unwrap();
    users.delete_user(signed(&admin, first)).await.unwrap();
    assert_eq!(
        users.delete_user(signed(&admin, request(""))).await.unwrap_err().code(),
        tonic::Code::NotFound
    );
    assert!(matches!(news(&mut stream).await, Event::DeletedUser(name) if name == "users/ann"));
    eventually(async || house.who_am_i(&ann).await.is_err_and(|s| reason(&s) == "USER_UNKNOWN")).await;
    assert_eq!(reason(&house.refresh(&ann.refresh_token).await.unwrap_err()), "SESSION_ENDED");
    assert_eq!(reason(&house.try_login("ann", PASSWORD).await.unwrap_err()), "WRONG_CREDENTIALS");
    assert_eq!(house.get_user(&admin, "ann").await.unwrap_err().code(), tonic::Code::NotFound);
    assert_eq!(house.members(&admin, "default").await.unwrap(), ["admin"]);
    assert_eq!(names(&self::users(&house, &admin, pb::ListUsersRequest::default()).await), ["users/admin"]);

    let again = users.create_user(signed(&admin, new_user("ann"))).await.unwrap_err();
    assert_eq!((again.code(), reason(&again).as_str()), (tonic::Code::AlreadyExists, "ID_DELETED"));
    let there = users.create_user(signed(&admin, new_user("admin"))).await.unwrap_err();
    assert_eq!((there.code(), reason(&there).as_str()), (tonic::Code::AlreadyExists, "ALREADY_EXISTS"));
    // the snapshot of one who comes later does not name the dead
    let mut stream = house.watch().await;
    loop {
        match next(&mut stream).await {
            Event::Synced(_) => break,
            Event::DeletedUser(name) => panic!("{name}"),
            Event::Identity(i) => assert_eq!(i.user.unwrap().name, "users/admin"),
            _ => {}
        }
    }
}

#[tokio::test]
async fn no_admin_shuts_itself_out_and_another_one_can() {
    let house = House::new().await;
    let admin = house.login("admin").await;
    house.user(&admin, "root", true).await;
    let root = house.login("root").await;
    let mut users = house.users();
    let name = || "users/admin".to_owned();
    let suspended = pb::SuspendUserRequest { name: name(), ..Default::default() };
    let deleted = pb::DeleteUserRequest { name: name(), ..Default::default() };
    let demoted = pb::UpdateUserRequest {
        user: Some(pb::User { name: name(), ..Default::default() }),
        update_mask: mask(&["platform_admin"]),
        ..Default::default()
    };
    let refusals = [
        users.suspend_user(signed(&admin, suspended)).await.map(drop),
        users.delete_user(signed(&admin, deleted.clone())).await.map(drop),
        users.update_user(signed(&admin, demoted)).await.map(drop),
    ];
    for refused in refusals {
        let refused = refused.unwrap_err();
        assert_eq!(
            (refused.code(), reason(&refused).as_str()),
            (tonic::Code::FailedPrecondition, "LAST_ADMIN")
        );
    }
    users.delete_user(signed(&root, deleted)).await.unwrap();
    // a restart does not bring the first user back
    let house = house.restart().await;
    assert_eq!(reason(&house.try_login("admin", PASSWORD).await.unwrap_err()), "WRONG_CREDENTIALS");
    house.login("root").await;
}
