//! Every method of this service, called by everybody: who gets through, and what a stranger learns.

use std::collections::BTreeSet;
use std::pin::Pin;

use crater_api::access::METHODS;
use crater_api::user::v1 as pb;
use crater_api::user::v1::identity_service_client::IdentityServiceClient;
use tonic::{Code, Request, Status};

use crate::house::{House, PASSWORD, mask, place, reason, request_id};

const MEMBER: pb::MemberRole = pb::MemberRole::Member;

type Answer<'a> = Pin<Box<dyn Future<Output = Result<(), Status>> + 'a>>;
/// Calls a method with a token, if any, about this account.
type Call = for<'a> fn(&'a House, Option<&'a str>, &'a str) -> Answer<'a>;

fn by<T>(token: Option<&str>, body: T) -> Request<T> {
    let mut request = Request::new(body);
    if let Some(token) = token {
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    request
}

macro_rules! call {
    ($client:ident . $method:ident, |$account:ident| $body:expr) => {
        |house, token, $account| {
            let request = by(token, $body);
            Box::pin(async move { house.$client().$method(request).await.map(drop) })
        }
    };
}

fn in_full(account: &str) -> String {
    format!("accounts/{account}")
}

fn ann() -> String {
    "users/ann".to_owned()
}

const OK: Code = Code::Ok;
const NO: Code = Code::Unauthenticated;
const DENIED: Code = Code::PermissionDenied;
const ABSENT: Code = Code::NotFound;
const WRONG: Code = Code::InvalidArgument;

const EVERYBODY: [Code; 6] = [OK; 6];
const SIGNED_IN: [Code; 6] = [NO, OK, OK, OK, OK, NO];
const MEMBERS: [Code; 6] = [NO, ABSENT, OK, OK, OK, NO];
const MANAGERS: [Code; 6] = [NO, ABSENT, DENIED, OK, OK, NO];
const ADMINS: [Code; 6] = [NO, DENIED, DENIED, DENIED, OK, NO];
const SERVICES: [Code; 6] = [NO, DENIED, DENIED, DENIED, DENIED, NO];

/// Each method, what it answers to: nobody, a stranger, a member, a manager, an admin, a suspended member; and a call of it that
/// writes nothing.
fn table() -> Vec<(&'static str, [Code; 6], Call)> {
    vec![
        (
            "Login",
            EVERYBODY,
            call!(auth.login, |_a| pb::LoginRequest { user_id: "admin".into(), password: PASSWORD.into() }),
        ),
        // public: the token in the body is judged, and this one is none
        ("RefreshToken", [WRONG; 6], call!(auth.refresh_token, |_a| pb::RefreshTokenRequest::default())),
        ("ListSigningKeys", EVERYBODY, call!(auth.list_signing_keys, |_a| pb::ListSigningKeysRequest {})),
        ("WhoAmI", SIGNED_IN, call!(auth.who_am_i, |_a| pb::WhoAmIRequest {})),
        // who gets through is told of the wrong password
        (
            "ChangePassword",
            [NO, WRONG, WRONG, WRONG, WRONG, NO],
            call!(auth.change_password, |_a| {
                pb::ChangePasswordRequest {
                    current_password: "wrong password".into(),
                    new_password: "another password".into(),
                    request_id: String::new(),
                }
            }),
        ),
        (
            "SwitchAccount",
            MEMBERS,
            call!(auth.switch_account, |a| pb::SwitchAccountRequest { account: in_full(a) }),
        ),
        (
            "CreateUser",
            ADMINS,
            call!(users.create_user, |_a| pb::CreateUserRequest {
                user_id: "new".into(),
                password: PASSWORD.into(),
                validate_only: true,
                ..Default::default()
            }),
        ),
        (
            "UpdateUser",
            ADMINS,
            call!(users.update_user, |_a| pb::UpdateUserRequest {
                user: Some(pb::User { name: ann(), display_name: "X".into(), ..Default::default() }),
                update_mask: mask(&["display_name"]),
                validate_only: true,
                ..Default::default()
            }),
        ),
        ("GetUser", MEMBERS, call!(users.get_user, |_a| pb::GetUserRequest { name: ann() })),
        ("ListUsers", ADMINS, call!(users.list_users, |_a| pb::ListUsersRequest::default())),
        (
            "SuspendUser",
            ADMINS,
            call!(users.suspend_user, |_a| pb::SuspendUserRequest {
                name: ann(),
                validate_only: true,
                ..Default::default()
            }),
        ),
        (
            "ReinstateUser",
            ADMINS,
            call!(users.reinstate_user, |_a| pb::ReinstateUserRequest {
                name: "users/sue".into(),
                validate_only: true,
                ..Default::default()
            }),
        ),
        (
            "ResetPassword",
            ADMINS,
            call!(users.reset_password, |_a| pb::ResetPasswordRequest {
                name: ann(),
                new_password: "another password".into(),
                validate_only: true,
                ..Default::default()
            }),
        ),
        (
            "DeleteUser",
            ADMINS,
            call!(users.delete_user, |_a| pb::DeleteUserRequest {
                name: ann(),
                validate_only: true,
                ..Default::default()
            }),
        ),
        (
            "CreateAccount",
            ADMINS,
            call!(users.create_account, |_a| pb::CreateAccountRequest {
                account_id: "new".into(),
                validate_only: true,
                ..Default::default()
            }),
        ),
        ("GetAccount", MEMBERS, call!(users.get_account, |a| pb::GetAccountRequest { name: in_full(a) })),
        ("ListAccounts", SIGNED_IN, call!(users.list_accounts, |_a| pb::ListAccountsRequest::default())),
        (
            "UpdateAccount",
            ADMINS,
            call!(users.update_account, |a| pb::UpdateAccountRequest {
                account: Some(pb::Account {
                    name: in_full(a),
                    display_name: "X".into(),
                    ..Default::default()
                }),
                update_mask: mask(&["display_name"]),
                validate_only: true,
                ..Default::default()
            }),
        ),
        (
            "DeleteAccount",
            ADMINS,
            call!(users.delete_account, |a| pb::DeleteAccountRequest {
                name: in_full(a),
                force: true,
                validate_only: true,
                ..Default::default()
            }),
        ),
        (
            "ListMembers",
            MEMBERS,
            call!(users.list_members, |a| pb::ListMembersRequest {
                parent: in_full(a),
                ..Default::default()
            }),
        ),
        (
            "AddMember",
            MANAGERS,
            call!(users.add_member, |a| pb::AddMemberRequest {
                validate_only: true,
                request_id: request_id(),
                ..place(a, "bob", MEMBER)
            }),
        ),
        (
            "RemoveMember",
            MANAGERS,
            call!(users.remove_member, |a| pb::RemoveMemberRequest {
                account: in_full(a),
                user: ann(),
                validate_only: true,
                ..Default::default()
            }),
        ),
        ("WatchIdentities", SERVICES, call!(identities.watch_identities, |_a| pb::WatchIdentitiesRequest {})),
        (
            "WatchRevocations",
            SERVICES,
            call!(identities.watch_revocations, |_a| pb::WatchRevocationsRequest {}),
        ),
        // the last, since it ends the session
        ("Logout", SIGNED_IN, call!(auth.logout, |_a| pb::LogoutRequest {})),
    ]
}

impl House {
    fn identities(&self) -> IdentityServiceClient<crater_service::Channel> {
        IdentityServiceClient::new(self.channel.clone())
    }

    /// Everything that can be read of users, accounts and members.
    async fn everything(&self, admin: &str) -> (Vec<pb::User>, Vec<pb::Account>, Vec<pb::Member>) {
        let mut client = self.users();
        let users = client.list_users(by(Some(admin), pb::ListUsersRequest::default())).await.unwrap();
        let accounts =
            client.list_accounts(by(Some(admin), pb::ListAccountsRequest::default())).await.unwrap();
        let request = pb::ListMembersRequest { parent: "accounts/lab".into(), ..Default::default() };
        let members = client.list_members(by(Some(admin), request)).await.unwrap();
        let mut users = users.into_inner().users;
        // the table signs in
        users.iter_mut().for_each(|u| u.last_login_time = None);
        (users, accounts.into_inner().accounts, members.into_inner().members)
    }
}

/// A house with account `lab`, and the tokens of: nobody, a stranger, a member, a manager, an admin, a suspended member.
async fn house() -> (House, [Option<String>; 6]) {
    let house = House::new().await;
    let admin = house.login("admin").await;
    for (id, account, role) in [
        ("bob", "den", MEMBER),
        ("ann", "lab", MEMBER),
        ("mia", "lab", pb::MemberRole::Manager),
        ("sue", "lab", MEMBER),
    ] {
        if house.get_account(&admin, account).await.is_err() {
            house.account(&admin, account, "").await;
        }
        house.user(&admin, id, false).await;
        house.join(&admin, account, id, role).await;
    }
    let mut tokens = [const { None }; 6];
    for (slot, id) in tokens.iter_mut().skip(1).zip(["bob", "ann", "mia", "admin", "sue"]) {
        *slot = Some(house.login(id).await.access_token);
    }
    let request = pb::SuspendUserRequest { name: "users/sue".into(), ..Default::default() };
    house.users().suspend_user(crate::house::signed(&admin, request)).await.unwrap();
    (house, tokens)
}

#[tokio::test]
async fn every_method_lets_through_only_its_own_and_a_check_writes_nothing() {
    let (house, tokens) = house().await;
    let methods: BTreeSet<&str> = METHODS
        .iter()
        .filter(|m| m.path.starts_with("/crater.user.v1."))
        .map(|m| m.path.rsplit('/').next().unwrap())
        .collect();
    let table = table();
    assert_eq!(
        methods,
        table.iter().map(|row| row.0).collect(),
        "a method of the contract is not in the table"
    );
    let before = house.everything(tokens[4].as_ref().unwrap()).await;
    for (method, expected, call) in &table {
        if *method == "Logout" {
            assert_eq!(
                house.everything(tokens[4].as_ref().unwrap()).await,
                before,
                "a check wrote something"
            );
        }
        for (who, (token, code)) in
            ["nobody", "a stranger", "a member", "a manager", "an admin", "a suspended member"]
                .iter()
                .zip(tokens.iter().zip(expected))
        {
            let answer = call(&house, token.as_deref(), "lab").await;
            let got = answer.as_ref().err().map_or(OK, Status::code);
            assert_eq!(got, *code, "{method} by {who}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn to_a_stranger_an_account_is_as_absent() {
    let (house, tokens) = house().await;
    let stranger = tokens[1].as_deref();
    for (method, expected, call) in table() {
        let there = call(&house, stranger, "lab").await;
        let absent = call(&house, stranger, "nil").await;
        let told = |answer: Result<(), Status>| {
            answer.err().map(|s| (s.code(), reason(&s), s.message().replace("lab", "nil")))
        };
        let (there, absent) = (told(there), told(absent));
        if method == "Logout" {
            // the second call comes after the end of the session
            continue;
        }
        assert_eq!(there.as_ref().map_or(OK, |t| t.0), expected[1], "{method}");
        assert_eq!(there, absent, "{method}");
    }
}
