//! Jobs for measurements.

use crater_api::common::v1::Resources;
use crater_api::job::v1::{CreateJobRequest, Job, JobSpec, Role};

/// A job of one replica with this many millicores, in account `default`, that runs for so many seconds of the cluster's time.
pub fn small_job(cpu_millis: i64, seconds: i64) -> CreateJobRequest {
    let role = Role {
        name: "worker".to_owned(),
        replicas: 1,
        resources: Some(Resources {
            cpu_millis,
            memory_bytes: 64 << 20,
            gpu_millis: 0,
            ..Default::default()
        }),
        image: "registry.example/task:1".to_owned(),
        command: vec!["task".to_owned()],
        ..Role::default()
    };
    let spec = JobSpec {
        roles: vec![role],
        expected_duration: Some(prost_types::Duration { seconds, nanos: 0 }),
        ..JobSpec::default()
    };
    CreateJobRequest {
        parent: "accounts/default".to_owned(),
        job: Some(Job { spec: Some(spec), ..Job::default() }),
        request_id: uuid::Uuid::new_v4().to_string(),
        ..CreateJobRequest::default()
    }
}
