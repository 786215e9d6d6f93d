//! The headless Service that gives the replicas of a gang names.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, ResourceExt};

use crate::{AIJob, names};

/// The Service of a job: no address of its own, every replica by `<pod>.<job>.<namespace>.svc`, before it is ready too
/// (the replicas look for each other while they start).
pub fn service(job: &AIJob) -> Service {
    Service {
        metadata: ObjectMeta {
            name: Some(job.name_any()),
            namespace: job.namespace(),
            labels: Some(BTreeMap::from([
                (names::JOB_UID.to_owned(), job.spec.job_uid.clone()),
                (names::JOB.to_owned(), job.name_any()),
            ])),
            owner_references: job.controller_owner_ref(&()).map(|o| vec![o]),
            ..Default::default()
        },
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            publish_not_ready_addresses: Some(true),
            selector: Some(BTreeMap::from([(names::JOB_UID.to_owned(), job.spec.job_uid.clone())])),
            ..Default::default()
        }),
        ..Default::default()
    }
}
