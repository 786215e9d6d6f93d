//! Names, labels and annotations of Crater's objects, in one place.

use crater_domain::{JobId, RoleName};

/// The API group of the custom resources, and the prefix of labels and annotations.
pub const GROUP: &str = "crater.dev";
/// The version of the custom resources.
pub const VERSION: &str = "v1";

/// Where Crater keeps its own objects: the Lease, the last limits.
pub const SYSTEM_NAMESPACE: &str = "crater-system";
/// The Lease of the scheduler that allocates.
pub const SCHEDULER_LEASE: &str = "crater-scheduler";
/// On the Lease: the epoch, a number that grows with each holder.
pub const EPOCH: &str = "crater.dev/epoch";
/// On the Lease: the resourceVersion of the list of Allocations that the holder began with.
pub const LIST_REVISION: &str = "crater.dev/list-revision";
/// The ConfigMap with the limits that the scheduler was last streamed.
pub const LIMITS_CONFIGMAP: &str = "crater-limits";

/// The ConfigMap with what the scheduler learned of how long jobs run and wait.
pub const EXPERIENCE_CONFIGMAP: &str = "crater-experience";

/// Keeps an AIJob until its end is recorded in the database.
pub const RECORD_FINALIZER: &str = "crater.dev/record";

/// Keeps an AIJob, and the Allocations that it owns, until the last of its Pods is known to be gone.
pub const PODS_FINALIZER: &str = "crater.dev/pods";

/// Keeps a Pod that is told to end until its output is kept: put on by the controller, taken off by the job service.
pub const LOG_FINALIZER: &str = "crater.dev/log";

/// Label: the job's uid, on everything that belongs to a job.
pub const JOB_UID: &str = "crater.dev/job-uid";
/// Label: the job's id.
pub const JOB: &str = "crater.dev/job";
/// Label: the account.
pub const ACCOUNT: &str = "crater.dev/account";
/// Label: the replica's role.
pub const ROLE: &str = "crater.dev/role";
/// Label: the replica's number in its role.
pub const REPLICA: &str = "crater.dev/replica";
/// Label: the Allocation that a Pod fills.
pub const ALLOCATION: &str = "crater.dev/allocation";
/// Label: which start of the job a Pod belongs to, from 1.
pub const ATTEMPT: &str = "crater.dev/attempt";

/// Annotation on a Pod: the devices that it was given, as JSON `[{"index": 3, "milli": 1000}]`.
pub const GPUS: &str = "crater.dev/gpus";
/// Annotation on a Pod of ours: when its job last saved its work (RFC 3339), as the job itself or an operator says. What is stopped loses only
/// what it did since.
pub const CHECKPOINTED_AT: &str = "crater.dev/checkpointed-at";
/// Label on a Node: the model of its GPUs. Where it is absent, `nvidia.com/gpu.product` counts.
pub const GPU_MODEL: &str = "crater.dev/gpu-model";
/// Label on a Node: the model of its GPUs, as the vendor's feature discovery writes it.
pub const GPU_PRODUCT: &str = "nvidia.com/gpu.product";
/// The extended resource of whole GPUs, and the key of the taint on GPU nodes.
pub const GPU_RESOURCE: &str = crater_domain::GPU_RESOURCE;

/// Annotation on an AIJob, an Allocation and a Pod: the trace of the call that submitted the job (W3C `traceparent`), with the
/// span that made the object.
pub const TRACEPARENT: &str = "crater.dev/traceparent";
/// Annotation on a Node: who cordoned it through Crater, why and when, as JSON `{"by": "users/root", "reason": "…", "millis": 0}`. It counts
/// only while `spec.unschedulable` is true.
pub const CORDONED: &str = "crater.dev/cordoned";
/// Annotation on a Node: jobs are taken off it, in the form of [`CORDONED`]. It counts only while `spec.unschedulable` is true.
pub const DRAINED: &str = "crater.dev/drained";

/// Annotation on a Pod that is only played: how long it runs.
pub const PLAY_DURATION: &str = "play.crater.dev/duration";
/// Annotation on a Pod that is only played: its exit code.
pub const PLAY_EXIT_CODE: &str = "play.crater.dev/exit-code";

/// The name of a replica's Pod, which is also its host name below the job's headless Service.
pub fn pod(job: &JobId, role: &RoleName, replica: i32) -> String {
    format!("{job}-{role}-{replica}")
}
