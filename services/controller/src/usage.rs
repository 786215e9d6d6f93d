//! What a job holds, and what it held: spans in its status, each closed when anything of it changes. Pure.
//!
//! The job service copies them into its tables; the last few stay here, so that one that was away misses none.

use std::collections::BTreeMap;

use crater_k8s::aijob::{AIJobStatus, Phase, UsageSpan};

use crate::held::Holdings;
use crate::plan::View;
use crate::status::MOST_NODES;

/// Spans that stay in the status.
const KEPT: usize = 8;

/// Brings the spans of the next status up to date with it.
pub fn follow(view: &View<'_>, next: &mut AIJobStatus) {
    let holdings = Holdings::of(view);
    let holds = matches!(next.phase, Some(Phase::Starting | Phase::Running));
    let held = holds.then(|| held(view, next, &holdings));
    let mut at = view.now_millis;
    if let Some(open) = next.usage.last_mut().filter(|span| span.until_millis.is_none()) {
        let same = |span: &UsageSpan| {
            held.as_ref().is_some_and(|held| {
                (span.attempt, span.replicas, &span.nodes) == (held.attempt, held.replicas, &held.nodes)
            })
        };
        if same(open) {
            return;
        }
        let outcome = match next.phase {
            Some(Phase::Succeeded) => "Succeeded",
            Some(Phase::Failed) => "Failed",
            Some(Phase::Cancelled) => "Cancelled",
            Some(Phase::Starting | Phase::Running) if open.attempt != next.attempts => "Failed",
            Some(Phase::Starting | Phase::Running) => "Resized",
            Some(Phase::Queued) | None => next.reason.as_deref().unwrap_or("Incomplete"),
        };
        outcome.clone_into(&mut open.outcome);
        at = match next.phase {
            Some(Phase::Succeeded | Phase::Failed | Phase::Cancelled) => next.end_millis.unwrap_or(at),
            _ => at,
        };
        at = at.max(open.from_millis);
        open.until_millis = Some(at);
    } else if let Some(given) = view.allocations.iter().map(|a| a.spec.granted_millis).max() {
        at = given.min(at);
    }
    if let Some(mut held) = held {
        held.number = next.usage.last().map_or(0, |span| span.number) + 1;
        held.from_millis = at;
        next.usage.push(held);
    }
    let surplus = next.usage.len().saturating_sub(KEPT);
    for span in next.usage.drain(..surplus) {
        next.served_before = next.served_before.saturating_add(span.served(view.now_millis));
    }
}

fn held(view: &View<'_>, next: &AIJobStatus, holdings: &Holdings<'_>) -> UsageSpan {
    let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
    let mut nodes: Vec<String> = Vec::new();
    for h in holdings.live() {
        *counts.entry(h.granted.role.as_str()).or_default() += 1;
        nodes.push(h.granted.node.clone());
    }
    nodes.sort_unstable();
    nodes.dedup();
    nodes.truncate(MOST_NODES);
    let mut span = UsageSpan { attempt: next.attempts, nodes, ..UsageSpan::default() };
    for role in &view.job.spec.roles {
        let n = counts.get(role.name.as_str()).copied().unwrap_or(0);
        span.replicas += n;
        span.cpu_millis += n * role.resources.cpu_millis;
        span.memory_bytes += n * role.resources.memory_bytes;
        span.gpu_millis += n * role.resources.gpu_millis;
    }
    span
}
