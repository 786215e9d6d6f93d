//! Who may. The gate looked at the token; this looks at the truth, in the same transaction as the deed and under its lock.
//!
//! A platform admin is never the one to shut itself out, and whoever shuts another one out is an active admin at that very moment: so
//! there is always one left, whatever two of them do to each other at once.

use crater_domain::{AccountId, Code, Error, Result, UserId};
use crater_store::Conn;
use crater_store::user::{self, Account};

use crate::app::Caller;

/// Whether the caller is a platform admin.
pub fn is_admin(conn: &mut Conn, caller: &Caller) -> Result<bool> {
    Ok(user::user(conn, &caller.user)?.is_some_and(|me| me.platform_admin && !me.suspended))
}

/// Refuses who is no platform admin.
pub fn require_admin(conn: &mut Conn, caller: &Caller) -> Result<()> {
    if is_admin(conn, caller)? {
        return Ok(());
    }
    Err(Error::new(Code::PermissionDenied, "PERMISSION_DENIED", "only a platform admin may do this"))
}

/// Refuses who would shut itself out.
pub fn require_another(caller: &Caller, id: &UserId, what: &str) -> Result<()> {
    if caller.user != *id {
        return Ok(());
    }
    let text = format!("an admin cannot {what}: another admin can");
    Err(Error::new(Code::FailedPrecondition, "LAST_ADMIN", text))
}

/// The account, for its members. A stranger's account and an absent one read alike.
pub fn require_member(conn: &mut Conn, caller: &Caller, id: &AccountId) -> Result<Account> {
    match place(conn, caller, id)? {
        Some((account, _)) => Ok(account),
        None => Err(absent_account(id)),
    }
}

/// The account, for its managers. A stranger's account and an absent one read alike.
pub fn require_manager(conn: &mut Conn, caller: &Caller, id: &AccountId) -> Result<Account> {
    match place(conn, caller, id)? {
        Some((account, true)) => Ok(account),
        Some(_) => {
            let text = "only a manager of the account may do this";
            Err(Error::new(Code::PermissionDenied, "PERMISSION_DENIED", text))
        }
        None => Err(absent_account(id)),
    }
}

/// The account, and whether the caller manages it; none for a stranger.
fn place(conn: &mut Conn, caller: &Caller, id: &AccountId) -> Result<Option<(Account, bool)>> {
    let Some(account) = user::account(conn, id)? else { return Ok(None) };
    if is_admin(conn, caller)? {
        return Ok(Some((account, true)));
    }
    let places = user::members_of(conn, &caller.user)?;
    Ok(places.iter().find(|m| m.account == *id).map(|m| (account, m.manager)))
}

pub fn absent_user(id: &UserId) -> Error {
    Error::not_found("user", id.resource_name())
}

pub fn absent_account(id: &AccountId) -> Error {
    Error::not_found("account", id.resource_name())
}
