//! What changed since a revision, for those who keep a copy.

use std::collections::BTreeMap;

use diesel::prelude::*;

use super::accounts::{self, Account, Member};
use super::schema;
use super::sessions;
use super::users::{self, User};
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
    /// Accounts, parents before children.
    pub accounts: Vec<Account>,
    /// Users.
    pub identities: Vec<Identity>,
}

/// Everything that changed after revision `after`; all there is for 0. Sessions ended before `revoked_since_ms` are left out: no access
/// token of theirs is still valid.
pub fn changes_since(conn: &mut Conn, after: i64, revoked_since_ms: i64) -> Result<Changes> {
    let revision = revision::current(conn)?;
    if revision <= after {
        return Ok(Changes { revision, accounts: Vec::new(), identities: Vec::new() });
    }
    let rows: Vec<accounts::Row> = query!(conn, |c| schema::accounts::table
        .filter(schema::accounts::revision.gt(after))
        .order(schema::accounts::revision)
        .select(accounts::COLUMNS)
        .load(c))?;
    let accounts = rows.into_iter().map(accounts::from_row).collect::<Result<_>>()?;

    let rows: Vec<users::Row> = query!(conn, |c| schema::users::table
        .filter(schema::users::revision.gt(after))
        .order(schema::users::id)
        .select(users::COLUMNS)
        .load(c))?;
    let places: Vec<(String, String, bool)> = query!(conn, |c| schema::members::table
        .inner_join(schema::users::table)
        .filter(schema::users::revision.gt(after))
        .order((schema::members::user_id, schema::members::account))
        .select((schema::members::account, schema::members::user_id, schema::members::manager))
        .load(c))?;
    let mut members: BTreeMap<String, Vec<Member>> = BTreeMap::new();
    for row in places {
        members.entry(row.1.clone()).or_default().push(accounts::member_from_row(row)?);
    }
    let mut ended: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (user, session) in sessions::revoked(conn, after, revoked_since_ms)? {
        ended.entry(user).or_default().push(session);
    }
    let identity = |row: users::Row| {
        let user = users::from_row(row)?;
        let members = members.remove(user.id.as_str()).unwrap_or_default();
        let revoked_sessions = ended.remove(user.id.as_str()).unwrap_or_default();
        Ok(Identity { user, members, revoked_sessions })
    };
    let identities = rows.into_iter().map(identity).collect::<Result<_>>()?;
    Ok(Changes { revision, accounts, identities })
}
