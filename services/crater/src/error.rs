//! What a command can end with besides success: its text, in one line, and its exit code.

use std::fmt;
use std::io;
use std::time::Duration;

use crater_domain::{Code, FieldViolation};

/// A job that ended badly without an exit code of its own.
pub const JOB_FAILED: u8 = 1;
/// The command line or what it asks for is wrong.
pub const USAGE: u8 = 2;
/// The job was cancelled.
pub const CANCELLED: u8 = 3;
/// The server is away, or broke off.
pub const UNAVAILABLE: u8 = 4;
/// A mistake of Crater's, or of this machine.
pub const INTERNAL: u8 = 5;
/// Not signed in, or not allowed.
pub const DENIED: u8 = 6;
/// A quota or a rate is used up.
pub const QUOTA: u8 = 7;
/// Not there.
pub const NOT_FOUND: u8 = 8;
/// There already, changed meanwhile, or not in the right state.
pub const CONFLICT: u8 = 9;
/// The time given is over.
pub const TIMEOUT: u8 = 124;
/// Interrupted by Ctrl-C.
pub const INTERRUPTED: u8 = 130;
/// Whoever read standard output went away: what a shell reports for SIGPIPE.
pub const CLOSED_PIPE: u8 = 141;

/// The table of exit codes, for people.
pub const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    the job failed without an exit code of its own (submit --wait)
  2    wrong usage or invalid argument
  3    the job was cancelled (submit --wait)
  4    the server cannot be reached or broke off
  5    internal error
  6    not signed in, or not allowed
  7    quota exhausted
  8    not found
  9    conflict: there already, changed meanwhile, or not in the right state
  124  the time given with --timeout is over
  130  interrupted; with submit --wait the job goes on
  submit --wait otherwise leaves with the job's own exit code.";

/// Why a command did not do what it was asked. `Display` is one line.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A flag, or a key of a file, is wrong.
    #[error("{place}: {message}")]
    Argument {
        /// The flag, for example `--gpu`, or the file and key.
        place: String,
        /// What is wrong.
        message: String,
    },
    /// The server refused; the text names flags instead of fields where there are any.
    #[error("{text}")]
    Refused {
        /// The refusal.
        error: Box<crater_domain::Error>,
        /// What to print.
        text: String,
    },
    /// The server cannot be reached, or says that it cannot answer now.
    #[error("{0}")]
    Away(String),
    /// Nobody is signed in.
    #[error("{0}")]
    SignedOut(String),
    /// Something of this machine: a file, a terminal.
    #[error("{doing}: {source}")]
    Local {
        /// What was being done.
        doing: String,
        /// Why it did not work.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server did not keep the contract.
    #[error("the server's answer lacks {0}")]
    Answer(&'static str),
    /// The job that was waited for is deleted.
    #[error("job {0} was deleted")]
    Deleted(String),
    /// The user's time limit.
    #[error("not done after {}", crate::output::time::span(i64::try_from(.0.as_millis()).unwrap_or(i64::MAX)))]
    Timeout(Duration),
    /// Nobody reads standard output any more.
    #[error("standard output is closed")]
    ClosedPipe,
}

impl Error {
    /// A flag is wrong.
    pub fn flag(place: impl Into<String>, message: impl fmt::Display) -> Self {
        Self::Argument { place: place.into(), message: message.to_string() }
    }

    /// This machine did not do its part.
    pub fn local(
        doing: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Local { doing: doing.into(), source: source.into() }
    }

    /// The server refused, in its own words.
    pub fn refused(status: &tonic::Status) -> Self {
        Self::refused_at(status, |_| None)
    }

    /// The server refused; `place` says by which flag a field was given.
    pub fn refused_at(status: &tonic::Status, place: impl Fn(&str) -> Option<String>) -> Self {
        let error = crater_api::status::from_status(status);
        let text = refusal(&error, place);
        Self::Refused { error: Box::new(error), text }
    }

    /// What the program leaves with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Argument { .. } => USAGE,
            Self::SignedOut(_) => DENIED,
            Self::Away(_) => UNAVAILABLE,
            Self::Local { .. } | Self::Answer(_) => INTERNAL,
            Self::Deleted(_) => NOT_FOUND,
            Self::Timeout(_) => TIMEOUT,
            Self::ClosedPipe => CLOSED_PIPE,
            Self::Refused { error, .. } => match error.code {
                Code::InvalidArgument => USAGE,
                Code::NotFound => NOT_FOUND,
                Code::AlreadyExists | Code::FailedPrecondition | Code::Aborted => CONFLICT,
                Code::PermissionDenied | Code::Unauthenticated => DENIED,
                Code::ResourceExhausted => QUOTA,
                Code::Unavailable => UNAVAILABLE,
                Code::DeadlineExceeded => TIMEOUT,
                Code::Internal => INTERNAL,
            },
        }
    }

    /// Whether the same call may succeed later without anybody doing anything.
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Away(_) => true,
            Self::Refused { error, .. } => error.code == Code::Unavailable,
            _ => false,
        }
    }
}

impl From<io::Error> for Error {
    /// Of standard output: files are named with [`Error::local`].
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::ClosedPipe
        } else {
            Self::local("writing to standard output", error)
        }
    }
}

/// One line: what is wrong by flag where that is known, limits in the way, and when to try again.
fn refusal(error: &crater_domain::Error, place: impl Fn(&str) -> Option<String>) -> String {
    let mut text = if error.violations.is_empty() {
        error.message.to_string()
    } else {
        let at = |v: &FieldViolation| {
            format!("{}: {}", place(&v.field).unwrap_or_else(|| v.field.clone()), v.description)
        };
        error.violations.iter().map(at).collect::<Vec<_>>().join("; ")
    };
    if text.is_empty() {
        text = format!("{:?}", error.code);
    }
    for q in &error.quota {
        if !text.contains(&q.description) {
            text.push_str(&format!("; {}: {}", q.subject, q.description));
        }
    }
    if let Some(after) = error.retry_after.filter(|_| error.code == Code::ResourceExhausted) {
        let millis = i64::try_from(after.as_millis()).unwrap_or(i64::MAX);
        text.push_str(&format!(" (try again in {})", crate::output::time::span(millis)));
    }
    text.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(error: crater_domain::Error) -> Error {
        let flag = |field: &str| (field == "job.spec.priority").then(|| "--priority".to_owned());
        Error::refused_at(&crater_api::status::to_status(error), flag)
    }

    #[test]
    fn a_wrong_field_is_named_by_its_flag() {
        let error = told(crater_domain::Error::field("job.spec.priority", "must be small"));
        assert_eq!(error.to_string(), "--priority: must be small");
        assert_eq!(error.exit_code(), USAGE);
        let error = told(crater_domain::Error::field("job.spec.other", "must be small"));
        assert_eq!(error.to_string(), "job.spec.other: must be small");
    }

    #[test]
    fn a_used_up_quota_says_whose_and_when_to_try_again() {
        let error = told(
            crater_domain::Error::new(Code::ResourceExhausted, "X", "too many jobs wait")
                .with_quota("accounts/lab", "at most 5 jobs may wait")
                .retry_after(Duration::from_secs(3)),
        );
        assert_eq!(
            error.to_string(),
            "too many jobs wait; accounts/lab: at most 5 jobs may wait (try again in 3s)"
        );
        assert_eq!(error.exit_code(), QUOTA);
    }

    #[test]
    fn every_kind_of_refusal_has_its_exit_code() {
        let codes = [
            (Code::InvalidArgument, 2),
            (Code::NotFound, 8),
            (Code::AlreadyExists, 9),
            (Code::FailedPrecondition, 9),
            (Code::PermissionDenied, 6),
            (Code::Unauthenticated, 6),
            (Code::ResourceExhausted, 7),
            (Code::Aborted, 9),
            (Code::Unavailable, 4),
            (Code::DeadlineExceeded, 124),
            (Code::Internal, 5),
        ];
        for (code, exit) in codes {
            assert_eq!(told(crater_domain::Error::new(code, "X", "x")).exit_code(), exit, "{code:?}");
        }
    }

    #[test]
    fn a_refusal_is_one_line() {
        let error = told(crater_domain::Error::new(Code::Internal, "X", "a\nb"));
        assert_eq!(error.to_string(), "a b");
    }
}
