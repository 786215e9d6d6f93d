//! Whose password has which hash.

use crater_domain::UserId;
use diesel::prelude::*;
use uuid::Uuid;

use super::schema::users::dsl;
use super::users::{self, User};
use super::{sessions, user};
use crate::conn::{Conn, query};
use crate::{Error, Result};

/// The user's password hash, if there.
pub fn password_hash(conn: &mut Conn, user: &UserId) -> Result<Option<String>> {
    Ok(query!(conn, |c| dsl::users
        .find(user.as_str())
        .filter(dsl::deleted_ms.is_null())
        .select(dsl::password_hash)
        .first(c)
        .optional())?)
}

/// Notes that the user signed in, if the password still has the hash that was checked and the user may act. To the end of the
/// transaction the row is locked: a change of the password that comes later finds the session that is opened now, and ends it.
pub fn sign_in(conn: &mut Conn, id: &UserId, checked_hash: &str, now_ms: i64) -> Result<Option<User>> {
    let may = dsl::users
        .find(id.as_str())
        .filter(dsl::password_hash.eq(checked_hash))
        .filter(dsl::suspended.eq(false))
        .filter(dsl::deleted_ms.is_null());
    let noted = query!(conn, |c| diesel::update(may).set(dsl::last_login_ms.eq(Some(now_ms))).execute(c))?;
    if noted == 1 { user(conn, id) } else { Ok(None) }
}

/// Sets the password: a new epoch begins, and all sessions end except `but`. With `from`, only if the password still has that hash.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Conflict`] if the password was changed meanwhile.
pub fn set_password(
    conn: &mut Conn,
    user: &UserId,
    from: Option<&str>,
    to: &str,
    but: Option<Uuid>,
    now_ms: i64,
) -> Result<()> {
    let (revision, _) = users::hold(conn, user, None)?;
    if from.is_some() && password_hash(conn, user)?.as_deref() != from {
        return Err(Error::Conflict(user.resource_name()));
    }
    let row = (dsl::password_hash.eq(to), dsl::revision.eq(revision));
    query!(conn, |c| diesel::update(dsl::users.find(user.as_str())).set(row).execute(c))?;
    users::begin_epoch(conn, user, now_ms)?;
    sessions::revoke_all(conn, user, but, now_ms)
}
