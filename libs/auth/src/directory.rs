//! What this process knows of users: fed by the user service's stream, read at every call.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crater_api::user::v1::watch_identities_response::Event;
use crater_api::user::v1::{Identity, MemberRole, UserState};
use crater_domain::{AccountId, UserId};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::{AccessClaims, Error, Role};

/// Silence of the user service after which nobody is believed any more: a suspension might have gone unheard.
pub const STALE_AFTER: Duration = Duration::from_secs(30);

/// How long something that is not known is waited for: it may be news.
const NEWS: Duration = Duration::from_secs(2);

/// The identities as last heard. Clones share the view.
#[derive(Clone)]
pub struct Directory {
    shared: Arc<Shared>,
}

struct Shared {
    state: RwLock<State>,
    revision: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    view: View,
    /// The snapshot being received; it replaces `view` once it is whole.
    draft: Option<View>,
    /// When the sender was last heard, once a whole snapshot was.
    heard: Option<Instant>,
}

#[derive(Default)]
struct View {
    users: HashMap<UserId, Entry>,
    /// Each with the one above it.
    accounts: HashMap<AccountId, Option<AccountId>>,
    /// Every account that was ever deleted: ids are never given again.
    deleted_accounts: BTreeSet<AccountId>,
}

impl State {
    /// Where what is heard goes.
    fn heard_into(&mut self) -> &mut View {
        self.draft.as_mut().unwrap_or(&mut self.view)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    suspended: bool,
    platform_admin: bool,
    epoch: i64,
    roles: BTreeMap<AccountId, Role>,
    revoked_sessions: HashSet<String>,
}

impl Default for Directory {
    fn default() -> Self {
        Self::new()
    }
}

impl Directory {
    /// Knows nobody and has heard nothing.
    pub fn new() -> Self {
        Self { shared: Arc::new(Shared { state: RwLock::default(), revision: watch::Sender::new(0) }) }
    }

    /// Takes in one event of `WatchIdentities`. A user that cannot be read is dropped with a warning: unknown is refused.
    /// Returns whether the view is whole.
    pub fn apply(&self, event: Event) -> bool {
        let now = Instant::now();
        let mut state = self.write();
        let mut changed = true;
        match event {
            Event::SnapshotStart(_) => {
                state.draft = Some(View::default());
                changed = false;
            }
            Event::Identity(identity) => match read(identity) {
                Some((user, entry)) => {
                    state.heard_into().users.insert(user, entry);
                }
                None => tracing::warn!("the user service sent a user that cannot be read"),
            },
            Event::Synced(_) => {
                if let Some(whole) = state.draft.take() {
                    state.view = whole;
                    state.heard = Some(now);
                }
            }
            Event::Account(account) => match AccountId::parse_name(&account.name) {
                Ok(id) => {
                    let parent = AccountId::parse_name(&account.parent).ok();
                    changed = state.heard_into().accounts.insert(id, parent.clone()) != Some(parent);
                }
                Err(_) => tracing::warn!("the user service sent an account that cannot be read"),
            },
            Event::DeletedUser(name) => {
                if let Ok(id) = UserId::parse_name(&name) {
                    state.heard_into().users.remove(&id);
                }
            }
            Event::DeletedAccount(name) => {
                if let Ok(id) = AccountId::parse_name(&name) {
                    let view = state.heard_into();
                    view.accounts.remove(&id);
                    view.deleted_accounts.insert(id);
                }
            }
            Event::Heartbeat(_) => changed = false,
        }
        if state.heard.is_some() {
            state.heard = Some(now);
        }
        let whole = state.heard.is_some() && state.draft.is_none();
        drop(state);
        if changed {
            self.shared.revision.send_modify(|revision| *revision += 1);
        }
        whole
    }

    /// Whether the user of these claims may act at `now`; if so, until when that holds unless something changes.
    pub(crate) fn check(&self, claims: &AccessClaims, now: Instant) -> Result<(Entry, Instant), Error> {
        let state = self.read();
        let until = state.heard.ok_or(Error::IdentitiesNotHeard)? + STALE_AFTER;
        if now > until {
            return Err(Error::IdentitiesNotHeard);
        }
        let entry = state.view.users.get(&claims.user).ok_or(Error::UserUnknown)?;
        if entry.suspended {
            return Err(Error::UserSuspended);
        }
        // A higher epoch than ours is a token newer than what we heard.
        if claims.epoch < entry.epoch || entry.revoked_sessions.contains(&claims.session) {
            return Err(Error::SessionRevoked);
        }
        Ok((entry.clone(), until))
    }

    /// As [`Directory::check`], but waits a little for a user who may be newer than what was heard.
    pub(crate) async fn check_soon(&self, claims: &AccessClaims) -> Result<Entry, Error> {
        let mut changes = self.shared.revision.subscribe();
        let deadline = Instant::now() + NEWS;
        loop {
            match self.check(claims, Instant::now()) {
                Ok((entry, _)) => return Ok(entry),
                Err(Error::UserUnknown) => {}
                Err(error) => return Err(error),
            }
            if tokio::time::timeout_at(deadline, changes.changed()).await.is_err() {
                return Err(Error::UserUnknown);
            }
        }
    }

    /// Waits until `allowed` refuses the user of these claims.
    pub(crate) async fn refused(
        &self,
        claims: &AccessClaims,
        allowed: impl Fn(&Entry) -> Result<(), Error>,
    ) -> Error {
        let mut changes = self.shared.revision.subscribe();
        loop {
            let until =
                match self.check(claims, Instant::now()).and_then(|(e, until)| allowed(&e).map(|()| until)) {
                    Ok(until) => until,
                    Err(error) => return error,
                };
            tokio::select! {
                _ = changes.changed() => {}
                () = tokio::time::sleep_until(until + Duration::from_millis(1)) => {}
            }
        }
    }

    /// Whether the account is there. Waits a little for one that may be newer than what was heard.
    pub async fn has_account(&self, account: &AccountId) -> bool {
        self.soon(|view| view.accounts.contains_key(account)).await
    }

    /// Whether the user is there. Waits a little for one who may be newer than what was heard.
    pub async fn has_user(&self, user: &UserId) -> bool {
        self.soon(|view| view.users.contains_key(user)).await
    }

    /// The account, the one above it, and so on up to the top.
    pub fn lineage(&self, account: &AccountId) -> Vec<AccountId> {
        let state = self.read();
        let mut line = vec![account.clone()];
        while let Some(Some(parent)) = line.last().and_then(|last| state.view.accounts.get(last))
            && !line.contains(parent)
        {
            line.push(parent.clone());
        }
        line
    }

    /// The account and all that are below it.
    pub fn within(&self, account: &AccountId) -> Vec<AccountId> {
        let all: Vec<AccountId> = self.read().view.accounts.keys().cloned().collect();
        let mut below: Vec<AccountId> =
            all.into_iter().filter(|a| a != account && self.lineage(a).contains(account)).collect();
        below.push(account.clone());
        below
    }

    /// All accounts that were heard of, each with the one above it.
    pub fn account_tree(&self) -> BTreeMap<AccountId, Option<AccountId>> {
        self.read().view.accounts.iter().map(|(id, parent)| (id.clone(), parent.clone())).collect()
    }

    /// Every account that was ever deleted, by id; empty until a whole snapshot was heard. Level-triggered: whoever has to clear up
    /// after one reads all of them at its start and whenever [`Directory::changes`] moves.
    pub fn deleted_accounts(&self) -> BTreeSet<AccountId> {
        self.read().view.deleted_accounts.clone()
    }

    /// Changes with every change of what is known.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.revision.subscribe()
    }

    async fn soon(&self, so: impl Fn(&View) -> bool) -> bool {
        let mut changes = self.shared.revision.subscribe();
        let deadline = Instant::now() + NEWS;
        loop {
            if so(&self.read().view) {
                return true;
            }
            if tokio::time::timeout_at(deadline, changes.changed()).await.is_err() {
                return false;
            }
        }
    }

    /// The user's role in the account, by what is known now.
    pub(crate) fn role(&self, user: &UserId, account: &AccountId) -> Option<Role> {
        self.read().view.users.get(user)?.roles.get(account).copied()
    }

    pub(crate) fn accounts(&self, user: &UserId) -> Vec<AccountId> {
        self.read()
            .view
            .users
            .get(user)
            .map(|entry| entry.roles.keys().cloned().collect())
            .unwrap_or_default()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.shared.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, State> {
        self.shared.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    pub(crate) fn platform_admin(&self) -> bool {
        self.platform_admin
    }
}

fn read(identity: Identity) -> Option<(UserId, Entry)> {
    let user = identity.user?;
    let id = UserId::parse_name(&user.name).ok()?;
    let roles = identity.memberships.iter().filter_map(|membership| {
        let role = match membership.role() {
            MemberRole::Manager => Role::Manager,
            MemberRole::Member => Role::Member,
            MemberRole::Unspecified => return None,
        };
        Some((AccountId::parse_name(&membership.account).ok()?, role))
    });
    let entry = Entry {
        // Anything but a plain ACTIVE is no permission.
        suspended: user.state() != UserState::Active,
        platform_admin: user.platform_admin,
        epoch: identity.epoch,
        roles: roles.collect(),
        revoked_sessions: identity.revoked_sessions.into_iter().collect(),
    };
    Some((id, entry))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crater_api::user::v1::User;
    use crater_api::user::v1::watch_identities_response::{Heartbeat, SnapshotStart, Synced};

    fn claims() -> AccessClaims {
        let signer = crate::Signer::from_seed("k1", &crate::generate_seed()).unwrap();
        let grant = crate::AccessGrant { user: "alice".parse().unwrap(), session: "s1".to_owned(), epoch: 1 };
        signer.access_token(&grant, std::time::SystemTime::now()).unwrap().1
    }

    #[test]
    fn nobody_is_believed_after_thirty_seconds_of_silence() {
        let directory = Directory::new();
        let user =
            User { name: "users/alice".to_owned(), state: UserState::Active.into(), ..Default::default() };
        directory.apply(Event::SnapshotStart(SnapshotStart {}));
        directory.apply(Event::Identity(Identity { user: Some(user), epoch: 1, ..Default::default() }));
        directory.apply(Event::Synced(Synced {}));
        let (claims, before) = (claims(), Instant::now());
        let (_, until) = directory.check(&claims, before).unwrap();
        assert!(directory.check(&claims, until).is_ok());
        let late = until + Duration::from_millis(1);
        assert_eq!(directory.check(&claims, late).map(drop), Err(Error::IdentitiesNotHeard));
        // Any sign of life prolongs what is known, and only that.
        directory.apply(Event::Heartbeat(Heartbeat {}));
        let (_, prolonged) = directory.check(&claims, Instant::now()).unwrap();
        assert!(prolonged >= until);
    }

    #[test]
    fn a_deleted_account_is_told_by_the_snapshot_and_by_the_change() {
        let account = |id: &str| {
            Event::Account(crater_api::user::v1::Account {
                name: format!("accounts/{id}"),
                ..Default::default()
            })
        };
        let deleted = |id: &str| Event::DeletedAccount(format!("accounts/{id}"));
        let ids = |directory: &Directory| -> Vec<String> {
            directory.deleted_accounts().iter().map(ToString::to_string).collect()
        };
        let directory = Directory::new();
        directory.apply(Event::SnapshotStart(SnapshotStart {}));
        for event in [account("lab"), account("zoo"), deleted("old")] {
            directory.apply(event);
        }
        assert!(ids(&directory).is_empty(), "half a snapshot is not a view");
        directory.apply(Event::Synced(Synced {}));
        assert_eq!(ids(&directory), ["old"]);

        let mut changes = directory.changes();
        changes.mark_unchanged();
        directory.apply(deleted("lab"));
        assert!(changes.has_changed().unwrap(), "nobody was told");
        assert_eq!(ids(&directory), ["lab", "old"]);
        assert_eq!(directory.account_tree().keys().map(AccountId::as_str).collect::<Vec<_>>(), ["zoo"]);

        // a new snapshot is the whole: what was deleted is in it
        directory.apply(Event::SnapshotStart(SnapshotStart {}));
        for event in [account("zoo"), deleted("old"), deleted("lab"), Event::Synced(Synced {})] {
            directory.apply(event);
        }
        assert_eq!(ids(&directory), ["lab", "old"]);
    }

    #[test]
    fn a_sign_of_life_is_no_snapshot() {
        let directory = Directory::new();
        assert!(!directory.apply(Event::Heartbeat(Heartbeat {})));
        assert_eq!(directory.check(&claims(), Instant::now()).map(drop), Err(Error::IdentitiesNotHeard));
    }
}
