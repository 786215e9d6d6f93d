//! Accounts, a tree, and who is in them.

use std::collections::BTreeMap;

use crater_domain::{AccountId, Code, Error, Result, UserId};
use crater_store::user::{self, Account, AccountChange, AccountFilter, Listed, Member, NewAccount};
use crater_store::{Once, Tx};

use crate::app::{App, Caller};
use crate::rights::{absent_account, absent_user, is_admin, require_admin, require_manager, require_member};

/// The most accounts on a way from the top to the bottom. The scheduler keeps a bit a level, and people lose their way long before.
const DEEPEST: usize = 16;

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

type Tree = BTreeMap<AccountId, Option<AccountId>>;

impl App {
    /// An account, for those who are in it.
    pub async fn get_account(&self, caller: &Caller, id: AccountId) -> Result<Account> {
        let caller = caller.clone();
        self.db.read::<_, Error, _>(Tx::ReadAccount, move |c| require_member(c, &caller, &id)).await
    }

    /// At most `limit` accounts that the caller is in, or of all for a platform admin, by id, beginning after the id `after`.
    pub async fn list_accounts(
        &self,
        caller: &Caller,
        parent: Option<AccountId>,
        after: String,
        limit: usize,
    ) -> Result<Vec<Account>> {
        let caller = caller.clone();
        let accounts = self.db.read::<_, Error, _>(Tx::ListAccounts, move |c| {
            let member = if is_admin(c, &caller)? { None } else { Some(caller.user.clone()) };
            let filter = AccountFilter { member, parent: parent.clone() };
            Ok(user::list_accounts(c, &filter, &after, limit)?)
        });
        accounts.await
    }

    /// Creates an account.
    pub async fn create_account(&self, caller: &Caller, draft: AccountDraft, how: Once) -> Result<Account> {
        let (caller, now_ms) = (caller.clone(), how.now_ms);
        let AccountDraft { id, display_name, parent } = draft;
        let new = NewAccount { id, display_name, parent, created_ms: now_ms };
        let made = self.db.once::<_, Error, _>(Tx::CreateAccount, how, move |c| {
            user::lock(c)?;
            require_admin(c, &caller)?;
            if let Some(parent) = &new.parent {
                fits(&user::account_tree(c)?, &new.id, parent)?;
            }
            Ok(user::create_account(c, &new)?)
        });
        let made = made.await?;
        self.tell();
        Ok(made)
    }

    /// Changes an account, if it is still at `version` (when given).
    pub async fn update_account(
        &self,
        caller: &Caller,
        id: AccountId,
        change: AccountChange,
        version: Option<i64>,
        how: Once,
    ) -> Result<Account> {
        let caller = caller.clone();
        let changed = self.db.once::<_, Error, _>(Tx::UpdateAccount, how, move |c| {
            user::lock(c)?;
            require_admin(c, &caller)?;
            if user::account(c, &id)?.is_none() {
                return Err(absent_account(&id));
            }
            if let Some(Some(parent)) = &change.parent {
                fits(&user::account_tree(c)?, &id, parent)?;
            }
            Ok(user::update_account(c, &id, &change, version)?)
        });
        let changed = changed.await?;
        self.tell();
        Ok(changed)
    }

    /// Deletes an account for good, if it is still at `version` (when given) and none is below it. One with members goes only by
    /// `force`, which takes them out of it.
    pub async fn delete_account(
        &self,
        caller: &Caller,
        id: AccountId,
        version: Option<i64>,
        force: bool,
        how: Once,
    ) -> Result<()> {
        let (caller, now_ms) = (caller.clone(), how.now_ms);
        let deleted = self.db.once::<_, Error, _>(Tx::DeleteAccount, how, move |c| {
            user::lock(c)?;
            require_admin(c, &caller)?;
            if user::account(c, &id)?.is_none() {
                return Err(absent_account(&id));
            }
            let refuse = |reason, text: &str| {
                let text = format!("{} {text}", id.resource_name());
                Err(Error::new(Code::FailedPrecondition, reason, text))
            };
            if user::has_accounts_below(c, &id)? {
                return refuse("ACCOUNT_HAS_ACCOUNTS", "has accounts below it: delete or move them first");
            }
            if !force && user::has_members(c, &id)? {
                return refuse("ACCOUNT_HAS_MEMBERS", "has members: remove them, or set force");
            }
            Ok(user::delete_account(c, &id, version, now_ms)?)
        });
        deleted.await?;
        self.tell();
        Ok(())
    }

    /// At most `limit` members of the account by user, beginning after the user `after`, for those who are in it.
    pub async fn list_members(
        &self,
        caller: &Caller,
        id: AccountId,
        after: String,
        limit: usize,
    ) -> Result<Vec<Listed>> {
        let caller = caller.clone();
        let members = self.db.read::<_, Error, _>(Tx::ListMembers, move |c| {
            require_member(c, &caller, &id)?;
            Ok(user::list_members(c, &id, &after, limit)?)
        });
        members.await
    }

    /// Puts a user into an account, or changes the role there.
    pub async fn add_member(&self, caller: &Caller, member: Member, how: Once) -> Result<Member> {
        let caller = caller.clone();
        let added = self.db.once::<_, Error, _>(Tx::AddMember, how, move |c| {
            user::lock(c)?;
            require_manager(c, &caller, &member.account)?;
            if user::user(c, &member.user)?.is_none() {
                return Err(absent_user(&member.user));
            }
            user::add_member(c, &member)?;
            Ok(member.clone())
        });
        let added = added.await?;
        self.tell();
        Ok(added)
    }

    /// Takes a user out of an account. One who is not in it is as wished.
    pub async fn remove_member(
        &self,
        caller: &Caller,
        account: AccountId,
        member: UserId,
        how: Once,
    ) -> Result<()> {
        let caller = caller.clone();
        let removed = self.db.once::<_, Error, _>(Tx::RemoveMember, how, move |c| {
            user::lock(c)?;
            require_manager(c, &caller, &account)?;
            user::remove_member(c, &account, &member)?;
            Ok(())
        });
        removed.await?;
        self.tell();
        Ok(())
    }
}

/// Whether `account`, with all that is below it, has a place below `parent`.
fn fits(tree: &Tree, account: &AccountId, parent: &AccountId) -> Result<()> {
    let refuse = |text: String| Err(Error::field("account.parent", text));
    if !tree.contains_key(parent) {
        return refuse(format!("{} is not there", parent.resource_name()));
    }
    let above = line(tree, parent);
    if above.contains(&account) {
        return refuse(format!("{} cannot come below itself", account.resource_name()));
    }
    let deep = |id: &AccountId| line(tree, id).iter().position(|a| *a == account).map_or(0, |at| at + 1);
    let below = tree.keys().map(deep).max().unwrap_or(0).max(1);
    if above.len() + below > DEEPEST {
        return refuse(format!("accounts are at most {DEEPEST} deep"));
    }
    Ok(())
}

/// The account, the one above it, and so on up to the top.
fn line<'a>(tree: &'a Tree, account: &'a AccountId) -> Vec<&'a AccountId> {
    let above = |id: &&'a AccountId| tree.get(*id).and_then(Option::as_ref);
    // a tree that was damaged by hand ends somewhere, too
    std::iter::successors(Some(account), above).take(tree.len() + 1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> AccountId {
        name.parse().unwrap()
    }

    /// a0 above a1 above a2 and so on, and `lone` beside them.
    fn chain(length: usize) -> Tree {
        let one = |n: usize| (id(&format!("a{n}")), n.checked_sub(1).map(|above| id(&format!("a{above}"))));
        (0..length).map(one).chain([(id("lone"), None)]).collect()
    }

    fn why(tree: &Tree, account: &str, parent: &str) -> String {
        let refused = fits(tree, &id(account), &id(parent)).unwrap_err();
        assert_eq!(refused.violations[0].field, "account.parent");
        refused.message.into_owned()
    }

    #[test]
    fn an_account_does_not_come_below_itself() {
        let tree = chain(3);
        for parent in ["a0", "a1", "a2"] {
            assert!(why(&tree, "a0", parent).contains("cannot come below itself"), "{parent}");
        }
        fits(&tree, &id("a1"), &id("lone")).unwrap();
        fits(&tree, &id("a2"), &id("a0")).unwrap();
        assert!(why(&tree, "a0", "nil").contains("is not there"));
    }

    #[test]
    fn a_move_counts_all_that_comes_along() {
        let tree = chain(DEEPEST);
        let last = format!("a{}", DEEPEST - 1);
        assert!(why(&tree, "new", &last).contains("deep"));
        fits(&tree, &id("new"), &id(&format!("a{}", DEEPEST - 2))).unwrap();
        // all but the top one are moved below another top one: as deep as before
        fits(&tree, &id("a1"), &id("lone")).unwrap();
        assert!(why(&tree, "a0", "lone").contains("deep"));
    }
}
