//! The laws of the scheduler, on an in-memory cluster: the controller is played by patches of Allocation status.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so by failing")]

#[allow(dead_code, reason = "each suite uses its own part")]
mod house;

use crater_k8s::aijob::Class;
use crater_k8s_mem::NodeSpec;
use house::{House, job, node, row};
use tokio::time::Instant;

#[tokio::test]
async fn a_gang_is_one_object_and_no_gpu_is_given_twice() {
    let house = House::new([node("n0", 8), node("n1", 8)]).await;
    house.submit(&job("train").replicas(4).gpus(2000)).await;
    house.submit(&job("other").replicas(4).gpus(2000)).await;
    house.until("both jobs are allocated", |all| all.len() == 2).await;
    let mut seen = std::collections::BTreeSet::new();
    for allocation in house.allocations().await {
        assert_eq!(allocation.granted().len(), 4, "a gang in one object");
        assert_eq!(allocation.spec.epoch, 1);
        let owner = &allocation.metadata.owner_references.as_ref().unwrap()[0];
        assert_eq!((owner.kind.as_str(), owner.controller), ("AIJob", Some(true)));
        for granted in allocation.granted() {
            assert_eq!((granted.gpus.len(), granted.gpu_millis), (2, 1000));
            for gpu in granted.gpus {
                assert!(seen.insert((granted.node.clone(), gpu)), "{} {gpu} twice", granted.node);
            }
        }
    }
    assert_eq!(seen.len(), 16);
}

#[tokio::test]
async fn a_gang_that_does_not_fit_gets_nothing_and_is_told_how_much_is_short() {
    let house = House::new([node("n0", 8)]).await;
    house.submit(&job("first").replicas(3).gpus(2000)).await;
    house.until("the first is allocated", |all| all.len() == 1).await;
    house.submit(&job("second").replicas(2).gpus(2000)).await;
    let told = house.reason("second", "NotEnoughGpus").await;
    assert!(
        told.message.contains("1 of 2 replicas") && told.message.contains("2 more GPUs"),
        "{}",
        told.message
    );
    assert_eq!(house.allocations().await.len(), 1);
    house.submit(&job("third").replicas(1).gpus(8000)).await;
    house.reason("third", "").await;
    let told = house.explain("ann", "accounts/lab/jobs/third").await.unwrap();
    assert!(told.waiting && !told.blockers.is_empty(), "{told:?}");
    // its end makes room, and the reason goes away
    house.finish("first").await;
    house.until("the second is allocated", |all| all.iter().any(|a| a.spec.job == "second")).await;
    house.no_reason("second").await;
}

#[tokio::test]
async fn a_suspended_job_gives_back_what_it_holds_and_is_given_nothing_until_it_is_resumed() {
    let house = House::new([node("n0", 2)]).await;
    house.submit(&job("a").gpus(2000)).await;
    house.until("a is allocated", |all| all.len() == 1).await;
    house.accept("a").await;
    house.submit(&job("b").gpus(2000)).await;
    house.reason("b", "NotEnoughGpus").await;
    house.suspend("a", true).await;
    let told = house.reason("a", "Suspended").await;
    assert!(
        told.message.starts_with("Suspended by users/ann since 1970-01-01T00:00:01Z: resume it"),
        "{told:?}"
    );
    assert_eq!(told.position, 0, "it is in no line");
    house.until("it is taken back", |all| all[0].spec.revoked.iter().any(|r| r.reason == "Suspended")).await;
    let why = house.explain("ann", "accounts/lab/jobs/a").await.unwrap();
    assert!(why.waiting && why.message.contains("still holds 1 replica"), "{why:?}");
    house.release("a", 0..1).await;
    house.back_to_queue("a").await;
    house.until("b gets it", |all| all.iter().any(|a| a.spec.job == "b")).await;
    house.finish("b").await;
    house.until("nothing is given", |all| all.iter().all(|a| a.spec.job != "a" || a.held().is_empty())).await;
    let queue = house.queue("ann", "accounts/lab", 0, "").await.unwrap().0;
    assert!(queue.is_empty(), "{queue:?}");
    house.suspend("a", false).await;
    let again =
        |all: &[crater_k8s::Allocation]| all.iter().any(|a| a.spec.job == "a" && !a.held().is_empty());
    house.until("a is allocated again", again).await;
}

#[tokio::test]
async fn who_asks_for_a_job_that_is_on_its_way_waits_for_it() {
    let house = House::new([node("n0", 2)]).await;
    let (told, ()) = tokio::join!(house.explain("ann", "accounts/lab/jobs/new"), async {
        tokio::task::yield_now().await;
        house.submit(&job("new").gpus(1000)).await;
    });
    assert_eq!(told.unwrap().job, "accounts/lab/jobs/new");
}

#[tokio::test]
async fn a_lowered_limit_starts_nothing_new_and_evicts_nobody() {
    let house = House::new([node("n0", 8)]).await;
    house.limit("accounts/lab/quota", vec![row("gpu", None, Some(4000))]);
    house.submit(&job("a").gpus(2000)).await;
    house.until("a is allocated", |all| all.len() == 1).await;
    house.limit("accounts/lab/quota", vec![row("gpu", None, Some(1000))]);
    house.kept("\"limit\":1000").await;
    house.submit(&job("b").gpus(1000)).await;
    let told = house.reason("b", "AccountLimit").await;
    assert!(told.message.contains("limit 1 GPU"), "{}", told.message);
    let all = house.allocations().await;
    assert_eq!((all.len(), all[0].spec.revoked.len()), (1, 0));
    house.limit("accounts/lab/quota", vec![row("gpu", None, Some(3000))]);
    house.until("b is allocated", |all| all.len() == 2).await;
}

#[tokio::test]
async fn best_effort_yields_and_its_gpus_are_given_only_once_they_are_released() {
    let house = House::new([node("n0", 4)]).await;
    house.limit("accounts/lab/quota", vec![row("gpu", Some(4000), None)]);
    house.kept("\"guaranteed\":4000").await;
    house.submit(&job("idle").class(Class::BestEffort).gpus(4000)).await;
    house.until("idle is allocated", |all| all.len() == 1).await;
    house.accept("idle").await;
    house.submit(&job("owed").gpus(4000)).await;
    house.until("idle is revoked", |all| all.iter().any(|a| !a.spec.revoked.is_empty())).await;
    let told = house.reason("owed", "RoomIsComing").await;
    assert!(!told.message.is_empty());
    let all = house.allocations().await;
    assert_eq!(all.len(), 1, "nothing is given before the release");
    assert_eq!(all[0].spec.revoked[0].reason, "BestEffortYields");
    house.back_to_queue("idle").await;
    house
        .until("owed is allocated, idle's is deleted", |all| all.len() == 1 && all[0].spec.job == "owed")
        .await;
    house.reason("idle", "NotEnoughGpus").await;
}

#[tokio::test]
async fn a_restart_keeps_what_is_held_and_the_epoch_grows() {
    let mut house = House::new([node("n0", 8)]).await;
    house.submit(&job("a").gpus(6000)).await;
    house.until("a is allocated", |all| all.len() == 1).await;
    let before = house.allocations().await;
    house.restart().await;
    house.submit(&job("b").gpus(4000)).await;
    house.reason("b", "NotEnoughGpus").await;
    house.submit(&job("c").gpus(2000)).await;
    house.limit("accounts/none/quota", vec![]);
    let after = house.allocations().await;
    assert_eq!(before[0].metadata.uid, after[0].metadata.uid);
    let (epoch, revision) = house.lease().await;
    assert!(epoch == 2 && revision.is_some_and(|r| !r.is_empty()));
    house.finish("a").await;
    house
        .until("b is allocated in the new epoch", |all| {
            all.iter().any(|a| a.spec.job == "b" && a.spec.epoch == 2)
        })
        .await;
}

#[tokio::test]
async fn a_finished_replica_is_not_started_again() {
    let house = House::new([node("n0", 8)]).await;
    house.submit(&job("train").replicas(2).gpus(2000)).await;
    house.until("it is allocated", |all| all.len() == 1).await;
    house.accept("train").await;
    house.release("train", 0..1).await;
    // its GPUs are free again, and go to somebody else
    house.submit(&job("next").gpus(6000)).await;
    house.until("the next is allocated", |all| all.len() == 2).await;
    let all = house.allocations().await;
    assert_eq!(all.iter().filter(|a| a.spec.job == "train").count(), 1);
    // all of it is gone, but nobody said what comes of the job: it is not given anything
    house.release("train", 0..2).await;
    house.submit(&job("probe").gpus(2000)).await;
    house.until("the probe is allocated", |all| all.iter().any(|a| a.spec.job == "probe")).await;
    assert_eq!(house.allocations().await.iter().filter(|a| a.spec.job == "train").count(), 1);
}

#[tokio::test]
async fn a_node_that_refuses_is_barred_for_that_shape_and_another_is_found() {
    let house = House::new([node("n0", 8), node("n1", 8)]).await;
    house.submit(&job("a").gpus(1000)).await;
    house.until("a is allocated", |all| all.len() == 1).await;
    let first = house.allocations().await.remove(0).granted().remove(0).node;
    house.reject("a").await;
    house
        .until("a is allocated elsewhere", |all| all.iter().any(|a| a.held().iter().any(|g| g.node != first)))
        .await;
    // another shape may still go there
    house.submit(&job("b").gpus(8000)).await;
    house
        .until("b takes the whole of the first", |all| {
            all.iter().any(|a| a.spec.job == "b" && a.granted()[0].node == first)
        })
        .await;
}

#[tokio::test]
async fn what_a_lost_node_holds_stays_held_and_the_job_is_told() {
    let house = House::new([node("n0", 8)]).await;
    house.submit(&job("a").gpus(8000)).await;
    house.until("a is allocated", |all| all.len() == 1).await;
    house.accept("a").await;
    house.cluster.fail_node("n0").await.unwrap();
    house.queue_again("a").await;
    let told = house.reason("a", "NodeUnconfirmed").await;
    assert!(told.message.contains("n0"), "{}", told.message);
    assert_eq!(house.allocations().await.len(), 1);
    house.cluster.add_node(node("n1", 8)).await.unwrap();
    house.reason("a", "NodeUnconfirmed").await;
    house.cluster.recover_node("n0").await.unwrap();
    house.release("a", 0..1).await;
    house.until("a is allocated anew", |all| all.iter().any(|a| !a.held().is_empty())).await;
}

#[tokio::test]
async fn allocation_goes_on_after_the_history_was_forgotten() {
    let house = House::new([node("n0", 8)]).await;
    house.submit(&job("a").gpus(2000)).await;
    house.until("a is allocated", |all| all.len() == 1).await;
    for _ in 0..3 {
        // open watches end, what happens meanwhile is forgotten: they answer 410 and list again
        house.cluster.set_serving(false);
        house.cluster.set_serving(true);
        house.cluster.compact();
    }
    house.submit(&job("b").gpus(6000)).await;
    house.until("b is allocated beside a", |all| all.len() == 2).await;
    house.submit(&job("c").gpus(1000)).await;
    house.reason("c", "NotEnoughGpus").await;
}

#[tokio::test]
async fn a_scheduler_that_slept_writes_nothing_and_the_next_takes_over() {
    let house = House::new([node("n0", 8)]).await;
    house.submit(&job("a").gpus(2000)).await;
    house.until("a is allocated", |all| all.len() == 1).await;
    let second = house.rival().await;
    let held = second.missing("lease").await;
    assert!(held.contains("scheduler-"), "{held}");
    // the first sleeps: nothing of it reaches the cluster; the second sees its Lease unchanged for longer than it lasts
    house.freeze(true);
    second.takes_over().await;
    assert_eq!(house.lease().await.0, 2);
    house.submit(&job("b").gpus(2000)).await;
    house
        .until("b is given by the second", |all| all.iter().any(|a| a.spec.job == "b" && a.spec.epoch == 2))
        .await;
    house.clock.advance(11_000);
    house.freeze(false);
    house.submit(&job("c").gpus(2000)).await;
    house.until("c is given", |all| all.len() == 3).await;
    let old: Vec<_> = house.allocations().await.into_iter().filter(|a| a.spec.epoch == 1).collect();
    assert_eq!(old.len(), 1, "the first wrote nothing any more");
    second.stop().await;
    // given up, not run out: the first takes it without waiting
    house.submit(&job("d").gpus(2000)).await;
    house
        .until("d is given by the first", |all| all.iter().any(|a| a.spec.job == "d" && a.spec.epoch == 3))
        .await;
}

#[tokio::test]
async fn limits_kept_are_enough_to_start_without_the_quota_service() {
    let mut house = House::new([node("n0", 8)]).await;
    house.limit("accounts/lab/quota", vec![row("gpu", None, Some(1000))]);
    house.kept("\"limit\":1000").await;
    house.quota_away();
    house.restart().await;
    house.submit(&job("a").gpus(2000)).await;
    house.reason("a", "AccountLimit").await;
}

#[tokio::test]
async fn usage_is_summed_over_the_subtree_and_by_class() {
    let house = House::new([node("n0", 8)]).await;
    house.submit(&job("a").gpus(2000)).await;
    house.submit(&job("b").account("den", "bob").class(Class::BestEffort).gpus(500)).await;
    house.until("both are allocated", |all| all.len() == 2).await;
    let top = house.usage("accounts/top", "").await;
    assert_eq!((top["gpu"], top["gpu/A100"]), ((2000, 500), (2000, 500)));
    assert_eq!(house.usage("accounts/lab", "").await["gpu"], (2000, 0));
    assert_eq!(house.usage("accounts/den", "users/bob").await["gpu"], (0, 500));
    assert_eq!(house.usage("accounts/den", "users/ann").await["gpu"], (0, 0));
    assert!(house.usage("accounts/lab", "").await["cpu"].0 > 0);
    house.submit(&job("c").gpus(8000)).await;
    house.reason("c", "").await;
    let top = house.usage("accounts/top", "").await;
    assert_eq!((top["jobs.running"], top["jobs.waiting"]), ((1, 1), (1, 0)));
    // several at once, in the order in which they were asked
    let asked = [("accounts/den", ""), ("accounts/lab", "users/ann"), ("accounts/lab", "users/bob")];
    let all = house.usages(&asked).await;
    for (each, (account, user)) in all.iter().zip(asked) {
        assert_eq!(*each, house.usage(account, user).await);
    }
    assert_eq!((all[1]["jobs.running"], all[2]["jobs.running"]), ((1, 0), (0, 0)));
}

#[tokio::test]
async fn so_many_jobs_run_as_the_limits_of_user_and_accounts_say() {
    let house = House::new([node("n0", 8)]).await;
    house.limit("accounts/top/quota", vec![row("jobs.running", None, Some(2))]);
    house.limit("accounts/lab/users/ann/quota", vec![row("jobs.running", None, Some(1))]);
    house.kept("jobs.running").await;
    house.submit(&job("a").class(Class::BestEffort).gpus(1000)).await;
    house.until("a is allocated", |all| all.len() == 1).await;
    house.submit(&job("b").class(Class::BestEffort).gpus(1000)).await;
    let told = house.reason("b", "UserLimit").await;
    assert!(told.message.contains("imit of user ann: 1 job running, at most 1 may"), "{}", told.message);
    house.submit(&job("c").account("den", "bob").gpus(1000)).await;
    house.until("c is allocated", |all| all.len() == 2).await;
    house.submit(&job("d").account("den", "bob").class(Class::BestEffort).gpus(1000)).await;
    let told = house.reason_in("den", "d", "AccountLimit").await;
    assert!(told.message.contains("imit of account top: 2 jobs running, at most 2 may"), "{}", told.message);
    // a ends: until the last of it is gone, b waits on
    house.accept("a").await;
    house.finish("a").await;
    house
        .until("one more is allocated", |all| all.iter().any(|a| a.spec.job == "b" || a.spec.job == "d"))
        .await;
    let held = house.allocations().await.iter().filter(|a| !a.held().is_empty()).count();
    assert_eq!(held, 2);
}

#[tokio::test]
async fn weights_share_what_is_borrowed_and_are_kept() {
    let mut house = House::new([node("n0", 8)]).await;
    house.quota("accounts/lab/quota", Vec::new(), 3);
    house.kept("\"weight\":3").await;
    // what was kept is enough to begin with
    house.quota_away();
    house.restart().await;
    // nothing starts before all of them are there
    house.cordon("root", "n0", "", false).await.unwrap();
    for n in 0..8 {
        house.submit(&job(&format!("den-{n}")).account("den", "bob").gpus(1000)).await;
        house.submit(&job(&format!("lab-{n}")).gpus(1000)).await;
    }
    for n in 0..8 {
        house.explained("ann", &format!("accounts/lab/jobs/lab-{n}")).await;
        house.explained("bob", &format!("accounts/den/jobs/den-{n}")).await;
    }
    house.uncordon("root", "n0").await.unwrap();
    house.until("the node is full", |all| all.len() == 8).await;
    let of = |all: &[crater_k8s::Allocation], account: &str| {
        all.iter().filter(|a| a.spec.job.starts_with(account)).count()
    };
    let all = house.allocations().await;
    assert_eq!((of(&all, "lab"), of(&all, "den")), (6, 2), "three to one");
}

#[tokio::test]
async fn a_foreign_job_is_as_absent_and_never_named() {
    let house = House::new([node("n0", 2)]).await;
    house.submit(&job("secret").gpus(2000)).await;
    house.until("it is allocated", |all| all.len() == 1).await;
    house.submit(&job("mine").account("den", "bob").gpus(1000)).await;
    house.submit(&job("hidden").gpus(1000)).await;
    house.reason_in("den", "mine", "").await;
    let foreign = house.explain("bob", "accounts/lab/jobs/secret").await.unwrap_err();
    let absent = house.explain("bob", "accounts/nil/jobs/secret").await.unwrap_err();
    assert_eq!(foreign.code(), tonic::Code::NotFound);
    assert_eq!(foreign.message().replace("lab", "nil"), absent.message());
    assert!(house.explain("ann", "accounts/lab/jobs/nil").await.is_err());
    let seen = format!(
        "{:?} {:?}",
        house.cluster_of("bob").await,
        house.explain("bob", "accounts/den/jobs/mine").await
    );
    assert!(!seen.contains("secret") && !seen.contains("hidden"), "{seen}");
    let own = house.cluster_of("ann").await;
    assert_eq!(own.nodes[0].gpus[0].jobs, ["accounts/lab/jobs/secret"]);
    assert_eq!((own.nodes[0].gpus[0].held_millis, own.running_jobs), (1000, 1));
    let running = house.explain("ann", "accounts/lab/jobs/secret").await.unwrap();
    assert!(!running.waiting && running.placements[0].gpus[0].indexes == [0, 1], "{running:?}");
}

#[tokio::test]
async fn a_queue_is_paged_in_the_order_in_which_jobs_go() {
    let house = House::new([node("n0", 1)]).await;
    house.submit(&job("running").gpus(1000)).await;
    house.until("one is allocated", |all| all.len() == 1).await;
    for (name, priority) in [("low", -5), ("high", 5), ("middle", 0)] {
        house.submit(&job(name).priority(priority).gpus(1000)).await;
    }
    for name in ["low", "high", "middle"] {
        house.reason(name, "").await;
    }
    let (first, token) = house.queue("ann", "accounts/lab", 2, "").await.unwrap();
    assert_eq!(first, ["accounts/lab/jobs/high", "accounts/lab/jobs/middle"]);
    let (second, end) = house.queue("ann", "accounts/lab", 2, &token).await.unwrap();
    assert_eq!((second.as_slice(), end.as_str()), (["accounts/lab/jobs/low".to_owned()].as_slice(), ""));
    let refused = house.queue("ann", "accounts/-", 2, &token).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    assert!(house.queue("bob", "accounts/-", 0, "").await.unwrap().0.is_empty());
    assert_eq!(house.queue("bob", "accounts/lab", 0, "").await.unwrap_err().code(), tonic::Code::NotFound);
}

#[tokio::test]
async fn a_job_that_can_never_run_or_be_read_says_so_and_holds_nobody_up() {
    let house = House::new([NodeSpec::gpu_server("n0", 8, "A100")]).await;
    house.submit(&job("wide").gpus(16_000)).await;
    house.submit(&job("model").gpus(1000).model("H100")).await;
    house.submit(&job("broken").gpus(1500)).await;
    let wide = house.reason("wide", "NeverFits").await;
    assert!(wide.message.contains("16") && wide.message.contains('8'), "{}", wide.message);
    assert!(house.reason("model", "NeverFits").await.message.contains("H100"));
    assert!(house.reason("broken", "Invalid").await.message.contains("spec.roles[0]"));
    house.submit(&job("fits").gpus(8000)).await;
    house.until("what fits is allocated", |all| all.len() == 1).await;
}

#[tokio::test]
async fn reasons_are_written_at_a_limited_rate_the_newest_first() {
    let house = House::new([node("n0", 1)]).await;
    house.submit(&job("running").gpus(1000)).await;
    house.until("one is allocated", |all| all.len() == 1).await;
    let began = Instant::now();
    for n in 0..120 {
        house.submit(&job(&format!("waits-{n}")).gpus(1000)).await;
    }
    house.submit(&job("newest").gpus(1000)).await;
    house.reason("newest", "").await;
    let told = house.told().await;
    let most = 8 + usize::try_from(began.elapsed().as_millis() / 50).unwrap();
    assert!(told <= most, "{told} reasons in {:?}", began.elapsed());
    assert!(told < 100, "the newest did not wait for the {told} before it");
    // whoever asks need not wait for the write
    let asked = house.explain("ann", "accounts/lab/jobs/waits-0").await.unwrap();
    assert!(!asked.blockers.is_empty(), "{asked:?}");
}
