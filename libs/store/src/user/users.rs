//! Users.

use crater_domain::UserId;
use diesel::prelude::*;
use serde::{Deserialize, Serialize};

use super::schema::members;
use super::schema::users::dsl;
use super::{id, sessions};
use crate::conn::{Conn, locked, query};
use crate::error::OrExists;
use crate::{Error, Result, revision};

diesel::define_sql_function! {
    /// Where `part` begins in `whole`, from 1; 0 if it is not in it. Both databases have it, and no character is special to it.
    fn instr(whole: diesel::sql_types::Text, part: diesel::sql_types::Text) -> diesel::sql_types::BigInt;
}

/// A user as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The id.
    pub id: UserId,
    /// A name to show.
    pub display_name: String,
    /// Refused everywhere.
    pub suspended: bool,
    /// May do everything.
    pub platform_admin: bool,
    /// When created.
    pub created_ms: i64,
    /// The etag.
    pub version: i64,
    /// Tokens of a lower epoch are refused.
    pub epoch: i64,
    /// When last signed in, if ever.
    pub last_login_ms: Option<i64>,
}

/// A user to be.
#[derive(Debug, Clone)]
pub struct NewUser {
    /// The id.
    pub id: UserId,
    /// A name to show.
    pub display_name: String,
    /// May do everything.
    pub platform_admin: bool,
    /// The password's hash in PHC form.
    pub password_hash: String,
    /// When created.
    pub created_ms: i64,
}

/// What changes; none leaves as it is.
#[derive(Debug, Clone, Default)]
pub struct UserChange {
    /// A name to show.
    pub display_name: Option<String>,
    /// Suspension begins a new epoch and ends all sessions.
    pub suspended: Option<bool>,
    /// May do everything.
    pub platform_admin: Option<bool>,
}

/// Which users are listed.
#[derive(Debug, Clone, Default)]
pub struct UserFilter {
    /// Only those who are suspended, or only those who are not.
    pub suspended: Option<bool>,
    /// Only those whose id or name contains this, in any case; empty for all.
    pub query: String,
}

pub(super) type Row = (String, String, bool, bool, i64, i64, i64, Option<i64>);
pub(super) type Columns = (
    dsl::id,
    dsl::display_name,
    dsl::suspended,
    dsl::platform_admin,
    dsl::created_ms,
    dsl::version,
    dsl::epoch,
    dsl::last_login_ms,
);
pub(super) const COLUMNS: Columns = (
    dsl::id,
    dsl::display_name,
    dsl::suspended,
    dsl::platform_admin,
    dsl::created_ms,
    dsl::version,
    dsl::epoch,
    dsl::last_login_ms,
);

pub(super) fn from_row(row: Row) -> Result<User> {
    let (user, display_name, suspended, platform_admin, created_ms, version, epoch, last_login_ms) = row;
    Ok(User {
        id: id(user)?,
        display_name,
        suspended,
        platform_admin,
        created_ms,
        version,
        epoch,
        last_login_ms,
    })
}

/// Adds a user.
///
/// # Errors
/// [`Error::AlreadyExists`]; [`Error::Deleted`] for an id that was a user's before.
pub fn create_user(conn: &mut Conn, new: &NewUser) -> Result<User> {
    let revision = revision::next(conn)?;
    if is_user_id_used(conn, &new.id)? && user(conn, &new.id)?.is_none() {
        return Err(Error::Deleted { what: new.id.resource_name() });
    }
    let row = (
        dsl::id.eq(new.id.as_str()),
        dsl::display_name.eq(&new.display_name),
        dsl::search_name.eq(new.display_name.to_lowercase()),
        dsl::password_hash.eq(&new.password_hash),
        dsl::suspended.eq(false),
        dsl::platform_admin.eq(new.platform_admin),
        dsl::created_ms.eq(new.created_ms),
        dsl::version.eq(1i64),
        dsl::epoch.eq(1i64),
        dsl::epoch_ms.eq(0i64),
        dsl::revision.eq(revision),
    );
    query!(conn, |c| diesel::insert_into(dsl::users).values(row).execute(c))
        .or_exists(|| new.id.resource_name())?;
    Ok(User {
        id: new.id.clone(),
        display_name: new.display_name.clone(),
        suspended: false,
        platform_admin: new.platform_admin,
        created_ms: new.created_ms,
        version: 1,
        epoch: 1,
        last_login_ms: None,
    })
}

/// The user, if there.
pub fn user(conn: &mut Conn, user: &UserId) -> Result<Option<User>> {
    let row: Option<Row> = query!(conn, |c| dsl::users
        .find(user.as_str())
        .filter(dsl::deleted_ms.is_null())
        .select(COLUMNS)
        .first(c)
        .optional())?;
    row.map(from_row).transpose()
}

/// The user, if there, as it stays until the end of the transaction: for what must not happen to one that is being suspended.
pub fn lock_user(conn: &mut Conn, user: &UserId) -> Result<Option<User>> {
    let there = dsl::users.find(user.as_str()).filter(dsl::deleted_ms.is_null());
    let row: Option<Row> = locked!(conn, there.select(COLUMNS)).optional()?;
    row.map(from_row).transpose()
}

/// Whether the id is or was a user's.
pub fn is_user_id_used(conn: &mut Conn, user: &UserId) -> Result<bool> {
    let found: Option<String> =
        query!(conn, |c| dsl::users.find(user.as_str()).select(dsl::id).first(c).optional())?;
    Ok(found.is_some())
}

/// At most `limit` users that pass the filter, by id, beginning after the id `after`.
pub fn list_users(conn: &mut Conn, filter: &UserFilter, after: &str, limit: usize) -> Result<Vec<User>> {
    let states = filter.suspended.map_or(vec![false, true], |suspended| vec![suspended]);
    let part = filter.query.to_lowercase();
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows: Vec<Row> = query!(conn, |c| dsl::users
        .filter(dsl::deleted_ms.is_null())
        .filter(dsl::id.gt(after))
        .filter(dsl::suspended.eq_any(&states))
        .filter(instr(dsl::id, &part).gt(0).or(instr(dsl::search_name, &part).gt(0)))
        .order(dsl::id)
        .limit(limit)
        .select(COLUMNS)
        .load(c))?;
    rows.into_iter().map(from_row).collect()
}

/// Changes a user, if it is still at `version` (when given).
///
/// # Errors
/// [`Error::NotFound`], [`Error::Conflict`].
pub fn update_user(
    conn: &mut Conn,
    user: &UserId,
    change: &UserChange,
    version: Option<i64>,
    now_ms: i64,
) -> Result<User> {
    let (revision, mut now) = hold(conn, user, version)?;
    let suspends = change.suspended == Some(true) && !now.suspended;
    now.version += 1;
    now.suspended = change.suspended.unwrap_or(now.suspended);
    now.platform_admin = change.platform_admin.unwrap_or(now.platform_admin);
    if let Some(name) = &change.display_name {
        now.display_name.clone_from(name);
    }
    let row = (
        dsl::display_name.eq(&now.display_name),
        dsl::search_name.eq(now.display_name.to_lowercase()),
        dsl::suspended.eq(now.suspended),
        dsl::platform_admin.eq(now.platform_admin),
        dsl::version.eq(now.version),
        dsl::revision.eq(revision),
    );
    query!(conn, |c| diesel::update(dsl::users.find(user.as_str())).set(row).execute(c))?;
    if suspends {
        now.epoch += 1;
        begin_epoch(conn, user, now_ms)?;
        sessions::revoke_all(conn, user, None, now_ms)?;
    }
    Ok(now)
}

/// Deletes a user, if it is still at `version` (when given): all sessions end, all memberships go, and of the row only the id stays.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Conflict`].
pub fn delete_user(conn: &mut Conn, user: &UserId, version: Option<i64>, now_ms: i64) -> Result<()> {
    let (revision, _) = hold(conn, user, version)?;
    let row = (
        dsl::deleted_ms.eq(Some(now_ms)),
        dsl::display_name.eq(""),
        dsl::search_name.eq(""),
        // no password has it
        dsl::password_hash.eq(""),
        dsl::platform_admin.eq(false),
        dsl::acting_account.eq(None::<String>),
        dsl::last_login_ms.eq(None::<i64>),
        dsl::version.eq(dsl::version + 1),
        dsl::revision.eq(revision),
    );
    query!(conn, |c| diesel::update(dsl::users.find(user.as_str())).set(row).execute(c))?;
    begin_epoch(conn, user, now_ms)?;
    sessions::revoke_all(conn, user, None, now_ms)?;
    let places = members::table.filter(members::user_id.eq(user.as_str()));
    query!(conn, |c| diesel::delete(places).execute(c))?;
    Ok(())
}

/// The user at `version` (when given), kept from changing, and the revision of the change to come.
pub(super) fn hold(conn: &mut Conn, user: &UserId, version: Option<i64>) -> Result<(i64, User)> {
    // the revision's row first: whoever changes users waits here, so that what is read below stays true
    let revision = revision::next(conn)?;
    let now = self::user(conn, user)?.ok_or_else(|| Error::NotFound(user.resource_name()))?;
    if version.is_some_and(|v| v != now.version) {
        return Err(Error::Conflict(user.resource_name()));
    }
    Ok((revision, now))
}

/// Tokens of before are refused from now on. The caller marks the user as changed.
pub(super) fn begin_epoch(conn: &mut Conn, user: &UserId, now_ms: i64) -> Result<()> {
    let row = (dsl::epoch.eq(dsl::epoch + 1), dsl::epoch_ms.eq(now_ms));
    query!(conn, |c| diesel::update(dsl::users.find(user.as_str())).set(row).execute(c))?;
    Ok(())
}

/// Marks the user as changed, for those who watch.
pub(super) fn touch(conn: &mut Conn, user: &str) -> Result<()> {
    let revision = revision::next(conn)?;
    touch_at(conn, user, revision)
}

/// The same with a number that was taken already.
pub(super) fn touch_at(conn: &mut Conn, user: &str, revision: i64) -> Result<()> {
    query!(conn, |c| diesel::update(dsl::users.find(user)).set(dsl::revision.eq(revision)).execute(c))?;
    Ok(())
}
