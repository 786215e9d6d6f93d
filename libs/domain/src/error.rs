//! One error for everything that a caller can be told: a closed set of codes, a text for the caller, details for
//! machines, and a cause that stays inside.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What kind of refusal it is. Each maps to one gRPC status code (in `crater-api`) and one exit code (in the command line).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// The request is wrong in itself; `violations` name the fields.
    InvalidArgument,
    /// The object is not there, or is none of the caller's business.
    NotFound,
    /// An object of that name is there.
    AlreadyExists,
    /// Right in itself, but not in the present state.
    FailedPrecondition,
    /// The caller is known but may not do this.
    PermissionDenied,
    /// The caller is not known.
    Unauthenticated,
    /// A quota or rate is used up; `quota` says which, `retry_after` when to try again.
    ResourceExhausted,
    /// Somebody else changed the object meanwhile (a stale etag).
    Aborted,
    /// A part that is needed is away; try again.
    Unavailable,
    /// The time given for it is over.
    DeadlineExceeded,
    /// Our mistake.
    Internal,
}

/// A field of a request, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldViolation {
    /// The path of the field in the request, for example `job.spec.roles[0].replicas`.
    pub field: String,
    /// What is wrong, for people.
    pub description: String,
}

/// A limit that stands in the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaViolation {
    /// Whose limit: for example `accounts/lab`.
    pub subject: String,
    /// Which limit and how much, for people.
    pub description: String,
}

/// A refusal. `Display` is the public text; the cause is for logs only.
#[derive(Clone)]
pub struct Error {
    /// The kind.
    pub code: Code,
    /// For the caller: lower case, says what was being done.
    pub message: Cow<'static, str>,
    /// For machines: `UPPER_SNAKE`, stable; becomes `google.rpc.ErrorInfo.reason`.
    pub reason: &'static str,
    /// Fields that are wrong.
    pub violations: Vec<FieldViolation>,
    /// Limits in the way.
    pub quota: Vec<QuotaViolation>,
    /// When trying again may help.
    pub retry_after: Option<Duration>,
    /// More for machines; becomes `google.rpc.ErrorInfo.metadata`.
    pub metadata: BTreeMap<String, String>,
    /// The cause, never shown to the caller.
    pub cause: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// A refusal of any kind.
    pub fn new(code: Code, reason: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
            reason,
            violations: Vec::new(),
            quota: Vec::new(),
            retry_after: None,
            metadata: BTreeMap::new(),
            cause: None,
        }
    }

    /// One field is wrong.
    pub fn field(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self::fields(vec![FieldViolation { field: field.into(), description: description.into() }])
    }

    /// Several fields are wrong; the message names them all.
    pub fn fields(violations: Vec<FieldViolation>) -> Self {
        let text: Vec<String> =
            violations.iter().map(|v| format!("{}: {}", v.field, v.description)).collect();
        let mut error = Self::new(Code::InvalidArgument, "INVALID_FIELD", text.join("; "));
        error.violations = violations;
        error
    }

    /// The object is absent, or the caller may not know that it is there: both read alike.
    pub fn not_found(kind: &str, name: impl fmt::Display) -> Self {
        Self::new(Code::NotFound, "NOT_FOUND", format!("{kind} {name} is not there"))
            .with("resource", name.to_string())
    }

    /// The name is taken.
    pub fn already_exists(kind: &str, name: impl fmt::Display) -> Self {
        Self::new(Code::AlreadyExists, "ALREADY_EXISTS", format!("{kind} {name} is there already"))
            .with("resource", name.to_string())
    }

    /// The etag is stale.
    pub fn stale(name: impl fmt::Display) -> Self {
        Self::new(
            Code::Aborted,
            "STALE_ETAG",
            format!("{name} was changed meanwhile (etag): read it again and repeat"),
        )
    }

    /// A part is away.
    pub fn unavailable(what: impl Into<Cow<'static, str>>) -> Self {
        let mut error = Self::new(Code::Unavailable, "UNAVAILABLE", what);
        error.retry_after = Some(Duration::from_secs(1));
        error
    }

    /// Our mistake; the cause goes to the log.
    pub fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let mut error =
            Self::new(Code::Internal, "INTERNAL", "an internal error; the server's log says more");
        error.cause = Some(Arc::from(cause.into()));
        error
    }

    /// Adds a detail for machines.
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.metadata.insert(key.to_owned(), value.into());
        self
    }

    /// Adds the limit that stands in the way.
    pub fn with_quota(mut self, subject: impl Into<String>, description: impl Into<String>) -> Self {
        self.quota.push(QuotaViolation { subject: subject.into(), description: description.into() });
        self
    }

    /// Says when to try again.
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Whether a part is away, so that trying again may help.
    pub fn is_away(&self) -> bool {
        self.code == Code::Unavailable
    }

    /// What those who run this are told: the cause where there is one.
    pub fn for_operators(&self) -> String {
        self.cause.as_ref().map_or_else(|| self.message.to_string(), ToString::to_string)
    }

    /// Keeps the cause for the log.
    pub fn caused_by(mut self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.cause = Some(Arc::from(cause.into()));
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}/{}: {}", self.code, self.reason, self.message)?;
        match &self.cause {
            Some(cause) => write!(f, " (cause: {cause})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}
