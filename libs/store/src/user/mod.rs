//! The user service's tables: users, accounts, who is in which, sessions and signing keys.
//!
//! Times are milliseconds since 1970. A row's `version` is its etag; every change of a user or an account also takes the next number of
//! the database's revision, which [`changes_since`] reads.

mod accounts;
mod changes;
mod keys;
mod schema;
mod sessions;
mod users;

pub use accounts::{Account, Member, NewAccount, account, add_member, create_account, members_of};
pub use changes::{Changes, Identity, changes_since};
pub use keys::{SigningKey, add_signing_key, drop_signing_keys_before, signing_keys};
pub use sessions::{Presented, RefreshToken, Session, open_session, present, revoke_session, rotate};
pub use users::{NewUser, User, UserChange, create_user, lock_user, password_hash, update_user, user};

use crate::{Error, Result};

/// Reads an id that this crate wrote.
fn id<T: TryFrom<String>>(text: String) -> Result<T> {
    let shown = text.clone();
    T::try_from(text).map_err(|_| Error::internal(format!("the id {shown:?} in the tables is none")))
}
