//! Who is in which account, and in which one a user acts.

use crater_domain::{AccountId, UserId};
use diesel::prelude::*;
use serde::{Deserialize, Serialize};

use super::schema::{members, users};
use super::{accounts, id, users as people};
use crate::conn::{Conn, query};
use crate::{Error, Result};

/// A user's place in an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The account.
    pub account: AccountId,
    /// The user.
    pub user: UserId,
    /// Manages the account; else only works in it.
    pub manager: bool,
}

/// A member, with what a list shows of the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The place.
    pub member: Member,
    /// The name of the user to show.
    pub display_name: String,
    /// Whether the user is refused everywhere.
    pub suspended: bool,
}

pub(super) fn from_row((account, user, manager): (String, String, bool)) -> Result<Member> {
    Ok(Member { account: id(account)?, user: id(user)?, manager })
}

/// Puts a user into an account, or changes the place there.
///
/// # Errors
/// [`Error::NotFound`] for the account or the user.
pub fn add_member(conn: &mut Conn, member: &Member) -> Result<()> {
    people::touch(conn, member.user.as_str())?;
    if accounts::account(conn, &member.account)?.is_none() {
        return Err(Error::NotFound(member.account.resource_name()));
    }
    if people::user(conn, &member.user)?.is_none() {
        return Err(Error::NotFound(member.user.resource_name()));
    }
    let key = (member.account.as_str(), member.user.as_str());
    // no upsert: the databases write it differently, and the revision's row is locked anyway
    query!(conn, |c| diesel::delete(members::table.find(key)).execute(c))?;
    let row = (members::account.eq(key.0), members::user_id.eq(key.1), members::manager.eq(member.manager));
    query!(conn, |c| diesel::insert_into(members::table).values(row).execute(c))?;
    Ok(())
}

/// Takes a user out of an account; false if the user was not in it.
pub fn remove_member(conn: &mut Conn, account: &AccountId, user: &UserId) -> Result<bool> {
    people::touch(conn, user.as_str())?;
    let place = members::table.find((account.as_str(), user.as_str()));
    let removed = query!(conn, |c| diesel::delete(place).execute(c))?;
    let acting = users::table.find(user.as_str()).filter(users::acting_account.eq(account.as_str()));
    query!(conn, |c| diesel::update(acting).set(users::acting_account.eq(None::<String>)).execute(c))?;
    Ok(removed > 0)
}

/// The accounts that the user is in, by name.
pub fn members_of(conn: &mut Conn, user: &UserId) -> Result<Vec<Member>> {
    let rows = query!(conn, |c| members::table
        .filter(members::user_id.eq(user.as_str()))
        .order(members::account)
        .load::<(String, String, bool)>(c))?;
    rows.into_iter().map(from_row).collect()
}

/// Whether anybody is in the account.
pub fn has_members(conn: &mut Conn, account: &AccountId) -> Result<bool> {
    let one: Option<String> = query!(conn, |c| members::table
        .filter(members::account.eq(account.as_str()))
        .select(members::user_id)
        .first(c)
        .optional())?;
    Ok(one.is_some())
}

/// At most `limit` members of the account, by user, beginning after the user `after`.
pub fn list_members(conn: &mut Conn, account: &AccountId, after: &str, limit: usize) -> Result<Vec<Listed>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows: Vec<(String, bool, String, bool)> = query!(conn, |c| members::table
        .inner_join(users::table)
        .filter(members::account.eq(account.as_str()))
        .filter(members::user_id.gt(after))
        .order(members::user_id)
        .limit(limit)
        .select((members::user_id, members::manager, users::display_name, users::suspended))
        .load(c))?;
    let listed = |(user, manager, display_name, suspended)| {
        let member = Member { account: account.clone(), user: id(user)?, manager };
        Ok(Listed { member, display_name, suspended })
    };
    rows.into_iter().map(listed).collect()
}

/// The account that the user last chose to act in, if any.
pub fn acting_account(conn: &mut Conn, user: &UserId) -> Result<Option<AccountId>> {
    let chosen: Option<Option<String>> =
        query!(conn, |c| users::table.find(user.as_str()).select(users::acting_account).first(c).optional())?;
    chosen.flatten().map(id).transpose()
}

/// Notes the account that the user chose to act in. Nobody else needs to hear of it.
pub fn set_acting_account(conn: &mut Conn, user: &UserId, account: &AccountId) -> Result<()> {
    let row = users::acting_account.eq(Some(account.as_str()));
    query!(conn, |c| diesel::update(users::table.find(user.as_str())).set(row).execute(c))?;
    Ok(())
}
