//! Why each job waits, in words that its owner can act on. Jobs of other accounts are never named.

use std::fmt::Write;

use crater_domain::format_millis;
use crater_engine::{Names, Reason, Resource, Verdict};
use k8s_openapi::jiff::Timestamp;

use crate::frame::Frame;

/// Nodes turned it away.
const NODE_REFUSED: &str = "NodeRefused";

/// One thing in a job's way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocker {
    /// For machines.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

/// All of it, for a job with so many of its account before it.
pub fn words(mut message: String, position: i32) -> String {
    if position > 1 {
        let before = position - 1;
        let _ = match before {
            1 => write!(message, "; 1 job of its account goes before it"),
            _ => write!(message, "; {before} jobs of its account go before it"),
        };
    }
    message
}

/// The first thing in a job's way, for machines.
pub fn first_code(frame: &Frame, verdict: &Verdict) -> Option<&'static str> {
    match verdict.reasons.first()? {
        Reason::Infeasible(_) if frame.barred.contains_key(&verdict.job.at()) => Some(NODE_REFUSED),
        reason => Some(code(reason)),
    }
}

/// What is in a job's way, each by itself and all in one line.
pub fn blockers(frame: &Frame, verdict: &Verdict) -> (Vec<Blocker>, String) {
    let mut blockers: Vec<Blocker> = verdict.reasons.iter().map(|r| blocker(frame, verdict, r)).collect();
    if let Some(barred) = frame.barred.get(&verdict.job.at()) {
        let at = usize::from(!matches!(verdict.reasons.first(), Some(Reason::Infeasible(_))));
        blockers.insert(at.min(blockers.len()), Blocker { reason: NODE_REFUSED, message: barred.clone() });
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
