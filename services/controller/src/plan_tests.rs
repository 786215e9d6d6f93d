//! The laws of the plan, without a cluster.

mod checkpoints;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crater_k8s::aijob::{AIJobResources, AIJobRole, AIJobStatus, Class, Phase, Suspension};
use crater_k8s::allocation::{Placement, Range, Revoked};
use crater_k8s::{AIJob, AIJobSpec, Allocation, AllocationSpec, AllocationStatus, names};
use kube::ResourceExt;

use crate::fence::Fence;
use crate::plan::{Action, Heard, Plan, View, plan};
use crate::pods::{Replica, State};

struct World {
    job: AIJob,
    allocations: Vec<Arc<Allocation>>,
    pods: Vec<Replica>,
    fence: Option<Fence>,
    heard: BTreeMap<String, Heard>,
    checkpoint_told: Option<i64>,
}

fn role(name: &str, replicas: i32, min_replicas: i32) -> AIJobRole {
    AIJobRole {
        name: name.into(),
        replicas,
        min_replicas,
        resources: AIJobResources { cpu_millis: 1, ..Default::default() },
        gpu_models: vec![],
        image: "train:1".into(),
        command: vec![],
        args: vec![],
        env: vec![],
        working_dir: String::new(),
        mounts: vec![],
    }
}

/// A job that runs its first attempt on node `n`: one accepted Allocation, all Pods running.
fn running(roles: Vec<AIJobRole>) -> World {
    let spec = AIJobSpec {
        job_uid: "00000000-0000-4000-8000-000000000001".into(),
        account: "lab".into(),
        creator: "ann".into(),
        service_class: Class::Guaranteed,
        priority: 0,
        roles,
        expected_seconds: None,
        max_retries: 0,
        grace_seconds: 30,
        node_selector: Default::default(),
        topology: None,
        submitted_millis: 0,
        cancelled: false,
        suspended: None,
        checkpointed_millis: None,
        revision: 1,
    };
    let mut job = AIJob::new("train", spec);
    job.metadata.finalizers = Some(vec![names::PODS_FINALIZER.into()]);
    job.status = Some(AIJobStatus { phase: Some(Phase::Running), attempts: 1, ..Default::default() });
    let mut world = World {
        job,
        allocations: vec![],
        pods: vec![],
        fence: Some(Fence { epoch: 7, list_revision: Some(100) }),
        heard: [("n".to_owned(), Heard::Ready)].into(),
        checkpoint_told: None,
    };
    let all: Vec<_> = world.job.spec.roles.iter().map(|r| (r.name.clone(), 0, r.replicas)).collect();
    let all: Vec<_> = all.iter().map(|(r, first, n)| (r.as_str(), *first, *n)).collect();
    world.give("first", 1, &all);
    world.pods = world.allocations[0].granted().iter().map(|g| pod("first", &g.role, g.replica, 1)).collect();
    world
}

/// The same before anything was given to it.
fn waiting(roles: Vec<AIJobRole>) -> World {
    let mut world = running(roles);
    (world.allocations, world.pods) = (vec![], vec![]);
    world.status().phase = Some(Phase::Queued);
    world
}

fn pod(allocation: &str, role: &str, replica: i32, attempt: i32) -> Replica {
    let name = format!("train-{role}-{replica}");
    Replica {
        uid: format!("{name}-{attempt}"),
        name,
        role: role.into(),
        replica,
        node: "n".into(),
        allocation: allocation.into(),
        attempt,
        state: State::Running,
        going: false,
        started_millis: Some(1000),
        ended_millis: None,
        checkpointed_at: None,
    }
}

impl World {
    fn give(&mut self, name: &str, millis: i64, replicas: &[(&str, i32, i32)]) {
        let placement = |(role, first, count): &(&str, i32, i32)| Placement {
            node: "n".into(),
            role: (*role).into(),
            first_replica: *first,
            count: *count,
            gpus: vec![],
            gpu_millis: 0,
        };
        let spec = AllocationSpec {
            job: "train".into(),
            job_uid: self.job.spec.job_uid.clone(),
            epoch: 7,
            granted_millis: millis,
            placements: replicas.iter().map(placement).collect(),
            revoked: vec![],
        };
        let mut allocation = Allocation::new(name, spec);
        allocation.metadata.resource_version = Some("200".into());
        allocation.status = Some(AllocationStatus { accepted: Some(7), ..Default::default() });
        self.allocations.push(Arc::new(allocation));
    }

    fn status(&mut self) -> &mut AIJobStatus {
        self.job.status.get_or_insert_default()
    }

    fn allocation(&mut self, n: usize) -> &mut Allocation {
        Arc::make_mut(&mut self.allocations[n])
    }

    fn revoke(&mut self, n: usize, first: i32, count: i32) {
        let replicas = Range { role: "worker".into(), first, count };
        self.allocation(n).spec.revoked = vec![Revoked { replicas, reason: "R".into(), message: "m".into() }];
    }

    fn end(&mut self, n: usize, exit_code: i32, at: i64) {
        self.pods[n].state = match exit_code {
            0 => State::Succeeded,
            _ => State::Failed { exit_code, message: String::new() },
        };
        self.pods[n].ended_millis = Some(at);
    }

    fn plan(&self) -> Plan {
        self.plan_at(50_000)
    }

    fn plan_at(&self, now_millis: i64) -> Plan {
        plan(&View {
            job: &self.job,
            allocations: &self.allocations,
            pods: &self.pods,
            fence: self.fence,
            heard: &self.heard,
            checkpoint_told: self.checkpoint_told,
            now_millis,
        })
    }

    fn next(&self) -> AIJobStatus {
        status(&self.plan()).unwrap_or_else(|| panic!("no status is written: {:?}", self.plan()))
    }
}

fn status(plan: &Plan) -> Option<AIJobStatus> {
    plan.actions.iter().find_map(|a| match a {
        Action::Status(status) => Some((**status).clone()),
        _ => None,
    })
}

fn deleted(plan: &Plan) -> Vec<&str> {
    fn of(action: &Action) -> Option<&str> {
        if let Action::Delete { pod, .. } = action { Some(pod) } else { None }
    }
    plan.actions.iter().filter_map(of).collect()
}

fn released(plan: &Plan) -> Vec<(&str, Vec<Range>)> {
    let of = |a: &'_ Action| matches!(a, Action::Release { .. });
    let all = plan.actions.iter().filter(|a| of(a));
    all.map(|a| match a {
        Action::Release { allocation, released, .. } => (allocation.as_str(), released.clone()),
        _ => unreachable!(),
    })
    .collect()
}

/// Name by name: rank and world of the Pods that are made.
fn made(plan: &Plan) -> Vec<(String, i32, usize, usize)> {
    let of = |a: &Action| match a {
        Action::Create { granted, attempt, rendezvous, .. } => {
            let (rank, world) = rendezvous.as_ref().map_or((0, 1), |r| (r.rank, r.world));
            Some((format!("{}-{}", granted.role, granted.replica), *attempt, rank, world))
        }
        _ => None,
    };
    plan.actions.iter().filter_map(of).collect()
}

fn workers(first: i32, count: i32) -> Range {
    Range { role: "worker".into(), first, count }
}

#[test]
fn nothing_starts_before_it_is_accepted() {
    let mut world = waiting(vec![role("worker", 2, 2)]);
    world.give("first", 1, &[("worker", 0, 2)]);
    world.allocation(0).status = None;
    let accept = Action::Accept { allocation: "first".into(), epoch: 7 };
    assert_eq!(world.plan().actions, [accept]);
    world.fence = Some(Fence { epoch: 8, list_revision: None });
    let plan = world.plan();
    assert!(plan.look_again.is_some() && made(&plan).is_empty() && released(&plan).is_empty());
    world.fence = Some(Fence { epoch: 8, list_revision: Some(199) });
    assert!(matches!(&world.plan().actions[..], [Action::Refuse { .. }]));
    world.fence = Some(Fence { epoch: 8, list_revision: Some(200) });
    assert!(matches!(&world.plan().actions[..], [Action::Accept { epoch: 8, .. }]));
}

#[test]
fn a_start_is_written_before_the_first_pod_and_after_the_finalizer() {
    let mut world = waiting(vec![role("worker", 2, 2)]);
    world.give("first", 1, &[("worker", 0, 2)]);
    world.job.metadata.finalizers = None;
    assert_eq!(world.plan().actions, [Action::Keep]);
    world.job.metadata.finalizers = Some(vec![names::PODS_FINALIZER.into()]);
    let plan = world.plan();
    assert_eq!(plan.actions.len(), 1);
    let next = status(&plan).unwrap();
    assert_eq!((next.phase, next.attempts), (Some(Phase::Starting), 2));
    world.job.status = Some(next);
    let ranks = made(&world.plan());
    assert_eq!(ranks, [("worker-0".into(), 2, 0, 2), ("worker-1".into(), 2, 1, 2)]);
}

#[test]
fn a_gang_that_is_not_whole_does_not_start_and_goes_back() {
    let mut world = waiting(vec![role("worker", 3, 3)]);
    world.give("part", 1, &[("worker", 0, 2)]);
    let plan = world.plan();
    assert_eq!(released(&plan), [("part", vec![workers(0, 2)])]);
    assert!(made(&plan).is_empty());
}

#[test]
fn what_an_earlier_stay_left_goes_back_before_the_job_starts_again_and_what_joined_stays() {
    let mut world = waiting(vec![role("worker", 5, 2)]);
    world.give("old", 1, &[("worker", 4, 1)]);
    world.give("new", 2, &[("worker", 0, 2)]);
    world.give("joined", 3, &[("worker", 2, 1)]);
    let plan = world.plan();
    assert_eq!(released(&plan), [("old", vec![workers(4, 1)])]);
    assert!(status(&plan).is_none_or(|s| s.phase == Some(Phase::Queued)));
    world.allocation(0).status.as_mut().unwrap().released = vec![workers(4, 1)];
    assert_eq!(world.next().phase, Some(Phase::Starting));
}

#[test]
fn ranks_and_world_of_a_gang_stay_as_they_were_when_more_is_given() {
    let mut world = running(vec![role("master", 1, 1), role("worker", 4, 1)]);
    world.allocations.clear();
    world.give("gang", 1, &[("worker", 0, 1), ("master", 0, 1)]);
    world.pods.clear();
    let before = made(&world.plan());
    assert_eq!(before, [("master-0".into(), 1, 0, 2), ("worker-0".into(), 1, 1, 2)]);
    world.give("more", 2, &[("worker", 1, 1)]);
    let after = made(&world.plan());
    assert_eq!(after[..2], before);
    assert_eq!(after[2], ("worker-1".into(), 1, 2, 3));
}

#[test]
fn a_retry_waits_until_the_last_pod_of_the_attempt_before_is_gone() {
    let mut world = running(vec![role("worker", 3, 3)]);
    world.job.spec.max_retries = 1;
    world.end(2, 5, 2000);
    world.end(1, 9, 1000);
    let next = world.next();
    assert_eq!((next.phase, next.attempts, next.failures), (Some(Phase::Starting), 2, 1));
    assert!(
        next.message.as_ref().unwrap().contains("worker/1 on node n ended with exit code 9"),
        "the first counts"
    );
    world.job.status = Some(next);
    let plan = world.plan();
    assert_eq!(deleted(&plan).len(), 3);
    assert!(made(&plan).is_empty() && released(&plan).is_empty());
    world.pods.truncate(1);
    world.pods[0].going = true;
    assert!(made(&world.plan()).is_empty() && deleted(&world.plan()).is_empty());
    world.pods.clear();
    assert_eq!(made(&world.plan()).len(), 3);
    world.pods = (0..3).map(|n| pod("first", "worker", n, 2)).collect();
    world.end(0, 7, 3000);
    let next = world.next();
    assert_eq!((next.phase, next.exit_code), (Some(Phase::Failed), Some(7)));
}

#[test]
fn a_failed_job_ends_the_others_and_lets_its_aijob_go_last() {
    let mut world = running(vec![role("worker", 2, 2)]);
    world.end(0, 1, 2000);
    world.job.status = Some(world.next());
    assert_eq!(world.job.status.as_ref().unwrap().phase, Some(Phase::Failed));
    let plan = world.plan();
    assert_eq!(deleted(&plan), ["train-worker-1"]);
    assert_eq!(released(&plan), [("first", vec![workers(0, 1)])]);
    assert!(!plan.actions.contains(&Action::LetGo));
    world.pods.pop();
    assert!(world.plan().actions.contains(&Action::LetGo));
}

#[test]
fn a_cancel_that_comes_after_the_end_changes_nothing_and_before_it_wins() {
    let mut world = running(vec![role("worker", 2, 2)]);
    world.job.spec.cancelled = true;
    world.end(0, 0, 2000);
    let plan = world.plan();
    assert_eq!(deleted(&plan), ["train-worker-1"]);
    assert_ne!(status(&plan).and_then(|s| s.phase), Some(Phase::Cancelled), "one still runs");
    world.end(1, 0, 3000);
    let next = world.next();
    assert_eq!((next.phase, next.exit_code, next.end_millis), (Some(Phase::Succeeded), Some(0), Some(3000)));
    // told to end, it ended well: that is no success
    world.pods[1].going = true;
    assert_eq!(world.next().phase, Some(Phase::Cancelled));
    world.job.status = Some(world.next());
    world.job.spec.cancelled = false;
    assert_eq!(status(&world.plan()), None, "an end is final");
}

fn suspend(world: &mut World) {
    world.job.spec.suspended = Some(Suspension { by: "users/ann".into(), since_millis: 0 });
}

#[test]
fn a_suspended_job_goes_back_to_the_queue_and_costs_neither_a_retry_nor_a_preemption() {
    let mut world = running(vec![role("worker", 2, 2)]);
    suspend(&mut world);
    // one failed at the same moment, and the scheduler was faster than our watch
    world.pods[0].state = State::Failed { exit_code: 1, message: String::new() };
    let next = world.next();
    assert_eq!((next.phase, next.reason.as_deref()), (Some(Phase::Queued), Some("Suspended")));
    assert_eq!((next.preemptions, next.failures, next.attempts), (0, 0, 1));
    world.job.status = Some(next);
    assert_eq!(deleted(&world.plan()), ["train-worker-0", "train-worker-1"], "with their grace period");
    world.pods.clear();
    let given_back = |a: &Action| matches!(a, Action::Release { allocation, .. } if allocation == "first");
    assert!(world.plan().actions.iter().any(given_back), "{:?}", world.plan());
}

#[test]
fn what_the_scheduler_takes_back_from_a_suspended_job_is_no_preemption_even_where_its_spec_is_not_seen_yet() {
    let mut world = running(vec![role("worker", 2, 2)]);
    let replicas = Range { role: "worker".into(), first: 0, count: 2 };
    let (reason, message) = ("Suspended".into(), "suspended by users/ann".into());
    world.allocation(0).spec.revoked = vec![Revoked { replicas, reason, message }];
    let next = world.next();
    assert_eq!((next.phase, next.reason.as_deref()), (Some(Phase::Queued), Some("Suspended")));
    assert_eq!(next.preemptions, 0);
}

#[test]
fn a_suspended_job_does_not_start_ends_well_if_it_had_ended_and_can_be_cancelled() {
    let mut world = waiting(vec![role("worker", 1, 1)]);
    suspend(&mut world);
    world.give("late", 1, &[("worker", 0, 1)]);
    let plan = world.plan();
    assert!(!plan.actions.contains(&Action::Keep), "{plan:?}");
    assert_ne!(status(&plan).and_then(|s| s.phase), Some(Phase::Starting));
    world.job.spec.cancelled = true;
    (world.allocations, world.pods) = (vec![], vec![]);
    assert_eq!(world.next().phase, Some(Phase::Cancelled));
    let mut world = running(vec![role("worker", 1, 1)]);
    suspend(&mut world);
    world.end(0, 0, 2000);
    assert_eq!(world.next().phase, Some(Phase::Succeeded));
}

#[test]
fn nothing_is_known_to_be_gone_on_a_silent_node() {
    let mut world = running(vec![role("worker", 2, 2)]);
    world.job.spec.cancelled = true;
    world.heard.clear();
    world.pods.pop();
    let plan = world.plan();
    assert!(released(&plan).is_empty());
    assert_eq!(status(&plan).unwrap().worst.len(), 2, "a person is told of both");
    world.pods.clear();
    assert!(released(&world.plan()).is_empty(), "a Pod that is missing proves nothing");
    world.heard.insert("n".into(), Heard::Off);
    assert_eq!(released(&world.plan()), [("first", vec![workers(0, 2)])]);
    world.heard.insert("n".into(), Heard::Ready);
    let plan = world.plan();
    let asks = |a: &Action| matches!(a, Action::Release { unseen: true, .. });
    assert!(plan.actions.iter().any(asks), "what was never seen is asked for");
}

#[test]
fn a_replica_that_is_refused_goes_back_and_the_failures_of_the_others_are_none() {
    let mut world = running(vec![role("worker", 2, 2)]);
    world.pods[1].state = State::Refused { message: "OutOfcpu".into() };
    world.end(0, 1, 2000);
    let plan = world.plan();
    let release = plan.actions.iter().find_map(|a| match a {
        Action::Release { released, rejected, .. } => Some((released.clone(), rejected.clone())),
        _ => None,
    });
    let (gone, rejected) = release.unwrap();
    assert_eq!(gone, [workers(1, 1)]);
    assert_eq!((rejected[0].node.as_str(), rejected[0].message.as_str()), ("n", "OutOfcpu"));
    world.allocation(0).status =
        Some(AllocationStatus { accepted: Some(7), released: gone, rejected, ..Default::default() });
    let next = world.next();
    assert_eq!(
        (next.phase, next.reason.as_deref(), next.failures),
        (Some(Phase::Queued), Some("Refused"), 0)
    );
}

#[test]
fn an_evicted_replica_is_written_down_before_anything_else_and_ends_its_gang() {
    let mut world = running(vec![role("worker", 1, 1)]);
    world.pods[0].going = true;
    let plan = world.plan();
    let [Action::Release { released, rejected, .. }] = &plan.actions[..] else { panic!("{plan:?}") };
    assert!(released.is_empty(), "its Pod runs");
    let rejected = rejected.clone();
    world.allocation(0).status.as_mut().unwrap().rejected = rejected;
    // gone before anybody looked
    world.pods.clear();
    let next = world.next();
    assert_eq!((next.phase, next.reason.as_deref()), (Some(Phase::Queued), Some("Evicted")));
    world.job.status = Some(next);
    assert_eq!(released_all(&world), [("first".to_owned(), vec![workers(0, 1)])]);
}

fn released_all(world: &World) -> Vec<(String, Vec<Range>)> {
    released(&world.plan()).into_iter().map(|(a, r)| (a.to_owned(), r)).collect()
}

#[test]
fn a_whole_job_that_is_revoked_waits_again_and_a_surplus_just_goes() {
    let mut world = running(vec![role("worker", 3, 2)]);
    world.revoke(0, 2, 1);
    let plan = world.plan();
    assert_eq!(deleted(&plan), ["train-worker-2"]);
    assert!(released(&plan).is_empty(), "its Pod runs");
    assert_eq!(status(&plan).and_then(|s| s.reason), None);
    world.revoke(0, 0, 3);
    let next = world.next();
    assert_eq!((next.phase, next.preemptions, next.queued_millis), (Some(Phase::Queued), 1, Some(50_000)));
    world.allocation(0).spec.granted_millis = 60_000;
    assert_eq!(world.next().queued_millis, Some(60_000), "the scheduler's clock may be ahead");
    world.job.status = Some(next);
    let plan = world.plan();
    assert_eq!((deleted(&plan).len(), released(&plan).len()), (3, 0));
    world.pods.clear();
    assert_eq!(released(&world.plan()), [("first", vec![workers(0, 3)])]);
    assert!(status(&world.plan()).is_none_or(|s| s.preemptions == 1), "it is counted once");
}

#[test]
fn a_job_that_leaves_a_drained_node_says_so_and_spends_no_retry() {
    let mut world = running(vec![role("worker", 2, 2)]);
    world.revoke(0, 0, 2);
    world.allocation(0).spec.revoked[0].reason = crater_k8s::allocation::NODE_DRAINED.into();
    let next = world.next();
    assert_eq!((next.phase, next.reason.as_deref()), (Some(Phase::Queued), Some("NodeDrained")));
    assert_eq!((next.message.as_deref(), next.preemptions, next.failures), (Some("m"), 1, 0));
}

#[test]
fn a_job_that_ended_before_its_revocation_was_seen_has_ended() {
    let mut world = running(vec![role("worker", 2, 2)]);
    world.revoke(0, 0, 2);
    world.end(0, 0, 1000);
    world.end(1, 0, 2000);
    assert_eq!(world.next().phase, Some(Phase::Succeeded));
}

#[test]
fn pods_that_fill_nothing_are_ended_and_what_no_role_has_is_given_back_unused() {
    let mut world = running(vec![role("worker", 2, 1)]);
    world.allocation(0).status.as_mut().unwrap().released = vec![workers(1, 1)];
    world.give("odd", 2, &[("nobody", 0, 1), ("worker", 0, 1), ("worker", 7, 1)]);
    let plan = world.plan();
    assert_eq!(deleted(&plan), ["train-worker-1"]);
    let odd = vec![Range { role: "nobody".into(), first: 0, count: 1 }, workers(0, 1), workers(7, 1)];
    assert_eq!(released(&plan), [("odd", odd)]);
    assert!(made(&plan).is_empty());
}

#[test]
fn the_schedulers_words_pass_through_every_plan() {
    let mut world = running(vec![role("worker", 1, 1)]);
    let why =
        crater_k8s::aijob::SchedulingStatus { reason: "Quota".into(), message: String::new(), position: 1 };
    world.status().scheduling = Some(why.clone());
    world.end(0, 1, 10);
    assert_eq!(world.next().scheduling, Some(why));
}

#[test]
fn a_gang_of_ten_thousand_is_planned_in_far_less_than_a_square_of_it() {
    let mut world = running(vec![role("worker", 10_000, 10_000)]);
    let start = Instant::now();
    world.plan();
    world.pods.clear();
    assert_eq!(made(&world.plan()).len(), 10_000);
    world.job.spec.cancelled = true;
    assert_eq!(released(&world.plan()), [("first", vec![workers(0, 10_000)])]);
    // unoptimized and on a busy machine; a square would take minutes
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(world.allocations[0].name_any(), "first");
}
