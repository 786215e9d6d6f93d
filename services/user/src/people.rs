//! Users, accounts, and who is in which.

use crater_domain::{AccountId, Code, Error, FieldViolation, Result, UserId};
use crater_store::user::{self, Account, Member, NewAccount, NewUser, User, UserChange};
use crater_store::{Conn, Once, Tx};

use crate::app::{App, Caller};

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

/// An account to be.
#[derive(Debug, Clone)]
pub struct AccountDraft {
    /// The id.
    pub id: AccountId,
    /// A name to show.
    pub display_name: String,
    /// The account above it.
    pub parent: Option<AccountId>,
}

impl App {
    /// Who the caller is, and where.
    pub async fn who_am_i(&self, caller: &Caller) -> Result<(User, Vec<Member>)> {
        let id = caller.user.clone();
        self.db
            .read::<_, Error, _>(Tx::ReadUser, move |c| {
                let user = user::user(c, &id)?.ok_or_else(|| absent_user(&id))?;
                Ok((user, user::members_of(c, &id)?))
            })
            .await
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
        let changed = self
            .db
            .once::<_, Error, _>(Tx::UpdateUser, how, move |c| {
                require_admin(c, &caller)?;
                let locks_out = change.suspended == Some(true) || change.platform_admin == Some(false);
                if locks_out && id == caller.user {
                    // so that there is always one who can undo it
                    let text = "an admin cannot suspend itself or give up being one: another admin can";
                    return Err(Error::new(Code::FailedPrecondition, "LAST_ADMIN", text));
                }
                if user::user(c, &id)?.is_none() {
                    return Err(absent_user(&id));
                }
                Ok(user::update_user(c, &id, &change, version, now_ms)?)
            })
            .await?;
        self.tell();
        Ok(changed)
    }

    /// Creates an account.
    pub async fn create_account(&self, caller: &Caller, draft: AccountDraft, how: Once) -> Result<Account> {
        let (caller, now_ms) = (caller.clone(), how.now_ms);
        let AccountDraft { id, display_name, parent } = draft;
        let new = NewAccount { id, display_name, parent, created_ms: now_ms };
        let made = self
            .db
            .once::<_, Error, _>(Tx::CreateAccount, how, move |c| {
                require_admin(c, &caller)?;
                if let Some(parent) = &new.parent
                    && user::account(c, parent)?.is_none()
                {
                    return Err(Error::field(
                        "account.parent",
                        format!("{} is not there", parent.resource_name()),
                    ));
                }
                Ok(user::create_account(c, &new)?)
            })
            .await?;
        self.tell();
        Ok(made)
    }

    /// Puts a user into an account, or changes the role there.
    pub async fn add_member(&self, caller: &Caller, member: Member, how: Once) -> Result<Member> {
        let caller = caller.clone();
        let added = self
            .db
            .once::<_, Error, _>(Tx::AddMember, how, move |c| {
                require_manager(c, &caller, &member.account)?;
                if user::user(c, &member.user)?.is_none() {
                    return Err(absent_user(&member.user));
                }
                user::add_member(c, &member)?;
                Ok(member.clone())
            })
            .await?;
        self.tell();
        Ok(added)
    }
}

/// The gate looked at the token; this looks at the truth, in the same transaction as the deed.
fn require_admin(conn: &mut Conn, caller: &Caller) -> Result<()> {
    match user::user(conn, &caller.user)? {
        Some(me) if me.platform_admin && !me.suspended => Ok(()),
        _ => {
            Err(Error::new(Code::PermissionDenied, "PERMISSION_DENIED", "only a platform admin may do this"))
        }
    }
}

/// A stranger's account and an absent one read alike.
fn require_manager(conn: &mut Conn, caller: &Caller, account: &AccountId) -> Result<()> {
    let absent = || Error::not_found("account", account.resource_name());
    if user::account(conn, account)?.is_none() {
        return Err(absent());
    }
    if require_admin(conn, caller).is_ok() {
        return Ok(());
    }
    let places = user::members_of(conn, &caller.user)?;
    match places.iter().find(|m| m.account == *account) {
        Some(place) if place.manager => Ok(()),
        Some(_) => {
            let text = "only a manager of the account may do this";
            Err(Error::new(Code::PermissionDenied, "PERMISSION_DENIED", text))
        }
        None => Err(absent()),
    }
}

fn absent_user(id: &UserId) -> Error {
    Error::not_found("user", id.resource_name())
}
