//! The laws of the transaction door.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crater_domain::RequestId;
use crater_store::idempotency::{self, Request};
use crater_store::{Db, Error, Location, Once, Service, Tx};
use tempfile::TempDir;
use uuid::Uuid;

use crate::house::{House, on_both};

async fn open(house: &House) -> Db {
    house.open(Service::User).await
}

fn request(n: u128, body: &[u8]) -> Request {
    Request::new("users/ann", "test", RequestId(Uuid::from_u128(n)), body)
}

async fn record(db: &Db, n: u128) -> Result<(), Error> {
    db.transaction(Tx::Bootstrap, move |c| idempotency::record(c, &request(n, b"body"), b"answer", 0)).await
}

async fn recorded(db: &Db, n: u128) -> bool {
    db.read(Tx::ReadUser, move |c| idempotency::replay(c, &request(n, b"body"))).await.unwrap().is_some()
}

on_both! {
async fn a_body_that_fails_leaves_nothing(house: House) {
    let db = open(&house).await;
    let result: Result<(), Error> = db
        .transaction(Tx::Bootstrap, |c| {
            idempotency::record(c, &request(1, b"body"), b"answer", 0)?;
            Err(Error::NotFound("it".into()))
        })
        .await;
    assert!(matches!(result, Err(Error::NotFound(_))));
    assert!(!recorded(&db, 1).await);
    record(&db, 1).await.unwrap();
    assert!(recorded(&db, 1).await);
}
}

on_both! {
async fn a_rehearsal_leaves_nothing(house: House) {
    let db = open(&house).await;
    let rehearsed: Result<(), Error> =
        db.rehearse(Tx::Bootstrap, |c| idempotency::record(c, &request(1, b"body"), b"answer", 0)).await;
    rehearsed.unwrap();
    assert!(!recorded(&db, 1).await);
}
}

on_both! {
async fn a_read_cannot_write(house: House) {
    let db = open(&house).await;
    let result: Result<(), Error> =
        db.read(Tx::ReadUser, |c| idempotency::record(c, &request(1, b"body"), b"answer", 0)).await;
    assert!(matches!(result, Err(Error::Internal(_))), "{result:?}");
}
}

on_both! {
async fn a_cancelled_caller_leaves_no_transaction_open(house: House) {
    let db = open(&house).await;
    let (entered_tx, mut entered) = tokio::sync::mpsc::channel(1);
    let (go, wait) = mpsc::channel::<()>();
    let caller = tokio::spawn({
        let db = db.clone();
        async move {
            let body = move |c: &mut crater_store::Conn| {
                idempotency::record(c, &request(1, b"body"), b"answer", 0)?;
                entered_tx.blocking_send(()).unwrap();
                wait.recv().unwrap();
                Ok::<_, Error>(())
            };
            db.transaction(Tx::Bootstrap, body).await
        }
    });
    // the body is inside the transaction; its caller goes away
    entered.recv().await.unwrap();
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    // the one writer is still at it: nobody else gets in between
    assert!(!recorded(&db, 1).await);
    go.send(()).unwrap();
    // the next writer gets in, and finds the first one's work whole
    record(&db, 2).await.unwrap();
    assert!(recorded(&db, 1).await);
    assert!(recorded(&db, 2).await);
}
}

on_both! {
async fn a_body_that_panics_is_rolled_back_and_the_door_stays_open(house: House) {
    let db = open(&house).await;
    let result: Result<(), Error> = db
        .transaction(Tx::Bootstrap, |c| {
            idempotency::record(c, &request(1, b"body"), b"answer", 0)?;
            panic!("a bug");
        })
        .await;
    assert!(matches!(result, Err(Error::Internal(_))));
    record(&db, 2).await.unwrap();
    assert!(!recorded(&db, 1).await);
}
}

on_both! {
async fn those_who_wait_for_the_writer_stand_or_fall_each_alone(house: House) {
    let db = open(&house).await;
    let (entered_tx, mut entered) = tokio::sync::mpsc::channel(1);
    let (go, wait) = mpsc::channel::<()>();
    let first = tokio::spawn({
        let db = db.clone();
        let body = move |c: &mut crater_store::Conn| {
            idempotency::record(c, &request(1, b"body"), b"answer", 0)?;
            entered_tx.blocking_send(()).unwrap();
            wait.recv().unwrap();
            Ok::<_, Error>(())
        };
        async move { db.transaction(Tx::Bootstrap, body).await }
    });
    entered.recv().await.unwrap();
    // SQLite's one writer is taken: the others wait, and go together
    let others: Vec<_> = (2..12)
        .map(|n| {
            let db = db.clone();
            tokio::spawn(async move {
                let body = move |c: &mut crater_store::Conn| {
                    idempotency::record(c, &request(n, b"body"), b"answer", 0)?;
                    match n % 4 {
                        0 => Err(Error::NotFound("it".into())),
                        1 => panic!("a bug"),
                        _ => Ok(()),
                    }
                };
                let rehearsed = n % 4 == 2;
                if rehearsed { db.rehearse(Tx::Bootstrap, body).await } else { db.transaction(Tx::Bootstrap, body).await }
            })
        })
        .collect();
    go.send(()).unwrap();
    first.await.unwrap().unwrap();
    for (n, other) in (2..12).zip(others) {
        let result = other.await.unwrap();
        match n % 4 {
            0 => assert!(matches!(result, Err(Error::NotFound(_))), "{n}: {result:?}"),
            1 => assert!(matches!(result, Err(Error::Internal(_))), "{n}: {result:?}"),
            _ => result.unwrap(),
        }
        assert_eq!(recorded(&db, n).await, n % 4 == 3, "{n}");
    }
    assert!(recorded(&db, 1).await);
}
}

on_both! {
async fn a_transient_refusal_is_tried_again_and_not_for_ever(house: House) {
    let db = open(&house).await;
    let mut tries = 0;
    let third = db.transaction(Tx::Bootstrap, move |_| {
        tries += 1;
        if tries < 3 { Err(Error::Unavailable("busy".into())) } else { Ok(tries) }
    });
    assert_eq!(third.await.unwrap(), 3);
    let (count, counted) = mpsc::channel();
    let never: Result<(), Error> = db
        .transaction(Tx::Bootstrap, move |_| {
            count.send(()).unwrap();
            Err(Error::Unavailable("busy".into()))
        })
        .await;
    assert!(matches!(never, Err(Error::Unavailable(_))));
    assert_eq!(counted.iter().count(), 6);
}
}

on_both! {
async fn writers_of_two_processes_both_get_through(house: House) {
    // two pools on one file are as strange to each other as two processes
    let (one, two) = (open(&house).await, open(&house).await);
    let mut writers = tokio::task::JoinSet::new();
    for n in 0..60u128 {
        let db = if n % 2 == 0 { one.clone() } else { two.clone() };
        writers.spawn(async move { record(&db, n).await });
    }
    while let Some(done) = writers.join_next().await {
        done.unwrap().unwrap();
    }
    for n in 0..60 {
        assert!(recorded(&one, n).await, "row {n}");
    }
}
}

on_both! {
async fn the_same_request_is_answered_alike_and_another_body_is_refused(house: House) {
    let db = open(&house).await;
    record(&db, 1).await.unwrap();
    let replay = |r: Request| db.read(Tx::ReadUser, move |c| idempotency::replay(c, &r));
    assert_eq!(replay(request(1, b"body")).await.unwrap(), Some(b"answer".to_vec()));
    assert!(matches!(replay(request(1, b"other")).await, Err(Error::RequestReused)));
    let id = RequestId(Uuid::from_u128(1));
    assert_eq!(replay(Request::new("users/bob", "test", id, b"other")).await.unwrap(), None);
    assert_eq!(replay(Request::new("users/ann", "else", id, b"other")).await.unwrap(), None);
}
}

on_both! {
async fn a_mutation_acts_once_and_only_if_it_is_meant(house: House) {
    let db = open(&house).await;
    let (acted, acts) = mpsc::channel();
    let once = |n: u128, validate_only: bool| {
        let how = Once { request: Some(request(n, b"body")), validate_only, now_ms: 0 };
        let acted = acted.clone();
        db.once(Tx::Bootstrap, how, move |c| {
            acted.send(()).unwrap();
            idempotency::record(c, &request(100 + n, b"body"), b"", 0)?;
            Ok::<_, Error>(n)
        })
    };
    assert_eq!(once(1, true).await.unwrap(), 1);
    assert_eq!(acts.try_iter().count(), 1);
    assert!(!recorded(&db, 101).await, "a check wrote something");
    assert!(!recorded(&db, 1).await, "a check used the request's name up");
    for _ in 0..3 {
        assert_eq!(once(1, false).await.unwrap(), 1);
    }
    assert_eq!(acts.try_iter().count(), 1);
    assert!(recorded(&db, 101).await);
}
}

on_both! {
    async fn the_same_request_at_the_same_moment_acts_once(house: House) {
        let db = open(&house).await;
        for round in 0..10u128 {
            let (acted, acts) = mpsc::channel();
            let mut callers = tokio::task::JoinSet::new();
            for caller in 0..8u128 {
                let how = Once { request: Some(request(round, b"body")), ..Once::default() };
                let (db, acted) = (db.clone(), acted.clone());
                callers.spawn(async move {
                    db.once(Tx::Bootstrap, how, move |c| {
                        // fails for whoever comes second, as making a user of that name would
                        let mine = Request::new("users/ann", "deed", RequestId(Uuid::from_u128(round)), b"");
                        idempotency::record(c, &mine, b"", 0)?;
                        acted.send(()).unwrap();
                        Ok::<_, Error>(caller)
                    })
                    .await
                });
            }
            let mut answers = std::collections::BTreeSet::new();
            while let Some(done) = callers.join_next().await {
                answers.insert(done.unwrap().unwrap());
            }
            assert_eq!(answers.len(), 1, "round {round}: {answers:?}");
            drop(acted);
            assert_eq!(acts.iter().count(), 1, "round {round}");
        }
    }
}

on_both! {
async fn answers_are_forgotten_after_a_day(house: House) {
    let db = open(&house).await;
    record(&db, 1).await.unwrap();
    let later = idempotency::KEPT_MS;
    for (n, now) in [(2, later), (3, later + 1)] {
        let first: Result<_, Error> = db
            .transaction(Tx::Bootstrap, move |c| {
                idempotency::record(c, &request(n, b"body"), b"answer", now)?;
                idempotency::replay(c, &request(1, b"body"))
            })
            .await;
        assert_eq!(first.unwrap().is_some(), now == later);
    }
}
}

#[tokio::test]
async fn a_database_that_this_build_does_not_know_is_refused() {
    let dir = TempDir::new().unwrap();
    drop(Db::open(&Location::from(dir.path().to_path_buf()), Service::User).await.unwrap());
    std::fs::rename(dir.path().join("user.db"), dir.path().join("quota.db")).unwrap();
    let refused =
        Db::open(&Location::from(dir.path().to_path_buf()), Service::Quota).await.map(|_| ()).unwrap_err();
    assert!(matches!(refused, Error::Open(_)));
    assert!(refused.to_string().contains("has migration user0"), "{refused}");
    assert!(refused.to_string().contains("newer version"), "{refused}");
}

#[cfg(unix)]
#[tokio::test]
async fn nobody_else_on_the_machine_can_read_the_files() {
    use std::os::unix::fs::PermissionsExt;
    let dir = TempDir::new().unwrap();
    let db = Db::open(&Location::from(dir.path().to_path_buf()), Service::User).await.unwrap();
    record(&db, 1).await.unwrap();
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o077, 0, "{:?}", entry.path());
    }
}

const CHILD: &str = "CRATER_STORE_TEST_CHILD";

/// Not a test of its own: the process that the test below kills.
#[tokio::test]
async fn child_that_writes_until_it_is_killed() {
    let Ok(address) = std::env::var(CHILD) else { return };
    let db = Db::open(&address.parse().unwrap(), Service::User).await.unwrap();
    for n in 0.. {
        record(&db, n).await.unwrap();
        println!("acknowledged {n}");
    }
}

on_both! {
    async fn what_was_acknowledged_survives_a_kill(house: House) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "door::child_that_writes_until_it_is_killed", "--nocapture"])
            .env(CHILD, house.address())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut last = None;
        while last < Some(20) {
            let line = lines.next().expect("the child went away").unwrap();
            last = line.split_once("acknowledged ").and_then(|(_, n)| n.parse::<u128>().ok()).or(last);
        }
        child.kill().unwrap();
        for line in lines.map_while(Result::ok) {
            last = line.split_once("acknowledged ").and_then(|(_, n)| n.parse::<u128>().ok()).or(last);
        }
        child.wait().unwrap();
        let db = tokio::time::timeout(Duration::from_secs(10), open(&house)).await.unwrap();
        for n in 0..=last.unwrap() {
            assert!(recorded(&db, n).await, "row {n} was acknowledged and is lost");
        }
    }
}
