//! Refusals, as the `Status` objects that Kubernetes clients expect.

use serde_json::{Value, json};

use super::types::ResourceType;

/// One reason among several why an object was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cause {
    pub reason: &'static str,
    pub field: String,
    pub message: String,
}

impl Cause {
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { reason: "FieldValueInvalid", field: field.into(), message: message.into() }
    }
    pub fn required(field: impl Into<String>) -> Self {
        Self { reason: "FieldValueRequired", field: field.into(), message: "Required value".into() }
    }
    pub fn forbidden(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { reason: "FieldValueForbidden", field: field.into(), message: message.into() }
    }
}

/// A request refused.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    pub code: u16,
    pub reason: &'static str,
    pub message: String,
    details: Option<Value>,
}

pub(crate) type ApiResult<T> = Result<T, ApiError>;

impl ApiError {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: None }
    }

    fn about(mut self, ty: &ResourceType, name: &str) -> Self {
        self.details = Some(json!({"name": name, "group": ty.group, "kind": ty.plural}));
        self
    }

    pub fn not_found(ty: &ResourceType, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{} {name:?} not found", ty.qualified)).about(ty, name)
    }
    pub fn no_such_path() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource")
    }
    pub fn already_exists(ty: &ResourceType, name: &str) -> Self {
        Self::new(409, "AlreadyExists", format!("{} {name:?} already exists", ty.qualified)).about(ty, name)
    }
    pub fn conflict(ty: &ResourceType, name: &str, why: impl std::fmt::Display) -> Self {
        let message = format!("Operation cannot be fulfilled on {} {name:?}: {why}", ty.qualified);
        Self::new(409, "Conflict", message).about(ty, name)
    }
    pub fn modified(ty: &ResourceType, name: &str) -> Self {
        let why =
            "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(ty, name, why)
    }
    pub fn invalid(ty: &ResourceType, name: &str, causes: &[Cause]) -> Self {
        let said: Vec<String> = causes.iter().map(|c| format!("{}: {}", c.field, c.message)).collect();
        let said = if said.len() == 1 { said.concat() } else { format!("[{}]", said.join(", ")) };
        let dot = if ty.group.is_empty() { "" } else { "." };
        let kind = format!("{}{dot}{}", ty.kind, ty.group);
        let causes: Vec<Value> = causes
            .iter()
            .map(|c| json!({"reason": c.reason, "message": c.message, "field": c.field}))
            .collect();
        let mut error = Self::new(422, "Invalid", format!("{kind} {name:?} is invalid: {said}"));
        error.details = Some(json!({"name": name, "group": ty.group, "kind": ty.kind, "causes": causes}));
        error
    }
    pub fn forbidden(ty: &ResourceType, name: &str, why: impl std::fmt::Display) -> Self {
        let message = format!("{} {name:?} is forbidden: {why}", ty.qualified);
        Self::new(403, "Forbidden", message).about(ty, name)
    }
    pub fn bad_request(why: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", why)
    }
    pub fn expired(why: impl Into<String>) -> Self {
        Self::new(410, "Expired", why)
    }
    pub fn too_new(asked: u64, current: u64) -> Self {
        let message = format!("Too large resource version: {asked}, current: {current}");
        let mut error = Self::new(504, "Timeout", message);
        error.details = Some(json!({"retryAfterSeconds": 1, "causes": [
            {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]}));
        error
    }
    pub fn method_not_allowed() -> Self {
        Self::new(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
    }
    pub fn not_acceptable(why: impl Into<String>) -> Self {
        Self::new(406, "NotAcceptable", why)
    }
    pub fn unsupported_media_type(why: impl Into<String>) -> Self {
        Self::new(415, "UnsupportedMediaType", why)
    }
    pub fn too_large(limit: usize) -> Self {
        Self::new(413, "RequestEntityTooLarge", format!("request body is over the limit of {limit} bytes"))
    }
    pub fn unavailable() -> Self {
        Self::new(503, "ServiceUnavailable", "the API server is switched off by its owner")
    }
    pub fn internal(why: impl Into<String>) -> Self {
        Self::new(500, "InternalError", why)
    }

    pub fn to_json(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        });
        if let Some(details) = &self.details {
            status["details"] = details.clone();
        }
        status
    }
}

/// The `Status` that answers a deletion carried out at once.
pub(crate) fn deleted(ty: &ResourceType, name: &str, uid: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        "details": {"name": name, "group": ty.group, "kind": ty.plural, "uid": uid}})
}
