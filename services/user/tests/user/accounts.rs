//! Accounts, who is in them, and where one acts.

use crater_api::user::v1 as pb;
use crater_api::user::v1::watch_identities_response::Event;
use tonic::Status;

use crate::house::{
    House, eventually, fields, mask, new_account, news, next, place, reason, request_id, signed,
};

const MEMBER: pb::MemberRole = pb::MemberRole::Member;

fn moved(id: &str, parent: &str) -> pb::UpdateAccountRequest {
    pb::UpdateAccountRequest {
        account: Some(pb::Account {
            name: format!("accounts/{id}"),
            parent: parent.into(),
            display_name: "Renamed".into(),
            ..Default::default()
        }),
        update_mask: mask(&["parent"]),
        request_id: request_id(),
        ..Default::default()
    }
}

fn deletion(id: &str, force: bool) -> pb::DeleteAccountRequest {
    let name = format!("accounts/{id}");
    pb::DeleteAccountRequest { name, force, request_id: request_id(), ..Default::default() }
}

async fn listed(
    house: &House,
    by: &pb::TokenPair,
    request: pb::ListAccountsRequest,
) -> (Vec<String>, String) {
    let page = house.users().list_accounts(signed(by, request)).await.unwrap().into_inner();
    (page.accounts.into_iter().map(|a| a.name.replace("accounts/", "")).collect(), page.next_page_token)
}

async fn update(
    house: &House,
    by: &pb::TokenPair,
    request: pb::UpdateAccountRequest,
) -> Result<pb::Account, Status> {
    Ok(house.users().update_account(signed(by, request)).await?.into_inner().account.unwrap())
}

#[tokio::test]
async fn one_lists_the_accounts_that_one_is_in_and_an_admin_all() {
    let house = House::new().await;
    let admin = house.login("admin").await;
    house.user(&admin, "ann", false).await;
    for (id, parent) in [("uni", ""), ("lab", "uni"), ("den", "uni"), ("lone", "")] {
        house.account(&admin, id, parent).await;
    }
    for id in ["lab", "lone"] {
        house.join(&admin, id, "ann", MEMBER).await;
    }
    let ann = house.login("ann").await;
    let all = pb::ListAccountsRequest::default();
    assert_eq!(listed(&house, &ann, all.clone()).await.0, ["lab", "lone"]);
    assert_eq!(listed(&house, &admin, all).await.0, ["default", "den", "lab", "lone", "uni"]);
    let below = pb::ListAccountsRequest { parent: "accounts/uni".into(), ..Default::default() };
    assert_eq!(listed(&house, &admin, below.clone()).await.0, ["den", "lab"]);
    assert_eq!(listed(&house, &ann, below.clone()).await.0, ["lab"]);

    let first = pb::ListAccountsRequest { page_size: 3, ..Default::default() };
    let (page, token) = listed(&house, &admin, first).await;
    assert_eq!(page, ["default", "den", "lab"]);
    let rest = pb::ListAccountsRequest { page_token: token.clone(), ..Default::default() };
    assert_eq!(listed(&house, &admin, rest).await, (vec!["lone".into(), "uni".into()], String::new()));
    let other = pb::ListAccountsRequest { page_token: token, ..below };
    let refused = house.users().list_accounts(signed(&admin, other)).await.unwrap_err();
    assert_eq!(fields(&refused), ["page_token"]);
    let wrong = pb::ListAccountsRequest { parent: "uni".into(), ..Default::default() };
    assert_eq!(fields(&house.users().list_accounts(signed(&admin, wrong)).await.unwrap_err()), ["parent"]);
}

#[tokio::test]
async fn an_account_moves_in_the_tree_but_never_below_itself() {
    let house = House::new().await;
    let admin = house.login("admin").await;
    for (id, parent) in [("top", ""), ("mid", "top"), ("low", "mid")] {
        house.account(&admin, id, parent).await;
    }
    for parent in ["accounts/top", "accounts/mid", "accounts/low", "accounts/nil", "top"] {
        let refused = update(&house, &admin, moved("top", parent)).await.unwrap_err();
        assert_eq!(fields(&refused), ["account.parent"], "{parent}");
    }
    let request = moved("low", "accounts/top");
    let low = update(&house, &admin, request.clone()).await.unwrap();
    assert_eq!(
        (low.parent.as_str(), low.display_name.as_str()),
        ("accounts/top", "low"),
        "only the mask counts"
    );
    assert_eq!(update(&house, &admin, request).await.unwrap(), low);
    let mut stale = moved("low", "");
    stale.account.as_mut().unwrap().etag = "v1".into();
    assert_eq!(reason(&update(&house, &admin, stale.clone()).await.unwrap_err()), "STALE_ETAG");
    stale.account.as_mut().unwrap().etag.clone_from(&low.etag);
    stale.validate_only = true;
    assert_eq!(update(&house, &admin, stale.clone()).await.unwrap().parent, "");
    assert_eq!(house.get_account(&admin, "low").await.unwrap(), low, "a check wrote something");
    stale.validate_only = false;
    stale.update_mask = mask(&["parent", "display_name"]);
    let low = update(&house, &admin, stale).await.unwrap();
    assert_eq!((low.parent.as_str(), low.display_name.as_str()), ("", "Renamed"));
    // what was above it may come below it now
    assert_eq!(update(&house, &admin, moved("top", "accounts/low")).await.unwrap().parent, "accounts/low");

    for paths in [&[][..], &["namespace"]] {
        let request = pb::UpdateAccountRequest { update_mask: mask(paths), ..moved("low", "") };
        assert_eq!(fields(&update(&house, &admin, request).await.unwrap_err()), ["update_mask"]);
    }
    let absent = update(&house, &admin, moved("nil", "")).await.unwrap_err();
    assert_eq!(absent.code(), tonic::Code::NotFound);
}

#[tokio::test]
async fn the_tree_is_not_deeper_than_sixteen() {
    let house = House::new().await;
    let admin = house.login("admin").await;
    let mut above = String::new();
    for n in 1..=16 {
        above = house.account(&admin, &format!("a{n}"), &above).await.name.replace("accounts/", "");
    }
    let request = new_account("deeper", "a16");
    let refused = house.users().create_account(signed(&admin, request)).await.unwrap_err();
    assert_eq!(fields(&refused), ["account.parent"]);
    house.account(&admin, "lone", "").await;
    let refused = update(&house, &admin, moved("a1", "accounts/lone")).await.unwrap_err();
    assert_eq!(fields(&refused), ["account.parent"]);
    update(&house, &admin, moved("a2", "accounts/lone")).await.unwrap();
}

#[tokio::test]
async fn a_deleted_account_is_gone_for_good_and_everybody_hears_of_it_whenever_they_come() {
    let house = House::new().await;
    let admin = house.login("admin").await;
    house.user(&admin, "ann", false).await;
    house.account(&admin, "lab", "").await;
    house.account(&admin, "sub", "lab").await;
    house.join(&admin, "lab", "ann", MEMBER).await;
    let ann = house.login("ann").await;
    let mut users = house.users();
    let mut stream = house.watch().await;
    while !matches!(next(&mut stream).await, Event::Synced(_)) {}

    let refused = users.delete_account(signed(&admin, deletion("lab", true))).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (tonic::Code::FailedPrecondition, "ACCOUNT_HAS_ACCOUNTS")
    );
    users.delete_account(signed(&admin, deletion("sub", false))).await.unwrap();
    assert!(matches!(news(&mut stream).await, Event::DeletedAccount(name) if name == "accounts/sub"));
    let refused = users.delete_account(signed(&admin, deletion("lab", false))).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (tonic::Code::FailedPrecondition, "ACCOUNT_HAS_MEMBERS")
    );
    let stale = pb::DeleteAccountRequest { etag: "v9".into(), ..deletion("lab", true) };
    assert_eq!(reason(&users.delete_account(signed(&admin, stale)).await.unwrap_err()), "STALE_ETAG");
    let check = pb::DeleteAccountRequest { validate_only: true, ..deletion("lab", true) };
    users.delete_account(signed(&admin, check)).await.unwrap();
    assert_eq!(house.members(&ann, "lab").await.unwrap(), ["ann"]);

    let request = deletion("lab", true);
    users.delete_account(signed(&admin, request.clone())).await.unwrap();
    users.delete_account(signed(&admin, request)).await.unwrap();
    assert!(matches!(news(&mut stream).await, Event::DeletedAccount(name) if name == "accounts/lab"));
    match news(&mut stream).await {
        Event::Identity(i) => {
            assert_eq!((i.user.unwrap().name.as_str(), i.memberships.len()), ("users/ann", 0))
        }
        other => panic!("{other:?}"),
    }
    for by in [&ann, &admin] {
        assert_eq!(house.get_account(by, "lab").await.unwrap_err().code(), tonic::Code::NotFound);
    }
    let gone = users.delete_account(signed(&admin, deletion("lab", true))).await.unwrap_err();
    assert_eq!(gone.code(), tonic::Code::NotFound);
    let gone = users.add_member(signed(&admin, place("lab", "ann", MEMBER))).await.unwrap_err();
    assert_eq!(gone.code(), tonic::Code::NotFound);
    assert_eq!(house.who_am_i(&ann).await.unwrap().memberships, []);
    let again = users.create_account(signed(&admin, new_account("lab", ""))).await.unwrap_err();
    assert_eq!((again.code(), reason(&again).as_str()), (tonic::Code::AlreadyExists, "ID_DELETED"));
    let below = users.create_account(signed(&admin, new_account("new", "lab"))).await.unwrap_err();
    assert_eq!(fields(&below), ["account.parent"]);

    let mut stream = house.watch().await;
    let mut deleted = Vec::new();
    loop {
        match next(&mut stream).await {
            Event::Synced(_) => break,
            Event::DeletedAccount(name) => deleted.push(name),
            Event::Account(account) => assert_eq!(account.name, "accounts/default"),
            _ => {}
        }
    }
    assert_eq!(deleted, ["accounts/sub", "accounts/lab"]);
    let seen = house.authority.directory();
    eventually(async || seen.deleted_accounts().iter().map(|a| a.as_str()).eq(["lab", "sub"])).await;
}

#[tokio::test]
async fn members_are_listed_by_pages_with_their_state_and_can_be_taken_out() {
    let house = House::new().await;
    let admin = house.login("admin").await;
    house.account(&admin, "lab", "").await;
    for id in ["ann", "bob", "cy"] {
        house.user(&admin, id, false).await;
        house.join(&admin, "lab", id, MEMBER).await;
    }
    house.join(&admin, "lab", "cy", pb::MemberRole::Manager).await;
    let request = pb::SuspendUserRequest { name: "users/bob".into(), ..Default::default() };
    house.users().suspend_user(signed(&admin, request)).await.unwrap();
    let (ann, cy) = (house.login("ann").await, house.login("cy").await);
    let list = |page_size, page_token: &str| {
        let request = pb::ListMembersRequest {
            parent: "accounts/lab".into(),
            page_size,
            page_token: page_token.into(),
        };
        let request = signed(&ann, request);
        async { house.users().list_members(request).await.unwrap().into_inner() }
    };
    let first = list(2, "").await;
    let second = list(2, &first.next_page_token).await;
    assert_eq!(second.next_page_token, "");
    let all: Vec<_> = first.members.iter().chain(&second.members).collect();
    let told: Vec<_> = all
        .iter()
        .map(|m| {
            (m.membership.as_ref().unwrap().user.as_str(), m.membership.as_ref().unwrap().role(), m.state())
        })
        .collect();
    assert_eq!(
        told,
        [
            ("users/ann", MEMBER, pb::UserState::Active),
            ("users/bob", MEMBER, pb::UserState::Suspended),
            ("users/cy", pb::MemberRole::Manager, pb::UserState::Active),
        ]
    );

    let removal = |user: &str| pb::RemoveMemberRequest {
        account: "accounts/lab".into(),
        user: format!("users/{user}"),
        request_id: request_id(),
        ..Default::default()
    };
    let remove = |by: &pb::TokenPair, request| {
        let request: tonic::Request<pb::RemoveMemberRequest> = signed(by, request);
        async { house.users().remove_member(request).await.map(drop) }
    };
    assert_eq!(remove(&ann, removal("bob")).await.unwrap_err().code(), tonic::Code::PermissionDenied);
    remove(&cy, pb::RemoveMemberRequest { validate_only: true, ..removal("ann") }).await.unwrap();
    assert_eq!(house.members(&ann, "lab").await.unwrap(), ["ann", "bob", "cy"]);
    let request = removal("ann");
    remove(&cy, request.clone()).await.unwrap();
    // the same request again does not undo what came between
    house.join(&admin, "lab", "ann", MEMBER).await;
    remove(&cy, request.clone()).await.unwrap();
    assert_eq!(house.members(&cy, "lab").await.unwrap(), ["ann", "bob", "cy"]);
    let other = pb::RemoveMemberRequest { user: "users/bob".into(), ..request };
    assert_eq!(fields(&remove(&cy, other).await.unwrap_err()), ["request_id"]);
    for user in ["ann", "ann", "nobody"] {
        remove(&cy, removal(user)).await.unwrap();
    }
    assert_eq!(house.members(&ann, "lab").await.unwrap_err().code(), tonic::Code::NotFound);
    let wrong = remove(&cy, pb::RemoveMemberRequest::default()).await.unwrap_err();
    assert_eq!(fields(&wrong), ["account", "user"]);
}

#[tokio::test]
async fn one_acts_where_one_switched_to_as_long_as_one_is_there() {
    let house = House::new().await;
    let admin = house.login("admin").await;
    house.user(&admin, "ann", false).await;
    let ann = house.login("ann").await;
    let acting = async |by: &pb::TokenPair| house.who_am_i(by).await.unwrap().acting_account;
    let switch = async |by: &pb::TokenPair, account: &str| {
        let request = pb::SwitchAccountRequest { account: account.into() };
        house.auth().switch_account(signed(by, request)).await.map(|r| r.into_inner().acting_account)
    };
    assert_eq!(acting(&ann).await, "", "who is in no account acts in none");
    for id in ["lab", "den"] {
        house.account(&admin, id, "").await;
        house.join(&admin, id, "ann", MEMBER).await;
    }
    assert_eq!(acting(&ann).await, "accounts/den");
    house.join(&admin, "default", "ann", MEMBER).await;
    assert_eq!(acting(&ann).await, "accounts/default");
    for _ in 0..2 {
        assert_eq!(switch(&ann, "accounts/lab").await.unwrap(), "accounts/lab");
    }
    assert_eq!(acting(&ann).await, "accounts/lab");
    assert_eq!(acting(&house.login("ann").await).await, "accounts/lab", "it holds in every session");

    // out of it, back in it: what was lost stays lost
    let removal = pb::RemoveMemberRequest {
        account: "accounts/lab".into(),
        user: "users/ann".into(),
        ..Default::default()
    };
    house.users().remove_member(signed(&admin, removal)).await.unwrap();
    assert_eq!(acting(&ann).await, "accounts/default");
    house.join(&admin, "lab", "ann", MEMBER).await;
    assert_eq!(acting(&ann).await, "accounts/default");
    switch(&ann, "accounts/lab").await.unwrap();
    house.users().delete_account(signed(&admin, deletion("lab", true))).await.unwrap();
    assert_eq!(acting(&ann).await, "accounts/default");
    assert_eq!(fields(&switch(&ann, "den").await.unwrap_err()), ["account"]);

    // an admin may act in any account that is there
    house.account(&admin, "far", "").await;
    switch(&admin, "accounts/far").await.unwrap();
    assert_eq!(acting(&admin).await, "accounts/far");
    house.users().delete_account(signed(&admin, deletion("far", false))).await.unwrap();
    assert_eq!(acting(&admin).await, "accounts/default");
}
