//! Which of the moments at which a job saved its work is told, and how often.

use std::time::Duration;

use crater_k8s::aijob::Phase;
use k8s_openapi::jiff::Timestamp;

use super::{World, role, running, status};
use crate::plan::Action;
use crate::pods::State;

/// It runs since 1 s, and now is 20 s; what is said of it then.
fn checkpoint(world: &World) -> (Option<i64>, Option<String>) {
    let plan = world.plan_at(20_000);
    let status = plan.actions.iter().find_map(|action| match action {
        Action::Status(next) => Some((**next).clone()),
        _ => None,
    });
    let status = status.or_else(|| world.job.status.clone()).unwrap();
    (status.checkpointed_millis, status.checkpoint_ignored)
}

#[test]
fn the_latest_checkpoint_of_this_start_that_can_be_counts() {
    let mut world = running(vec![role("worker", 2, 2)]);
    world.status().start_millis = Some(1000);
    assert_eq!(checkpoint(&world), (None, None));
    let say = |world: &mut World, pod: usize, text: &str| world.pods[pod].checkpointed_at = Some(text.into());
    say(&mut world, 0, "1970-01-01T00:00:12Z");
    say(&mut world, 1, "1970-01-01T01:00:09+01:00");
    assert_eq!(checkpoint(&world), (Some(12_000), None));
    // what its owner reported counts beside it
    world.job.spec.checkpointed_millis = Some(15_000);
    assert_eq!(checkpoint(&world), (Some(15_000), None));
    // an earlier word takes nothing back
    world.status().checkpointed_millis = Some(18_000);
    assert_eq!(checkpoint(&world), (Some(18_000), None));
    // a clock that is a little ahead means now
    say(&mut world, 0, "1970-01-01T00:00:24Z");
    assert_eq!(checkpoint(&world), (Some(20_000), None));
}

#[test]
fn a_checkpoint_that_cannot_be_is_ignored_and_the_status_says_so() {
    for (text, why) in [
        ("1970-01-01T00:00:00Z", "is before the job began to run"),
        ("1970-01-01T00:01:00Z", "is in the future"),
        ("yesterday", "is no time as in RFC 3339"),
    ] {
        let mut world = running(vec![role("worker", 1, 1)]);
        world.status().start_millis = Some(1000);
        world.pods[0].checkpointed_at = Some(text.into());
        let told = format!("crater.dev/checkpointed-at of Pod train-worker-0: {text:?} {why}");
        assert_eq!(checkpoint(&world), (None, Some(told)));
    }
    // of an earlier start: no word is lost on it
    let mut world = running(vec![role("worker", 1, 1)]);
    world.status().start_millis = Some(10_000);
    world.job.spec.checkpointed_millis = Some(5000);
    assert_eq!(checkpoint(&world), (None, None));
}

#[test]
fn a_checkpoint_says_nothing_of_the_next_start() {
    let saved = || {
        let mut world = running(vec![role("worker", 2, 2)]);
        world.job.spec.max_retries = 1;
        let status = world.status();
        (status.start_millis, status.checkpointed_millis) = (Some(1000), Some(12_000));
        status.checkpoint_ignored = Some("nonsense".into());
        world
    };
    let mut preempted = saved();
    preempted.revoke(0, 0, 2);
    let mut retried = saved();
    retried.end(0, 1, 18_000);
    for (world, phase) in [(preempted, Phase::Queued), (retried, Phase::Starting)] {
        let next = world.next();
        assert_eq!((next.phase, next.start_millis), (Some(phase), None));
        assert_eq!((next.checkpointed_millis, next.checkpoint_ignored), (None, None), "{phase:?}");
    }
}

#[test]
fn however_often_a_job_saves_its_work_its_status_is_written_once_in_ten_seconds_and_shows_the_last() {
    let mut world = running(vec![role("worker", 2, 2)]);
    world.status().start_millis = Some(1000);
    let settled = world.next();
    *world.status() = settled;
    let mut writes = Vec::new();
    // one checkpoint in every 100 ms, told 20 s late by the first replica; the other tells nonsense, always another
    for at in (100_000..130_000).step_by(100) {
        if at < 125_000 {
            let told = Timestamp::from_millisecond(at - 20_000).unwrap();
            world.pods[0].checkpointed_at = Some(told.to_string());
            world.pods[1].checkpointed_at = Some(format!("nonsense {at}"));
        }
        let plan = world.plan_at(at);
        match status(&plan) {
            Some(next) => {
                writes.push((at, next.checkpointed_millis.unwrap()));
                world.checkpoint_told = Some(at);
                *world.status() = next;
            }
            None => {
                let told = world.checkpoint_told.unwrap();
                let left = Duration::from_millis((told + 10_000 - at).unsigned_abs());
                assert_eq!(plan.look_again, Some(left), "at {at}");
            }
        }
    }
    assert_eq!(writes, [(100_000, 80_000), (110_000, 90_000), (120_000, 100_000)]);
    // the last comes through
    assert_eq!(world.plan_at(129_999).look_again, Some(Duration::from_millis(1)));
    let last = status(&world.plan_at(130_000)).unwrap();
    assert_eq!(last.checkpointed_millis, Some(104_900));
    assert!(last.checkpoint_ignored.unwrap().contains("nonsense 124900"));
    // with other news it goes at once
    world.pods[1].state = State::Starting { stuck: None };
    assert_eq!(status(&world.plan_at(126_000)).unwrap().checkpointed_millis, Some(104_900));
    // as when the clock was put back
    world.pods[1].state = State::Running;
    world.checkpoint_told = Some(500_000);
    assert_eq!(status(&world.plan_at(126_000)).unwrap().checkpointed_millis, Some(104_900));
}
