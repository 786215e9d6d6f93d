//! What one does about oneself: who am I, where do I act, my password.

use crater_domain::{AccountId, Error, Result};
use crater_store::user::{self, Member, User};
use crater_store::{Conn, Once, Tx, idempotency};

use crate::app::{App, Caller, DEFAULT_ACCOUNT};
use crate::rights::{absent_user, is_admin, require_member};

/// The caller, and where the caller may act.
pub struct Me {
    /// The user.
    pub user: User,
    /// The accounts that the user is in, by id.
    pub members: Vec<Member>,
    /// Where the user acts when a client names no account; none for a user who is in none.
    pub acting: Option<AccountId>,
}

impl App {
    /// Who the caller is, and where.
    pub async fn who_am_i(&self, caller: &Caller) -> Result<Me> {
        let caller = caller.clone();
        let me = self.db.read::<_, Error, _>(Tx::ReadUser, move |c| {
            let user = user::user(c, &caller.user)?.ok_or_else(|| absent_user(&caller.user))?;
            let members = user::members_of(c, &caller.user)?;
            let acting = acting(c, &caller, &members)?;
            Ok(Me { user, members, acting })
        });
        me.await
    }

    /// Chooses where the caller acts when a client names no account.
    pub async fn switch_account(&self, caller: &Caller, account: AccountId) -> Result<AccountId> {
        let caller = caller.clone();
        let switched = self.db.transaction::<_, Error, _>(Tx::SwitchAccount, move |c| {
            require_member(c, &caller, &account)?;
            user::set_acting_account(c, &caller.user, &account)?;
            Ok(account.clone())
        });
        switched.await
    }

    /// Changes the caller's own password. A new epoch begins: every other session ends, the caller's own goes on with its next
    /// refresh.
    ///
    /// # Errors
    /// The field `current_password`; too many guesses of it, with the time to wait.
    pub async fn change_password(
        &self,
        caller: &Caller,
        current: String,
        new: String,
        how: Once,
    ) -> Result<()> {
        // a stolen token is no way to guess the password faster than at the door
        self.take_attempt(&caller.user)?;
        let (id, request) = (caller.user.clone(), how.request.clone());
        let found = self.db.read::<_, Error, _>(Tx::ReadUser, move |c| {
            let was_here = match &request {
                Some(request) => idempotency::replay(c, request)?.is_some(),
                None => false,
            };
            Ok((was_here, user::password_hash(c, &id)?))
        });
        let (was_here, kept) = found.await?;
        if was_here {
            // the passwords are no part of the body that names a request, so the new one is held against what the first call set
            if !self.passwords.verify(new, kept).await? {
                return Err(crater_store::Error::RequestReused.into());
            }
            self.attempts.forgive(&caller.user);
            return Ok(());
        }
        if !self.passwords.verify(current, kept.clone()).await? {
            return Err(Error::field("current_password", "is not the password of the user"));
        }
        self.attempts.forgive(&caller.user);
        let (hash, caller, now_ms) = (self.passwords.hash(new).await?, caller.clone(), how.now_ms);
        let changed = self.db.once::<_, Error, _>(Tx::ChangePassword, how, move |c| {
            let (id, own) = (&caller.user, Some(caller.session));
            Ok(user::set_password(c, id, kept.as_deref(), &hash, own, now_ms)?)
        });
        changed.await?;
        self.tell();
        Ok(())
    }
}

/// What the user chose, while it holds; else the first account of the installation, else the first of the user's.
fn acting(conn: &mut Conn, caller: &Caller, members: &[Member]) -> Result<Option<AccountId>> {
    if let Some(chosen) = user::acting_account(conn, &caller.user)? {
        let member = members.iter().any(|m| m.account == chosen);
        if member || (is_admin(conn, caller)? && user::account(conn, &chosen)?.is_some()) {
            return Ok(Some(chosen));
        }
    }
    let accounts = || members.iter().map(|m| &m.account);
    Ok(accounts().find(|a| a.as_str() == DEFAULT_ACCOUNT).or_else(|| accounts().next()).cloned())
}
