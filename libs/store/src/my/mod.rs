//! MySQL and MariaDB: one connection, and what its server says when it refuses.
//!
//! The driver is asynchronous and the transactions are not ([`crate`] says why), so a connection is wrapped in diesel-async's synchronous face
//! and used on blocking threads alone.

mod connect;
mod migrate;

use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel::sql_types::{BigInt, Nullable};
use diesel::{QueryResult, RunQueryDsl};
use diesel_async::async_connection_wrapper::{AsyncConnectionWrapper, BlockOn};
use diesel_async::{AnsiTransactionManager, AsyncMysqlConnection};
use tokio::runtime::Handle;

use crate::conn::Role;

pub(crate) use connect::{Database, open};
pub(crate) use migrate::{named, prepare};

/// A connection with a synchronous face.
pub(crate) type Face = AsyncConnectionWrapper<AsyncMysqlConnection, Bounded>;

/// No statement takes longer unless the server or the way to it hangs: waits for locks end after [`connect::LOCK_WAIT`].
const STATEMENT: Duration = Duration::from_secs(30);

/// A connection, and what is known of its transaction.
pub(crate) struct My {
    pub(crate) face: Face,
    /// Why the transaction is no more: the server has rolled it back, or the connection is lost.
    void: Option<String>,
    lost: bool,
}

/// What unwinds a body whose statement got no answer. Not a panic: no hook runs, and the pool takes it for a lost connection.
pub(crate) struct NoAnswer;

/// Waits for the driver on a blocking thread, and not for ever.
pub(crate) struct Bounded(Handle);

impl BlockOn for Bounded {
    fn block_on<F: Future>(&self, f: F) -> F::Output {
        match self.0.block_on(async { tokio::time::timeout(STATEMENT, f).await }) {
            Ok(output) => output,
            // the wrapper's signature has no room for an error
            Err(_) => std::panic::resume_unwind(Box::new(NoAnswer)),
        }
    }

    fn get_runtime() -> Self {
        Self(Handle::current())
    }
}

/// Errors after which the server has rolled the transaction back, or after which only beginning anew helps: a deadlock, a wait for a lock
/// that took too long, a row that changed since the snapshot (MariaDB), a cluster's conflict.
const AGAIN: [i64; 4] = [1213, 1205, 1020, 1180];
/// Errors after which the connection is of no use: the server shuts down, somebody ended the connection or its statement, the server
/// became read-only because another is the leader now.
const GONE: [i64; 7] = [1053, 1317, 1927, 3169, 4031, 1290, 1836];

impl My {
    pub(crate) fn new(conn: AsyncMysqlConnection) -> Self {
        Self { face: Face::from(conn), void: None, lost: false }
    }

    /// Why nothing that the present transaction did will stand, if so.
    pub(crate) fn void(&self) -> Option<&str> {
        self.void.as_deref()
    }

    /// The refusal of a further statement in a transaction that is no more: it would stand by itself, outside any.
    pub(crate) fn undone(&self) -> Option<DieselError> {
        let why = self.void.clone()?;
        Some(DieselError::DatabaseError(DatabaseErrorKind::SerializationFailure, Box::new(why)))
    }

    /// Whether the connection must not be used again.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost
    }

    /// Opens a transaction; one that reads sees all tables as they are at this moment.
    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    pub(crate) fn begin(&mut self, role: Role) -> QueryResult<()> {
        let sql = match role {
            Role::Writer => "START TRANSACTION",
            Role::Reader => "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
        };
        self.void = None;
        let begun = Bounded::get_runtime()
            .block_on(AnsiTransactionManager::begin_transaction_sql(&mut *self.face, sql));
        let begun = self.judged(begun);
        if let Err(error) = &begun {
            // nothing was asked of it yet: a connection that cannot begin is of no use
            self.lose(&error.to_string());
        }
        begun
    }

    /// Tells apart what diesel-async throws together: it passes a refusal's text on, but not its number, and a broken connection as text too.
    /// The number is asked for, because texts are for people and in the server's language.
    pub(crate) fn judged<T>(&mut self, result: QueryResult<T>) -> QueryResult<T> {
        match result {
            Err(DieselError::DatabaseError(DatabaseErrorKind::Unknown, said)) => {
                Err(self.judge(said.message().to_owned()))
            }
            other => other,
        }
    }

    fn judge(&mut self, said: String) -> DieselError {
        let (kind, said) = match self.last_code() {
            Ok(Some(code)) if AGAIN.contains(&code) => {
                self.void = Some(said.clone());
                (DatabaseErrorKind::SerializationFailure, said)
            }
            // not reachable, or so far gone that it does not know what it said
            Err(_) | Ok(None) => {
                self.lose(&said);
                (DatabaseErrorKind::ClosedConnection, said)
            }
            Ok(Some(code)) if GONE.contains(&code) => {
                self.lose(&said);
                (DatabaseErrorKind::ClosedConnection, said)
            }
            Ok(Some(code)) => (DatabaseErrorKind::Unknown, format!("{said} (error {code})")),
        };
        DieselError::DatabaseError(kind, Box::new(said))
    }

    fn lose(&mut self, why: &str) {
        self.lost = true;
        self.void = Some(why.to_owned());
    }

    /// The number of the error that the last statement ended with.
    fn last_code(&mut self) -> QueryResult<Option<i64>> {
        self.face.batch_execute("GET DIAGNOSTICS CONDITION 1 @crater_errno = MYSQL_ERRNO")?;
        diesel::select(sql::<Nullable<BigInt>>("CAST(@crater_errno AS SIGNED)")).get_result(&mut self.face)
    }
}
