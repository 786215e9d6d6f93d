//! Limits as they were in force, and what is used: always the sum of what is held.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::observation::{Job, Subject};

use super::books::Part;

/// What a held replica uses.
#[derive(Clone, Debug)]
pub struct Used {
    /// Whose.
    pub account: String,
    /// Whose.
    pub creator: String,
    amounts: Vec<(String, i64)>,
}

impl Used {
    /// Of one replica of a job. What best-effort jobs hold counts against no limit.
    pub fn new(job: &Job, part: &Part, gpu: i64, model: Option<String>) -> Self {
        let model = model.map(|model| (format!("gpu/{model}"), gpu));
        let all = [("cpu".to_owned(), part.cpu), ("memory".to_owned(), part.memory), ("gpu".to_owned(), gpu)];
        let amounts = all.into_iter().chain(model).filter(|(_, amount)| job.guaranteed && *amount > 0);
        Self { account: job.account.clone(), creator: job.creator.clone(), amounts: amounts.collect() }
    }
}

/// What a limit was from when on.
type History = Vec<(i64, Option<i64>)>;

/// Limits and usage.
#[derive(Debug, Default)]
pub struct Limits {
    /// By subject and resource: what it was from when on; the first entry holds from before.
    history: HashMap<(Subject, String), History>,
    known: bool,
    parents: BTreeMap<String, Option<String>>,
    /// By account and user: what is held.
    used: HashMap<(String, String), HashMap<String, i64>>,
}

impl Limits {
    /// All limits as they are now.
    pub fn set(&mut self, now: i64, lag_ms: i64, all: BTreeMap<Subject, BTreeMap<String, i64>>) {
        let mut keys: BTreeSet<(Subject, String)> = self.history.keys().cloned().collect();
        keys.extend(all.iter().flat_map(|(s, kinds)| kinds.keys().map(|kind| (s.clone(), kind.clone()))));
        for key in keys {
            let limit = all.get(&key.0).and_then(|kinds| kinds.get(&key.1)).copied();
            // one that is new was none before, unless nothing was known before
            let begin = || if self.known { vec![(i64::MIN, None)] } else { vec![(i64::MIN, limit)] };
            let history = self.history.entry(key).or_insert_with(begin);
            if history.last().is_none_or(|(_, last)| *last != limit) {
                history.push((now, limit));
            }
            while history.len() > 1 && history[1].0 < now - lag_ms {
                history.remove(0);
            }
        }
        self.history.retain(|_, h| h.len() > 1 || h.first().is_some_and(|(_, limit)| limit.is_some()));
        self.known = true;
    }

    /// The tree of accounts.
    pub fn set_accounts(&mut self, all: BTreeMap<String, Option<String>>) {
        self.parents = all;
    }

    /// Nothing is held.
    pub fn forget_usage(&mut self) {
        self.used.clear();
    }

    pub(super) fn use_more(&mut self, used: &Used) {
        self.change(used, 1);
    }

    pub(super) fn use_less(&mut self, used: &Used) {
        self.change(used, -1);
    }

    fn change(&mut self, used: &Used, sign: i64) {
        let key = (used.account.clone(), used.creator.clone());
        let sums = self.used.entry(key.clone()).or_default();
        for (kind, amount) in &used.amounts {
            *sums.entry(kind.clone()).or_default() += sign * amount;
        }
        sums.retain(|_, amount| *amount != 0);
        if sums.is_empty() {
            self.used.remove(&key);
        }
    }

    /// The greatest limit that was in force within the lag; none: there was none.
    pub fn most(&self, now: i64, lag_ms: i64, subject: &Subject, kind: &str) -> Option<i64> {
        let history = self.history.get(&(subject.clone(), kind.to_owned()))?;
        let mut most = None;
        for (i, (_, limit)) in history.iter().enumerate() {
            let over = history.get(i + 1).is_some_and(|(until, _)| *until < now - lag_ms);
            if !over {
                let limit = (*limit)?;
                most = most.max(Some(limit));
            }
        }
        most
    }

    /// The account and those above it.
    pub fn lineage(&self, account: &str) -> Vec<String> {
        let mut line = vec![account.to_owned()];
        while let Some(Some(parent)) = line.last().and_then(|last| self.parents.get(last)) {
            if line.contains(parent) {
                break;
            }
            line.push(parent.clone());
        }
        line
    }

    /// Every limit that binds a user in an account: whose, and, if what is held is above it, how.
    pub fn above(
        &self,
        now: i64,
        lag_ms: i64,
        account: &str,
        creator: &str,
    ) -> Vec<(String, Option<String>)> {
        let line = self.lineage(account);
        let mut subjects: Vec<Subject> =
            line.into_iter().map(|account| Subject { account, user: None }).collect();
        subjects.push(Subject { account: account.to_owned(), user: Some(creator.to_owned()) });
        let mut out = Vec::new();
        for subject in subjects {
            let kinds = self.history.keys().filter(|(s, kind)| *s == subject && !kind.starts_with("jobs."));
            for (_, kind) in kinds {
                let Some(limit) = self.most(now, lag_ms, &subject, kind) else { continue };
                let used = self.used_by(&subject, kind);
                let whose = match &subject.user {
                    Some(user) => format!("users/{user} in accounts/{}", subject.account),
                    None => format!("accounts/{}", subject.account),
                };
                out.push((
                    whose,
                    (used > limit).then(|| format!("{used} of {kind} are held, the limit is {limit}")),
                ));
            }
        }
        out
    }

    fn used_by(&self, subject: &Subject, kind: &str) -> i64 {
        let counts = |(account, user): &(String, String)| match &subject.user {
            Some(wanted) => *account == subject.account && user == wanted,
            None => self.lineage(account).contains(&subject.account),
        };
        self.used.iter().filter(|(key, _)| counts(key)).filter_map(|(_, sums)| sums.get(kind)).sum()
    }

    /// The limits of waiting jobs that are in force: whose, and how many.
    pub fn waiting(&self, now: i64, lag_ms: i64) -> Vec<(Subject, i64)> {
        let keys = self.history.keys().filter(|(_, kind)| kind == "jobs.waiting");
        keys.filter_map(|(s, kind)| Some((s.clone(), self.most(now, lag_ms, s, kind)?))).collect()
    }
}
