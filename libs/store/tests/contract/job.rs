//! The laws of the job service's tables that several writers at once could break.

use std::collections::BTreeMap;

use crater_domain::{AccountId, JobName, JobSpec, JobUid, RequestId, Resources, Role, ServiceClass};
use crater_store::idempotency::Request;
use crater_store::job::{self, NewJob};
use crater_store::{Db, Error, Once, Service, Tx};
use uuid::Uuid;

use crate::house::{House, on_both};

fn lab() -> AccountId {
    "lab".parse().unwrap()
}

fn new_job(id: &str) -> NewJob {
    let role = Role {
        name: "main".parse().unwrap(),
        replicas: 1,
        min_replicas: 1,
        resources: Resources::default(),
        devices: Default::default(),
        gpu_models: Vec::new(),
        image: "busybox".into(),
        command: vec!["true".into()],
        args: Vec::new(),
        env: Vec::new(),
        working_dir: String::new(),
        mounts: Vec::new(),
    };
    let spec = JobSpec {
        class: ServiceClass::Guaranteed,
        priority: 0,
        roles: vec![role],
        expected_seconds: None,
        max_retries: 0,
        grace_seconds: 30,
        place: Default::default(),
    };
    NewJob {
        uid: JobUid(Uuid::now_v7()),
        name: JobName { account: lab(), job: id.parse().unwrap() },
        creator: "ann".parse().unwrap(),
        spec,
        labels: BTreeMap::new(),
        created_ms: 1,
        trace: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
    }
}

fn request(n: u128) -> Option<Request> {
    Some(Request::new("users/ann", "create", RequestId(Uuid::from_u128(n)), b"body"))
}

async fn create(db: &Db, id: &str) -> job::Job {
    let new = new_job(id);
    db.transaction::<_, Error, _>(Tx::CreateJob, move |c| job::create(c, &new)).await.unwrap()
}

const THREADS: u128 = 16;
const LIMIT: i64 = 20;

on_both! {
    async fn a_queue_never_holds_more_than_its_limit(house: House) {
        let db = house.open(Service::Job).await;
        let mut submitters = tokio::task::JoinSet::new();
        for thread in 0..THREADS {
            let db = db.clone();
            submitters.spawn(async move {
                let mut accepted = 0i64;
                for n in 0..5u128 {
                    let how = Once { request: request(thread * 100 + n), ..Once::default() };
                    let new = new_job(&format!("j{thread}-{n}"));
                    let created = db.once::<_, Error, _>(Tx::CreateJob, how, move |c| {
                        job::lock_account(c, &lab())?;
                        let waiting = job::waiting(c, &[lab()], None)?;
                        assert!(waiting <= LIMIT, "{waiting} wait");
                        if waiting == LIMIT {
                            return Err(Error::NotFound("room".into()));
                        }
                        job::create(c, &new)
                    });
                    match created.await {
                        Ok(_) => accepted += 1,
                        Err(Error::NotFound(_)) => {}
                        Err(other) => panic!("{other:?}"),
                    }
                }
                accepted
            });
        }
        let mut accepted = 0;
        while let Some(done) = submitters.join_next().await {
            accepted += done.unwrap();
        }
        assert_eq!(accepted, LIMIT);
        let waiting = db.read::<_, Error, _>(Tx::ReadJob, |c| job::waiting(c, &[lab()], None)).await;
        assert_eq!(waiting.unwrap(), LIMIT);
    }

    async fn a_name_is_given_to_one_of_many_who_want_it(house: House) {
        let db = house.open(Service::Job).await;
        let mut submitters = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let (db, new) = (db.clone(), new_job("train"));
            submitters.spawn(async move {
                db.transaction::<_, Error, _>(Tx::CreateJob, move |c| job::create(c, &new)).await
            });
        }
        let mut given = 0;
        while let Some(done) = submitters.join_next().await {
            match done.unwrap() {
                Ok(_) => given += 1,
                Err(Error::AlreadyExists { what }) => assert!(what.contains("train"), "{what}"),
                Err(other) => panic!("{other:?}"),
            }
        }
        assert_eq!(given, 1);
    }

    async fn changes_at_once_are_all_kept_and_numbered_in_the_order_they_are_seen(house: House) {
        let db = house.open(Service::Job).await;
        let uid = create(&db, "train").await.uid;
        let mut writers = tokio::task::JoinSet::new();
        for _ in 0..16 {
            let db = db.clone();
            writers.spawn(async move {
                for _ in 0..3 {
                    let done = db.transaction::<_, Error, _>(Tx::ObserveJob, move |c| {
                        // the event before the row: nothing has locked the job yet
                        job::add_event(c, uid, 1, "Counted", "")?;
                        let mut job = job::by_uid(c, uid)?.unwrap();
                        job.status.attempts += 1;
                        job::save(c, &mut job)
                    });
                    // who was beaten to it too often is told so, and tries again as a service's loop does
                    if let Err(error) = done.await {
                        assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
                        return 1u32;
                    }
                }
                0
            });
        }
        // a watcher sees no gap: what it has not seen has a higher number than what it has
        let watcher = tokio::spawn({
            let db = db.clone();
            async move {
                let (mut seen, mut attempts) = (0, 0);
                for _ in 0..50 {
                    let changes = db.read::<_, Error, _>(Tx::ListEvents, move |c| {
                        job::changes(c, seen, &job::Visible::All, None, 10)
                    });
                    let changes = changes.await.unwrap();
                    for job in &changes.jobs {
                        assert!(job.status.attempts >= attempts, "a change came out of order");
                        attempts = job.status.attempts;
                    }
                    seen = changes.position;
                }
            }
        });
        let mut beaten = 0;
        while let Some(done) = writers.join_next().await {
            beaten += done.unwrap();
        }
        watcher.await.unwrap();
        let (job, events) = db
            .read::<_, Error, _>(Tx::ReadJob, move |c| {
                Ok((job::by_uid(c, uid)?.unwrap(), job::events(c, uid, 0, 1000)?))
            })
            .await
            .unwrap();
        let counted = events.iter().filter(|e| e.reason == "Counted").count();
        assert_eq!(usize::try_from(job.status.attempts).unwrap(), counted);
        assert!(counted >= 3 * (16 - beaten as usize), "{counted} of 48, {beaten} beaten");
    }

    async fn a_new_cluster_is_adopted_once(house: House) {
        let db = house.open(Service::Job).await;
        let adopt = |db: Db, uid: &'static str| async move {
            db.transaction::<_, Error, _>(Tx::ObserveJob, move |c| job::adopt_cluster(c, uid, 5)).await.unwrap()
        };
        assert_eq!(adopt(db.clone(), "one").await, 0);
        for n in 0..5 {
            create(&db, &format!("j{n}")).await;
        }
        let mut replicas = tokio::task::JoinSet::new();
        for _ in 0..6 {
            replicas.spawn(adopt(db.clone(), "two"));
        }
        let restarted = replicas.join_all().await;
        assert_eq!(restarted.iter().sum::<usize>(), 5, "{restarted:?}");
    }
}
