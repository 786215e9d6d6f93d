//! A refusal on the wire and back: [`crater_domain::Error`] ⇄ [`tonic::Status`], with `google.rpc` details.
//!
//! The only place where one becomes the other. The cause of an error is logged here, once, and never sent.

use std::collections::HashMap;

use crater_domain::{Code, Error, FieldViolation, QuotaViolation};
use tonic::Status;
use tonic_types::{ErrorDetails, StatusExt};

/// `google.rpc.ErrorInfo.domain` of every refusal of Crater.
pub const DOMAIN: &str = "crater.dev";

fn grpc_code(code: Code) -> tonic::Code {
    match code {
        Code::InvalidArgument => tonic::Code::InvalidArgument,
        Code::NotFound => tonic::Code::NotFound,
        Code::AlreadyExists => tonic::Code::AlreadyExists,
        Code::FailedPrecondition => tonic::Code::FailedPrecondition,
        Code::PermissionDenied => tonic::Code::PermissionDenied,
        Code::Unauthenticated => tonic::Code::Unauthenticated,
        Code::ResourceExhausted => tonic::Code::ResourceExhausted,
        Code::Aborted => tonic::Code::Aborted,
        Code::Unavailable => tonic::Code::Unavailable,
        Code::DeadlineExceeded => tonic::Code::DeadlineExceeded,
        Code::Internal => tonic::Code::Internal,
    }
}

fn domain_code(code: tonic::Code) -> (Code, &'static str) {
    match code {
        tonic::Code::InvalidArgument | tonic::Code::OutOfRange => (Code::InvalidArgument, "INVALID_FIELD"),
        tonic::Code::NotFound => (Code::NotFound, "NOT_FOUND"),
        tonic::Code::AlreadyExists => (Code::AlreadyExists, "ALREADY_EXISTS"),
        tonic::Code::FailedPrecondition | tonic::Code::Unimplemented => {
            (Code::FailedPrecondition, "FAILED_PRECONDITION")
        }
        tonic::Code::PermissionDenied => (Code::PermissionDenied, "PERMISSION_DENIED"),
        tonic::Code::Unauthenticated => (Code::Unauthenticated, "UNAUTHENTICATED"),
        tonic::Code::ResourceExhausted => (Code::ResourceExhausted, "RESOURCE_EXHAUSTED"),
        tonic::Code::Aborted => (Code::Aborted, "ABORTED"),
        tonic::Code::Unavailable | tonic::Code::Cancelled => (Code::Unavailable, "UNAVAILABLE"),
        tonic::Code::DeadlineExceeded => (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"),
        tonic::Code::Ok | tonic::Code::Unknown | tonic::Code::Internal | tonic::Code::DataLoss => {
            (Code::Internal, "INTERNAL")
        }
    }
}

/// What the caller is told.
pub fn to_status(error: Error) -> Status {
    if let Some(cause) = &error.cause {
        tracing::error!(reason = error.reason, %cause, "refused a call: {}", error.message);
    }
    let metadata: HashMap<String, String> = error.metadata.into_iter().collect();
    let mut details = ErrorDetails::new();
    details.set_error_info(error.reason, DOMAIN, metadata);
    for v in error.violations {
        details.add_bad_request_violation(v.field, v.description);
    }
    for q in error.quota {
        details.add_quota_failure_violation(q.subject, q.description);
    }
    if error.retry_after.is_some() {
        details.set_retry_info(error.retry_after);
    }
    Status::with_error_details(grpc_code(error.code), error.message, details)
}

/// What a service was told by another one, as an error of its own. The `reason` of the wire is kept in the metadata
/// under `reason` (a static text cannot come off the wire).
pub fn from_status(status: &Status) -> Error {
    let (code, reason) = domain_code(status.code());
    let mut error = Error::new(code, reason, status.message().to_owned());
    let details = status.get_error_details();
    if let Some(info) = details.error_info() {
        error.metadata.extend(info.metadata.iter().map(|(k, v)| (k.clone(), v.clone())));
        error.metadata.insert("reason".to_owned(), info.reason.clone());
    }
    if let Some(bad) = details.bad_request() {
        error.violations.extend(
            bad.field_violations
                .iter()
                .map(|v| FieldViolation { field: v.field.clone(), description: v.description.clone() }),
        );
    }
    if let Some(quota) = details.quota_failure() {
        error.quota.extend(
            quota
                .violations
                .iter()
                .map(|v| QuotaViolation { subject: v.subject.clone(), description: v.description.clone() }),
        );
    }
    error.retry_after = details.retry_info().and_then(|r| r.retry_delay);
    error
}

/// `?` from a domain error in a handler.
pub trait OrStatus<T> {
    /// The value, or the refusal as a status.
    fn or_status(self) -> Result<T, Status>;
}

impl<T> OrStatus<T> for Result<T, Error> {
    fn or_status(self) -> Result<T, Status> {
        self.map_err(to_status)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_refusal_survives_the_hop() {
        let error = Error::field("job.spec.priority", "must be small")
            .with_quota("accounts/lab", "at most 8 GPUs")
            .retry_after(Duration::from_secs(3))
            .with("k", "v");
        let back = from_status(&to_status(error.clone()));
        assert_eq!(back.code, error.code);
        assert_eq!(back.message, error.message);
        assert_eq!(back.violations, error.violations);
        assert_eq!(back.quota, error.quota);
        assert_eq!(back.retry_after, error.retry_after);
        assert_eq!(back.metadata.get("reason").map(String::as_str), Some("INVALID_FIELD"));
    }

    #[test]
    fn a_cause_is_never_sent() {
        let status = to_status(Error::internal("the password is hunter2"));
        assert!(!format!("{status:?}").contains("hunter2"));
    }
}
