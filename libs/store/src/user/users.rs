//! Users.

use crater_domain::UserId;
use diesel::prelude::*;
use serde::{Deserialize, Serialize};

use super::schema::users::dsl;
use super::{id, sessions};
use crate::conn::{Conn, locked, query};
use crate::error::OrExists;
use crate::{Error, Result, revision};

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

pub(super) type Row = (String, String, bool, bool, i64, i64, i64);
pub(super) type Columns = (
    dsl::id,
    dsl::display_name,
    dsl::suspended,
    dsl::platform_admin,
    dsl::created_ms,
    dsl::version,
    dsl::epoch,
);
pub(super) const COLUMNS: Columns = (
    dsl::id,
    dsl::display_name,
    dsl::suspended,
    dsl::platform_admin,
    dsl::created_ms,
    dsl::version,
    dsl::epoch,
);

pub(super) fn from_row(row: Row) -> Result<User> {
    let (user, display_name, suspended, platform_admin, created_ms, version, epoch) = row;
    Ok(User { id: id(user)?, display_name, suspended, platform_admin, created_ms, version, epoch })
}

/// Adds a user.
///
/// # Errors
/// [`Error::AlreadyExists`].
pub fn create_user(conn: &mut Conn, new: &NewUser) -> Result<User> {
    let revision = revision::next(conn)?;
    let row = (
        dsl::id.eq(new.id.as_str()),
        dsl::display_name.eq(&new.display_name),
        dsl::password_hash.eq(&new.password_hash),
        dsl::suspended.eq(false),
        dsl::platform_admin.eq(new.platform_admin),
        dsl::created_ms.eq(new.created_ms),
        dsl::version.eq(1i64),
        dsl::epoch.eq(1i64),
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
    })
}

/// The user, if there.
pub fn user(conn: &mut Conn, user: &UserId) -> Result<Option<User>> {
    let row: Option<Row> =
        query!(conn, |c| dsl::users.find(user.as_str()).select(COLUMNS).first(c).optional())?;
    row.map(from_row).transpose()
}

/// The user, if there, as it stays until the end of the transaction: for what must not happen to one that is being suspended.
pub fn lock_user(conn: &mut Conn, user: &UserId) -> Result<Option<User>> {
    let row: Option<Row> = locked!(conn, dsl::users.find(user.as_str()).select(COLUMNS)).optional()?;
    row.map(from_row).transpose()
}

/// The user's password hash, if there.
pub fn password_hash(conn: &mut Conn, user: &UserId) -> Result<Option<String>> {
    Ok(query!(conn, |c| dsl::users.find(user.as_str()).select(dsl::password_hash).first(c).optional())?)
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
    // the revision's row first: whoever changes users waits here, so that what is read below stays true
    let revision = revision::next(conn)?;
    let mut now = self::user(conn, user)?.ok_or_else(|| Error::NotFound(user.resource_name()))?;
    if version.is_some_and(|v| v != now.version) {
        return Err(Error::Conflict(user.resource_name()));
    }
    let suspends = change.suspended == Some(true) && !now.suspended;
    now.version += 1;
    now.epoch += i64::from(suspends);
    now.suspended = change.suspended.unwrap_or(now.suspended);
    now.platform_admin = change.platform_admin.unwrap_or(now.platform_admin);
    if let Some(name) = &change.display_name {
        now.display_name.clone_from(name);
    }
    let row = (
        dsl::display_name.eq(&now.display_name),
        dsl::suspended.eq(now.suspended),
        dsl::platform_admin.eq(now.platform_admin),
        dsl::version.eq(now.version),
        dsl::epoch.eq(now.epoch),
        dsl::revision.eq(revision),
    );
    query!(conn, |c| diesel::update(dsl::users.find(user.as_str())).set(row).execute(c))?;
    if suspends {
        sessions::revoke_all(conn, user, now_ms)?;
    }
    Ok(now)
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
