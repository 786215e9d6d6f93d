//! Why each job waits, as the last cycle saw it. Put into words when somebody asks: in a long queue nearly all verdicts are new in each cycle,
//! and few are read.

use std::collections::BTreeMap;
use std::iter::{Copied, Peekable};
use std::slice;
use std::sync::Arc;

use crater_domain::AccountId;
use crater_engine::JobIx;
use crater_k8s::aijob::SUSPENDED;
use kube::ResourceExt;

use crate::cache::Key;
use crate::foresight::Decided;
use crate::jobs::JobEntry;
use crate::reasons::{Blocker, blockers, first_code, sentence, words};

/// Why a job waits.
#[derive(Clone, Debug)]
pub struct Told {
    /// The AIJob.
    pub key: Key,
    /// Whose queue.
    pub account: AccountId,
    /// Its place in its account's queue, from 1; 0: it is in no line.
    pub position: i32,
    /// What is in its way, the first first. Never empty.
    pub blockers: Vec<Blocker>,
    /// All of it in one sentence.
    pub message: String,
    /// When it is expected to start, in milliseconds since 1970.
    pub expected_start_ms: Option<i64>,
}

/// What a job is told from: an index into [`crater_engine::Plan::verdicts`], or into what there is beside the engine.
#[derive(Clone, Copy, Debug)]
enum From {
    Verdict(usize),
    Aside(usize),
    Suspended(usize),
}

/// What was said in the last cycle.
#[derive(Default)]
pub struct Verdicts {
    decided: Option<Arc<Decided>>,
    /// In the order in which jobs go, over all accounts, each with its position in its account's queue.
    order: Vec<(From, i32)>,
    /// By ordinal: its place in `order`.
    of_job: Vec<Option<u32>>,
    /// Those that the engine has nothing to do with.
    beside: BTreeMap<Key, (From, i32)>,
}

impl Verdicts {
    /// Of a cycle.
    pub fn new(decided: Arc<Decided>) -> Self {
        let Decided { frame, plan } = &*decided;
        let mut positions: BTreeMap<AccountId, i32> = BTreeMap::new();
        let mut lines = vec![0; frame.accounts.len()];
        let mut said = Self { of_job: vec![None; frame.jobs.len()], ..Self::default() };
        for (at, verdict) in plan.verdicts.iter().enumerate() {
            let Some(entry) = frame.entries.get(verdict.job.at()).and_then(Option::as_ref) else { continue };
            if entry.wanted.is_err() || entry.suspended().is_some() {
                continue;
            }
            let line: &mut i32 = &mut lines[frame.snapshot.jobs[verdict.job.at()].account.at()];
            *line += 1;
            said.of_job[verdict.job.at()] = u32::try_from(said.order.len()).ok();
            said.order.push((From::Verdict(at), *line));
        }
        positions.extend(
            frame.accounts.iter().zip(lines).filter_map(|(name, line)| Some((name.parse().ok()?, line))),
        );
        for (at, (entry, ..)) in frame.rest.aside.iter().enumerate() {
            let Some(account) = entry.account() else { continue };
            let line = positions.entry(account).or_insert(0);
            *line += 1;
            said.order.push((From::Aside(at), *line));
            said.beside.insert(Key::of(&*entry.object), (From::Aside(at), *line));
        }
        for (at, entry) in frame.rest.suspended.iter().enumerate() {
            said.beside.insert(Key::of(&*entry.object), (From::Suspended(at), 0));
        }
        Self { decided: Some(decided.clone()), ..said }
    }

    /// Which cycle; 0: none yet.
    pub fn cycle(&self) -> u64 {
        self.decided.as_ref().map_or(0, |decided| decided.plan.cycle)
    }

    /// The jobs that wait, in the order in which they go over all accounts.
    pub fn order(&self) -> impl Iterator<Item = (usize, &JobEntry)> {
        let entry = |(rank, (from, _)): (usize, &(From, i32))| Some((rank, self.entry(*from)?));
        self.order.iter().enumerate().filter_map(entry)
    }

    /// Of the job that is there in the order.
    pub fn at(&self, rank: usize) -> Option<Told> {
        let (from, position) = self.order.get(rank)?;
        self.told(*from, *position)
    }

    /// Of one job, if it waits.
    pub fn get(&self, entry: &JobEntry) -> Option<Told> {
        let (from, position) = self.find(entry)?;
        self.told(from, position)
    }

    /// For asking job after job in order of name.
    pub fn reasons(&self) -> Reasons<'_> {
        let all = self.decided.as_ref().map_or(&[][..], |decided| &decided.frame.by_name);
        Reasons { said: self, rest: all.iter().copied().peekable() }
    }

    /// A later job of the same name is another one.
    fn find(&self, entry: &JobEntry) -> Option<(From, i32)> {
        let object = &entry.object;
        let found = match self.beside.is_empty() {
            true => None,
            false => self.beside.get(&Key::of(&**object)),
        };
        let (from, position) = found.copied().or_else(|| {
            let frame = &self.decided.as_ref()?.frame;
            let name = (object.metadata.namespace.as_deref()?, object.metadata.name.as_deref()?);
            let rank = self.of_job[frame.find(name)?.at()]?;
            self.order.get(usize::try_from(rank).ok()?).copied()
        })?;
        (self.entry(from)?.object.spec.job_uid == object.spec.job_uid).then_some((from, position))
    }

    fn entry(&self, from: From) -> Option<&JobEntry> {
        let Decided { frame, plan } = &**self.decided.as_ref()?;
        match from {
            From::Verdict(at) => frame.entries.get(plan.verdicts.get(at)?.job.at())?.as_ref(),
            From::Aside(at) => Some(&frame.rest.aside.get(at)?.0),
            From::Suspended(at) => frame.rest.suspended.get(at),
        }
    }

    fn told(&self, from: From, position: i32) -> Option<Told> {
        let Decided { frame, plan } = &**self.decided.as_ref()?;
        let entry = self.entry(from)?;
        let mut expected_start_ms = None;
        let (blockers, message) = match from {
            From::Verdict(at) => {
                let verdict = plan.verdicts.get(at)?;
                expected_start_ms = verdict.expected_start;
                let (blockers, message) = blockers(frame, verdict);
                (blockers, words(message, position))
            }
            From::Aside(at) => plain(frame.rest.aside.get(at)?.1, &frame.rest.aside.get(at)?.2),
            From::Suspended(_) => plain(SUSPENDED, &entry.suspended()?.words()),
        };
        let key = Key { namespace: entry.object.namespace()?, name: entry.object.name_any() };
        let account = entry.account()?;
        Some(Told { key, account, position, blockers, message: sentence(&message), expected_start_ms })
    }
}

/// Reasons of jobs that wait, each asked for once.
pub struct Reasons<'a> {
    said: &'a Verdicts,
    /// In order of name.
    rest: Peekable<Copied<slice::Iter<'a, JobIx>>>,
}

impl Reasons<'_> {
    /// The first thing in a job's way, for machines; if it waits. `key` is greater than the last.
    pub fn of(&mut self, key: &Key, entry: &JobEntry) -> Option<&'static str> {
        let said = self.said;
        let Decided { frame, plan } = &**said.decided.as_ref()?;
        let name = |ix: &JobIx| &*frame.jobs[ix.at()];
        while self.rest.next_if(|ix| name(ix) < key).is_some() {}
        let here = self.rest.next_if(|ix| name(ix) == key);
        let in_line = || {
            let rank = said.of_job[here?.at()]?;
            said.order.get(usize::try_from(rank).ok()?).copied()
        };
        let (from, _) = said.beside.get(key).copied().or_else(in_line)?;
        if said.entry(from)?.object.spec.job_uid != entry.object.spec.job_uid {
            return None;
        }
        match from {
            From::Verdict(at) => first_code(frame, plan.verdicts.get(at)?),
            From::Aside(at) => Some(frame.rest.aside.get(at)?.1),
            From::Suspended(_) => Some(SUSPENDED),
        }
    }
}

/// What is not the engine's business, in one reason.
fn plain(reason: &'static str, why: &str) -> (Vec<Blocker>, String) {
    (vec![Blocker { reason, message: why.to_owned() }], why.to_owned())
}
