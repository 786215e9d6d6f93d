//! The streams.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crater_api::user::v1 as pb;
use crater_api::user::v1::identity_service_client::IdentityServiceClient;
use crater_api::user::v1::watch_identities_response::Event;
use crater_api::user::v1::watch_revocations_response::Event as Revoked;
use tonic::Streaming;

use crate::house::{House, PASSWORD, new_user, news, next, signed, suspend};

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

async fn heard(stream: &mut Streaming<pb::WatchRevocationsResponse>) -> Revoked {
    let message = tokio::time::timeout(Duration::from_secs(10), stream.message()).await;
    message.expect("no event").unwrap().expect("the stream ended").event.unwrap()
}

/// The next revocation, past heartbeats.
async fn revocation(stream: &mut Streaming<pb::WatchRevocationsResponse>) -> pb::Revocation {
    loop {
        match heard(stream).await {
            Revoked::Heartbeat(_) => {}
            Revoked::Revocation(revocation) => return revocation,
            other => panic!("{other:?}"),
        }
    }
}

/// All that a new watcher hears, by user.
async fn snapshot(house: &House) -> BTreeMap<String, pb::Revocation> {
    let mut stream = house.watch_revocations().await;
    assert!(matches!(heard(&mut stream).await, Revoked::SnapshotStart(_)));
    let mut all = BTreeMap::new();
    loop {
        match heard(&mut stream).await {
            Revoked::Revocation(r) => assert!(all.insert(r.user.clone(), r).is_none()),
            Revoked::Synced(_) => return all,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn which_tokens_are_refused_is_told_while_any_of_them_is_in_date() {
    let house = House::new().await;
    let admin = house.login("admin").await;
    for id in ["ann", "bob", "cy", "dan", "eve"] {
        house.user(&admin, id, false).await;
    }
    assert!(snapshot(&house).await.is_empty());
    let mut stream = house.watch_revocations().await;
    while !matches!(heard(&mut stream).await, Revoked::Synced(_)) {}
    let mut users = house.users();
    let of = |user: &str, all, epoch| pb::Revocation {
        user: format!("users/{user}"),
        all,
        epoch,
        sessions: vec![],
    };
    let without_sessions = |r: pb::Revocation| pb::Revocation { sessions: vec![], ..r };

    users.update_user(signed(&admin, suspend("users/ann", pb::UserState::Suspended))).await.unwrap();
    assert_eq!(revocation(&mut stream).await, of("ann", true, 2));
    let request = pb::DeleteUserRequest { name: "users/bob".into(), ..Default::default() };
    users.delete_user(signed(&admin, request)).await.unwrap();
    assert_eq!(revocation(&mut stream).await, of("bob", true, 2));
    let request = pb::ResetPasswordRequest {
        name: "users/cy".into(),
        new_password: "another password".into(),
        ..Default::default()
    };
    users.reset_password(signed(&admin, request)).await.unwrap();
    assert_eq!(revocation(&mut stream).await, of("cy", false, 2));
    let dan = house.login("dan").await;
    house.auth().logout(signed(&dan, pb::LogoutRequest {})).await.unwrap();
    let told = revocation(&mut stream).await;
    assert_eq!((told.sessions.len(), without_sessions(told)), (1, of("dan", false, 1)));
    users.update_user(signed(&admin, suspend("users/eve", pb::UserState::Suspended))).await.unwrap();
    assert_eq!(revocation(&mut stream).await, of("eve", true, 2));
    users.update_user(signed(&admin, suspend("users/eve", pb::UserState::Active))).await.unwrap();
    assert_eq!(revocation(&mut stream).await, of("eve", false, 2), "what was refused is lifted");
    assert!(matches!(heard(&mut stream).await, Revoked::Heartbeat(_)));

    let all = snapshot(&house).await;
    let told: Vec<_> = all.values().map(|r| (r.user.as_str(), r.all, r.epoch, r.sessions.len())).collect();
    let expected = [
        ("users/ann", true, 2, 0),
        ("users/bob", true, 2, 0),
        ("users/cy", false, 2, 0),
        ("users/dan", false, 1, 1),
        ("users/eve", false, 2, 0),
    ];
    assert_eq!(told, expected);
    // when the last token of before has ended by itself, only who is suspended is still worth a word
    house.ahead.store(12 * 60, Ordering::SeqCst);
    assert_eq!(snapshot(&house).await.into_keys().collect::<Vec<_>>(), ["users/ann"]);
    assert!(house.try_login("cy", PASSWORD).await.is_err());
}
