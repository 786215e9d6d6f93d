//! Users, as platform admins see them.

use crater_domain::{AccountId, Code, Error, FieldViolation, Result, UserId};
use crater_store::user::{self, Member, NewUser, User, UserChange, UserFilter};
use crater_store::{Once, Tx};

use crate::app::{App, Caller};
use crate::rights::{absent_user, is_admin, require_admin, require_another};

/// A user to be.
#[derive(Clone)]
pub struct UserDraft {
    /// The id.
    pub id: UserId,
    /// A name to show.
    pub display_name: String,
    /// May do everything.
    pub platform_admin: bool,
    /// The first password.
    pub password: String,
    /// Accounts to be a member of at once.
    pub accounts: Vec<AccountId>,
}

/// A user, as much of it as the caller may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The user.
    pub user: User,
    /// The places of the user that the caller may know of.
    pub members: Vec<Member>,
    /// Whether the caller is a platform admin.
    pub by_admin: bool,
}

impl App {
    /// A user: oneself, somebody in an account that one manages, or, for a platform admin, anybody.
    pub async fn get_user(&self, caller: &Caller, id: UserId) -> Result<Seen> {
        let caller = caller.clone();
        let seen = self.db.read::<_, Error, _>(Tx::ReadUser, move |c| {
            let by_admin = is_admin(c, &caller)?;
            let found = user::user(c, &id)?.map(|user| Ok::<_, Error>((user, user::members_of(c, &id)?)));
            let (user, mut members) = found.transpose()?.ok_or_else(|| absent_user(&id))?;
            if !by_admin && caller.user != id {
                let mine = user::members_of(c, &caller.user)?;
                members.retain(|m| mine.iter().any(|own| own.manager && own.account == m.account));
                if members.is_empty() {
                    return Err(absent_user(&id));
                }
            }
            Ok(Seen { user, members, by_admin })
        });
        seen.await
    }

    /// At most `limit` users by id, beginning after the id `after`.
    pub async fn list_users(
        &self,
        caller: &Caller,
        filter: UserFilter,
        after: String,
        limit: usize,
    ) -> Result<Vec<User>> {
        let caller = caller.clone();
        let users = self.db.read::<_, Error, _>(Tx::ListUsers, move |c| {
            require_admin(c, &caller)?;
            Ok(user::list_users(c, &filter, &after, limit)?)
        });
        users.await
    }

    /// Creates a user, a member of the accounts named.
    pub async fn create_user(&self, caller: &Caller, draft: UserDraft, how: Once) -> Result<User> {
        // the answer of a request that was here before does not depend on the password, so that one is compared
        let (password, id) = (draft.password, draft.id.clone());
        let password_hash = self.passwords.hash(password.clone()).await?;
        let (caller, accounts, now_ms) = (caller.clone(), draft.accounts, how.now_ms);
        let new = NewUser {
            id: draft.id,
            display_name: draft.display_name,
            platform_admin: draft.platform_admin,
            password_hash: password_hash.clone(),
            created_ms: now_ms,
        };
        let named = how.request.is_some();
        let made = self
            .db
            .once::<_, Error, _>(Tx::CreateUser, how, move |c| {
                user::lock(c)?;
                require_admin(c, &caller)?;
                let mut wrong = Vec::new();
                for (i, account) in accounts.iter().enumerate() {
                    if user::account(c, account)?.is_none() {
                        let description = format!("{} is not there", account.resource_name());
                        wrong.push(FieldViolation { field: format!("accounts[{i}]"), description });
                    }
                }
                if !wrong.is_empty() {
                    return Err(Error::fields(wrong));
                }
                let made = user::create_user(c, &new)?;
                for account in &accounts {
                    let member = Member { account: account.clone(), user: made.id.clone(), manager: false };
                    user::add_member(c, &member)?;
                }
                Ok(made)
            })
            .await?;
        if named {
            self.same_password(id, password, password_hash).await?;
        }
        self.tell();
        Ok(made)
    }

    /// The body that names a request leaves the password out (its plain hash would be stored), so a repeated request is held against the
    /// password that the first one set.
    async fn same_password(&self, id: UserId, password: String, just_made: String) -> Result<()> {
        let kept =
            self.db.read::<_, Error, _>(Tx::ReadUser, move |c| Ok(user::password_hash(c, &id)?)).await?;
        // none: it was a check only
        if kept.is_none()
            || kept.as_ref() == Some(&just_made)
            || self.passwords.verify(password, kept).await?
        {
            return Ok(());
        }
        Err(crater_store::Error::RequestReused.into())
    }

    /// Changes a user, if it is still at `version` (when given). A suspension is heard everywhere within seconds.
    pub async fn update_user(
        &self,
        caller: &Caller,
        id: UserId,
        change: UserChange,
        version: Option<i64>,
        how: Once,
    ) -> Result<User> {
        let (caller, now_ms) = (caller.clone(), how.now_ms);
        let changed = self.db.once::<_, Error, _>(Tx::UpdateUser, how, move |c| {
            user::lock(c)?;
            require_admin(c, &caller)?;
            if change.suspended == Some(true) || change.platform_admin == Some(false) {
                require_another(&caller, &id, "suspend itself or give up being one")?;
            }
            let now = user::user(c, &id)?.ok_or_else(|| absent_user(&id))?;
            let settled = change.suspended == Some(now.suspended)
                && change.display_name.is_none()
                && change.platform_admin.is_none()
                && version.is_none_or(|v| v == now.version);
            // who is suspended twice is as before: a client that repeats itself makes nobody's etag stale
            if settled { Ok(now) } else { Ok(user::update_user(c, &id, &change, version, now_ms)?) }
        });
        let changed = changed.await?;
        self.tell();
        Ok(changed)
    }

    /// Sets the password of somebody else; every session of that user ends.
    pub async fn reset_password(
        &self,
        caller: &Caller,
        id: UserId,
        password: String,
        how: Once,
    ) -> Result<()> {
        if caller.user == id {
            // whoever found a session open could take the account over for good
            let text = "one's own password is changed with ChangePassword, which asks for the present one";
            return Err(Error::new(Code::FailedPrecondition, "OWN_PASSWORD", text));
        }
        let hash = self.passwords.hash(password.clone()).await?;
        let (compared, of) = (how.request.is_some() && !how.validate_only, id.clone());
        let (caller, now_ms, to) = (caller.clone(), how.now_ms, hash.clone());
        let set = self.db.once::<_, Error, _>(Tx::ResetPassword, how, move |c| {
            user::lock(c)?;
            require_admin(c, &caller)?;
            if user::user(c, &id)?.is_none() {
                return Err(absent_user(&id));
            }
            Ok(user::set_password(c, &id, None, &to, None, now_ms)?)
        });
        set.await?;
        if compared {
            self.same_password(of, password, hash).await?;
        }
        self.tell();
        Ok(())
    }

    /// Deletes a user for good, if it is still at `version` (when given).
    pub async fn delete_user(
        &self,
        caller: &Caller,
        id: UserId,
        version: Option<i64>,
        how: Once,
    ) -> Result<()> {
        let (caller, now_ms) = (caller.clone(), how.now_ms);
        let deleted = self.db.once::<_, Error, _>(Tx::DeleteUser, how, move |c| {
            user::lock(c)?;
            require_admin(c, &caller)?;
            require_another(&caller, &id, "delete itself")?;
            if user::user(c, &id)?.is_none() {
                return Err(absent_user(&id));
            }
            Ok(user::delete_user(c, &id, version, now_ms)?)
        });
        deleted.await?;
        self.tell();
        Ok(())
    }
}
