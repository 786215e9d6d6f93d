//! `user` and `account`: for platform admins, and for managers of an account.

use crater_api::user::v1::{
    AddMemberRequest, CreateAccountRequest, CreateUserRequest, MemberRole, Membership, UpdateUserRequest,
    UserState,
};
use prost::Message;

use super::{Context, session};
use crate::cli::{Account, Role, User, UserCreate};
use crate::client::{request_id, users};
use crate::error::Error;
use crate::names;
use crate::output::{Format, message, print};

/// Creates, suspends and resumes users.
pub async fn user(context: &Context, command: User) -> Result<(), Error> {
    let (user, done) = match command {
        User::Create(args) => (create(context, args).await?, "is created"),
        User::Suspend { user } => (set_state(context, &user, UserState::Suspended).await?, "is suspended"),
        User::Resume { user } => (set_state(context, &user, UserState::Active).await?, "may act again"),
    };
    show(context, "crater.user.v1.User", &user, &user.name, done)
}

async fn create(context: &Context, args: UserCreate) -> Result<crater_api::user::v1::User, Error> {
    let name = names::user("USER", &args.user)?;
    let accounts = args.account.iter().map(|a| names::account("--account", a)).collect::<Result<_, _>>()?;
    let password =
        session::read_password(args.password_stdin, &format!("First password of {}: ", args.user))?;
    let user = crater_api::user::v1::User {
        display_name: args.display_name,
        platform_admin: args.admin,
        ..Default::default()
    };
    let request = CreateUserRequest {
        user_id: names::short(&name).to_owned(),
        user: Some(user),
        password,
        accounts,
        request_id: request_id(),
        validate_only: false,
    };
    let answer = context.api.call(request, async |channel, r| users(channel).create_user(r).await).await?;
    answer.user.ok_or(Error::Answer("the user"))
}

async fn set_state(
    context: &Context,
    user: &str,
    state: UserState,
) -> Result<crater_api::user::v1::User, Error> {
    let name = names::user("USER", user)?;
    let request = UpdateUserRequest {
        user: Some(crater_api::user::v1::User { name, state: state.into(), ..Default::default() }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["state".to_owned()] }),
        request_id: request_id(),
        validate_only: false,
    };
    let answer = context.api.call(request, async |channel, r| users(channel).update_user(r).await).await?;
    answer.user.ok_or(Error::Answer("the user"))
}

/// Creates accounts and adds members.
pub async fn account(context: &Context, command: Account) -> Result<(), Error> {
    match command {
        Account::Create { account, display_name, parent } => {
            let name = names::account("ACCOUNT", &account)?;
            let parent = parent.map(|p| names::account("--parent", &p)).transpose()?.unwrap_or_default();
            let request = CreateAccountRequest {
                account_id: names::short(&name).to_owned(),
                account: Some(crater_api::user::v1::Account { display_name, parent, ..Default::default() }),
                request_id: request_id(),
                validate_only: false,
            };
            let answer =
                context.api.call(request, async |channel, r| users(channel).create_account(r).await).await?;
            let account = answer.account.ok_or(Error::Answer("the account"))?;
            show(context, "crater.user.v1.Account", &account, &account.name, "is created")
        }
        Account::AddMember { account, user, role } => {
            let role = match role {
                Role::Member => MemberRole::Member,
                Role::Manager => MemberRole::Manager,
            };
            let membership = Membership {
                account: names::account("ACCOUNT", &account)?,
                user: names::user("USER", &user)?,
                role: role.into(),
            };
            let request = AddMemberRequest {
                membership: Some(membership),
                request_id: request_id(),
                validate_only: false,
            };
            let answer =
                context.api.call(request, async |channel, r| users(channel).add_member(r).await).await?;
            let membership = answer.membership.ok_or(Error::Answer("the membership"))?;
            let done = format!("is in account {}", names::short(&membership.account));
            show(context, "crater.user.v1.Membership", &membership, &membership.user, &done)
        }
    }
}

fn show(context: &Context, kind: &str, it: &impl Message, name: &str, done: &str) -> Result<(), Error> {
    let text = match context.format {
        Format::Json | Format::Yaml => message::render(context.format, kind, it)?,
        Format::Name => format!("{name}\n"),
        Format::Table | Format::Wide => format!("{} {done}\n", names::short(name)),
    };
    Ok(print(&text)?)
}
