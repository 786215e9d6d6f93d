//! When a job last saved its work: the latest of what its owner reported and what its Pods say. Pure.

use crater_k8s::aijob::AIJobStatus;
use crater_k8s::names::CHECKPOINTED_AT;
use k8s_openapi::jiff::Timestamp;

use crate::plan::View;

/// The clocks of two machines may differ by so much, in milliseconds.
const AHEAD: i64 = 5_000;
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

fn words(pod: &str, text: &str, why: &str) -> String {
    let text: String = text.chars().take(LONGEST).collect();
    format!("{CHECKPOINTED_AT} of Pod {pod}: {text:?} {why}")
}
