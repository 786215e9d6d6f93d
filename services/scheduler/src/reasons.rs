//! Why each job waits, in words that its owner can act on. Jobs of other accounts are never named.

use std::collections::BTreeMap;
use std::fmt::Write;

use crater_domain::{AccountId, format_millis};
use crater_engine::{Names, Plan, Reason, Resource, Verdict};
use crater_k8s::aijob::SUSPENDED;
use k8s_openapi::jiff::Timestamp;

use crate::cache::Key;
use crate::frame::Frame;
use crate::jobs::JobEntry;

/// One thing in a job's way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocker {
    /// For machines.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

/// Why a job waits.
#[derive(Clone, Debug)]
pub struct Told {
    /// The AIJob.
    pub key: Key,
    /// Its uid in the database: a later job of the same name is another one.
    pub uid: String,
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

/// What was said in the last cycle.
#[derive(Debug, Default)]
pub struct Verdicts {
    /// In the order in which jobs go, over all accounts.
    pub order: Vec<Told>,
    by_key: BTreeMap<Key, usize>,
    /// Jobs that stand aside: they are in no line.
    suspended: BTreeMap<Key, Told>,
    /// Which cycle.
    pub cycle: u64,
}

impl Verdicts {
    /// Of one job, if it waits.
    pub fn get(&self, entry: &JobEntry) -> Option<&Told> {
        let key = Key::of(&*entry.object);
        let in_line = || self.order.get(*self.by_key.get(&key)?);
        let told = self.suspended.get(&key).or_else(in_line)?;
        (told.uid == entry.object.spec.job_uid).then_some(told)
    }
}

/// Puts a plan's verdicts into words.
pub fn verdicts(frame: &Frame, plan: &Plan) -> Verdicts {
    let mut positions: BTreeMap<AccountId, i32> = BTreeMap::new();
    let mut order = Vec::new();
    for verdict in &plan.verdicts {
        let Some(entry) = frame.entries.get(verdict.job.at()).and_then(Option::as_ref) else { continue };
        let Ok(wanted) = &entry.wanted else { continue };
        if entry.suspended().is_some() {
            continue;
        }
        let position = next(&mut positions, &wanted.account);
        order.push(told(frame, verdict, entry, &wanted.account, position));
    }
    for (entry, reason, why) in &frame.rest.aside {
        let Some(account) = account(entry) else { continue };
        let position = next(&mut positions, &account);
        order.push(plain(entry, account, position, (reason, why)));
    }
    let aside = |entry: &JobEntry| {
        let why = entry.suspended()?.words();
        Some((Key::of(&*entry.object), plain(entry, account(entry)?, 0, (SUSPENDED, &why))))
    };
    let suspended = frame.rest.suspended.iter().filter_map(aside).collect();
    let by_key = order.iter().enumerate().map(|(at, told)| (told.key.clone(), at)).collect();
    Verdicts { order, by_key, suspended, cycle: plan.cycle }
}

fn account(entry: &JobEntry) -> Option<AccountId> {
    match &entry.wanted {
        Ok(wanted) => Some(wanted.account.clone()),
        Err(_) => entry.object.spec.account.parse().ok(),
    }
}

/// What is not the engine's business, in one reason.
fn plain(entry: &JobEntry, account: AccountId, position: i32, (reason, why): (&'static str, &str)) -> Told {
    Told {
        key: Key::of(&*entry.object),
        uid: entry.object.spec.job_uid.clone(),
        account,
        position,
        blockers: vec![Blocker { reason, message: why.to_owned() }],
        message: sentence(why),
        expected_start_ms: None,
    }
}

fn next(positions: &mut BTreeMap<AccountId, i32>, account: &AccountId) -> i32 {
    let position = positions.entry(account.clone()).or_insert(0);
    *position = position.saturating_add(1);
    *position
}

fn told(frame: &Frame, verdict: &Verdict, entry: &JobEntry, account: &AccountId, position: i32) -> Told {
    let (blockers, mut message) = blockers(frame, verdict);
    if position > 1 {
        let before = position - 1;
        let _ = match before {
            1 => write!(message, "; 1 job of its account goes before it"),
            _ => write!(message, "; {before} jobs of its account go before it"),
        };
    }
    Told {
        key: Key::of(&*entry.object),
        uid: entry.object.spec.job_uid.clone(),
        account: account.clone(),
        position,
        blockers,
        message: sentence(&message),
        expected_start_ms: verdict.expected_start,
    }
}

/// What is in a job's way, each by itself and all in one line.
pub fn blockers(frame: &Frame, verdict: &Verdict) -> (Vec<Blocker>, String) {
    let mut blockers: Vec<Blocker> = verdict.reasons.iter().map(|r| blocker(frame, verdict, r)).collect();
    if let Some(barred) = frame.barred.get(&verdict.job.at()) {
        let at = usize::from(!matches!(verdict.reasons.first(), Some(Reason::Infeasible(_))));
        blockers.insert(at.min(blockers.len()), Blocker { reason: "NodeRefused", message: barred.clone() });
    }
    let mut message = String::new();
    for blocker in &blockers {
        let _ = write!(message, "{}{}", if message.is_empty() { "" } else { "; " }, blocker.message);
    }
    let said = verdict.reasons.iter().any(|r| matches!(r, Reason::Reserved { expected_start: Some(_) }));
    if let Some(start) = verdict.expected_start.filter(|_| !said) {
        let _ = write!(message, "; expected to start at {}", instant(start));
    }
    (blockers, message)
}

/// As a sentence.
pub fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => format!("{}{}.", first.to_uppercase(), letters.as_str()),
        None => String::new(),
    }
}

/// To the second: what changes with every cycle would be written with every cycle.
fn instant(millis: i64) -> String {
    Timestamp::from_second(millis.div_euclid(1000)).map(|t| t.to_string()).unwrap_or_default()
}

fn blocker(frame: &Frame, verdict: &Verdict, reason: &Reason) -> Blocker {
    let job = &frame.snapshot.jobs[verdict.job.at()];
    let names = frame.names_for(job.account);
    let mut message = match reason {
        Reason::Reserved { expected_start: Some(start) } => {
            format!("it is first in line and room is kept for it; expected to start at {}", instant(*start))
        }
        reason => reason.render(frame.snapshot.now, &names),
    };
    if let Reason::NoRoom {
        missing_gpu: missing @ 1.., short: Resource::Gpu | Resource::GpuModel(_), ..
    } = reason
    {
        let _ = write!(message, "; at least {} must come free", more_gpus(*missing));
    }
    if let Reason::NoRoom { short: Resource::Extended(device), .. } = reason {
        let each = job.request.roles.iter().map(|role| role.each.extended.of(*device)).max().unwrap_or(0);
        let _ = write!(message, "; a replica needs {each} {}", names.extended(*device));
    }
    if let Reason::Limit { used, wanted, limit, resource: Resource::Gpu | Resource::GpuModel(_), .. } = reason
    {
        if wanted > limit {
            message.push_str("; it can start only with a higher limit or fewer GPUs");
        } else {
            let over = used.saturating_add(*wanted).saturating_sub(*limit);
            let _ = write!(message, "; it can start once {} in use there are given back", gpus(over.max(0)));
        }
    }
    Blocker { reason: code(reason), message }
}

fn gpus(millis: i64) -> String {
    format!("{} {}", format_millis(millis), if millis == 1000 { "GPU" } else { "GPUs" })
}

fn more_gpus(millis: i64) -> String {
    format!("{} more {}", format_millis(millis), if millis == 1000 { "GPU" } else { "GPUs" })
}

/// The short word for machines.
fn code(reason: &Reason) -> &'static str {
    use crater_engine::Holder;
    match reason {
        Reason::Infeasible(_) => "NeverFits",
        Reason::Limit { holder: Holder::Account(_), .. } => "AccountLimit",
        Reason::Limit { holder: Holder::User(_), .. } => "UserLimit",
        Reason::MayNotBorrow { .. } => "MayNotBorrow",
        Reason::NoRoom { short: Resource::Cpu, .. } => "NotEnoughCpu",
        Reason::NoRoom { short: Resource::Memory, .. } => "NotEnoughMemory",
        Reason::NoRoom { short: Resource::Extended(_), .. } => "NotEnoughDevices",
        Reason::NoRoom { .. } => "NotEnoughGpus",
        Reason::KeptForOthers { .. } => "KeptForOthers",
        Reason::RoomIsComing { .. } => "RoomIsComing",
        Reason::StillEnding { .. } => "StillEnding",
        Reason::NodeUnconfirmed { .. } => "NodeUnconfirmed",
        Reason::Reserved { .. } => "FirstInLine",
        Reason::Closed => "Ending",
    }
}
