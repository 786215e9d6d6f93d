//! What changed since a revision, for those who keep a copy.

use std::collections::BTreeMap;

use crater_domain::{AccountId, UserId};
use diesel::prelude::*;

use super::accounts::{self, Account};
use super::members::{self, Member};
use super::users::{self, User};
use super::{id, schema, sessions};
use crate::conn::{Conn, query};
use crate::{Result, revision};

/// A user with all that others must know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub user: User,
    /// All memberships.
    pub members: Vec<Member>,
    /// Sessions that were ended since the moment asked for.
    pub revoked_sessions: Vec<String>,
}

/// Everything that changed after a revision, as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// Ask for what comes after this next.
    pub revision: i64,
    /// Accounts, in the order of their last change.
    pub accounts: Vec<Account>,
    /// Accounts that were deleted.
    pub deleted_accounts: Vec<AccountId>,
    /// Users.
    pub identities: Vec<Identity>,
    /// Users who were deleted.
    pub deleted_users: Vec<UserId>,
}

/// Tokens of one user that are to be refused, as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// The user.
    pub user: UserId,
    /// Whether all are: the user is suspended or deleted.
    pub all: bool,
    /// Tokens of a lower epoch are.
    pub epoch: i64,
    /// Tokens of these sessions are.
    pub sessions: Vec<String>,
}

/// Everything that changed after revision `after`, as it is now; all there is for 0, deleted accounts too, since there is still to clear
/// up after them, but no deleted users. Sessions ended before `revoked_since_ms` are left out: no access token of theirs is still valid.
pub fn changes_since(conn: &mut Conn, after: i64, revoked_since_ms: i64) -> Result<Changes> {
    let revision = revision::current(conn)?;
    let mut changes = Changes {
        revision,
        accounts: Vec::new(),
        deleted_accounts: Vec::new(),
        identities: Vec::new(),
        deleted_users: Vec::new(),
    };
    if revision <= after {
        return Ok(changes);
    }
    let rows: Vec<(accounts::Row, Option<i64>)> = query!(conn, |c| schema::accounts::table
        .filter(schema::accounts::revision.gt(after))
        .order(schema::accounts::revision)
        .select((accounts::COLUMNS, schema::accounts::deleted_ms))
        .load(c))?;
    for (row, deleted_ms) in rows {
        let account = accounts::from_row(row)?;
        match deleted_ms {
            None => changes.accounts.push(account),
            Some(_) => changes.deleted_accounts.push(account.id),
        }
    }

    let rows: Vec<(users::Row, Option<i64>)> = query!(conn, |c| schema::users::table
        .filter(schema::users::revision.gt(after))
        .order(schema::users::id)
        .select((users::COLUMNS, schema::users::deleted_ms))
        .load(c))?;
    let places: Vec<(String, String, bool)> = query!(conn, |c| schema::members::table
        .inner_join(schema::users::table)
        .filter(schema::users::revision.gt(after))
        .order((schema::members::user_id, schema::members::account))
        .select((schema::members::account, schema::members::user_id, schema::members::manager))
        .load(c))?;
    let mut inside: BTreeMap<String, Vec<Member>> = BTreeMap::new();
    for row in places {
        inside.entry(row.1.clone()).or_default().push(members::from_row(row)?);
    }
    let mut ended = ended_sessions(conn, after, revoked_since_ms)?;
    for (row, deleted_ms) in rows {
        let user = users::from_row(row)?;
        match deleted_ms {
            None => {
                let members = inside.remove(user.id.as_str()).unwrap_or_default();
                let revoked_sessions = ended.remove(user.id.as_str()).unwrap_or_default();
                changes.identities.push(Identity { user, members, revoked_sessions });
            }
            Some(_) if after > 0 => changes.deleted_users.push(user.id),
            Some(_) => {}
        }
    }
    Ok(changes)
}

/// The revision, and the tokens that are to be refused of each user who changed after revision `after`, as it is now: nothing, where
/// nothing is refused any more. For 0, of every user of whom something is. What was ended before `since_ms` is left out: no access
/// token of before is still valid.
pub fn revocations_since(conn: &mut Conn, after: i64, since_ms: i64) -> Result<(i64, Vec<Revocation>)> {
    use schema::users::dsl;
    let revision = revision::current(conn)?;
    if revision <= after {
        return Ok((revision, Vec::new()));
    }
    let mut ended = ended_sessions(conn, after, since_ms)?;
    type Row = (String, bool, Option<i64>, i64);
    let rows: Vec<Row> = query!(conn, |c| {
        let mut wanted = dsl::users
            .filter(dsl::revision.gt(after))
            .order(dsl::id)
            .select((dsl::id, dsl::suspended, dsl::deleted_ms, dsl::epoch))
            .into_boxed();
        if after == 0 {
            let with_ended = schema::sessions::table
                .filter(schema::sessions::revoked_ms.is_not_null())
                .filter(schema::sessions::revoked_ms.assume_not_null().gt(since_ms))
                .select(schema::sessions::user_id);
            // a deletion begins an epoch, too
            let some = dsl::suspended.eq(true).or(dsl::epoch_ms.gt(since_ms)).or(dsl::id.eq_any(with_ended));
            wanted = wanted.filter(some);
        }
        wanted.load(c)
    })?;
    let revocation = |(user, suspended, deleted_ms, epoch): Row| {
        let sessions = ended.remove(&user).unwrap_or_default();
        Ok(Revocation { user: id(user)?, all: suspended || deleted_ms.is_some(), epoch, sessions })
    };
    Ok((revision, rows.into_iter().map(revocation).collect::<Result<_>>()?))
}

/// Sessions that ended after `since_ms`, of users changed after `after`, by user.
fn ended_sessions(conn: &mut Conn, after: i64, since_ms: i64) -> Result<BTreeMap<String, Vec<String>>> {
    let mut ended: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (user, session) in sessions::revoked(conn, after, since_ms)? {
        ended.entry(user).or_default().push(session);
    }
    Ok(ended)
}
