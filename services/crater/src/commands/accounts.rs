//! `account` and `member`: where one acts, and who may act where.

use crater_api::user::v1::{
    Account as Found, AddMemberRequest, CreateAccountRequest, DeleteAccountRequest, GetAccountRequest,
    ListAccountsRequest, ListAccountsResponse, ListMembersRequest, ListMembersResponse, MemberRole,
    Membership, RemoveMemberRequest, SwitchAccountRequest, UpdateAccountRequest,
};

use super::people::{say, show, state_word};
use super::{Context, session};
use crate::cli::{Account, AccountCommand, Member, MemberPlace, Role};
use crate::client::{auth, request_id, users};
use crate::error::Error;
use crate::names::{self, short};
use crate::output::table::Table;
use crate::output::{Format, colours, message, print, time};

/// The most that one call lists.
const PAGE: i32 = 1000;
const ACCOUNT: &str = "crater.user.v1.Account";

/// Shows, switches and administers accounts.
pub async fn account(context: &Context, args: Account) -> Result<(), Error> {
    let api = &context.api;
    let (account, done) = match args.command {
        None => return acting(context).await,
        Some(AccountCommand::Ls { parent }) => return ls(context, parent).await,
        Some(AccountCommand::Get { accounts }) => return get(context, &accounts).await,
        Some(AccountCommand::Switch { account }) => {
            let request = SwitchAccountRequest { account: names::account("ACCOUNT", &account)? };
            let answer = api.call(request, async |channel, r| auth(channel).switch_account(r).await).await?;
            return say(context, &answer.acting_account, "is the account that you act in");
        }
        Some(AccountCommand::Create { account, display_name, parent }) => {
            let name = names::account("ACCOUNT", &account)?;
            let parent = parent.map(|p| names::account("--parent", &p)).transpose()?.unwrap_or_default();
            let request = CreateAccountRequest {
                account_id: short(&name).to_owned(),
                account: Some(Found { display_name, parent, ..Default::default() }),
                request_id: request_id(),
                validate_only: false,
            };
            let answer = api.call(request, async |channel, r| users(channel).create_account(r).await).await?;
            (answer.account, "is created")
        }
        Some(AccountCommand::Update { account, display_name, parent }) => {
            let paths = [("display_name", display_name.is_some()), ("parent", parent.is_some())];
            let paths =
                paths.iter().filter(|(_, given)| *given).map(|(path, _)| (*path).to_owned()).collect();
            let parent = match parent.as_deref() {
                None | Some("") => String::new(),
                Some(parent) => names::account("--parent", parent)?,
            };
            let account = Found {
                name: names::account("ACCOUNT", &account)?,
                display_name: display_name.unwrap_or_default(),
                parent,
                ..Default::default()
            };
            let request = UpdateAccountRequest {
                account: Some(account),
                update_mask: Some(prost_types::FieldMask { paths }),
                request_id: request_id(),
                validate_only: false,
            };
            let answer = api.call(request, async |channel, r| users(channel).update_account(r).await).await?;
            (answer.account, "is changed")
        }
        Some(AccountCommand::Delete { account, force }) => {
            let name = names::account("ACCOUNT", &account)?;
            let request = DeleteAccountRequest {
                name: name.clone(),
                force,
                request_id: request_id(),
                ..Default::default()
            };
            api.call(request, async |channel, r| users(channel).delete_account(r).await).await?;
            return say(context, &name, "is deleted");
        }
    };
    let account = account.ok_or(Error::Answer("the account"))?;
    show(context, ACCOUNT, &account, &account.name, done)
}

/// The account that the caller acts in.
async fn acting(context: &Context) -> Result<(), Error> {
    let name = session::account(context, None).await?;
    if context.format == Format::Name {
        return Ok(print(&format!("{name}\n"))?);
    }
    get(context, &[name]).await
}

async fn ls(context: &Context, parent: Option<String>) -> Result<(), Error> {
    let parent = parent.map(|p| names::account("--parent", &p)).transpose()?.unwrap_or_default();
    let mut all = ListAccountsResponse::default();
    loop {
        let request =
            ListAccountsRequest { page_size: PAGE, page_token: all.next_page_token, parent: parent.clone() };
        let page =
            context.api.call(request, async |channel, r| users(channel).list_accounts(r).await).await?;
        all.accounts.extend(page.accounts);
        all.next_page_token = page.next_page_token;
        if all.next_page_token.is_empty() {
            break;
        }
    }
    let text = match context.format {
        Format::Json | Format::Yaml => {
            message::render(context.format, "crater.user.v1.ListAccountsResponse", &all)?
        }
        Format::Name => all.accounts.iter().map(|a| format!("{}\n", a.name)).collect(),
        Format::Table | Format::Wide if all.accounts.is_empty() => {
            eprintln!("no accounts");
            String::new()
        }
        Format::Table | Format::Wide => {
            // the one marked is where the caller acts
            let acting = session::who_am_i(context).await?.acting_account;
            table(context.format, &all.accounts, &acting)
        }
    };
    Ok(print(&text)?)
}

async fn get(context: &Context, named: &[String]) -> Result<(), Error> {
    let mut found = Vec::new();
    for account in named {
        let request = GetAccountRequest { name: names::account("ACCOUNT", account)? };
        let answer =
            context.api.call(request, async |channel, r| users(channel).get_account(r).await).await?;
        found.push(answer.account.ok_or(Error::Answer("the account"))?);
    }
    let text = match (context.format, found.as_slice()) {
        (Format::Json | Format::Yaml, [one]) => message::render(context.format, ACCOUNT, one)?,
        (Format::Json | Format::Yaml, several) => {
            let each = several.iter().map(|a| message::render_next(context.format, ACCOUNT, a));
            each.collect::<Result<String, Error>>()?
        }
        (Format::Name, all) => all.iter().map(|a| format!("{}\n", a.name)).collect(),
        (Format::Table | Format::Wide, all) => {
            let acting = session::who_am_i(context).await?.acting_account;
            table(context.format, all, &acting)
        }
    };
    Ok(print(&text)?)
}

fn table(format: Format, accounts: &[Found], acting: &str) -> String {
    let wide = format == Format::Wide;
    let mut headers = vec!["ACCOUNT", "NAME", "PARENT", "ACTING", "AGE"];
    if wide {
        headers.push("NAMESPACE");
    }
    let mut table = Table::new(&headers, colours());
    for account in accounts {
        let acts = if account.name == acting { "here" } else { "" };
        let mut row = vec![
            short(&account.name).to_owned(),
            account.display_name.clone(),
            short(&account.parent).to_owned(),
            acts.to_owned(),
            time::age(account.create_time.as_ref(), time::now()),
        ];
        if wide {
            row.push(account.namespace.clone());
        }
        table.row(row);
    }
    table.render()
}

/// Shows and changes who is in an account.
pub async fn member(context: &Context, command: Member) -> Result<(), Error> {
    let api = &context.api;
    match command {
        Member::Ls { place } => members(context, place).await,
        Member::Add { user, place, role } => {
            let role = match role {
                Role::Member => MemberRole::Member,
                Role::Manager => MemberRole::Manager,
            };
            let user = names::user("USER", &user)?;
            let account = account_of(context, &place).await?;
            let request = AddMemberRequest {
                membership: Some(Membership { account, user, role: role.into() }),
                request_id: request_id(),
                validate_only: false,
            };
            let answer = api.call(request, async |channel, r| users(channel).add_member(r).await).await?;
            let membership = answer.membership.ok_or(Error::Answer("the membership"))?;
            let done = format!("is in account {}", short(&membership.account));
            show(context, "crater.user.v1.Membership", &membership, &membership.user, &done)
        }
        Member::Rm { user, place } => {
            let user = names::user("USER", &user)?;
            let account = account_of(context, &place).await?;
            let request = RemoveMemberRequest {
                account: account.clone(),
                user: user.clone(),
                request_id: request_id(),
                validate_only: false,
            };
            api.call(request, async |channel, r| users(channel).remove_member(r).await).await?;
            say(context, &user, &format!("is not in account {}", short(&account)))
        }
    }
}

async fn account_of(context: &Context, place: &MemberPlace) -> Result<String, Error> {
    session::account(context, place.account.as_deref().map(|a| ("--account", a))).await
}

async fn members(context: &Context, place: MemberPlace) -> Result<(), Error> {
    let parent = account_of(context, &place).await?;
    let mut all = ListMembersResponse::default();
    loop {
        let request =
            ListMembersRequest { parent: parent.clone(), page_size: PAGE, page_token: all.next_page_token };
        let page = context.api.call(request, async |channel, r| users(channel).list_members(r).await).await?;
        all.members.extend(page.members);
        all.next_page_token = page.next_page_token;
        if all.next_page_token.is_empty() {
            break;
        }
    }
    let place = |m: &crater_api::user::v1::Member| m.membership.clone().unwrap_or_default();
    let text = match context.format {
        Format::Json | Format::Yaml => {
            message::render(context.format, "crater.user.v1.ListMembersResponse", &all)?
        }
        Format::Name => all.members.iter().map(|m| format!("{}\n", place(m).user)).collect(),
        Format::Table | Format::Wide if all.members.is_empty() => {
            eprintln!("nobody is in account {}", short(&parent));
            String::new()
        }
        Format::Table | Format::Wide => {
            let mut table = Table::new(&["USER", "NAME", "ROLE", "STATE"], colours());
            for member in &all.members {
                let place = place(member);
                let role = if place.role() == MemberRole::Manager { "manager" } else { "member" };
                let state = state_word(member.state).to_owned();
                let user = short(&place.user).to_owned();
                table.row([user, member.display_name.clone(), role.to_owned(), state]);
            }
            table.render()
        }
    };
    Ok(print(&text)?)
}
