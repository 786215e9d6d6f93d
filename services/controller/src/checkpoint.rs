//! When a job last saved its work: the latest of what its owner reported and what its Pods say. Pure.

use std::time::Duration;

use crater_k8s::AIJob;
use crater_k8s::aijob::AIJobStatus;
use crater_k8s::names::CHECKPOINTED_AT;
use k8s_openapi::jiff::Timestamp;

use crate::plan::{Action, Plan, View};

/// The clocks of two machines may differ by so much, in milliseconds.
const AHEAD: i64 = 5_000;
/// A status is written for the sake of such news alone once in so many milliseconds: a job may tell as often as it likes, and each write is an
/// event, and a reason to decide anew.
const APART: i64 = 10_000;
/// How much of what a Pod says is told on.
const LONGEST: usize = 64;

/// Brings the status of a job that runs up to date. What cannot be (before this start of it, or in the future) does not count; of a Pod the status
/// says so.
pub fn follow(view: &View<'_>, next: &mut AIJobStatus) {
    let Some(start) = next.start_millis else { return };
    let possible = |at: i64| at >= start && at <= view.now_millis.saturating_add(AHEAD);
    // the owner's word was checked when it was given; one for an earlier start says nothing of this one
    let mut latest = view.job.spec.checkpointed_millis.filter(|at| possible(*at));
    let mut ignored = None;
    for pod in view.pods.iter().filter(|pod| pod.attempt == next.attempts) {
        let Some(text) = &pod.checkpointed_at else { continue };
        match text.parse::<Timestamp>().map(Timestamp::as_millisecond) {
            Ok(at) if possible(at) => latest = latest.max(Some(at)),
            Ok(at) => {
                let why = if at < start { "is before the job began to run" } else { "is in the future" };
                ignored.get_or_insert_with(|| words(&pod.name, text, why));
            }
            Err(_) => {
                ignored.get_or_insert_with(|| words(&pod.name, text, "is no time as in RFC 3339"));
            }
        }
    }
    let latest = latest.map(|at| at.min(view.now_millis));
    next.checkpointed_millis = next.checkpointed_millis.max(latest);
    next.checkpoint_ignored = ignored;
}

/// The job will start anew: it has no start, and no work of it is saved.
pub fn start_over(next: &mut AIJobStatus) {
    (next.start_millis, next.checkpointed_millis, next.checkpoint_ignored) = (None, None, None);
}

/// Puts off a write that tells of nothing else, where the last that told of a checkpoint was a moment ago.
pub fn spare(view: &View<'_>, plan: &mut Plan) {
    let since = view.checkpoint_told.map(|told| view.now_millis - told);
    // a clock that was put back makes nobody wait
    let Some(since) = since.filter(|since| (0..APART).contains(since)) else { return };
    let writes = plan.actions.len();
    plan.actions.retain(|action| !is_all_news(view.job, action));
    if plan.actions.len() < writes {
        let left = Duration::from_millis((APART - since).unsigned_abs());
        plan.look_again = Some(plan.look_again.map_or(left, |sooner| sooner.min(left)));
    }
}

/// Does a write tell of a checkpoint, or of one that is ignored?
pub fn is_news(job: &AIJob, action: &Action) -> bool {
    let Action::Status(next) = action else { return false };
    let now = job.status.as_ref();
    next.checkpointed_millis != now.and_then(|now| now.checkpointed_millis)
        || next.checkpoint_ignored.as_ref() != now.and_then(|now| now.checkpoint_ignored.as_ref())
}

/// And of nothing else?
fn is_all_news(job: &AIJob, action: &Action) -> bool {
    let (Action::Status(next), Some(now)) = (action, &job.status) else { return false };
    let rest = AIJobStatus {
        checkpointed_millis: now.checkpointed_millis,
        checkpoint_ignored: now.checkpoint_ignored.clone(),
        ..(**next).clone()
    };
    is_news(job, action) && rest == *now
}

fn words(pod: &str, text: &str, why: &str) -> String {
    let text: String = text.chars().take(LONGEST).collect();
    format!("{CHECKPOINTED_AT} of Pod {pod}: {text:?} {why}")
}
