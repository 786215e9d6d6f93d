//! What a query can answer beside its rows.

use std::sync::Arc;

use crater_domain as domain;
use diesel::result::{DatabaseErrorKind, Error as DieselError};

/// Why the store refused.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// No such row.
    #[error("{0} is not there")]
    NotFound(String),
    /// A row of that name is there.
    #[error("{what} is there already")]
    AlreadyExists {
        /// What: for example `users/ann`.
        what: String,
    },
    /// An id that was deleted, and is never given again.
    #[error("{what} was deleted, and its id is never given again")]
    Deleted {
        /// What: for example `users/ann`.
        what: String,
    },
    /// The version that the caller read is no more.
    #[error("{0} was changed meanwhile (etag): read it again and repeat")]
    Conflict(String),
    /// A request_id that was used with another body.
    #[error("request_id was used before with another body")]
    RequestReused,
    /// The database is busy or away: trying again may help.
    #[error("the database is busy or away: {0}")]
    Unavailable(Arc<str>),
    /// The connection broke while a change was being committed that no request_id names: it may have been made or not.
    #[error(
        "the connection to the database broke while the change was being made, and it may have been: {0}"
    )]
    Uncertain(Arc<str>),
    /// The database cannot be opened as it is: a newer version's, another service's, a bad address.
    #[error("{0}")]
    Open(String),
    /// Our mistake, or a damaged file.
    #[error("the database refused: {0}")]
    Internal(Arc<str>),
}

/// Whether running the same transaction again may succeed.
pub trait Transient {
    /// True for a deadlock, a busy file, a lost connection.
    fn is_transient(&self) -> bool;
}

impl Transient for Error {
    fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

impl Transient for domain::Error {
    fn is_transient(&self) -> bool {
        let cause = self.cause.as_ref().and_then(|c| c.downcast_ref::<Error>());
        cause.is_some_and(Transient::is_transient)
    }
}

impl Error {
    pub(crate) fn internal(cause: impl std::fmt::Display) -> Self {
        Self::Internal(cause.to_string().into())
    }

    pub(crate) fn unavailable(cause: impl std::fmt::Display) -> Self {
        Self::Unavailable(cause.to_string().into())
    }
}

/// SQLite's own texts for its codes BUSY and LOCKED, which diesel passes on without the code. They are part of SQLite's
/// interface (`sqlite3_errstr`).
const LITE_BUSY: [&str; 3] = ["database is locked", "database table is locked", "database schema is locked"];

impl From<DieselError> for Error {
    fn from(error: DieselError) -> Self {
        match &error {
            DieselError::DatabaseError(
                DatabaseErrorKind::SerializationFailure
                | DatabaseErrorKind::ClosedConnection
                | DatabaseErrorKind::UnableToSendCommand,
                info,
            ) => Self::unavailable(info.message()),
            DieselError::DatabaseError(_, info)
                if LITE_BUSY.iter().any(|t| info.message().starts_with(t)) =>
            {
                Self::unavailable(info.message())
            }
            DieselError::BrokenTransactionManager => Self::unavailable(&error),
            _ => Self::internal(error),
        }
    }
}

impl From<Error> for domain::Error {
    fn from(error: Error) -> Self {
        use domain::Code;
        let text = error.to_string();
        match error {
            Error::NotFound(_) => Self::new(Code::NotFound, "NOT_FOUND", text),
            Error::AlreadyExists { .. } => Self::new(Code::AlreadyExists, "ALREADY_EXISTS", text),
            Error::Deleted { .. } => Self::new(Code::AlreadyExists, "ID_DELETED", text),
            Error::Conflict(name) => Self::stale(name),
            Error::RequestReused => Self::field("request_id", "was used before with another body"),
            Error::Unavailable(_) => Self::unavailable("the database is busy or away").caused_by(error),
            Error::Uncertain(_) => Self::unavailable(
                "the database went away while the change was being made: look whether it was; a request_id makes it safe to repeat",
            )
            .caused_by(error),
            Error::Open(_) | Error::Internal(_) => Self::internal(error),
        }
    }
}

/// Names the row that clashed when an insert hit a unique key; the databases word it differently, so the caller says what.
pub(crate) trait OrExists<T> {
    /// The row is another's: [`Error::AlreadyExists`].
    fn or_exists(self, what: impl FnOnce() -> String) -> Result<T, Error>;

    /// Somebody made the row since it was looked for: [`Error::Unavailable`], so that the transaction begins anew and finds it.
    fn or_raced(self, what: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T> OrExists<T> for Result<T, DieselError> {
    fn or_exists(self, what: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|error| match error {
            DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, _) => {
                Error::AlreadyExists { what: what() }
            }
            other => other.into(),
        })
    }

    fn or_raced(self, what: impl FnOnce() -> String) -> Result<T, Error> {
        self.or_exists(what).map_err(|error| match error {
            Error::AlreadyExists { what } => Error::unavailable(format!("{what} was made meanwhile")),
            other => other,
        })
    }
}
