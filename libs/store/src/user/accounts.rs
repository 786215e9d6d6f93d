//! Accounts, a tree.

use std::collections::BTreeMap;

use crater_domain::{AccountId, UserId};
use diesel::prelude::*;
use serde::{Deserialize, Serialize};

use super::id;
use super::schema::{accounts, members, users};
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

/// What changes; none leaves as it is.
#[derive(Debug, Clone, Default)]
pub struct AccountChange {
    /// A name to show.
    pub display_name: Option<String>,
    /// The account above it, or none for a top one.
    pub parent: Option<Option<AccountId>>,
}

/// Which accounts are listed.
#[derive(Debug, Clone, Default)]
pub struct AccountFilter {
    /// Only those that this user is in.
    pub member: Option<UserId>,
    /// Only those directly below this one.
    pub parent: Option<AccountId>,
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

/// Adds an account. Its parent is there before it, so the tree has no loops.
///
/// # Errors
/// [`Error::AlreadyExists`]; [`Error::Deleted`] for an id that was an account's before; [`Error::NotFound`] for the parent.
pub fn create_account(conn: &mut Conn, new: &NewAccount) -> Result<Account> {
    let revision = revision::next(conn)?;
    if let Some(parent) = &new.parent
        && account(conn, parent)?.is_none()
    {
        return Err(Error::NotFound(parent.resource_name()));
    }
    let used: Option<Option<i64>> = query!(conn, |c| accounts::table
        .find(new.id.as_str())
        .select(accounts::deleted_ms)
        .first(c)
        .optional())?;
    if let Some(Some(_)) = used {
        return Err(Error::Deleted { what: new.id.resource_name() });
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
    let row: Option<Row> = query!(conn, |c| accounts::table
        .find(account.as_str())
        .filter(accounts::deleted_ms.is_null())
        .select(COLUMNS)
        .first(c)
        .optional())?;
    row.map(from_row).transpose()
}

/// All accounts, each with the one above it.
pub fn account_tree(conn: &mut Conn) -> Result<BTreeMap<AccountId, Option<AccountId>>> {
    let rows: Vec<(String, Option<String>)> = query!(conn, |c| accounts::table
        .filter(accounts::deleted_ms.is_null())
        .select((accounts::id, accounts::parent))
        .load(c))?;
    rows.into_iter().map(|(a, parent)| Ok((id(a)?, parent.map(id).transpose()?))).collect()
}

/// Whether there are accounts directly below this one.
pub fn has_accounts_below(conn: &mut Conn, account: &AccountId) -> Result<bool> {
    let one: Option<String> = query!(conn, |c| accounts::table
        .filter(accounts::parent.eq(account.as_str()))
        .filter(accounts::deleted_ms.is_null())
        .select(accounts::id)
        .first(c)
        .optional())?;
    Ok(one.is_some())
}

/// At most `limit` accounts that pass the filter, by id, beginning after the id `after`.
pub fn list_accounts(
    conn: &mut Conn,
    filter: &AccountFilter,
    after: &str,
    limit: usize,
) -> Result<Vec<Account>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows: Vec<Row> = query!(conn, |c| {
        let mut wanted = accounts::table
            .filter(accounts::deleted_ms.is_null())
            .filter(accounts::id.gt(after))
            .order(accounts::id)
            .limit(limit)
            .select(COLUMNS)
            .into_boxed();
        if let Some(parent) = &filter.parent {
            wanted = wanted.filter(accounts::parent.eq(parent.as_str()));
        }
        if let Some(user) = &filter.member {
            let places = members::table.filter(members::user_id.eq(user.as_str()));
            wanted = wanted.filter(accounts::id.eq_any(places.select(members::account)));
        }
        wanted.load(c)
    })?;
    rows.into_iter().map(from_row).collect()
}

/// Changes an account, if it is still at `version` (when given). That it does not come below itself is the caller's to see to,
/// under the [`lock`](super::lock).
///
/// # Errors
/// [`Error::NotFound`] for the account or its new parent, [`Error::Conflict`].
pub fn update_account(
    conn: &mut Conn,
    account: &AccountId,
    change: &AccountChange,
    version: Option<i64>,
) -> Result<Account> {
    let (revision, mut now) = hold(conn, account, version)?;
    if let Some(parent) = &change.parent {
        if let Some(parent) = parent
            && self::account(conn, parent)?.is_none()
        {
            return Err(Error::NotFound(parent.resource_name()));
        }
        now.parent.clone_from(parent);
    }
    if let Some(name) = &change.display_name {
        now.display_name.clone_from(name);
    }
    now.version += 1;
    let row = (
        accounts::display_name.eq(&now.display_name),
        accounts::parent.eq(now.parent.as_ref().map(AccountId::as_str)),
        accounts::version.eq(now.version),
        accounts::revision.eq(revision),
    );
    query!(conn, |c| diesel::update(accounts::table.find(account.as_str())).set(row).execute(c))?;
    Ok(now)
}

/// Deletes an account, if it is still at `version` (when given): all memberships go, and the id is never given again. That none is
/// below it is the caller's to see to, under the [`lock`](super::lock).
///
/// # Errors
/// [`Error::NotFound`], [`Error::Conflict`].
pub fn delete_account(conn: &mut Conn, account: &AccountId, version: Option<i64>, now_ms: i64) -> Result<()> {
    let (revision, now) = hold(conn, account, version)?;
    let row = (
        accounts::deleted_ms.eq(Some(now_ms)),
        accounts::version.eq(now.version + 1),
        accounts::revision.eq(revision),
    );
    query!(conn, |c| diesel::update(accounts::table.find(account.as_str())).set(row).execute(c))?;
    // those who watch hear of everybody who was in it
    let inside = members::table.filter(members::account.eq(account.as_str())).select(members::user_id);
    let changed = users::table.filter(users::id.eq_any(inside));
    query!(conn, |c| diesel::update(changed).set(users::revision.eq(revision)).execute(c))?;
    let acting = users::table.filter(users::acting_account.eq(account.as_str()));
    query!(conn, |c| diesel::update(acting).set(users::acting_account.eq(None::<String>)).execute(c))?;
    let places = members::table.filter(members::account.eq(account.as_str()));
    query!(conn, |c| diesel::delete(places).execute(c))?;
    Ok(())
}

/// The account at `version` (when given), kept from changing, and the revision of the change to come.
fn hold(conn: &mut Conn, account: &AccountId, version: Option<i64>) -> Result<(i64, Account)> {
    let revision = revision::next(conn)?;
    let now = self::account(conn, account)?.ok_or_else(|| Error::NotFound(account.resource_name()))?;
    if version.is_some_and(|v| v != now.version) {
        return Err(Error::Conflict(account.resource_name()));
    }
    Ok((revision, now))
}
