//! Signing in and out.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crater_api::status::from_status;
use crater_api::user::v1 as pb;
use crater_api::user::v1::watch_identities_response::Event;
use crater_domain::Code;

use crate::house::{House, PASSWORD, eventually, fields, news, next, reason, signed};

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
