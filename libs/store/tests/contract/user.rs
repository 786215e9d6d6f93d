//! The laws of the user service's tables.

use crater_domain::{AccountId, UserId};
use crater_store::user::{
    self, AccountFilter, Member, NewAccount, NewUser, Presented, Session, UserChange, UserFilter,
};
use crater_store::{Conn, Error, Result, Service, Tx};
use uuid::Uuid;

use crate::house::{House, on_both};

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

#[tokio::test]
async fn what_is_deleted_is_gone_and_its_id_is_never_given_again() {
    with_db(|c| {
        for (account, parent) in [("lab", None), ("sub", Some("lab")), ("den", None)] {
            user::create_account(c, &new_account(account, parent))?;
        }
        for name in [ANN, "bob"] {
            user::create_user(c, &new_user(name))?;
            for account in ["lab", "den"] {
                let account = account.parse().unwrap();
                user::add_member(c, &Member { account, user: id(name), manager: false })?;
            }
        }
        user::open_session(c, &session(ANN), &[1; 32], 10)?;
        user::set_acting_account(c, &id("bob"), &lab())?;
        let before = user::changes_since(c, 0, 0)?.revision;

        assert!(user::has_accounts_below(c, &lab())?);
        assert!(matches!(user::delete_user(c, &id(ANN), Some(7), 20), Err(Error::Conflict(_))));
        user::delete_user(c, &id(ANN), Some(1), 20)?;
        assert_eq!(user::user(c, &id(ANN))?, None);
        assert_eq!(user::lock_user(c, &id(ANN))?, None);
        assert_eq!(user::password_hash(c, &id(ANN))?, None);
        assert_eq!(user::members_of(c, &id(ANN))?, []);
        assert!(matches!(user::present(c, &[1; 32], 21)?, Presented::Ended(_)));
        assert!(user::is_user_id_used(c, &id(ANN))?);
        let again = user::create_user(c, &new_user(ANN));
        assert!(matches!(again, Err(Error::Deleted { what }) if what == "users/ann"));
        assert!(matches!(user::delete_user(c, &id(ANN), None, 20), Err(Error::NotFound(_))));

        user::delete_account(c, &"sub".parse().unwrap(), None, 20)?;
        assert!(!user::has_accounts_below(c, &lab())?);
        assert!(user::has_members(c, &lab())?);
        assert!(matches!(user::delete_account(c, &lab(), Some(7), 20), Err(Error::Conflict(_))));
        user::delete_account(c, &lab(), Some(1), 20)?;
        assert_eq!(user::account(c, &lab())?, None);
        assert_eq!(user::acting_account(c, &id("bob"))?, None);
        assert_eq!(user::account_tree(c)?.len(), 1);
        let again = user::create_account(c, &new_account("lab", None));
        assert!(matches!(again, Err(Error::Deleted { what }) if what == "accounts/lab"));
        let below = user::create_account(c, &new_account("new", Some("lab")));
        assert!(matches!(below, Err(Error::NotFound(_))));

        let news = user::changes_since(c, before, 0)?;
        assert_eq!(news.deleted_users, [id(ANN)]);
        assert_eq!(news.deleted_accounts.iter().map(AccountId::as_str).collect::<Vec<_>>(), ["sub", "lab"]);
        let told: Vec<_> = news.identities.iter().map(|i| (i.user.id.as_str(), i.members.len())).collect();
        assert_eq!(told, [("bob", 1)], "who was in a deleted account is told of anew");
        let whole = user::changes_since(c, 0, 0)?;
        assert_eq!(
            (whole.deleted_users.len(), whole.deleted_accounts.len(), whole.accounts.len()),
            (0, 2, 1)
        );
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_new_password_ends_the_sessions_and_refuses_who_was_checked_against_the_old_one() {
    with_db(|c| {
        user::create_user(c, &new_user(ANN))?;
        let own = Uuid::from_u128(8);
        user::open_session(c, &session(ANN), &[1; 32], 10)?;
        user::open_session(c, &Session { id: own, ..session(ANN) }, &[2; 32], 10)?;
        assert_eq!(user::sign_in(c, &id(ANN), "hash", 11)?.unwrap().last_login_ms, Some(11));
        // the same moment again changes nothing in the row, and is a login all the same
        assert!(user::sign_in(c, &id(ANN), "hash", 11)?.is_some());
        assert_eq!(user::sign_in(c, &id("bob"), "hash", 11)?, None);

        let stale = user::set_password(c, &id(ANN), Some("other"), "new", Some(own), 20);
        assert!(matches!(stale, Err(Error::Conflict(_))));
        user::set_password(c, &id(ANN), Some("hash"), "new", Some(own), 20)?;
        assert_eq!(user::user(c, &id(ANN))?.unwrap().epoch, 2);
        assert!(matches!(user::present(c, &[1; 32], 21)?, Presented::Ended(_)));
        assert!(matches!(user::present(c, &[2; 32], 21)?, Presented::Good(_)));
        assert_eq!(user::sign_in(c, &id(ANN), "hash", 22)?, None);
        assert!(user::sign_in(c, &id(ANN), "new", 22)?.is_some());
        user::set_password(c, &id(ANN), None, "newer", None, 23)?;
        assert!(matches!(user::present(c, &[2; 32], 24)?, Presented::Ended(_)));
        let suspend = UserChange { suspended: Some(true), ..UserChange::default() };
        user::update_user(c, &id(ANN), &suspend, None, 25)?;
        assert_eq!(user::sign_in(c, &id(ANN), "newer", 26)?, None);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn users_are_found_by_what_they_are_called_in_any_case() {
    with_db(|c| {
        for (name, display_name) in [("ann", "Änne 100%"), ("bob", "B_b"), ("cy", "Straße")] {
            user::create_user(c, &NewUser { display_name: display_name.into(), ..new_user(name) })?;
        }
        let suspend = UserChange { suspended: Some(true), ..UserChange::default() };
        user::update_user(c, &id("cy"), &suspend, None, 9)?;
        let mut found = |query: &str, suspended: Option<bool>, after: &str, limit| {
            let filter = UserFilter { suspended, query: query.into() };
            let users = user::list_users(c, &filter, after, limit)?;
            Ok::<_, Error>(users.iter().map(|u| u.id.to_string()).collect::<Vec<_>>())
        };
        for (query, expected) in [
            ("", vec!["ann", "bob", "cy"]),
            ("äNNE", vec!["ann"]),
            ("anne", vec![]),
            ("0%", vec!["ann"]),
            ("_", vec!["bob"]),
            ("STRASSE", vec![]),
            ("straße", vec!["cy"]),
            ("N", vec!["ann"]),
        ] {
            assert_eq!(found(query, None, "", 9)?, expected, "{query}");
        }
        assert_eq!(found("", Some(true), "", 9)?, ["cy"]);
        assert_eq!(found("", Some(false), "ann", 9)?, ["bob"]);
        assert_eq!(found("", None, "", 2)?, ["ann", "bob"]);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn accounts_and_members_are_listed_from_where_one_stopped() {
    with_db(|c| {
        for (account, parent) in [("uni", None), ("lab", Some("uni")), ("den", Some("uni"))] {
            user::create_account(c, &new_account(account, parent))?;
        }
        for name in ["ann", "bob", "cy"] {
            user::create_user(c, &new_user(name))?;
            user::add_member(c, &Member { account: lab(), user: id(name), manager: name == "cy" })?;
        }
        let mut ids = |member: Option<&str>, parent: Option<&str>, after: &str, limit| {
            let filter = AccountFilter { member: member.map(id), parent: parent.map(|p| p.parse().unwrap()) };
            let accounts = user::list_accounts(c, &filter, after, limit)?;
            Ok::<_, Error>(accounts.iter().map(|a| a.id.to_string()).collect::<Vec<_>>())
        };
        assert_eq!(ids(None, None, "", 9)?, ["den", "lab", "uni"]);
        assert_eq!(ids(None, None, "den", 1)?, ["lab"]);
        assert_eq!(ids(None, Some("uni"), "", 9)?, ["den", "lab"]);
        assert_eq!(ids(Some("ann"), None, "", 9)?, ["lab"]);
        assert_eq!(ids(Some("ann"), Some("lab"), "", 9)?, [""; 0]);
        let members = user::list_members(c, &lab(), "ann", 9)?;
        let told: Vec<_> = members.iter().map(|m| (m.member.user.as_str(), m.member.manager)).collect();
        assert_eq!(told, [("bob", false), ("cy", true)]);
        assert!(user::remove_member(c, &lab(), &id("bob"))?);
        assert!(!user::remove_member(c, &lab(), &id("bob"))?);
        assert_eq!(user::list_members(c, &lab(), "", 1)?.len(), 1);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn only_what_may_still_be_in_date_is_revoked() {
    with_db(|c| {
        for name in ["ann", "bob", "cy", "dan"] {
            user::create_user(c, &new_user(name))?;
        }
        let suspend = UserChange { suspended: Some(true), ..UserChange::default() };
        user::update_user(c, &id("ann"), &suspend, None, 20)?;
        user::delete_user(c, &id("bob"), None, 20)?;
        user::open_session(c, &session("cy"), &[1; 32], 10)?;
        user::revoke_session(c, &id("cy"), SESSION, 30)?;
        let (revision, all) = user::revocations_since(c, 0, 19)?;
        let told: Vec<_> = all.iter().map(|r| (r.user.as_str(), r.all, r.epoch, r.sessions.len())).collect();
        assert_eq!(told, [("ann", true, 2, 0), ("bob", true, 2, 0), ("cy", false, 1, 1)]);
        let later: Vec<_> = user::revocations_since(c, 0, 25)?.1.into_iter().map(|r| r.user).collect();
        assert_eq!(later, [id("ann"), id("cy")]);
        assert_eq!(user::revocations_since(c, revision, 19)?, (revision, vec![]));
        let resume = UserChange { suspended: Some(false), ..UserChange::default() };
        user::update_user(c, &id("ann"), &resume, None, 40)?;
        let news = user::revocations_since(c, revision, 35)?.1;
        assert_eq!((news.len(), news[0].user.as_str(), news[0].all, news[0].epoch), (1, "ann", false, 2));
        Ok(())
    })
    .await;
}

on_both! {
    async fn who_takes_the_lock_first_decides_by_what_stays_true(house: House) {
        let db = house.open(Service::User).await;
        let made = db.transaction(Tx::Bootstrap, |c| {
            for name in ["ann", "bob"] {
                user::create_user(c, &NewUser { platform_admin: true, ..new_user(name) })?;
            }
            Ok::<_, Error>(())
        });
        made.await.unwrap();
        for round in 0..10 {
            // each demotes the other if it is still an admin itself
            let demote = |me: &'static str, other: &'static str| {
                db.transaction(Tx::UpdateUser, move |c| {
                    // what is read before the lock is worth nothing
                    user::user(c, &id(me))?;
                    user::lock(c)?;
                    if !user::user(c, &id(me))?.unwrap().platform_admin {
                        return Ok(false);
                    }
                    let demoted = UserChange { platform_admin: Some(false), ..UserChange::default() };
                    user::update_user(c, &id(other), &demoted, None, 9)?;
                    Ok::<_, Error>(true)
                })
            };
            let (one, two) = tokio::join!(demote("ann", "bob"), demote("bob", "ann"));
            assert_ne!(one.unwrap(), two.unwrap(), "round {round}");
            let again = db.transaction(Tx::UpdateUser, |c| {
                let admin = UserChange { platform_admin: Some(true), ..UserChange::default() };
                for name in ["ann", "bob"] {
                    user::update_user(c, &id(name), &admin, None, 9)?;
                }
                Ok::<_, Error>(())
            });
            again.await.unwrap();
        }
    }
}
