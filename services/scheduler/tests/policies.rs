//! What an administrator turns is what the loop does.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so by failing")]

#[allow(dead_code, reason = "each suite uses its own part")]
mod house;

use crater_engine::{Backfill, Queueing};
use crater_k8s::aijob::Class;
use crater_scheduler::Config;
use house::{House, job, node, row};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

/// Den had all for ten hours, and asks for it again before lab does: who gets it?
async fn who_is_next(half_life_hours: u32) -> String {
    let house = House::with(Config { half_life_hours, ..Config::default() }, [node("n0", 4)]).await;
    house.submit(&job("long").account("den", "bob").gpus(4000)).await;
    house.until("it is allocated", |all| all.len() == 1).await;
    house.submit(&job("again").account("den", "bob").gpus(4000)).await;
    house.submit(&job("fresh").gpus(4000)).await;
    house.explained("bob", "accounts/den/jobs/again").await;
    house.clock.advance(10 * HOUR);
    // a cycle has seen the hour
    house.submit(&job("behind").gpus(4000)).await;
    house.explained("ann", "accounts/lab/jobs/behind").await;
    house.finish_in("den", "long").await;
    house.until("the next is allocated", |all| all.iter().any(|a| a.spec.job != "long")).await;
    house.allocations().await.into_iter().find(|a| a.spec.job != "long").unwrap().spec.job
}

#[tokio::test]
async fn who_borrowed_for_long_goes_later_if_the_past_counts() {
    assert_eq!(who_is_next(0).await, "again");
    assert_eq!(who_is_next(5).await, "fresh");
}

/// Two run on half of the node each, the second for a minute less; an hour later one is wanted back. Whose?
async fn taken(saved: Option<&str>) -> String {
    let house = House::new([node("n0", 8)]).await;
    house.limit("accounts/lab/quota", vec![row("gpu", Some(4000), None)]);
    house.kept("\"guaranteed\":4000").await;
    for name in ["first", "second"] {
        house.submit(&job(name).class(Class::BestEffort).gpus(4000)).await;
        house.until("it is allocated", |all| all.iter().any(|a| a.spec.job == name)).await;
        house.accept(name).await;
        house.clock.advance(MINUTE);
    }
    house.clock.advance(HOUR);
    if let Some(name) = saved {
        house.saved(name).await;
        house.clock.advance(MINUTE);
    }
    house.submit(&job("owed").gpus(4000)).await;
    house.until("something is taken back", |all| all.iter().any(|a| !a.spec.revoked.is_empty())).await;
    let all = house.allocations().await;
    let mut taken = all.into_iter().filter(|a| !a.spec.revoked.is_empty());
    let victim = taken.next().unwrap().spec.job;
    assert!(taken.next().is_none(), "one is enough");
    victim
}

#[tokio::test]
async fn who_has_just_saved_his_work_is_taken_before_who_has_not() {
    assert_eq!(taken(None).await, "second");
    assert_eq!(taken(Some("first")).await, "first");
}

/// One GPU is free, one is held for an hour. First in line waits for two; the second for two as well; the third wants one, for longer than an hour.
async fn passes(backfill: Backfill, seconds: i64) -> bool {
    let house = House::with(Config { backfill, ..Config::default() }, [node("n0", 2)]).await;
    house.submit(&job("holds").gpus(1000).expected(3600)).await;
    house.until("it is allocated", |all| all.len() == 1).await;
    house.submit(&job("head").gpus(2000).expected(3600)).await;
    house.explained("ann", "accounts/lab/jobs/head").await;
    house.submit(&job("small").gpus(1000).expected(seconds)).await;
    house.until_or_told("ann", "small").await
}

#[tokio::test]
async fn the_settings_say_who_may_pass_the_head_of_the_line() {
    for backfill in [Backfill::Easy, Backfill::Conservative] {
        assert!(passes(backfill, 1800).await, "{backfill:?}: it is gone in time");
        assert!(!passes(backfill, 7200).await, "{backfill:?}: it would be in the way");
    }
    assert!(!passes(Backfill::None, 1800).await);
}

#[tokio::test]
async fn the_shortest_goes_first_and_so_does_who_was_served_least() {
    for order in [Queueing::Sjf, Queueing::Las] {
        let house = House::with(Config { order, ..Config::default() }, [node("n0", 1)]).await;
        house.submit(&job("holds").gpus(1000)).await;
        house.until("it is allocated", |all| all.len() == 1).await;
        // the one is long, and was served much; the other came later
        house.submit(&job("long").gpus(1000).expected(360_000)).await;
        house.served("long", 1000 * 100 * HOUR).await;
        house.submit(&job("short").gpus(1000).expected(60)).await;
        house.explained("ann", "accounts/lab/jobs/short").await;
        house.finish("holds").await;
        house.until("the next is allocated", |all| all.iter().any(|a| a.spec.job != "holds")).await;
        let next = house.allocations().await.into_iter().find(|a| a.spec.job != "holds").unwrap();
        assert_eq!(next.spec.job, "short", "{order:?}");
    }
}
