//! Group commit: who waits for the one writer shares its next COMMIT, which is one write to the disk.
//!
//! SQLite has one writer, so transactions run one after the other whatever we do. What they can share is the end: those that wait run
//! one by one in one database transaction, each in a savepoint of its own that its failure undoes alone, and nobody is answered before the one COMMIT.
//! An answer may rest on what an earlier member wrote, so when the COMMIT fails all are told that, the refused ones too.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::conn::{Conn, Role};
use crate::error::Transient;
use crate::pool::Pool;
use crate::{Error, Result};

/// Members of one COMMIT: the first waits for the last.
const MOST: usize = 64;
/// How long a caller waits for its turn before it is told that the database is busy.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a member's body came to, as far as the group must know.
enum Ran {
    /// It stands, if the group's COMMIT does.
    Stands(Tell),
    /// It is undone.
    Undone(Tell),
}

/// Answers a member, with the reason why its group came to nothing, if it did.
type Tell = Box<dyn FnOnce(Option<Error>) + Send>;
type Member = Box<dyn FnOnce(Result<&mut Conn>) -> Ran + Send>;

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Member>,
    driven: bool,
}

/// The writer of a SQLite file.
pub(crate) struct Group {
    pool: Arc<Pool>,
    queue: Mutex<Queue>,
}

impl Group {
    pub(crate) fn new(pool: Arc<Pool>) -> Arc<Self> {
        Arc::new(Self { pool, queue: Mutex::default() })
    }

    /// Runs `body` in the next group and answers after its COMMIT, with the body, which may be wanted again. `keep`: its writes stand if it
    /// succeeds. Once it began it runs to its end even when the caller goes away; if the caller goes before, it does not run.
    ///
    /// # Errors
    /// When the body panicked.
    pub(crate) async fn run<T, E, F>(self: &Arc<Self>, keep: bool, mut body: F) -> Result<(Result<T, E>, F)>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
        F: FnMut(&mut Conn) -> Result<T, E> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let since = Instant::now();
        self.join(Box::new(move |conn| {
            let result = match conn {
                _ if answer.is_closed() => Err(Error::unavailable("the caller went away").into()),
                Ok(_) if since.elapsed() > PATIENCE => Err(Error::unavailable("no free connection").into()),
                Ok(conn) => body(conn),
                Err(away) => Err(away.into()),
            };
            let stands = keep && result.is_ok();
            let tell: Tell = Box::new(move |failed| {
                let result = failed.map_or(result, |why| Err(why.into()));
                // the caller may be gone
                let _ = answer.send((result, body));
            });
            if stands { Ran::Stands(tell) } else { Ran::Undone(tell) }
        }));
        answered.await.map_err(|_| Error::internal("a transaction's body panicked"))
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a member in, and sees that somebody drives.
    fn join(self: &Arc<Self>, member: Member) {
        let mut queue = self.queue();
        queue.waiting.push_back(member);
        if !std::mem::replace(&mut queue.driven, true) {
            let group = self.clone();
            tokio::spawn(async move { group.drive().await });
        }
    }

    /// Group after group, until nobody waits.
    async fn drive(self: Arc<Self>) {
        loop {
            let group = self.clone();
            // a failure of the pool itself comes to the members as their dropped answers
            let _ = self.pool.run(move |conn| group.commit_next(conn)).await;
            let mut queue = self.queue();
            if queue.waiting.is_empty() {
                queue.driven = false;
                return;
            }
        }
    }

    /// Those who wait now. The order is that of their coming.
    fn next(&self) -> Vec<Member> {
        let mut queue = self.queue();
        let many = queue.waiting.len().min(MOST);
        queue.waiting.drain(..many).collect()
    }

    fn commit_next(&self, conn: Result<&mut Conn>) {
        let members = self.next();
        let conn = match conn {
            Ok(conn) => conn,
            Err(away) => return refuse(members, &away),
        };
        if let Err(error) = conn.begin(Role::Writer) {
            return refuse(members, &error.into());
        }
        let mut told = Vec::with_capacity(members.len());
        let mut members = members.into_iter();
        let mut failed = None;
        for member in members.by_ref() {
            match in_savepoint(conn, member) {
                Ok(tell) => told.extend(tell),
                Err((tell, error)) => {
                    told.extend(tell);
                    failed = Some(error);
                    break;
                }
            }
        }
        let failed = failed.or_else(|| conn.commit().err().map(Error::from));
        if let Some(why) = &failed {
            // what failed matters more than whether this works: a connection that is still in a transaction is closed by the pool
            let _ = conn.rollback();
            refuse(members.collect(), why);
        }
        for tell in told {
            tell(failed.as_ref().map(retried));
        }
    }
}

/// Runs one member. `None`: it panicked, and is undone.
///
/// # Errors
/// When the database undid the whole transaction, as SQLite does when the disk is full.
fn in_savepoint(conn: &mut Conn, member: Member) -> Result<Option<Tell>, (Option<Tell>, Error)> {
    if let Err(error) = conn.save() {
        let error = Error::from(error);
        return Err((Some(tell_of(member(Err(retried(&error))))), error));
    }
    let ran = catch_unwind(AssertUnwindSafe(|| member(Ok(conn))));
    let (ended, tell) = match ran {
        Ok(Ran::Stands(tell)) => (conn.commit(), Some(tell)),
        Ok(Ran::Undone(tell)) => (conn.rollback(), Some(tell)),
        Err(_) => (conn.rollback(), None),
    };
    match ended {
        Ok(()) => Ok(tell),
        Err(error) => Err((tell, error.into())),
    }
}

fn tell_of(ran: Ran) -> Tell {
    match ran {
        Ran::Stands(tell) | Ran::Undone(tell) => tell,
    }
}

/// Answers members that did not run.
fn refuse(members: Vec<Member>, why: &Error) {
    for member in members {
        tell_of(member(Err(retried(why))))(None);
    }
}

/// The failure of a group for one of its members: nothing was written, so the member may try again even where a statement of another was to blame.
fn retried(why: &Error) -> Error {
    if why.is_transient() { why.clone() } else { Error::unavailable(why) }
}
