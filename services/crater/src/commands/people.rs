//! `user`: for platform admins, and for oneself.

use crater_api::user::v1::{
    CreateUserRequest, DeleteUserRequest, GetUserRequest, GetUserResponse, ListUsersRequest,
    ListUsersResponse, MemberRole, Membership, ReinstateUserRequest, ResetPasswordRequest,
    SuspendUserRequest, UpdateUserRequest, User as Found, UserState,
};
use prost::Message;

use super::{Context, session};
use crate::cli::{self, User, UserCreate};
use crate::client::{request_id, users};
use crate::error::Error;
use crate::names::{self, short};
use crate::output::table::{Table, plain};
use crate::output::{Format, colours, message, print, time};

/// The most that one call lists.
const PAGE: i32 = 1000;
const USER: &str = "crater.user.v1.User";

/// Shows and administers users.
pub async fn user(context: &Context, command: User) -> Result<(), Error> {
    let api = &context.api;
    let (user, done) = match command {
        User::Ls { query, state } => return ls(context, query, state).await,
        User::Get { users } => return get(context, &users).await,
        User::Create(args) => (create(context, args).await?, "is created"),
        User::Update { user, display_name, admin } => {
            (update(context, &user, display_name, admin).await?, "is changed")
        }
        User::Suspend { user } => {
            let name = names::user("USER", &user)?;
            let request = SuspendUserRequest { name, request_id: request_id(), ..Default::default() };
            let answer = api.call(request, async |channel, r| users(channel).suspend_user(r).await).await?;
            (answer.user, "is suspended")
        }
        User::Reinstate { user } => {
            let name = names::user("USER", &user)?;
            let request = ReinstateUserRequest { name, request_id: request_id(), ..Default::default() };
            let answer = api.call(request, async |channel, r| users(channel).reinstate_user(r).await).await?;
            (answer.user, "may act again")
        }
        User::Password { user, password_stdin } => {
            let name = names::user("USER", &user)?;
            let question = format!("New password of {}: ", short(&name));
            let new_password = session::new_password(password_stdin, &question)?;
            let request = ResetPasswordRequest {
                name: name.clone(),
                new_password,
                request_id: request_id(),
                validate_only: false,
            };
            api.call(request, async |channel, r| users(channel).reset_password(r).await).await?;
            return say(context, &name, "has a new password");
        }
        User::Delete { user } => {
            let name = names::user("USER", &user)?;
            let request =
                DeleteUserRequest { name: name.clone(), request_id: request_id(), ..Default::default() };
            api.call(request, async |channel, r| users(channel).delete_user(r).await).await?;
            return say(context, &name, "is deleted");
        }
    };
    let user = user.ok_or(Error::Answer("the user"))?;
    show(context, USER, &user, &user.name, done)
}

async fn ls(context: &Context, query: String, state: Option<cli::UserState>) -> Result<(), Error> {
    let state = match state {
        None => UserState::Unspecified,
        Some(cli::UserState::Active) => UserState::Active,
        Some(cli::UserState::Suspended) => UserState::Suspended,
    };
    let mut all = ListUsersResponse::default();
    loop {
        let request = ListUsersRequest {
            page_size: PAGE,
            page_token: all.next_page_token,
            state: state.into(),
            query: query.clone(),
        };
        let page = context.api.call(request, async |channel, r| users(channel).list_users(r).await).await?;
        all.users.extend(page.users);
        all.next_page_token = page.next_page_token;
        if all.next_page_token.is_empty() {
            break;
        }
    }
    let text = match context.format {
        Format::Json | Format::Yaml => {
            message::render(context.format, "crater.user.v1.ListUsersResponse", &all)?
        }
        Format::Name => all.users.iter().map(|u| format!("{}\n", u.name)).collect(),
        Format::Table | Format::Wide if all.users.is_empty() => {
            eprintln!("no users");
            String::new()
        }
        Format::Table | Format::Wide => {
            let mut table = Table::new(&["USER", "NAME", "STATE", "ADMIN", "LAST LOGIN", "AGE"], colours());
            let now = time::now();
            for user in all.users {
                let admin = if user.platform_admin { "yes" } else { "" }.to_owned();
                let seen = time::age(user.last_login_time.as_ref(), now);
                let age = time::age(user.create_time.as_ref(), now);
                let state = state_word(user.state).to_owned();
                table.row([short(&user.name).to_owned(), user.display_name, state, admin, seen, age]);
            }
            table.render()
        }
    };
    Ok(print(&text)?)
}

async fn get(context: &Context, named: &[String]) -> Result<(), Error> {
    let mut text = String::new();
    for user in named {
        let request = GetUserRequest { name: names::user("USER", user)? };
        let found = context.api.call(request, async |channel, r| users(channel).get_user(r).await).await?;
        match context.format {
            Format::Json | Format::Yaml if named.len() == 1 => {
                text.push_str(&message::render(context.format, "crater.user.v1.GetUserResponse", &found)?);
            }
            Format::Json | Format::Yaml => {
                let name = "crater.user.v1.GetUserResponse";
                text.push_str(&message::render_next(context.format, name, &found)?);
            }
            Format::Name => {
                text.push_str(&format!("users/{}\n", short(&found.user.unwrap_or_default().name)))
            }
            Format::Table | Format::Wide => {
                if !text.is_empty() {
                    text.push('\n');
                }
                text.push_str(&described(&found));
            }
        }
    }
    Ok(print(&text)?)
}

fn described(found: &GetUserResponse) -> String {
    let user = found.user.clone().unwrap_or_default();
    let mut text = format!("user        {} ({})\n", short(&user.name), plain(&user.display_name));
    text.push_str(&format!("state       {}\n", state_word(user.state)));
    text.push_str(&format!("admin       {}\n", if user.platform_admin { "yes" } else { "no" }));
    text.push_str(&format!("accounts    {}\n", places(&found.memberships)));
    text.push_str(&format!("created     {}\n", time::moment(user.create_time.as_ref())));
    if user.last_login_time.is_some() {
        text.push_str(&format!("last login  {}\n", time::moment(user.last_login_time.as_ref())));
    }
    text
}

async fn create(context: &Context, args: UserCreate) -> Result<Option<Found>, Error> {
    let name = names::user("USER", &args.user)?;
    let accounts = args.account.iter().map(|a| names::account("--account", a)).collect::<Result<_, _>>()?;
    let question = format!("First password of {}: ", short(&name));
    let password = session::new_password(args.password_stdin, &question)?;
    let user = Found { display_name: args.display_name, platform_admin: args.admin, ..Default::default() };
    let request = CreateUserRequest {
        user_id: short(&name).to_owned(),
        user: Some(user),
        password,
        accounts,
        request_id: request_id(),
        validate_only: false,
    };
    Ok(context.api.call(request, async |channel, r| users(channel).create_user(r).await).await?.user)
}

async fn update(
    context: &Context,
    user: &str,
    display_name: Option<String>,
    admin: Option<bool>,
) -> Result<Option<Found>, Error> {
    let paths = [("display_name", display_name.is_some()), ("platform_admin", admin.is_some())];
    let paths = paths.iter().filter(|(_, given)| *given).map(|(path, _)| (*path).to_owned()).collect();
    let user = Found {
        name: names::user("USER", user)?,
        display_name: display_name.unwrap_or_default(),
        platform_admin: admin.unwrap_or_default(),
        ..Default::default()
    };
    let request = UpdateUserRequest {
        user: Some(user),
        update_mask: Some(prost_types::FieldMask { paths }),
        request_id: request_id(),
        validate_only: false,
    };
    Ok(context.api.call(request, async |channel, r| users(channel).update_user(r).await).await?.user)
}

/// The word for a user's state.
pub fn state_word(state: i32) -> &'static str {
    match UserState::try_from(state) {
        Ok(UserState::Active) => "Active",
        Ok(UserState::Suspended) => "Suspended",
        Ok(UserState::Unspecified) | Err(_) => "Unknown",
    }
}

/// The accounts of these memberships, and what one is there.
pub fn places(memberships: &[Membership]) -> String {
    let place = |m: &Membership| {
        let manager = if m.role() == MemberRole::Manager { " (manager)" } else { "" };
        format!("{}{manager}", short(&m.account))
    };
    let all: Vec<String> = memberships.iter().map(place).collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}

/// Prints what a change made of something.
pub fn show(context: &Context, kind: &str, it: &impl Message, name: &str, done: &str) -> Result<(), Error> {
    match context.format {
        Format::Json | Format::Yaml => Ok(print(&message::render(context.format, kind, it)?)?),
        Format::Name | Format::Table | Format::Wide => say(context, name, done),
    }
}

/// Prints what became of something of which nothing more is to be shown.
pub fn say(context: &Context, name: &str, done: &str) -> Result<(), Error> {
    let text = match context.format {
        Format::Table | Format::Wide => format!("{} {done}\n", short(name)),
        Format::Json | Format::Yaml | Format::Name => format!("{name}\n"),
    };
    Ok(print(&text)?)
}
