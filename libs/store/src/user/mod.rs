//! The user service's tables: users, accounts, who is in which, sessions and signing keys.
//!
//! Times are milliseconds since 1970. A row's `version` is its etag; every change of a user or an account also takes the next number of
//! the database's revision, which [`changes_since`] reads. What is deleted stays as a stone without anything personal, so that its id
//! is never given again; no function but those that say so sees it.

mod accounts;
mod changes;
mod keys;
mod members;
mod passwords;
mod schema;
mod sessions;
mod users;

pub use accounts::{
    Account, AccountChange, AccountFilter, NewAccount, account, account_tree, create_account, delete_account,
    has_accounts_below, list_accounts, update_account,
};
pub use changes::{Changes, Identity, Revocation, changes_since, revocations_since};
pub use keys::{SigningKey, add_signing_key, drop_signing_keys_before, signing_keys};
pub use members::{
    Listed, Member, acting_account, add_member, has_members, list_members, members_of, remove_member,
    set_acting_account,
};
pub use passwords::{password_hash, set_password, sign_in};
pub use sessions::{Presented, RefreshToken, Session, open_session, present, revoke_session, rotate};
pub use users::{
    NewUser, User, UserChange, UserFilter, create_user, delete_user, is_user_id_used, list_users, lock_user,
    update_user, user,
};

use crate::conn::Conn;
use crate::{Error, Result, revision};

/// Waits until no other transaction changes users, accounts or members, and keeps others waiting to the end of this one. A use
/// case that decides by what it reads takes it first: what is read after it stays true.
pub fn lock(conn: &mut Conn) -> Result<()> {
    revision::next(conn).map(drop)
}

/// Reads an id that this crate wrote.
fn id<T: TryFrom<String>>(text: String) -> Result<T> {
    let shown = text.clone();
    T::try_from(text).map_err(|_| Error::internal(format!("the id {shown:?} in the tables is none")))
}
