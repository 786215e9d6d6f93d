//! A few connections of one role, lent to blocking threads.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::conn::{Conn, Role};
use crate::{Error, Result};

/// How long a caller waits for a connection before it is told that the database is busy.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) struct Pool {
    path: String,
    role: Role,
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Conn>>,
}

impl Pool {
    /// Up to `size` connections, each opened when it is first needed.
    pub(crate) fn new(path: String, role: Role, size: usize) -> Arc<Self> {
        Arc::new(Self { path, role, permits: Arc::new(Semaphore::new(size)), idle: Mutex::new(Vec::new()) })
    }

    pub(crate) fn role(&self) -> Role {
        self.role
    }

    /// Runs `work` with a connection on a blocking thread, to its end even when the caller goes away. A connection whose work
    /// panicked or left a transaction open is closed, which rolls it back.
    pub(crate) async fn run<R: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&mut Conn) -> R + Send + 'static,
    ) -> Result<R> {
        let permit = match tokio::time::timeout(PATIENCE, self.permits.clone().acquire_owned()).await {
            Ok(permit) => permit.map_err(Error::internal)?,
            Err(_) => return Err(Error::unavailable("no free connection")),
        };
        let pool = self.clone();
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let mut conn = match pool.take() {
                Some(conn) => conn,
                None => Conn::open_lite(&pool.path, pool.role)?,
            };
            let result = work(&mut conn);
            if conn.is_idle() {
                pool.give_back(conn);
            }
            Ok(result)
        });
        done.await.map_err(|e| Error::internal(format!("a transaction's body stopped: {e}")))?
    }

    fn take(&self) -> Option<Conn> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn give_back(&self, conn: Conn) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(conn);
    }
}
