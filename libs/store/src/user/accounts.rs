//! Accounts and who is in them.

use crater_domain::{AccountId, UserId};
use diesel::prelude::*;
use serde::{Deserialize, Serialize};

use super::schema::{accounts, members};
use super::{id, users};
use crate::conn::{Conn, query};
use crate::error::OrExists;
use crate::{Error, Result, revision};

/// An account as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The id.
    pub id: AccountId,
    /// A name to show.
    pub display_name: String,
    /// The account above it.
    pub parent: Option<AccountId>,
    /// When created.
    pub created_ms: i64,
    /// The etag.
    pub version: i64,
}

/// An account to be.
#[derive(Debug, Clone)]
pub struct NewAccount {
    /// The id.
    pub id: AccountId,
    /// A name to show.
    pub display_name: String,
    /// The account above it.
    pub parent: Option<AccountId>,
    /// When created.
    pub created_ms: i64,
}

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

pub(super) type Row = (String, String, Option<String>, i64, i64);
pub(super) const COLUMNS: (
    accounts::id,
    accounts::display_name,
    accounts::parent,
    accounts::created_ms,
    accounts::version,
) = (accounts::id, accounts::display_name, accounts::parent, accounts::created_ms, accounts::version);

pub(super) fn from_row((account, display_name, parent, created_ms, version): Row) -> Result<Account> {
    Ok(Account { id: id(account)?, display_name, parent: parent.map(id).transpose()?, created_ms, version })
}

pub(super) fn member_from_row((account, user, manager): (String, String, bool)) -> Result<Member> {
    Ok(Member { account: id(account)?, user: id(user)?, manager })
}

/// Adds an account. Its parent is there before it, so the tree has no loops.
///
/// # Errors
/// [`Error::AlreadyExists`]; [`Error::NotFound`] for the parent.
pub fn create_account(conn: &mut Conn, new: &NewAccount) -> Result<Account> {
    let revision = revision::next(conn)?;
    if let Some(parent) = &new.parent
        && account(conn, parent)?.is_none()
    {
        return Err(Error::NotFound(parent.resource_name()));
    }
    let row = (
        accounts::id.eq(new.id.as_str()),
        accounts::display_name.eq(&new.display_name),
        accounts::parent.eq(new.parent.as_ref().map(AccountId::as_str)),
        accounts::created_ms.eq(new.created_ms),
        accounts::version.eq(1i64),
        accounts::revision.eq(revision),
    );
    query!(conn, |c| diesel::insert_into(accounts::table).values(row).execute(c))
        .or_exists(|| new.id.resource_name())?;
    let NewAccount { id, display_name, parent, created_ms } = new.clone();
    Ok(Account { id, display_name, parent, created_ms, version: 1 })
}

/// The account, if there.
pub fn account(conn: &mut Conn, account: &AccountId) -> Result<Option<Account>> {
    let row: Option<Row> =
        query!(conn, |c| accounts::table.find(account.as_str()).select(COLUMNS).first(c).optional())?;
    row.map(from_row).transpose()
}

/// Puts a user into an account, or changes the place there.
///
/// # Errors
/// [`Error::NotFound`] for the account or the user.
pub fn add_member(conn: &mut Conn, member: &Member) -> Result<()> {
    // the revision's row first: whoever changes users waits here, so that what is read below stays true
    let revision = revision::next(conn)?;
    if account(conn, &member.account)?.is_none() {
        return Err(Error::NotFound(member.account.resource_name()));
    }
    if users::user(conn, &member.user)?.is_none() {
        return Err(Error::NotFound(member.user.resource_name()));
    }
    users::touch_at(conn, member.user.as_str(), revision)?;
    let key = (member.account.as_str(), member.user.as_str());
    // no upsert: the databases write it differently, and the revision's row is locked anyway
    query!(conn, |c| diesel::delete(members::table.find(key)).execute(c))?;
    let row = (members::account.eq(key.0), members::user_id.eq(key.1), members::manager.eq(member.manager));
    query!(conn, |c| diesel::insert_into(members::table).values(row).execute(c))?;
    Ok(())
}

/// The accounts that the user is in, by name.
pub fn members_of(conn: &mut Conn, user: &UserId) -> Result<Vec<Member>> {
    let rows = query!(conn, |c| members::table
        .filter(members::user_id.eq(user.as_str()))
        .order(members::account)
        .load::<(String, String, bool)>(c))?;
    rows.into_iter().map(member_from_row).collect()
}
