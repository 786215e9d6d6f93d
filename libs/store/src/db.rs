//! The door: every read and every write of a service goes through here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crater_plant::{Bug, planted};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::conn::{Conn, Role, Source};
use crate::error::Transient;
use crate::group::Group;
use crate::idempotency::{self, Request};
use crate::location::Location;
use crate::migrate::{self, Service};
use crate::pool::Pool;
use crate::{Error, Result, Tx, my};

/// Readers beside the one writer; SQLite's readers never wait for it.
const READERS: usize = 3;
/// How often a transaction is tried when the database is busy or chose it as a deadlock's victim.
const ATTEMPTS: u32 = 6;
/// The first pause is up to this long, the next up to twice that, and so on.
const PAUSE: Duration = Duration::from_millis(10);
/// No new try after this: the caller is told, and has its own deadline.
const PATIENCE: Duration = Duration::from_secs(8);
/// A transaction slower than this is worth a warning.
const SLOW: Duration = Duration::from_secs(1);

/// A service's database. Clones share the connections.
#[derive(Clone)]
pub struct Db {
    // none if it was opened to look
    writer: Option<Arc<Group>>,
    readers: Arc<Pool>,
}

/// What becomes of a transaction whose body succeeded.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum End {
    /// It stands. `named`: the body looks first whether it was here before, so that it may run again when nobody knows whether it committed.
    Commit {
        named: bool,
    },
    Rollback,
}

impl Db {
    /// Opens the service's database, made if absent, and brings its tables up to date.
    ///
    /// # Errors
    /// [`Error::Open`] for an address that is none, for a database of a newer version or of another service, and for a server that refuses us;
    /// [`Error::Unavailable`] for one that is away.
    pub async fn open(location: &Location, service: Service) -> Result<Self> {
        match location {
            Location::Dir(dir) => {
                let path = migrate::prepare(dir, service)?;
                let file = Source::File(path.clone());
                let writer = Pool::new(file.clone(), Role::Writer, 1);
                writer.run(move |conn| migrate::run(conn?, service, &path)).await??;
                Ok(Self { writer: Some(Group::new(writer)), readers: Pool::new(file, Role::Reader, READERS) })
            }
            Location::Server(server) => {
                let database = Source::Database(my::prepare(server, service).await?);
                Ok(Self {
                    writer: Some(Group::new(Pool::new(database.clone(), Role::Writer, 1))),
                    readers: Pool::new(database, Role::Reader, server.readers),
                })
            }
        }
    }

    /// Opens the service's database to read it beside the service: nothing is made, brought up to date or written.
    ///
    /// # Errors
    /// [`Error::Open`] for an address that is none; [`Error::Unavailable`] while there is no database.
    pub fn look(location: &Location, service: Service) -> Result<Self> {
        let source = match location {
            Location::Dir(dir) => Source::File(migrate::existing(dir, service)?),
            Location::Server(server) => Source::Database(my::named(server, service)),
        };
        let readers = Pool::new(source, Role::Reader, READERS);
        Ok(Self { writer: None, readers })
    }

    /// Runs `body` as one transaction and commits if it returns Ok. It is tried again when the database says that this may help, so
    /// `body` must be able to run twice. It runs to its end even when the caller goes away.
    ///
    /// # Errors
    /// What `body` answers; [`Error::Uncertain`] when the connection broke during the commit. It is not tried again then, since it may have
    /// been made: only [`Db::once`] can tell.
    pub async fn transaction<T, E, F>(&self, name: Tx, body: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Transient + Send + 'static,
        F: FnMut(&mut Conn) -> Result<T, E> + Send + 'static,
    {
        self.write(name, End::Commit { named: false }, body).await
    }

    async fn write<T, E, F>(&self, name: Tx, end: End, body: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Transient + Send + 'static,
        F: FnMut(&mut Conn) -> Result<T, E> + Send + 'static,
    {
        let Some(group) = &self.writer else {
            return Err(Error::internal("this database was opened to look").into());
        };
        retried(name, body, |body| group.run(end, body)).await
    }

    /// Like [`Db::transaction`], and undoes everything at the end: for `validate_only`.
    pub async fn rehearse<T, E, F>(&self, name: Tx, body: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Transient + Send + 'static,
        F: FnMut(&mut Conn) -> Result<T, E> + Send + 'static,
    {
        self.write(name, End::Rollback, body).await
    }

    /// Reads one consistent snapshot; a write in `body` is an error.
    pub async fn read<T, E, F>(&self, name: Tx, body: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Transient + Send + 'static,
        F: FnMut(&mut Conn) -> Result<T, E> + Send + 'static,
    {
        retried(name, body, |body| alone(&self.readers, body)).await
    }
}

/// How a mutation is to be done.
#[derive(Debug, Clone, Default)]
pub struct Once {
    /// The request's own name, if it has one: the same request twice acts once.
    pub request: Option<Request>,
    /// Check everything, write nothing.
    pub validate_only: bool,
    /// Now, in milliseconds since 1970.
    pub now_ms: i64,
}

impl Db {
    /// Runs a mutation once: if the same request was here before, its answer is given again; else `body` runs and its answer is kept, both
    /// in one transaction.
    pub async fn once<T, E, F>(&self, name: Tx, how: Once, mut body: F) -> Result<T, E>
    where
        T: Serialize + DeserializeOwned + Send + 'static,
        E: From<Error> + Transient + Send + 'static,
        F: FnMut(&mut Conn) -> Result<T, E> + Send + 'static,
    {
        let Once { request, validate_only, now_ms } = how;
        let request = request.filter(|_| !planted(Bug::DoubleConsumption));
        let end = match (validate_only, &request) {
            (true, _) => End::Rollback,
            (false, request) => End::Commit { named: request.is_some() },
        };
        let whole = move |conn: &mut Conn| {
            let Some(request) = &request else { return body(conn) };
            // before the body, so that the same request at the same moment waits here and finds the answer
            if let Some(answer) = idempotency::claim(conn, request, now_ms)? {
                return Ok(serde_json::from_slice(&answer).map_err(Error::internal)?);
            }
            let answer = body(conn)?;
            let kept = serde_json::to_vec(&answer).map_err(Error::internal)?;
            idempotency::answer(conn, request, &kept, now_ms)?;
            Ok(answer)
        };
        self.write(name, end, whole).await
    }
}

/// Runs a body in a transaction of its own that leaves nothing, and answers with the body, which may be wanted again.
async fn alone<T, E, F>(pool: &Arc<Pool>, mut body: F) -> Result<(Result<T, E>, F)>
where
    T: Send + 'static,
    E: From<Error> + Send + 'static,
    F: FnMut(&mut Conn) -> Result<T, E> + Send + 'static,
{
    let role = pool.role();
    let ran = pool.run(move |conn| {
        let result = match conn {
            Ok(conn) => look(conn, role, &mut body),
            Err(away) => Err(away.into()),
        };
        (result, body)
    });
    ran.await
}

/// Runs a body until it succeeds, fails for good, or the patience is over.
async fn retried<T, E, F, R>(name: Tx, mut body: F, run: impl Fn(F) -> R) -> Result<T, E>
where
    E: From<Error> + Transient,
    R: Future<Output = Result<(Result<T, E>, F)>>,
{
    let start = Instant::now();
    let mut attempt = 1;
    loop {
        let (result, back) = run(body).await?;
        body = back;
        match result {
            Err(error) if error.is_transient() && attempt < ATTEMPTS && start.elapsed() < PATIENCE => {
                tracing::debug!(tx = name.as_str(), attempt, "transaction is tried again");
                let most = PAUSE * 2u32.pow(attempt - 1);
                tokio::time::sleep(most.mul_f64(rand::random::<f64>())).await;
                attempt += 1;
            }
            result => {
                let elapsed = start.elapsed();
                let (tx, ms, ok) = (name.as_str(), elapsed.as_secs_f64() * 1000.0, result.is_ok());
                if elapsed > SLOW {
                    tracing::warn!(tx, ms, attempt, ok, "slow transaction");
                } else {
                    tracing::trace!(tx, ms, attempt, ok, "transaction");
                }
                return result;
            }
        }
    }
}

fn look<T, E: From<Error>>(
    conn: &mut Conn,
    role: Role,
    body: &mut impl FnMut(&mut Conn) -> Result<T, E>,
) -> Result<T, E> {
    conn.begin(role).map_err(Error::from)?;
    let result = body(conn);
    if let Some(why) = conn.void() {
        // the server undid the transaction under the body's feet: what the body made of that counts for nothing
        let why = Error::unavailable(why);
        let _ = conn.rollback();
        return Err(why.into());
    }
    let undone = conn.rollback();
    if result.is_ok() {
        undone.map_err(Error::from)?;
    }
    result
}
