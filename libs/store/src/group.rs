//! Group commit: who waits for the one writer shares its next COMMIT, which is one write to the disk.
//!
//! Transactions run one after the other whatever we do: SQLite has one writer, and on a server every change takes the row of its number
//! ([`crate::revision`]) until its end. What they can share is the end: those that wait run one by one in one database transaction, each in a savepoint of its own
//! that its failure undoes alone, and nobody is answered before the one COMMIT. An answer may rest on what an earlier member wrote, so
//! when the COMMIT fails all are told that, the refused ones too.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::conn::{Conn, Role};
use crate::db::End;
use crate::my::NoAnswer;
use crate::pool::Pool;
use crate::{Error, Result};

/// Members of one COMMIT: the first waits for the last.
const MOST: usize = 64;
/// How long a caller waits for its turn before it is told that the database is busy.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a member's body came to, as far as the group must know.
struct Ran {
    end: Ending,
    tell: Tell,
}

#[derive(Clone, Copy, PartialEq)]
enum Ending {
    /// It stands, if the group's COMMIT does.
    Stands,
    /// It is undone, and nobody else.
    Undone,
    /// Its statement got no answer, so the connection is of no use.
    NoAnswer,
}

/// Why a group came to nothing.
struct Failed {
    why: Error,
    /// Nobody can tell whether its COMMIT was made.
    unknown: bool,
}

/// Answers a member, with what became of its group if it came to nothing.
type Tell = Box<dyn FnOnce(Option<&Failed>) + Send>;
type Member = Box<dyn FnOnce(Result<&mut Conn>) -> Ran + Send>;

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Member>,
    driven: bool,
}

/// The one writer of a process to a service's tables.
pub(crate) struct Group {
    pool: Arc<Pool>,
    queue: Mutex<Queue>,
}

impl Group {
    pub(crate) fn new(pool: Arc<Pool>) -> Arc<Self> {
        Arc::new(Self { pool, queue: Mutex::default() })
    }

    /// Runs `body` in the next group and answers after its COMMIT, with the body, which may be wanted again. Once it began it runs to its end even
    /// when the caller goes away; if the caller goes before, it does not run.
    pub(crate) async fn run<T, E, F>(self: &Arc<Self>, end: End, mut body: F) -> Result<(Result<T, E>, F)>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
        F: FnMut(&mut Conn) -> Result<T, E> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let since = Instant::now();
        self.join(Box::new(move |conn| {
            let mut no_answer = false;
            let result = match conn {
                _ if answer.is_closed() => Err(Error::unavailable("the caller went away").into()),
                Ok(_) if since.elapsed() > PATIENCE => Err(Error::unavailable("no free connection").into()),
                Ok(conn) => catch_unwind(AssertUnwindSafe(|| body(conn))).unwrap_or_else(|cause| {
                    no_answer = cause.is::<NoAnswer>();
                    Err(Error::internal("a transaction's body panicked").into())
                }),
                Err(away) => Err(away.into()),
            };
            let end_of = match (&result, end) {
                _ if no_answer => Ending::NoAnswer,
                (Ok(_), End::Commit { .. }) => Ending::Stands,
                _ => Ending::Undone,
            };
            let tell: Tell = Box::new(move |failed| {
                let result = failed.map_or(result, |failed| Err(failed.for_one(end).into()));
                // the caller may be gone
                let _ = answer.send((result, body));
            });
            Ran { end: end_of, tell }
        }));
        answered.await.map_err(|_| Error::internal("the writer stopped"))
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
        let mut members = self.next().into_iter();
        let mut told = Vec::with_capacity(members.len());
        let (failed, unwound) = match conn {
            Ok(conn) => match catch_unwind(AssertUnwindSafe(|| commit(conn, &mut members, &mut told))) {
                Ok(failed) => (failed, None),
                Err(cause) => (
                    Some(Failed { why: Error::unavailable("a statement got no answer"), unknown: true }),
                    Some(cause),
                ),
            },
            Err(why) => (Some(Failed { why, unknown: false }), None),
        };
        for tell in told {
            tell(failed.as_ref());
        }
        if let Some(failed) = &failed {
            // those that were not begun
            for member in members {
                (member(Err(failed.for_one(End::Rollback))).tell)(None);
            }
        }
        if let Some(cause) = unwound {
            // the pool closes the connection
            resume_unwind(cause);
        }
    }
}

/// Runs members in one transaction and commits it; `told` gets whom to answer.
fn commit(conn: &mut Conn, members: &mut std::vec::IntoIter<Member>, told: &mut Vec<Tell>) -> Option<Failed> {
    let whole = |error: Error| Some(Failed { why: error, unknown: false });
    if let Err(error) = conn.begin(Role::Writer) {
        return whole(error.into());
    }
    // one alone needs no savepoint: what undoes it undoes all
    let alone = members.len() == 1;
    let mut stands = !alone;
    for member in members {
        let ran = if alone { run(conn, member, told) } else { in_savepoint(conn, member, told) };
        match ran {
            Ok(one) => stands |= one,
            Err(error) => {
                // what failed matters more than whether this works: a connection that is still in a transaction is closed by the pool
                let _ = conn.rollback();
                return whole(error);
            }
        }
    }
    if !stands {
        return conn.rollback().err().and_then(|error| whole(error.into()));
    }
    let error = Error::from(conn.commit().err()?);
    let unknown = conn.is_lost();
    let _ = conn.rollback();
    Some(Failed { why: error, unknown })
}

/// Runs one member in a savepoint of its own. Answers whether it stands.
///
/// # Errors
/// When the whole transaction is no more: a deadlock, a lost connection, a full disk.
fn in_savepoint(conn: &mut Conn, member: Member, told: &mut Vec<Tell>) -> Result<bool> {
    if let Err(error) = conn.save() {
        let error = Error::from(error);
        told.push(member(Err(error.clone())).tell);
        return Err(error);
    }
    let stands = run(conn, member, told)?;
    if stands {
        conn.commit()?
    } else {
        conn.rollback()?
    }
    Ok(stands)
}

/// Runs one member's body. Answers whether it stands.
fn run(conn: &mut Conn, member: Member, told: &mut Vec<Tell>) -> Result<bool> {
    let Ran { end, tell } = member(Ok(conn));
    told.push(tell);
    if let Some(why) = conn.void() {
        // whatever the body made of that
        return Err(Error::unavailable(why));
    }
    match end {
        Ending::Stands => Ok(true),
        Ending::Undone => Ok(false),
        Ending::NoAnswer => resume_unwind(Box::new(NoAnswer)),
    }
}

impl Failed {
    /// What it means for one member: nothing was written, so that trying again may help even where another member is to blame; or it may
    /// have been, and only a member that can look for itself may try again.
    fn for_one(&self, end: End) -> Error {
        let why = match &self.why {
            Error::Unavailable(why) | Error::Internal(why) => why.clone(),
            other => other.to_string().into(),
        };
        match end {
            End::Commit { named: false } if self.unknown => Error::Uncertain(why),
            _ => Error::Unavailable(why),
        }
    }
}
