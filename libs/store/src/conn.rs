//! One connection, whichever database is behind it.

use diesel::connection::{AnsiTransactionManager, SimpleConnection, TransactionManager};
use diesel::sqlite::SqliteConnection;
use diesel::{Connection, QueryResult};

use crate::my::{self, My};
use crate::{Error, Result};

/// A connection inside a transaction. Its queries are the functions of this crate's modules.
pub struct Conn(pub(crate) Backend);

/// The databases; `query!` compiles each query for both.
pub(crate) enum Backend {
    Lite(Box<SqliteConnection>),
    My(Box<My>),
}

/// Runs a query on whichever database is behind the connection: `query!(conn, |c| users::table.load(c))`. The body is compiled once for each,
/// so what depends on the database's type, as a boxed query does, is built inside it.
macro_rules! query {
    ($conn:expr, |$c:ident| $body:expr) => {
        match &mut $conn.0 {
            $crate::conn::Backend::Lite(lite) => {
                let $c = &mut **lite;
                $body
            }
            $crate::conn::Backend::My(my) => {
                if let Some(void) = my.undone() {
                    Err(void)
                } else {
                    let $c = &mut my.face;
                    let result = $body;
                    my.judged(result)
                }
            }
        }
    };
}
pub(crate) use query;

/// Reads the first row of a query and keeps others from changing it until the transaction ends; what is read after that is the latest.
/// SQLite has one writer, to whom all rows are locked.
macro_rules! locked {
    ($conn:expr, $query:expr) => {
        match &mut $conn.0 {
            $crate::conn::Backend::Lite(lite) => $query.first(&mut **lite),
            $crate::conn::Backend::My(my) => {
                if let Some(void) = my.undone() {
                    Err(void)
                } else {
                    let result = $query.for_update().first(&mut my.face);
                    my.judged(result)
                }
            }
        }
    };
}
pub(crate) use locked;

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

/// What a pool's connections are opened to.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// A SQLite file.
    File(String),
    /// A database of a server.
    Database(my::Database),
}

impl Conn {
    /// Opens a connection. Call it on a blocking thread.
    pub(crate) fn open(source: &Source, role: Role) -> Result<Self> {
        match source {
            Source::File(path) => Self::open_lite(path, role),
            Source::Database(database) => Ok(Self(Backend::My(Box::new(my::open(database, role)?)))),
        }
    }

    fn open_lite(path: &str, role: Role) -> Result<Self> {
        let mut lite = SqliteConnection::establish(path).map_err(Error::unavailable)?;
        lite.batch_execute(LITE_PRAGMAS)?;
        if role == Role::Reader {
            lite.batch_execute("PRAGMA query_only=ON;")?;
        }
        Ok(Self(Backend::Lite(Box::new(lite))))
    }

    /// Opens a transaction. On SQLite a writer takes the write lock at once, so that it never has to upgrade and fail halfway. How a transaction
    /// starts is each database's own.
    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    pub(crate) fn begin(&mut self, role: Role) -> QueryResult<()> {
        match &mut self.0 {
            Backend::Lite(c) => {
                let sql = match role {
                    Role::Writer => "BEGIN IMMEDIATE",
                    Role::Reader => "BEGIN DEFERRED",
                };
                AnsiTransactionManager::begin_transaction_sql(&mut **c, sql)
            }
            Backend::My(my) => my.begin(role),
        }
    }

    /// Opens a savepoint in the open transaction; the next [`Conn::commit`] or [`Conn::rollback`] ends only it.
    pub(crate) fn save(&mut self) -> QueryResult<()> {
        query!(self, |c| save(c))
    }

    pub(crate) fn commit(&mut self) -> QueryResult<()> {
        query!(self, |c| commit(c))
    }

    pub(crate) fn rollback(&mut self) -> QueryResult<()> {
        match &mut self.0 {
            Backend::Lite(c) => rollback(&mut **c),
            Backend::My(my) => {
                let undone = rollback(&mut my.face);
                my.judged(undone)
            }
        }
    }

    /// Why nothing that the transaction did will stand, whatever its body makes of it.
    pub(crate) fn void(&self) -> Option<&str> {
        match &self.0 {
            Backend::Lite(_) => None,
            Backend::My(my) => my.void(),
        }
    }

    /// Whether the connection is broken, and with it probably those that were opened before it.
    pub(crate) fn is_lost(&self) -> bool {
        match &self.0 {
            Backend::Lite(_) => false,
            Backend::My(my) => my.is_lost(),
        }
    }

    /// Whether the connection may go back to the pool.
    pub(crate) fn is_idle(&mut self) -> bool {
        !self.is_lost()
            && match &mut self.0 {
                Backend::Lite(c) => is_idle(&mut **c),
                Backend::My(my) => is_idle(&mut my.face),
            }
    }
}

#[allow(clippy::disallowed_methods, reason = "this is the door")]
fn save<C: Connection>(c: &mut C) -> QueryResult<()> {
    C::TransactionManager::begin_transaction(c)
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
