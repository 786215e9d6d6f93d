//! The laws of the user service's tables.

use crater_domain::{AccountId, UserId};
use crater_store::user::{self, Member, NewAccount, NewUser, Presented, Session, UserChange};
use crater_store::{Conn, Error, Result, Service};
use uuid::Uuid;

const ANN: &str = "ann";
const SESSION: Uuid = Uuid::from_u128(7);

fn id(name: &str) -> UserId {
    name.parse().unwrap()
}

fn lab() -> AccountId {
    "lab".parse().unwrap()
}

fn new_user(name: &str) -> NewUser {
    NewUser {
        id: id(name),
        display_name: "Name".into(),
        platform_admin: false,
        password_hash: "hash".into(),
        created_ms: 5,
    }
}

fn new_account(account: &str, parent: Option<&str>) -> NewAccount {
    NewAccount {
        id: account.parse().unwrap(),
        display_name: String::new(),
        parent: parent.map(|p| p.parse().unwrap()),
        created_ms: 5,
    }
}

fn session(user: &str) -> Session {
    Session { id: SESSION, user: id(user), expires_ms: 1000, revoked_ms: None }
}

async fn with_db(body: impl FnMut(&mut Conn) -> Result<()> + Clone + Send + 'static) {
    crate::house::with_db(Service::User, body).await;
}

#[tokio::test]
async fn a_name_is_given_once() {
    with_db(|c| {
        let made = user::create_user(c, &new_user(ANN))?;
        assert_eq!(user::user(c, &id(ANN))?, Some(made));
        let again = user::create_user(c, &new_user(ANN));
        assert!(matches!(again, Err(Error::AlreadyExists { what }) if what == "users/ann"));
        user::create_account(c, &new_account("lab", None))?;
        let again = user::create_account(c, &new_account("lab", None));
        assert!(matches!(again, Err(Error::AlreadyExists { what }) if what == "accounts/lab"));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_stale_version_changes_nothing() {
    with_db(|c| {
        user::create_user(c, &new_user(ANN))?;
        let change = UserChange { display_name: Some("Ann".into()), ..UserChange::default() };
        let second = user::update_user(c, &id(ANN), &change, Some(1), 9)?;
        assert_eq!((second.version, second.display_name.as_str()), (2, "Ann"));
        let stale = user::update_user(c, &id(ANN), &change, Some(1), 9);
        assert!(matches!(stale, Err(Error::Conflict(_))));
        assert_eq!(user::user(c, &id(ANN))?, Some(second));
        let absent = user::update_user(c, &id("bob"), &change, None, 9);
        assert!(matches!(absent, Err(Error::NotFound(_))));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_refresh_token_is_good_once() {
    with_db(|c| {
        user::create_user(c, &new_user(ANN))?;
        let (first, second) = ([1; 32], [2; 32]);
        user::open_session(c, &session(ANN), &first, 10)?;
        assert_eq!(user::present(c, &[9; 32], 10)?, Presented::Unknown);
        assert_eq!(user::present(c, &first, 10)?, Presented::Good(session(ANN)));
        user::rotate(c, &session(ANN), &first, &second, 10)?;
        assert_eq!(user::present(c, &first, 10)?, Presented::Reused(session(ANN)));
        assert_eq!(user::present(c, &second, 10)?, Presented::Good(session(ANN)));
        assert!(matches!(user::rotate(c, &session(ANN), &first, &[3; 32], 10), Err(Error::Conflict(_))));
        // the session's own end
        assert_eq!(user::present(c, &second, 1000)?, Presented::Ended(session(ANN)));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn an_ended_session_is_told_while_its_tokens_may_live() {
    with_db(|c| {
        user::create_user(c, &new_user(ANN))?;
        user::open_session(c, &session(ANN), &[1; 32], 10)?;
        let before = user::changes_since(c, 0, 0)?.revision;
        assert!(user::revoke_session(c, &id(ANN), SESSION, 20)?);
        assert!(!user::revoke_session(c, &id(ANN), SESSION, 21)?);
        assert!(!user::revoke_session(c, &id("bob"), SESSION, 21)?);
        assert!(matches!(user::present(c, &[1; 32], 22)?, Presented::Ended(_)));
        let told = user::changes_since(c, before, 19)?.identities;
        assert_eq!(told[0].revoked_sessions, [SESSION.to_string()]);
        let later = user::changes_since(c, before, 20)?.identities;
        assert!(later[0].revoked_sessions.is_empty());
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn expired_sessions_are_forgotten() {
    with_db(|c| {
        user::create_user(c, &new_user(ANN))?;
        user::open_session(c, &session(ANN), &[1; 32], 10)?;
        let day = 24 * 3_600_000;
        for (n, now, known) in [(2, 1000 + day, true), (3, 1001 + day, false)] {
            let other = Session { id: Uuid::from_u128(n.into()), expires_ms: now + day, ..session(ANN) };
            user::open_session(c, &other, &[n; 32], now)?;
            assert_eq!(user::present(c, &[1; 32], now)? != Presented::Unknown, known);
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_suspension_begins_an_epoch_and_ends_all_sessions() {
    with_db(|c| {
        user::create_user(c, &new_user(ANN))?;
        user::open_session(c, &session(ANN), &[1; 32], 10)?;
        let suspend = UserChange { suspended: Some(true), ..UserChange::default() };
        let resume = UserChange { suspended: Some(false), ..UserChange::default() };
        assert_eq!(user::update_user(c, &id(ANN), &suspend, None, 20)?.epoch, 2);
        assert_eq!(user::update_user(c, &id(ANN), &suspend, None, 20)?.epoch, 2);
        assert_eq!(user::update_user(c, &id(ANN), &resume, None, 20)?.epoch, 2);
        assert!(matches!(user::present(c, &[1; 32], 22)?, Presented::Ended(_)));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_watcher_is_told_every_change_and_no_other() {
    with_db(|c| {
        user::create_account(c, &new_account("root", None))?;
        user::create_account(c, &new_account("lab", Some("root")))?;
        user::create_user(c, &new_user(ANN))?;
        user::create_user(c, &new_user("bob"))?;
        let all = user::changes_since(c, 0, 0)?;
        let accounts: Vec<_> = all.accounts.iter().map(|a| a.id.as_str()).collect();
        assert_eq!(accounts, ["root", "lab"], "parents before children");
        assert_eq!(all.identities.len(), 2);
        let none = user::changes_since(c, all.revision, 0)?;
        assert!(none.accounts.is_empty() && none.identities.is_empty());

        for manager in [false, true] {
            user::add_member(c, &Member { account: lab(), user: id(ANN), manager })?;
        }
        let some = user::changes_since(c, all.revision, 0)?;
        assert_eq!(some.identities.len(), 1);
        let expected = Member { account: lab(), user: id(ANN), manager: true };
        assert_eq!(some.identities[0].members, std::slice::from_ref(&expected));
        assert_eq!(user::members_of(c, &id(ANN))?, [expected]);
        assert!(some.accounts.is_empty());
        assert!(some.revision > all.revision);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn nobody_joins_what_is_not_there() {
    with_db(|c| {
        user::create_user(c, &new_user(ANN))?;
        let member = Member { account: lab(), user: id(ANN), manager: false };
        assert!(matches!(user::add_member(c, &member), Err(Error::NotFound(what)) if what == "accounts/lab"));
        let orphan = user::create_account(c, &new_account("lab", Some("root")));
        assert!(matches!(orphan, Err(Error::NotFound(what)) if what == "accounts/root"));
        Ok(())
    })
    .await;
}
