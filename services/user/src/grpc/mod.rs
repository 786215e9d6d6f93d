//! Parse, call, map. Generated types end here.

mod auth;
mod identity;
mod users;

use crater_api::convert::timestamp;
use crater_api::status::OrStatus;
use crater_api::user::v1 as pb;
use crater_domain::AccountId;
use crater_store::user::{Account, Member, User};
use tonic::{Request, Status};

pub(crate) use identity::known;

use crate::app::{App, Caller};
use crate::parse;

/// The three services over one [`App`].
#[derive(Clone)]
pub struct Grpc(pub App);

fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    Caller::of(&crater_auth::Caller::of(request)?).or_status()
}

/// A user as everybody may see it.
fn user(u: &User) -> pb::User {
    let state = state(u.suspended);
    pb::User {
        name: u.id.resource_name(),
        display_name: u.display_name.clone(),
        state: state.into(),
        platform_admin: u.platform_admin,
        create_time: Some(timestamp(u.created_ms)),
        etag: parse::etag(u.version),
        last_login_time: None,
    }
}

/// A user as platform admins see it.
fn user_in_full(u: &User) -> pb::User {
    pb::User { last_login_time: u.last_login_ms.map(timestamp), ..user(u) }
}

fn state(suspended: bool) -> pb::UserState {
    if suspended { pb::UserState::Suspended } else { pb::UserState::Active }
}

fn account(a: &Account) -> pb::Account {
    pb::Account {
        name: a.id.resource_name(),
        display_name: a.display_name.clone(),
        parent: a.parent.as_ref().map(AccountId::resource_name).unwrap_or_default(),
        namespace: a.id.namespace(),
        create_time: Some(timestamp(a.created_ms)),
        etag: parse::etag(a.version),
    }
}

fn membership(m: &Member) -> pb::Membership {
    let role = if m.manager { pb::MemberRole::Manager } else { pb::MemberRole::Member };
    pb::Membership { account: m.account.resource_name(), user: m.user.resource_name(), role: role.into() }
}
