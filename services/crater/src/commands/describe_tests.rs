use crater_api::job::v1::{EnvVar, JobSpec, JobState, RoleStatus};
use prost_types::Timestamp;

use super::*;
use crate::output::table::Table;

const NOW: i64 = 1_000_000_000;

fn at(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos: 0 })
}

fn job() -> Job {
    Job {
        name: "accounts/lab/jobs/train".into(),
        creator: "users/ann".into(),
        spec: Some(JobSpec {
            priority: 5,
            roles: vec![Role {
                name: "worker".into(),
                replicas: 4,
                min_replicas: 2,
                resources: Some(Resources {
                    cpu_millis: 1500,
                    memory_bytes: 2 << 30,
                    gpu_millis: 2000,
                    devices: [("rdma/hca".to_owned(), 1)].into(),
                }),
                gpu_models: vec!["A100".into(), "H100".into()],
                command: vec!["sh".into(), "-c".into(), "echo 'hi'".into()],
                env: vec![EnvVar { name: "A".into(), value: "1".into() }],
                ..Default::default()
            }],
            ..Default::default()
        }),
        state: JobState::Running.into(),
        roles: vec![RoleStatus { role: "worker".into(), running: 3, starting: 1, ..Default::default() }],
        nodes: vec!["n1".into(), "n2".into(), "n3".into()],
        create_time: at(999_000),
        start_time: at(999_940),
        attempts: 1,
        ..Default::default()
    }
}

#[test]
fn a_list_of_jobs_reads_at_a_glance() {
    let mut table = Table::new(headers(Format::Table), false);
    table.row(row(Format::Table, &job(), NOW));
    let waiting = Job {
        name: "accounts/lab/jobs/b".into(),
        state: JobState::Queued.into(),
        reason: "NotEnoughGpus".into(),
        create_time: at(999_990),
        ..Default::default()
    };
    table.row(row(Format::Table, &waiting, NOW));
    assert_eq!(
        table.render(),
        "NAME   ACCOUNT  CLASS       STATE    GPUS  NODES  AGE  REASON\n\
         train  lab      guaranteed  Running  8     n1,+2  16m  -\n\
         b      lab      guaranteed  Queued   0     -      10s  NotEnoughGpus\n"
    );
    assert_eq!(row(Format::Wide, &job(), NOW).len(), headers(Format::Wide).len());
}

#[test]
fn the_page_of_a_job_tells_everything() {
    let events =
        [JobEvent { sequence: 1, time: at(999_000), reason: "Submitted".into(), message: "by ann".into() }];
    assert_eq!(
        page(&job(), &events, NOW),
        "Name         accounts/lab/jobs/train
Creator      ann
State        Running
Class        guaranteed
Priority     5
Starts       1 (at most 0 retries)
Nodes        n1, n2, n3
Submitted    1970-01-12T13:30:00Z (16m ago)
Started      1970-01-12T13:45:40Z (1m ago)

Role worker
  Replicas   4 (at least 2 at once): 1 starting, 3 running
  Each       2 GPU (A100 or H100), 1.5 CPU, 2Gi memory, 1 rdma/hca
  Command    sh -c 'echo '\\''hi'\\'''
  Env        A=1

Events
  1970-01-12T13:30:00Z  Submitted      by ann
"
    );
}

#[test]
fn a_cancel_under_way_is_shown_until_the_end() {
    let mut cancelling = Job { cancelling: true, ..job() };
    assert_eq!(row(Format::Table, &cancelling, NOW)[3], "Cancelling");
    cancelling.end_time = at(999_999);
    cancelling.state = JobState::Cancelled.into();
    assert_eq!(row(Format::Table, &cancelling, NOW)[3], "Cancelled");
}

#[test]
fn a_dry_run_tells_what_would_be_accepted() {
    assert_eq!(
        in_a_line(&job()),
        "train in account lab, guaranteed: worker 4 × 2 GPU (A100 or H100), 1.5 CPU, 2Gi memory, 1 rdma/hca"
    );
}
