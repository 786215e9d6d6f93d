//! The laws of kept output.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so by failing")]

use crater_domain::{JobSpec, JobState, JobUid, Resources, Role, ServiceClass};
use crater_store::job::{self, LogBlock, LogEnd, LogKept, LogOf, LogPiece, LogPlace, NewJob};
use crater_store::{Db, Error, Location, Service, Tx};
use tempfile::TempDir;

async fn database() -> (TempDir, Db) {
    let dir = TempDir::new().unwrap();
    let db = Db::open(&Location::from(dir.path().to_path_buf()), Service::Job).await.unwrap();
    (dir, db)
}

async fn new_job(db: &Db, id: &str) -> JobUid {
    let role = Role {
        name: "worker".parse().unwrap(),
        replicas: 1,
        min_replicas: 1,
        resources: Resources::default(),
        devices: Default::default(),
        gpu_models: vec![],
        image: String::new(),
        command: vec![],
        args: vec![],
        env: vec![],
        working_dir: String::new(),
        mounts: vec![],
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
    let uid = JobUid(uuid::Uuid::new_v4());
    let name = format!("accounts/lab/jobs/{id}").parse().unwrap();
    let creator = "ann".parse().unwrap();
    let new = NewJob { uid, name, creator, spec, labels: Default::default(), created_ms: 1, trace: None };
    write(db, move |c| job::create(c, &new)).await;
    uid
}

async fn write<T: Send + 'static>(
    db: &Db,
    mut body: impl FnMut(&mut crater_store::Conn) -> Result<T, Error> + Send + 'static,
) -> T {
    db.transaction::<_, Error, _>(Tx::KeepLogs, move |c| body(c)).await.unwrap()
}

/// A block of ten lines, the first at `ns`, of so many bytes.
fn block(ns: i64, bytes: usize) -> LogBlock {
    let text_bytes = i64::try_from(bytes).unwrap();
    LogBlock { sequence: 0, first_ns: ns, last_ns: ns + 9, lines: 10, text_bytes, body: vec![7; bytes] }
}

fn piece(job: JobUid, pod: &str, n: i64, bytes: usize) -> LogPiece {
    let of = LogOf {
        pod: pod.to_owned(),
        namespace: "crater-lab".to_owned(),
        job,
        attempt: 1,
        role: "worker".to_owned(),
        replica: 0,
        begun_ms: 0,
    };
    let place = |n: i64| match n {
        0 => LogPlace::default(),
        n => LogPlace { ns: n * 10 - 1, lines: 1, resume_ns: 0 },
    };
    LogPiece { of, from: place(n), to: place(n + 1), blocks: vec![block(n * 10, bytes)], end: None }
}

async fn keep(db: &Db, piece: LogPiece, limit: i64) -> LogKept {
    write(db, move |c| job::keep_log(c, &piece, limit)).await
}

const KEPT: LogKept = LogKept::Yes { job_ended: false };
const MIB: i64 = 1 << 20;

#[tokio::test]
async fn a_log_grows_only_from_where_it_stands() {
    let (_dir, db) = database().await;
    let job = new_job(&db, "a").await;
    assert_eq!(keep(&db, piece(job, "p", 1, 10), MIB).await, LogKept::Stale, "it does not begin there");
    assert_eq!(keep(&db, piece(job, "p", 0, 10), MIB).await, KEPT);
    assert_eq!(keep(&db, piece(job, "p", 0, 10), MIB).await, LogKept::Stale, "it was kept before");
    assert_eq!(keep(&db, piece(job, "p", 1, 10), MIB).await, KEPT);
    let end = LogPiece { blocks: vec![], end: Some(LogEnd::Whole), ..piece(job, "p", 2, 0) };
    let end = LogPiece { to: end.from, ..end };
    assert_eq!(keep(&db, end.clone(), MIB).await, KEPT);
    assert_eq!(keep(&db, end, MIB).await, LogKept::Stale, "nothing follows the end");
    let blocks = write(&db, |c| job::log_blocks(c, "p", 0, 9)).await;
    assert_eq!((blocks.len(), blocks[0].lines, blocks[0].body.len()), (1, 20, 20), "small ones are one");
    let mut foreign = piece(job, "q", 0, 10);
    foreign.of.namespace = "crater-den".to_owned();
    assert_eq!(keep(&db, foreign, MIB).await, LogKept::NoJob);
    assert_eq!(keep(&db, piece(JobUid(uuid::Uuid::new_v4()), "r", 0, 10), MIB).await, LogKept::NoJob);
}

#[tokio::test]
async fn of_a_long_log_the_head_and_the_tail_are_kept_and_the_middle_is_counted() {
    let (_dir, db) = database().await;
    let job = new_job(&db, "a").await;
    for n in 0..40 {
        assert_eq!(keep(&db, piece(job, "p", n, 100 << 10), MIB).await, KEPT);
    }
    let stream = write(&db, |c| job::log_stream(c, "p")).await.unwrap();
    let blocks = write(&db, |c| job::log_blocks(c, "p", 0, 99)).await;
    let kept: i64 = blocks.iter().map(|b| b.text_bytes).sum();
    assert!(kept <= MIB && kept > MIB - (100 << 10), "{kept}");
    let numbers: Vec<i64> = blocks.iter().map(|b| b.sequence).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 36, 37, 38, 39]);
    assert_eq!((stream.cut_lines, stream.cut_bytes), (300, (300 * 10) << 10));
    assert_eq!(write(&db, |c| job::log_tail(c, "p", 25)).await, (37, 5));
    assert_eq!(write(&db, |c| job::log_tail(c, "p", 1000)).await, (0, 0));
    assert_eq!(write(&db, |c| job::log_block_at(c, "p", 100)).await, Some(36));
}

#[tokio::test]
async fn too_much_output_goes_oldest_ended_job_first_then_from_the_middle_of_the_largest() {
    let (_dir, db) = database().await;
    let (old, new, runs) = (new_job(&db, "old").await, new_job(&db, "new").await, new_job(&db, "runs").await);
    for n in 0..10 {
        for (job, pod) in [(old, "old"), (new, "new"), (runs, "runs")] {
            keep(&db, piece(job, pod, n, 100 << 10), 16 * MIB).await;
        }
    }
    for (uid, at) in [(old, 10), (new, 20)] {
        write(&db, move |c| {
            let mut job = job::by_uid(c, uid)?.unwrap();
            (job.state, job.ended_ms) = (JobState::Succeeded, Some(at));
            job::save(c, &mut job)
        })
        .await;
    }
    let count = async |pod: &'static str| write(&db, move |c| job::log_blocks(c, pod, 0, 99)).await.len();
    let shrink = async |limit: i64| while write(&db, move |c| job::shrink_logs(c, limit)).await {};
    shrink(3 * MIB).await;
    assert_eq!((count("old").await, count("new").await, count("runs").await), (10, 10, 10));
    shrink(5 * MIB / 2).await;
    assert_eq!((count("old").await, count("new").await, count("runs").await), (0, 10, 10));
    assert_eq!(write(&db, |c| job::log_stream(c, "old")).await.unwrap().cut_lines, 100);
    shrink(MIB / 2).await;
    assert_eq!((count("old").await, count("new").await), (0, 0));
    let left = write(&db, |c| job::log_blocks(c, "runs", 0, 99)).await;
    assert!(write(&db, job::log_bytes).await <= MIB / 2);
    assert_eq!((left.first().unwrap().sequence, left.last().unwrap().sequence), (0, 9));
}

#[tokio::test]
async fn the_output_of_a_deleted_job_is_out_of_reach_at_once_and_gone_soon() {
    let (_dir, db) = database().await;
    let job = new_job(&db, "a").await;
    keep(&db, piece(job, "p", 0, 1000), MIB).await;
    write(&db, move |c| job::forget_logs(c, job)).await;
    assert!(write(&db, move |c| job::log_streams(c, job)).await.is_empty());
    assert!(!write(&db, job::clear_logs).await);
    assert!(write(&db, |c| job::log_blocks(c, "p", 0, 9)).await.is_empty());
    assert_eq!(write(&db, job::log_bytes).await, 0);
}
