//! Accounts and people with their guarantees and limits, as the engine counts them.

use std::collections::{BTreeMap, BTreeSet};

use crater_domain::{AccountId, Limits, QuotaSubject, ResourceKind, UserId};
use crater_engine::{Account, AccountIx, Amounts, User, UserIx};

use super::Tree;
use super::part::orphans_account;
use crate::cache::{Cache, News};
use crate::words::Words;

/// How deep the tree of accounts may be before it is cut.
const DEPTH: usize = 40;

/// All accounts, and the people who have something of their own in one.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    /// By ordinal.
    pub names: Vec<String>,
    /// By ordinal.
    pub all: Vec<Account>,
    /// By ordinal.
    pub people: Vec<String>,
    /// By ordinal.
    pub users: Vec<User>,
    ix: BTreeMap<AccountId, AccountIx>,
    user_ix: BTreeMap<AccountId, BTreeMap<UserId, UserIx>>,
    tree: Tree,
}

impl Accounts {
    pub fn new(cache: &Cache, tree: &Tree) -> Self {
        let none = BTreeMap::new();
        let quotas = cache.quotas().unwrap_or(&none);
        let mut all: BTreeSet<AccountId> = tree.keys().cloned().collect();
        all.extend(quotas.keys().map(|subject| subject.account.clone()));
        all.extend(heard_of(cache));
        let mut accounts = Self { tree: tree.clone(), ..Self::default() };
        for (index, account) in all.iter().enumerate() {
            accounts.ix.insert(account.clone(), AccountIx::of(index));
            accounts.names.push(account.to_string());
        }
        for account in &all {
            let parent = parent(tree, account).and_then(|p| accounts.of(p));
            let subject = QuotaSubject { account: account.clone(), user: None };
            let quota = quotas.get(&subject);
            let (guaranteed, limit) = amounts(&cache.words, quota.map(|quota| &quota.limits));
            let weight = quota.map(|quota| quota.weight).unwrap_or_default();
            let weight = i64::from(weight.get());
            accounts.all.push(Account { parent, weight, guaranteed, limit });
        }
        for (subject, quota) in quotas {
            let Some(user) = &subject.user else { continue };
            let Some(account) = accounts.of(&subject.account) else { continue };
            let (guaranteed, limit) = amounts(&cache.words, Some(&quota.limits));
            let index = UserIx::of(accounts.users.len());
            accounts.user_ix.entry(subject.account.clone()).or_default().insert(user.clone(), index);
            accounts.people.push(user.to_string());
            accounts.users.push(User { account, guaranteed, limit });
        }
        accounts
    }

    /// Is all of it as it was?
    pub fn stand(&self, cache: &Cache, tree: &Tree, news: &News) -> bool {
        let known = |account: AccountId| self.ix.contains_key(&account);
        let job = |key| {
            let wanted = cache.jobs.get(key).and_then(|entry| entry.wanted.as_ref().ok());
            wanted.is_none_or(|wanted| self.ix.contains_key(&wanted.account))
                && cache.given_of(key).iter().all(|(_, given)| orphans_account(given).is_none_or(known))
        };
        !news.quotas && self.tree == *tree && news.jobs.iter().all(job)
    }

    /// Do the ordinals mean the same?
    pub fn mean_the_same_as(&self, other: &Self) -> bool {
        self.ix == other.ix && self.user_ix == other.user_ix
    }

    pub fn of(&self, account: &AccountId) -> Option<AccountIx> {
        self.ix.get(account).copied()
    }

    pub fn user(&self, account: &AccountId, user: &UserId) -> Option<UserIx> {
        self.user_ix.get(account)?.get(user).copied()
    }
}

/// The accounts of jobs and Allocations: each is known by its namespace, in which they lie beside each other.
fn heard_of(cache: &Cache) -> BTreeSet<AccountId> {
    let mut all = BTreeSet::new();
    let mut last: Option<&str> = None;
    for (key, entry) in cache.jobs.iter().filter(|(_, entry)| entry.wanted.is_ok()) {
        if last.replace(&key.namespace) != Some(&key.namespace) {
            all.extend(entry.wanted.as_ref().ok().map(|wanted| wanted.account.clone()));
        }
    }
    last = None;
    for (_, given) in cache.given() {
        if last.replace(&given.job.namespace) != Some(&given.job.namespace) {
            all.extend(orphans_account(given));
        }
    }
    all
}

/// Guarantees and limits in the engine's words.
fn amounts(words: &Words, limits: Option<&Limits>) -> (Amounts, Amounts) {
    let (mut guaranteed, mut limit) = (Amounts::default(), Amounts::default());
    for (kind, of) in limits.into_iter().flatten() {
        set_amount(words, &mut guaranteed, kind, of.guaranteed);
        set_amount(words, &mut limit, kind, of.limit);
    }
    (guaranteed, limit)
}

/// Sets one amount, or that there is none.
pub fn set_amount(words: &Words, amounts: &mut Amounts, kind: &ResourceKind, value: Option<i64>) {
    match kind {
        ResourceKind::Cpu => amounts.cpu = value,
        ResourceKind::Memory => amounts.memory = value,
        ResourceKind::Gpu => amounts.gpu = value,
        ResourceKind::GpuModel(model) => {
            let model = words.models.intern(model);
            amounts.gpu_models.retain(|(of, _)| *of != model);
            amounts.gpu_models.extend(value.map(|value| (model, value)));
        }
        ResourceKind::Device(name) => {
            let name = words.devices.intern(name);
            amounts.extended.retain(|(of, _)| *of != name);
            amounts.extended.extend(value.map(|value| (name, value)));
        }
        // the job service's: a job that is there already waits
        ResourceKind::JobsWaiting => {}
        ResourceKind::JobsRunning => amounts.jobs = value,
    }
}

/// The account above, unless the tree is too deep or runs in a circle there.
fn parent<'a>(tree: &'a Tree, account: &AccountId) -> Option<&'a AccountId> {
    let parent = tree.get(account)?.as_ref()?;
    let mut above = Some(parent);
    for _ in 0..DEPTH {
        match above {
            None => return Some(parent),
            Some(next) if next == account => return None,
            Some(next) => above = tree.get(next).and_then(Option::as_ref),
        }
    }
    None
}
