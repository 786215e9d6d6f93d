//! A few connections of one role, lent to blocking threads.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::conn::{Conn, Role, Source};
use crate::my::NoAnswer;
use crate::{Error, Result};

/// How long a caller waits for a connection before it is told that the database is busy.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) struct Pool {
    source: Source,
    role: Role,
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Conn>>,
}

impl Pool {
    /// Up to `size` connections, each opened when it is first needed.
    pub(crate) fn new(source: Source, role: Role, size: usize) -> Arc<Self> {
        Arc::new(Self { source, role, permits: Arc::new(Semaphore::new(size)), idle: Mutex::new(Vec::new()) })
    }

    pub(crate) fn role(&self) -> Role {
        self.role
    }

    /// Runs `work` with a connection on a blocking thread, to its end even when the caller goes away; or with the reason why there is none. A
    /// connection whose work panicked or left a transaction open is closed, which rolls it back.
    pub(crate) async fn run<R: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(Result<&mut Conn>) -> R + Send + 'static,
    ) -> Result<R> {
        let permit = match tokio::time::timeout(PATIENCE, self.permits.clone().acquire_owned()).await {
            Ok(permit) => permit.map_err(Error::internal)?,
            Err(_) => return Err(Error::unavailable("no free connection")),
        };
        let pool = self.clone();
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let mut conn = match pool.take().map_or_else(|| Conn::open(&pool.source, pool.role), Ok) {
                Ok(conn) => conn,
                Err(error) => return work(Err(error)),
            };
            let result = work(Ok(&mut conn));
            if conn.is_lost() {
                // the others were opened before and went the same way, or will be opened again
                pool.forget();
            } else if conn.is_idle() {
                pool.give_back(conn);
            }
            result
        });
        done.await.map_err(|stopped| match stopped.try_into_panic() {
            Ok(cause) if cause.is::<NoAnswer>() => {
                self.forget();
                Error::Uncertain("a statement got no answer".into())
            }
            Ok(_) => Error::internal("a transaction's body panicked"),
            Err(stopped) => Error::internal(format!("a transaction's body stopped: {stopped}")),
        })
    }

    fn take(&self) -> Option<Conn> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn forget(&self) {
        let gone = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        // outside the lock: closing talks to the server
        drop(gone);
    }

    fn give_back(&self, conn: Conn) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(conn);
    }
}
