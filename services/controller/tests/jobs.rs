//! Jobs from the Allocation to their end, on an in-memory cluster. The test plays the scheduler.
#![allow(clippy::unwrap_used, clippy::panic)] // the helpers of tests are tests too

mod house;

use crater_k8s::aijob::Phase;
use crater_k8s::{AIJob, names};
use house::{FOREVER, env, grant, house, house_without_controller, job, on, played, workers};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

#[tokio::test]
async fn a_gang_starts_with_its_ranks_and_names_and_ends_well() {
    let house = house().await;
    let job = house.submit(&played(job("train", 4, 4), "10s", 0)).await;
    house.until_phase("train", Phase::Queued).await;
    house.give("train-1", &job, grant(&job, 7, vec![on("a", 0, 2, 6), on("b", 2, 2, 0)])).await;
    let status = house.until_phase("train", Phase::Running).await;
    assert_eq!((status.attempts, status.nodes.as_slice()), (1, ["a".to_owned(), "b".to_owned()].as_slice()));
    assert_eq!((status.roles[0].running, status.roles[0].waiting), (4, 0));
    assert_eq!(status.observed_revision, 3);
    let pods = house.list_pods().await;
    assert_eq!(pods.len(), 4);
    for (rank, pod) in pods.iter().enumerate() {
        assert_eq!(pod.name_any(), format!("train-worker-{rank}"));
        assert_eq!(env(pod, "RANK"), Some(rank.to_string()));
        assert_eq!(env(pod, "WORLD_SIZE").as_deref(), Some("4"));
        assert_eq!(env(pod, "MASTER_ADDR").as_deref(), Some("train-worker-0.train.crater-lab.svc"));
        assert_eq!(env(pod, "MASTER_PORT"), env(&pods[0], "MASTER_PORT"));
        assert_eq!(env(pod, "CRATER_REPLICA"), Some(rank.to_string()));
        assert_eq!(env(pod, "CRATER_ATTEMPT").as_deref(), Some("1"));
        assert_eq!(pod.labels()[names::ALLOCATION], "train-1");
        assert_eq!(pod.owner_references()[0].uid, job.uid().unwrap());
    }
    assert_eq!(pods[1].annotations()[names::GPUS], r#"[{"index":7,"milli":1000}]"#);
    let services: Api<Service> = Api::namespaced(house.client.clone(), house::NAMESPACE);
    let service = services.get("train").await.unwrap().spec.unwrap();
    assert_eq!(service.cluster_ip.as_deref(), Some("None"));
    let allocation = house.allocations().get("train-1").await.unwrap();
    assert_eq!(allocation.status.as_ref().and_then(|s| s.accepted), Some(7));

    house.advance(10);
    let status = house.until_phase("train", Phase::Succeeded).await;
    assert_eq!((status.exit_code, status.roles[0].succeeded), (Some(0), 4));
    assert_eq!(status.end_millis.unwrap() - status.start_millis.unwrap(), 10_000);
    house.until_released("train-1", workers(0, 4)).await;
    assert_eq!(house.list_pods().await.len(), 4, "they stay for their logs");

    house.jobs().delete("train", &DeleteParams::default()).await.unwrap();
    house.until_job_is_gone("train").await;
    house.until_pod("train-worker-0", "gone with its AIJob", |p| p.is_none()).await;
}

#[tokio::test]
async fn a_failing_replica_fails_the_job_with_its_exit_code() {
    let house = house().await;
    house.submit_and_give(&played(job("bad", 1, 1), "5s", 42)).await;
    house.until_phase("bad", Phase::Running).await;
    house.advance(5);
    let status = house.until_phase("bad", Phase::Failed).await;
    assert_eq!((status.exit_code, status.reason.as_deref()), (Some(42), Some("ReplicaFailed")));
    assert_eq!(status.end_millis.unwrap() - status.start_millis.unwrap(), 5_000);
    assert_eq!((status.worst[0].exit_code, status.worst[0].node.as_str()), (Some(42), "a"));
    house.until_released("bad-1", workers(0, 1)).await;
}

#[tokio::test]
async fn a_failed_job_is_retried_on_its_allocation_and_no_pods_of_two_attempts_overlap() {
    let house = house().await;
    let mut job = played(job("retry", 3, 3), "5s", 9);
    job.spec.max_retries = 1;
    house.submit_and_give(&job).await;
    let first = house.until_phase("retry", Phase::Running).await;
    assert_eq!(first.attempts, 1);
    let ports = env(&house.until_pod_runs("retry-worker-0").await, "MASTER_PORT");
    let watched = house.pods();
    let watch = tokio::spawn(async move {
        use futures::TryStreamExt;
        let mut there = std::collections::BTreeMap::new();
        let mut overlaps = 0;
        let events = kube::runtime::watcher(watched, kube::runtime::watcher::Config::default());
        let mut events = std::pin::pin!(events);
        while let Ok(Some(event)) = events.try_next().await {
            use kube::runtime::watcher::Event;
            match event {
                Event::Apply(pod) | Event::InitApply(pod) => {
                    there.insert(pod.name_any(), pod.labels()[names::ATTEMPT].clone());
                }
                Event::Delete(pod) => drop(there.remove(&pod.name_any())),
                _ => {}
            }
            overlaps += usize::from(there.values().any(|a| a == "1") && there.values().any(|a| a == "2"));
            let seconds = there.values().filter(|a| *a == "2").count();
            if seconds == 3 {
                return overlaps;
            }
        }
        panic!("the watch of Pods ended");
    });
    house.advance(5);
    let second = house
        .until_job("retry", "a second run", |s| s.attempts == 2 && s.phase == Some(Phase::Running))
        .await;
    assert_eq!((second.failures, second.preemptions), (1, 0));
    assert_eq!(watch.await.unwrap(), 0, "Pods of both attempts were there at once");
    let pod = house.until_pod_runs("retry-worker-0").await;
    assert_eq!(
        (env(&pod, "CRATER_ATTEMPT").as_deref(), pod.labels()[names::ATTEMPT].as_str()),
        (Some("2"), "2")
    );
    assert_ne!(env(&pod, "MASTER_PORT"), ports);
    let allocation = house.allocations().get("retry-1").await.unwrap().status.unwrap();
    assert!(allocation.released.is_empty(), "a retry keeps its place");
    house.advance(5);
    let status = house.until_phase("retry", Phase::Failed).await;
    assert_eq!((status.exit_code, status.attempts, status.failures), (Some(9), 2, 1));
}

#[tokio::test]
async fn a_cancelled_job_that_waits_ends_at_once_and_what_it_is_given_goes_back_unused() {
    let house = house().await;
    let job = house.submit(&job("waiting", 2, 2)).await;
    house.until_phase("waiting", Phase::Queued).await;
    house.cancel("waiting").await;
    let status = house.until_phase("waiting", Phase::Cancelled).await;
    assert_eq!((status.attempts, status.observed_revision, status.exit_code), (0, 4, None));
    house.give("waiting-1", &job, grant(&job, 7, vec![on("a", 0, 2, 0)])).await;
    let given = house.until_released("waiting-1", workers(0, 2)).await;
    assert_eq!(given.accepted, None);
    assert!(house.list_pods().await.is_empty());
}

#[tokio::test]
async fn a_cancelled_job_that_runs_is_over_when_its_pods_are_gone() {
    let house = house().await;
    house.submit_and_give(&played(job("runs", 2, 2), FOREVER, 0)).await;
    house.until_phase("runs", Phase::Running).await;
    house.cluster.fail_node("a").await.unwrap();
    house.cancel("runs").await;
    house
        .until_pod("runs-worker-1", "told to go", |p| {
            p.is_some_and(|p| p.metadata.deletion_timestamp.is_some())
        })
        .await;
    house.settle("probe-1").await;
    assert_eq!(house.jobs().get("runs").await.unwrap().status.unwrap().phase, Some(Phase::Running));
    house.cluster.recover_node("a").await.unwrap();
    house.advance(5);
    house.until_phase("runs", Phase::Cancelled).await;
    house.until_released("runs-1", workers(0, 2)).await;
    assert!(house.list_pods().await.is_empty());
}

#[tokio::test]
async fn a_deleted_job_stays_until_its_pods_are_gone() {
    let house = house().await;
    house.submit_and_give(&played(job("deleted", 1, 1), FOREVER, 0)).await;
    house.until_phase("deleted", Phase::Running).await;
    house.cluster.fail_node("a").await.unwrap();
    house.jobs().delete("deleted", &DeleteParams::default()).await.unwrap();
    let told = |p: Option<&Pod>| p.is_some_and(|p| p.metadata.deletion_timestamp.is_some());
    house.until_pod("deleted-worker-0", "told to go", told).await;
    house.settle("probe-1").await;
    assert!(house.allocations().get("deleted-1").await.unwrap().status.unwrap().released.is_empty());
    house.cluster.recover_node("a").await.unwrap();
    house.until_job_is_gone("deleted").await;
    assert!(house.list_pods().await.is_empty());
}

#[tokio::test]
async fn what_is_revoked_goes_back_only_when_its_pod_is_gone_and_a_new_allocation_starts_the_job_again() {
    let house = house().await;
    let job = house.submit_and_give(&played(job("yields", 2, 2), FOREVER, 0)).await;
    house.until_phase("yields", Phase::Running).await;
    house.cluster.fail_node("a").await.unwrap();
    house.revoke("yields-1", workers(0, 2)).await;
    let status = house.until_phase("yields", Phase::Queued).await;
    assert_eq!((status.preemptions, status.reason.as_deref()), (1, Some("Preempted")));
    assert!(status.queued_millis.is_some());
    let status = house.until_job("yields", "a note of the silent node", |s| !s.worst.is_empty()).await;
    assert_eq!(status.worst[0].node, "a");
    house.give("yields-2", &job, grant(&job, 7, vec![on("b", 0, 2, 0)])).await;
    house.until_allocation("yields-2", "acceptance", |s| s.accepted.is_some()).await;
    house.settle("probe-1").await;
    let first = house.allocations().get("yields-1").await.unwrap().status.unwrap();
    assert!(first.released.is_empty(), "its Pods may run on: {first:?}");
    assert!(house.list_pods().await.iter().all(|p| p.labels()[names::ALLOCATION] == "yields-1"));

    house.cluster.recover_node("a").await.unwrap();
    house.until_released("yields-1", workers(0, 2)).await;
    let status = house.until_phase("yields", Phase::Running).await;
    assert_eq!((status.attempts, status.failures, status.preemptions), (2, 0, 1));
    assert!(house.list_pods().await.iter().all(|p| p.labels()[names::ALLOCATION] == "yields-2"));
}

#[tokio::test]
async fn of_an_elastic_job_only_the_revoked_surplus_goes() {
    let house = house().await;
    house.submit_and_give(&played(job("elastic", 3, 1), "60s", 0)).await;
    house.until_job("elastic", "three running", |s| s.roles.first().is_some_and(|r| r.running == 3)).await;
    house.revoke("elastic-1", workers(2, 1)).await;
    house.until_released("elastic-1", workers(2, 1)).await;
    let status = house.until_job("elastic", "two running", |s| s.roles[0].running == 2).await;
    assert_eq!((status.phase, status.preemptions, status.roles[0].waiting), (Some(Phase::Running), 0, 1));
    house.advance(60);
    let status = house.until_phase("elastic", Phase::Succeeded).await;
    assert_eq!(status.attempts, 1);
}

#[tokio::test]
async fn an_allocation_of_an_older_epoch_counts_if_the_new_holder_had_listed_it_and_waits_until_that_is_known()
 {
    let house = house_without_controller().await;
    let job_old = house.submit(&job("old", 1, 1)).await;
    let old = house.give("old-1", &job_old, grant(&job_old, 6, vec![on("a", 0, 1, 0)])).await;
    let listed = old.resource_version().unwrap().parse().unwrap();
    let job_late = house.submit(&job("late", 1, 1)).await;
    house.give("late-1", &job_late, grant(&job_late, 6, vec![on("a", 0, 1, 1)])).await;
    house.lease(7, None).await;
    let mut house = house;
    house.start().await;
    house.until_phase("old", Phase::Queued).await;
    house.until_phase("late", Phase::Queued).await;
    assert!(house.list_pods().await.is_empty());
    for name in ["old-1", "late-1"] {
        assert_eq!(house.allocations().get(name).await.unwrap().status, None, "nothing is decided yet");
    }
    house.lease(7, Some(listed)).await;
    let given = house.until_allocation("old-1", "acceptance", |s| s.accepted.is_some()).await;
    assert_eq!(given.accepted, Some(7));
    let given = house.until_allocation("late-1", "refusal", |s| s.refused.is_some()).await;
    assert_eq!(given.accepted, None);
    house.until_phase("old", Phase::Running).await;
    assert_eq!(house.jobs().get("late").await.unwrap().status.unwrap().phase, Some(Phase::Queued));
    assert_eq!(house.list_pods().await.len(), 1);
}

fn greedy(name: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {"nodeName": "a", "restartPolicy": "Never", "containers": [{"name": "main", "image": "none",
            "resources": {"limits": {"nvidia.com/gpu": "8"}}}]},
    }))
    .unwrap()
}

#[tokio::test]
async fn a_refusal_by_a_kubelet_gives_the_gang_back_and_costs_no_retry() {
    let house = house().await;
    house.pods().create(&PostParams::default(), &greedy("foreign")).await.unwrap();
    house.until_pod_runs("foreign").await;
    let job = house.submit(&played(job("turned", 2, 2), FOREVER, 0)).await;
    house.give("turned-1", &job, grant(&job, 7, vec![on("b", 0, 1, 0), on("a", 1, 1, 0)])).await;
    let given = house.until_released("turned-1", workers(0, 2)).await;
    assert_eq!(given.rejected.len(), 1);
    assert_eq!((given.rejected[0].replica, given.rejected[0].node.as_str()), (1, "a"));
    let status = house
        .until_job("turned", "back in the queue", |s| s.phase == Some(Phase::Queued) && s.reason.is_some());
    let status = status.await;
    assert_eq!((status.reason.as_deref(), status.failures, status.preemptions), (Some("Refused"), 0, 0));
    house.give("turned-2", &job, grant(&job, 7, vec![on("b", 0, 2, 0)])).await;
    house.until_phase("turned", Phase::Running).await;
}

#[tokio::test]
async fn a_refusal_by_admission_gives_the_gang_back_with_its_words() {
    let house = house().await;
    let job = job("odd", 2, 2);
    let class: Api<k8s_openapi::api::scheduling::v1::PriorityClass> = Api::all(house.client.clone());
    class.delete(crater_k8s::build::PRIORITY_CLASS, &DeleteParams::default()).await.unwrap();
    let job = house.submit(&job).await;
    house.give("odd-1", &job, grant(&job, 7, vec![on("a", 0, 2, 0)])).await;
    let given = house.until_released("odd-1", workers(0, 2)).await;
    assert_eq!(given.rejected.len(), 2);
    assert!(given.rejected[0].message.contains("riority"), "{:?}", given.rejected);
    house.until_job("odd", "the reason", |s| s.reason.as_deref() == Some("Refused")).await;
}

#[tokio::test]
async fn a_drained_replica_takes_its_gang_back_to_the_queue() {
    let house = house().await;
    house.submit_and_give(&played(job("drained", 2, 2), FOREVER, 0)).await;
    house.until_phase("drained", Phase::Running).await;
    house.cluster.fail_node("a").await.unwrap();
    house.pods().delete("drained-worker-1", &DeleteParams::default()).await.unwrap();
    let status = house.until_phase("drained", Phase::Queued).await;
    assert_eq!((status.reason.as_deref(), status.failures), (Some("Evicted"), 0));
    house.cluster.recover_node("a").await.unwrap();
    let given = house.until_released("drained-1", workers(0, 2)).await;
    assert_eq!((given.rejected[0].replica, given.rejected[0].node.as_str()), (1, "a"), "the node is barred");
}

#[tokio::test]
async fn an_aijob_written_by_hand_that_makes_no_sense_fails_with_the_field() {
    let house = house().await;
    let mut wrong = job("wrong", 2, 2);
    wrong.spec.roles[0].min_replicas = 5;
    house.submit(&wrong).await;
    let status = house.until_phase("wrong", Phase::Failed).await;
    assert_eq!(status.reason.as_deref(), Some("InvalidSpec"));
    assert!(status.message.unwrap().contains("min_replicas"));
    let mut wrong = job("uid", 1, 1);
    wrong.spec.job_uid = "no label at all!".into();
    house.submit(&wrong).await;
    let status = house.until_phase("uid", Phase::Failed).await;
    assert!(status.message.unwrap().contains("spec.jobUid"));
}

/// The phases that a job was seen in, and then its last.
async fn phases(house: &house::House, name: &str) -> tokio::task::JoinHandle<Vec<Phase>> {
    use futures::StreamExt;
    let mut watch = kube::runtime::watcher::watch_object(house.jobs(), name).boxed();
    tokio::spawn(async move {
        let mut seen: Vec<Phase> = Vec::new();
        while let Some(object) = watch.next().await {
            let Ok(Some(job)) = object else { return seen };
            let phase = job.status.and_then(|s| s.phase);
            seen.extend(phase.filter(|p| seen.last() != Some(p)));
        }
        seen
    })
}

#[tokio::test]
async fn whenever_the_controller_dies_every_job_ends_exactly_once() {
    let seed = 20_261_123u64;
    let mut random = seed;
    let mut next = move |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    let mut house = house_without_controller().await;
    for round in 0..24 {
        let (good, bad, stopped) =
            (format!("good-{round}"), format!("bad-{round}"), format!("stopped-{round}"));
        let ends = [(good, 0, Phase::Succeeded), (bad, 3, Phase::Failed), (stopped, 0, Phase::Cancelled)];
        let mut watches = Vec::new();
        for (n, (name, code, _)) in ends.iter().enumerate() {
            let lasts = if *code == 0 && n == 2 { FOREVER } else { "10s" };
            let mut job = played(job(name, 2, 2), lasts, *code);
            job.spec.max_retries = 1;
            let job = house.submit(&job).await;
            watches.push(phases(&house, name).await);
            let gpu = i32::try_from(n).unwrap() * 2;
            house
                .give(
                    &format!("{name}-1"),
                    &job,
                    grant(&job, 7, vec![on("a", 0, 1, gpu), on("b", 1, 1, gpu)]),
                )
                .await;
        }
        house.start().await;
        // it dies after some turns of the other tasks, again and again, and once more when something new has come
        for crash in 0..4 {
            for _ in 0..next(200) {
                tokio::task::yield_now().await;
            }
            house.kill();
            if crash == 1 {
                house.cancel(&ends[2].0).await;
            }
            house.advance(next(6));
            house.start().await;
        }
        for (name, code, phase) in &ends {
            let over = |s: &crater_k8s::AIJobStatus| {
                matches!(s.phase, Some(Phase::Succeeded | Phase::Failed | Phase::Cancelled))
            };
            let status = tokio::select! {
                status = house.until_job(name, "an end", over) => status,
                () = house.go_on() => unreachable!(),
            };
            assert_eq!(status.phase, Some(*phase), "{name}, seed {seed}: {status:#?}");
            if *code != 0 {
                assert_eq!((status.exit_code, status.attempts), (Some(*code), 2), "{name}, seed {seed}");
            }
            house.until_released(&format!("{name}-1"), workers(0, 2)).await;
            house.jobs().delete(name, &DeleteParams::default()).await.unwrap();
            house.until_job_is_gone(name).await;
        }
        for (watch, (name, ..)) in watches.into_iter().zip(&ends) {
            let seen = watch.await.unwrap();
            let ends =
                seen.iter().filter(|p| matches!(p, Phase::Succeeded | Phase::Failed | Phase::Cancelled));
            assert_eq!(ends.count(), 1, "{name}, seed {seed}: {seen:?}");
        }
        house.kill();
    }
}

/// A gang that fails, is retried and fails; and one that is cancelled as soon as it runs. From the queue until they are gone.
async fn two_lives(house: &house::House) {
    let failing = async {
        let status = house.until_job("failing", "its end", |s| s.end_millis.is_some()).await;
        assert_eq!((status.phase, status.exit_code, status.attempts), (Some(Phase::Failed), Some(3), 2));
        house.until_released("failing-1", workers(0, 2)).await;
        assert!(house.list_pods().await.iter().all(|p| p.labels()[names::ATTEMPT] != "1"));
    };
    let cancelled = async {
        house
            .until_job("cancelled", "a start or its end", |s| {
                matches!(s.phase, Some(Phase::Running | Phase::Cancelled))
            })
            .await;
        house.cancel("cancelled").await;
        let status = house.until_phase("cancelled", Phase::Cancelled).await;
        assert_eq!((status.attempts, status.exit_code), (1, None));
        house.until_released("cancelled-1", workers(0, 2)).await;
    };
    tokio::join!(failing, cancelled);
    for name in ["failing", "cancelled"] {
        house.jobs().delete(name, &DeleteParams::default()).await.unwrap();
        house.until_job_is_gone(name).await;
    }
}

#[tokio::test]
async fn a_crash_at_any_write_changes_nothing_of_how_jobs_end() {
    for done in [false, true] {
        let mut last = 0;
        loop {
            last += 1;
            let mut house = house_without_controller().await;
            let mut failing = played(job("failing", 2, 2), "5s", 3);
            failing.spec.max_retries = 1;
            let failing = house.submit(&failing).await;
            let cancelled = house.submit(&played(job("cancelled", 2, 2), FOREVER, 0)).await;
            house.give("failing-1", &failing, grant(&failing, 7, vec![on("a", 0, 2, 0)])).await;
            house.give("cancelled-1", &cancelled, grant(&cancelled, 7, vec![on("b", 0, 2, 0)])).await;
            let died = house.start_dying(last, done).await;
            let lived = tokio::select! {
                () = two_lives(&house) => true,
                () = died.notified() => false,
                () = house.go_on() => unreachable!(),
            };
            if lived {
                assert!(last > 20, "two jobs take more writes than {last}");
                break;
            }
            house.kill();
            house.start().await;
            let mut gone = 0;
            for name in ["failing", "cancelled"] {
                let job = house.jobs().get_opt(name).await.unwrap();
                if job.is_none_or(|j| j.metadata.deletion_timestamp.is_some()) {
                    house.until_job_is_gone(name).await;
                    gone += 1;
                }
            }
            // the test deletes them only after both have ended
            if gone > 0 {
                continue;
            }
            tokio::select! {
                () = two_lives(&house) => {}
                () = house.go_on() => unreachable!(),
            }
        }
    }
}

#[tokio::test]
async fn a_service_of_an_earlier_job_of_that_name_is_taken_over() {
    let house = house().await;
    let services: Api<Service> = Api::namespaced(house.client.clone(), house::NAMESPACE);
    let mut earlier = AIJob::new("again", job("again", 2, 2).spec);
    earlier.metadata.namespace = Some(house::NAMESPACE.into());
    earlier.spec.job_uid = "11111111-0000-4000-8000-000000000000".into();
    services.create(&PostParams::default(), &crater_k8s::build::service(&earlier)).await.unwrap();
    let job = house.submit_and_give(&job("again", 2, 2)).await;
    house.until_phase("again", Phase::Running).await;
    let service = services.get("again").await.unwrap();
    assert_eq!(service.owner_references()[0].uid, job.uid().unwrap());
    assert_eq!(service.spec.unwrap().selector.unwrap()[names::JOB_UID], job.spec.job_uid);
}

#[tokio::test]
async fn an_unknown_finalizer_and_the_schedulers_part_of_the_status_stay_untouched() {
    let house = house().await;
    let mut with = played(job("shared", 1, 1), "5s", 0);
    with.metadata.finalizers = Some(vec![names::RECORD_FINALIZER.into()]);
    let job = house.submit(&with).await;
    let why = json!({"status": {"scheduling": {"reason": "Quota", "message": "waits", "position": 2}}});
    house.jobs().patch_status("shared", &PatchParams::default(), &Patch::Merge(&why)).await.unwrap();
    house.give("shared-1", &job, grant(&job, 7, vec![on("a", 0, 1, 0)])).await;
    house.until_phase("shared", Phase::Running).await;
    let object = house.jobs().get("shared").await.unwrap();
    assert_eq!(object.finalizers(), [names::RECORD_FINALIZER, names::PODS_FINALIZER]);
    house.advance(5);
    house.until_phase("shared", Phase::Succeeded).await;
    house.until_released("shared-1", workers(0, 1)).await;
    house.settle("probe-1").await;
    let object = house.jobs().get("shared").await.unwrap();
    assert_eq!(object.status.unwrap().scheduling.map(|s| s.position), Some(2));
}

#[tokio::test]
async fn a_checkpoint_that_a_pod_tells_of_is_in_the_jobs_status_and_nonsense_is_not() {
    let house = house().await;
    house.submit_and_give(&played(job("train", 2, 2), FOREVER, 0)).await;
    let began = house.until_phase("train", Phase::Running).await.start_millis.unwrap();
    house.advance(60);
    let at = began + 40_000;
    let tell = async |pod: &str, text: String| {
        let patch = Patch::Merge(json!({"metadata": {"annotations": {names::CHECKPOINTED_AT: text}}}));
        house.pods().patch(pod, &PatchParams::default(), &patch).await.unwrap();
    };
    let moment = k8s_openapi::jiff::Timestamp::from_millisecond(at).unwrap();
    tell("train-worker-0", "soon".to_owned()).await;
    let known = house.until_job("train", "why it is ignored", |s| s.checkpoint_ignored.is_some()).await;
    assert!(known.checkpoint_ignored.unwrap().contains("of Pod train-worker-0: \"soon\" is no time"));
    assert_eq!(known.checkpointed_millis, None);
    // what comes right after is told together, a moment later
    tell("train-worker-1", moment.to_string()).await;
    tell("train-worker-0", moment.to_string()).await;
    let known = house.until_job("train", "the checkpoint", |s| s.checkpointed_millis.is_some()).await;
    assert_eq!((known.checkpointed_millis, known.checkpoint_ignored), (Some(at), None));
}
