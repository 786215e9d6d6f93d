//! One connection, whichever database is behind it.

use diesel::connection::{AnsiTransactionManager, SimpleConnection, TransactionManager};
use diesel::sqlite::SqliteConnection;
use diesel::{Connection, QueryResult};

use crate::{Error, Result};

/// A connection inside a transaction. Its queries are the functions of this crate's modules.
pub struct Conn(pub(crate) Backend);

/// The databases. A second one is an arm here; `query!` then compiles each query for both.
pub(crate) enum Backend {
    Lite(SqliteConnection),
}

/// Runs a query on whichever database is behind the connection: `query!(conn, |c| users::table.load(c))`.
macro_rules! query {
    ($conn:expr, |$c:ident| $body:expr) => {
        match &mut $conn.0 {
            $crate::conn::Backend::Lite($c) => $body,
        }
    };
}
pub(crate) use query;

/// What a connection is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Writer,
    Reader,
}

/// `synchronous=FULL`: in WAL mode NORMAL survives the death of the process but may lose the last commits when the power
/// goes, and an acknowledged row must survive that too. The cache is small (KiB, per connection) because the pages are in the
/// system's cache anyway.
const LITE_PRAGMAS: &str = "PRAGMA busy_timeout=2000; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; \
     PRAGMA foreign_keys=ON; PRAGMA cache_size=-1024; PRAGMA journal_size_limit=8388608; PRAGMA trusted_schema=OFF;";

impl Conn {
    pub(crate) fn open_lite(path: &str, role: Role) -> Result<Self> {
        let mut lite = SqliteConnection::establish(path).map_err(Error::unavailable)?;
        lite.batch_execute(LITE_PRAGMAS)?;
        if role == Role::Reader {
            lite.batch_execute("PRAGMA query_only=ON;")?;
        }
        Ok(Self(Backend::Lite(lite)))
    }

    /// Opens a transaction: a writer takes the write lock at once, so that it never has to upgrade and fail halfway. How a transaction
    /// starts is each database's own.
    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    pub(crate) fn begin(&mut self, role: Role) -> QueryResult<()> {
        match &mut self.0 {
            Backend::Lite(c) => {
                let sql = match role {
                    Role::Writer => "BEGIN IMMEDIATE",
                    Role::Reader => "BEGIN DEFERRED",
                };
                AnsiTransactionManager::begin_transaction_sql(c, sql)
            }
        }
    }

    pub(crate) fn commit(&mut self) -> QueryResult<()> {
        query!(self, |c| commit(c))
    }

    pub(crate) fn rollback(&mut self) -> QueryResult<()> {
        query!(self, |c| rollback(c))
    }

    /// Whether the connection may go back to the pool.
    pub(crate) fn is_idle(&mut self) -> bool {
        query!(self, |c| is_idle(c))
    }
}

fn commit<C: Connection>(c: &mut C) -> QueryResult<()> {
    C::TransactionManager::commit_transaction(c)
}

fn rollback<C: Connection>(c: &mut C) -> QueryResult<()> {
    C::TransactionManager::rollback_transaction(c)
}

fn is_idle<C: Connection>(c: &mut C) -> bool {
    matches!(C::TransactionManager::transaction_manager_status_mut(c).transaction_depth(), Ok(None))
}
