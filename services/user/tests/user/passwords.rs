//! Passwords: changed by their owner, set anew by an admin.

use std::time::Duration;

use crater_api::status::from_status;
use crater_api::user::v1 as pb;
use crater_domain::Code;
use tonic::Status;

use crate::house::{House, PASSWORD, eventually, fields, new_user, reason, request_id, signed};

const NEW: &str = "battery staple";

fn change(current: &str, new: &str) -> pb::ChangePasswordRequest {
    pb::ChangePasswordRequest {
        current_password: current.into(),
        new_password: new.into(),
        request_id: request_id(),
    }
}

async fn changed(
    house: &House,
    by: &pb::TokenPair,
    request: pb::ChangePasswordRequest,
) -> Result<(), Status> {
    house.auth().change_password(signed(by, request)).await.map(drop)
}

#[tokio::test]
async fn a_new_password_ends_every_session_but_the_one_that_set_it() {
    let house = House::new().await;
    let (own, other) = (house.login("admin").await, house.login("admin").await);
    changed(&house, &own, change(PASSWORD, NEW)).await.unwrap();

    assert_eq!(reason(&house.refresh(&other.refresh_token).await.unwrap_err()), "SESSION_ENDED");
    eventually(async || house.who_am_i(&other).await.is_err_and(|s| reason(&s) == "SESSION_REVOKED")).await;
    // a copy of the access token is worth nothing, even of the caller's own session, which goes on with its refresh
    eventually(async || house.who_am_i(&own).await.is_err_and(|s| reason(&s) == "SESSION_REVOKED")).await;
    let own = house.refresh(&own.refresh_token).await.unwrap();
    house.who_am_i(&own).await.unwrap();

    assert_eq!(reason(&house.try_login("admin", PASSWORD).await.unwrap_err()), "WRONG_CREDENTIALS");
    let again = house.try_login("admin", NEW).await.unwrap();
    house.who_am_i(&again).await.unwrap();
}

#[tokio::test]
async fn what_is_wrong_with_a_change_is_named_and_changes_nothing() {
    let house = House::new().await;
    let admin = house.login("admin").await;
    for (request, wrong) in [
        (change("wrong password", NEW), vec!["current_password"]),
        (change("", "short"), vec!["current_password", "new_password"]),
        (change(PASSWORD, &"x".repeat(257)), vec!["new_password"]),
        (change(PASSWORD, PASSWORD), vec!["new_password"]),
        (pb::ChangePasswordRequest { request_id: "1".into(), ..change(PASSWORD, NEW) }, vec!["request_id"]),
    ] {
        let refused = changed(&house, &admin, request).await.unwrap_err();
        assert_eq!((refused.code(), fields(&refused)), (tonic::Code::InvalidArgument, to_owned(&wrong)));
    }
    house.who_am_i(&admin).await.unwrap();
    house.login("admin").await;
}

fn to_owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn guesses_with_an_open_session_are_limited_as_those_at_the_door() {
    let house = House::new().await;
    let admin = house.login("admin").await;
    let mut last = None;
    // on a busy machine a try comes back while the others are used up
    for _ in 0..60 {
        last = changed(&house, &admin, change("wrong password", NEW)).await.err();
        if last.as_ref().is_some_and(|s| s.code() == tonic::Code::ResourceExhausted) {
            break;
        }
    }
    let refused = from_status(&last.unwrap());
    assert_eq!(refused.code, Code::ResourceExhausted);
    assert!(refused.retry_after.is_some_and(|wait| wait > Duration::ZERO && wait <= Duration::from_secs(6)));
}

#[tokio::test]
async fn a_change_whose_answer_was_lost_is_repeated_and_acts_once() {
    let house = House::new().await;
    let mut admin = house.login("admin").await;
    let request = change(PASSWORD, NEW);
    changed(&house, &admin, request.clone()).await.unwrap();
    admin = house.refresh(&admin.refresh_token).await.unwrap();
    let later = house.try_login("admin", NEW).await.unwrap();
    changed(&house, &admin, request.clone()).await.unwrap();
    house.refresh(&later.refresh_token).await.unwrap();
    house.who_am_i(&admin).await.unwrap();
    let other = pb::ChangePasswordRequest { new_password: "something else".into(), ..request };
    assert_eq!(fields(&changed(&house, &admin, other).await.unwrap_err()), ["request_id"]);
}

#[tokio::test]
async fn of_two_changes_at_once_one_wins() {
    let house = House::new().await;
    let admin = house.login("admin").await;
    let (one, two) = tokio::join!(
        changed(&house, &admin, change(PASSWORD, "password one")),
        changed(&house, &admin, change(PASSWORD, "password two")),
    );
    let (won, lost) = match (one, two) {
        (Ok(()), Err(lost)) => ("password one", lost),
        (Err(lost), Ok(())) => ("password two", lost),
        both => panic!("not one winner: {both:?}"),
    };
    // by the etag, by the password, or by the epoch, whichever came first
    let expected = [tonic::Code::Aborted, tonic::Code::InvalidArgument, tonic::Code::Unauthenticated];
    assert!(expected.contains(&lost.code()), "{lost:?}");
    house.try_login("admin", won).await.unwrap();
}

#[tokio::test]
async fn a_password_that_is_set_anew_ends_every_session() {
    let house = House::new().await;
    let admin = house.login("admin").await;
    house.users().create_user(signed(&admin, new_user("ann"))).await.unwrap();
    let ann = house.login("ann").await;
    house.who_am_i(&ann).await.unwrap();
    let request = |user: &str, new: &str| pb::ResetPasswordRequest {
        name: format!("users/{user}"),
        new_password: new.into(),
        request_id: request_id(),
        ..Default::default()
    };
    let set = |request| async {
        let request: pb::ResetPasswordRequest = request;
        house.users().reset_password(signed(&admin, request)).await.map(drop)
    };
    let check = pb::ResetPasswordRequest { validate_only: true, ..request("ann", NEW) };
    set(check).await.unwrap();
    house.login("ann").await;

    let first = request("ann", NEW);
    set(first.clone()).await.unwrap();
    eventually(async || house.who_am_i(&ann).await.is_err_and(|s| reason(&s) == "SESSION_REVOKED")).await;
    assert_eq!(reason(&house.refresh(&ann.refresh_token).await.unwrap_err()), "SESSION_ENDED");
    assert!(house.try_login("ann", PASSWORD).await.is_err());
    let fresh = house.try_login("ann", NEW).await.unwrap();
    set(first.clone()).await.unwrap();
    house.refresh(&fresh.refresh_token).await.unwrap();
    let other = pb::ResetPasswordRequest { new_password: "something else".into(), ..first };
    assert_eq!(fields(&set(other).await.unwrap_err()), ["request_id"]);

    assert_eq!(set(request("nil", NEW)).await.unwrap_err().code(), tonic::Code::NotFound);
    assert_eq!(fields(&set(request("Nil", "short")).await.unwrap_err()), ["name", "new_password"]);
    assert_eq!(reason(&set(request("admin", NEW)).await.unwrap_err()), "OWN_PASSWORD");
    house.login("admin").await;
}
