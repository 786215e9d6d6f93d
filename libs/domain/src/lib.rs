//! The words of Crater as types: ids, resources, job specs, states, limits, errors.
//!
//! It is for everyone: the services, the objects in Kubernetes, the tables. It is not a place for input or output,
//! for generated types, or for anything that one crate alone needs.

mod devices;
mod error;
mod id;
mod job;
mod place;
mod quantity;
mod quota;
mod resources;

pub use devices::{Devices, GPU_RESOURCE, MAX_DEVICE_COUNT, MAX_DEVICES, is_device_name};
pub use error::{Code, Error, FieldViolation, QuotaViolation};
pub use id::{AccountId, IdError, JobId, JobName, JobUid, Parent, QuotaSubject, RequestId, RoleName, UserId};
pub use job::{EnvVar, JobSpec, JobState, Mount, RESERVED_ENV, Role, ServiceClass, bounds};
pub use place::{Place, Topology};
pub use quantity::{
    QuantityError, format_bytes, format_millis, parse_bytes, parse_cpu, parse_duration, parse_gpu,
};
pub use quota::{Limit, Limits, ResourceKind, Weight};
pub use resources::{Resources, WHOLE_GPU};

/// The result of anything that can be refused.
pub type Result<T, E = Error> = std::result::Result<T, E>;
