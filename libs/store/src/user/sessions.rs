//! Sessions: families of refresh tokens, each of which is good once.
//!
//! Only hashes of the tokens are kept. A used token stays until its session's end, so that a second use is known for what it is: a
//! theft, of which one cannot tell who is the thief, so the session ends.

use crater_domain::UserId;
use diesel::prelude::*;
use uuid::Uuid;

use super::id;
use super::schema::{refresh_tokens, sessions, users};
use super::users::touch;
use crate::conn::{Conn, locked, query};
use crate::{Error, Result};

/// A session is remembered for so long after its own end, in milliseconds: longer than any access token of it lives.
const REMEMBERED_MS: i64 = 24 * 3_600_000;

/// SHA-256 of a refresh token's secret.
pub type RefreshToken = [u8; 32];

/// A session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The id.
    pub id: Uuid,
    /// Whose.
    pub user: UserId,
    /// When it ends by itself.
    pub expires_ms: i64,
    /// When it was ended, if it was.
    pub revoked_ms: Option<i64>,
}

/// What a presented refresh token is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presented {
    /// Never given out, or long ago.
    Unknown,
    /// Good; [`rotate`] it.
    Good(Session),
    /// Good once, but its session has ended.
    Ended(Session),
    /// Used before.
    Reused(Session),
}

/// Begins a session with its first token, and forgets those that ended by themselves long ago.
pub fn open_session(conn: &mut Conn, session: &Session, token: &RefreshToken, now_ms: i64) -> Result<()> {
    forget_expired(conn, now_ms)?;
    let row = (
        sessions::id.eq(session.id.to_string()),
        sessions::user_id.eq(session.user.as_str()),
        sessions::created_ms.eq(now_ms),
        sessions::expires_ms.eq(session.expires_ms),
        sessions::revoked_ms.eq(None::<i64>),
    );
    query!(conn, |c| diesel::insert_into(sessions::table).values(row).execute(c))?;
    add_token(conn, session.id, token)
}

fn add_token(conn: &mut Conn, session: Uuid, token: &RefreshToken) -> Result<()> {
    let row = (
        refresh_tokens::secret_hash.eq(&token[..]),
        refresh_tokens::session.eq(session.to_string()),
        refresh_tokens::used_ms.eq(None::<i64>),
    );
    query!(conn, |c| diesel::insert_into(refresh_tokens::table).values(row).execute(c))?;
    Ok(())
}

fn forget_expired(conn: &mut Conn, now_ms: i64) -> Result<()> {
    let expired: Vec<String> = query!(conn, |c| sessions::table
        .filter(sessions::expires_ms.lt(now_ms.saturating_sub(REMEMBERED_MS)))
        .select(sessions::id)
        .limit(100)
        .load(c))?;
    if expired.is_empty() {
        return Ok(());
    }
    let tokens = refresh_tokens::table.filter(refresh_tokens::session.eq_any(&expired));
    query!(conn, |c| diesel::delete(tokens).execute(c))?;
    let gone = sessions::table.filter(sessions::id.eq_any(&expired));
    query!(conn, |c| diesel::delete(gone).execute(c))?;
    Ok(())
}

/// Looks a refresh token up. It and its session stay as they are until the end of the transaction, so that of two who present it at once the
/// second is told that it was used.
pub fn present(conn: &mut Conn, token: &RefreshToken, now_ms: i64) -> Result<Presented> {
    type Found = (Option<i64>, String, String, i64, Option<i64>);
    let found: Option<Found> = locked!(
        conn,
        refresh_tokens::table
            .inner_join(sessions::table)
            .filter(refresh_tokens::secret_hash.eq(&token[..]))
            .select((
                refresh_tokens::used_ms,
                sessions::id,
                sessions::user_id,
                sessions::expires_ms,
                sessions::revoked_ms,
            ))
    )
    .optional()?;
    let Some((used_ms, session, user, expires_ms, revoked_ms)) = found else { return Ok(Presented::Unknown) };
    let session_id = Uuid::parse_str(&session).map_err(Error::internal)?;
    let session = Session { id: session_id, user: id(user)?, expires_ms, revoked_ms };
    Ok(if revoked_ms.is_some() || expires_ms <= now_ms {
        Presented::Ended(session)
    } else if used_ms.is_some() {
        Presented::Reused(session)
    } else {
        Presented::Good(session)
    })
}

/// Marks `old` as used and gives its session the token `new`.
///
/// # Errors
/// [`Error::Conflict`] if somebody used `old` meanwhile.
pub fn rotate(
    conn: &mut Conn,
    session: &Session,
    old: &RefreshToken,
    new: &RefreshToken,
    now_ms: i64,
) -> Result<()> {
    let unused = refresh_tokens::table
        .filter(refresh_tokens::secret_hash.eq(&old[..]))
        .filter(refresh_tokens::used_ms.is_null());
    let used =
        query!(conn, |c| diesel::update(unused).set(refresh_tokens::used_ms.eq(Some(now_ms))).execute(c))?;
    if used != 1 {
        return Err(Error::Conflict(format!("session {}", session.id)));
    }
    add_token(conn, session.id, new)
}

/// Ends a session of the user; false if there is none that lives.
pub fn revoke_session(conn: &mut Conn, user: &UserId, session: Uuid, now_ms: i64) -> Result<bool> {
    let live = sessions::table
        .find(session.to_string())
        .filter(sessions::user_id.eq(user.as_str()))
        .filter(sessions::revoked_ms.is_null());
    let ended = query!(conn, |c| diesel::update(live).set(sessions::revoked_ms.eq(Some(now_ms))).execute(c))?;
    if ended > 0 {
        touch(conn, user.as_str())?;
    }
    Ok(ended > 0)
}

/// Ends all sessions of the user, except `but`. The caller marks the user as changed.
pub(super) fn revoke_all(conn: &mut Conn, user: &UserId, but: Option<Uuid>, now_ms: i64) -> Result<()> {
    let live = sessions::table
        .filter(sessions::user_id.eq(user.as_str()))
        .filter(sessions::id.ne(but.map(|id| id.to_string()).unwrap_or_default()))
        .filter(sessions::revoked_ms.is_null());
    query!(conn, |c| diesel::update(live).set(sessions::revoked_ms.eq(Some(now_ms))).execute(c))?;
    Ok(())
}

/// Sessions that ended after `since_ms`, of users changed after `after`, as (user, session).
pub(super) fn revoked(conn: &mut Conn, after: i64, since_ms: i64) -> Result<Vec<(String, String)>> {
    Ok(query!(conn, |c| sessions::table
        .inner_join(users::table)
        .filter(users::revision.gt(after))
        .filter(sessions::revoked_ms.gt(since_ms))
        .select((sessions::user_id, sessions::id))
        .order((sessions::user_id, sessions::id))
        .load(c))?)
}
