//! Accounts and people with their guarantees and limits, as the engine counts them.

use std::collections::{BTreeMap, BTreeSet};

use crater_domain::{AccountId, Limits, QuotaSubject, ResourceKind};
use crater_engine::{Account, AccountIx, Amounts, User, UserIx};

use super::{Build, Tree, orphans_account};
use crate::words::Words;

/// How deep the tree of accounts may be before it is cut.
const DEPTH: usize = 40;

impl Build<'_> {
    pub(super) fn accounts(&mut self) {
        let none = BTreeMap::new();
        let quotas = self.cache.quotas().unwrap_or(&none);
        let mut all: BTreeSet<AccountId> = self.beside.tree.keys().cloned().collect();
        all.extend(quotas.keys().map(|subject| subject.account.clone()));
        all.extend(self.cache.jobs.iter().filter_map(|(_, e)| Some(e.wanted.as_ref().ok()?.account.clone())));
        all.extend(self.by_job.values().flatten().filter_map(|(_, given)| orphans_account(given)));
        for (index, account) in all.iter().enumerate() {
            self.account_ix.insert(account.clone(), AccountIx::of(index));
            self.frame.accounts.push(account.to_string());
        }
        for account in &all {
            let parent = parent(self.beside.tree, account).and_then(|p| self.account_ix.get(p)).copied();
            let subject = QuotaSubject { account: account.clone(), user: None };
            let quota = quotas.get(&subject);
            let (guaranteed, limit) = amounts(&self.cache.words, quota.map(|quota| &quota.limits));
            let weight = quota.map(|quota| quota.weight).unwrap_or_default();
            let weight = i64::from(weight.get());
            self.frame.snapshot.accounts.push(Account { parent, weight, guaranteed, limit });
        }
        for (subject, quota) in quotas {
            let Some(user) = &subject.user else { continue };
            let Some(account) = self.account_ix.get(&subject.account).copied() else { continue };
            let (guaranteed, limit) = amounts(&self.cache.words, Some(&quota.limits));
            let index = UserIx::of(self.frame.snapshot.users.len());
            self.user_ix.insert((subject.account.clone(), user.clone()), index);
            self.frame.users.push(user.to_string());
            self.frame.snapshot.users.push(User { account, guaranteed, limit });
        }
    }
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
