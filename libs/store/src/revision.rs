//! A database's own count of changes, so that a stream can ask for all that came after what it has.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;

use crate::Result;
use crate::conn::{Conn, locked, query};

diesel::table! {
    revision (id) {
        id -> SmallInt,
        value -> BigInt,
    }
}

/// The number of the next change. Its row is locked from here to the end of the transaction, so numbers become visible in order and a
/// reader that saw one has seen all before it.
pub(crate) fn next(conn: &mut Conn) -> Result<i64> {
    use revision::dsl;
    let last: i64 = locked!(conn, dsl::revision.find(1).select(dsl::value))?;
    let next = last + 1;
    // as text: an UPDATE by the query builder is prepared anew each time, and this one is part of every change
    let update = format!("UPDATE revision SET value = {next} WHERE id = 1");
    query!(conn, |c| c.batch_execute(&update))?;
    Ok(next)
}

/// The number of the last change; 0 before the first.
pub(crate) fn current(conn: &mut Conn) -> Result<i64> {
    use revision::dsl;
    Ok(query!(conn, |c| dsl::revision.find(1).select(dsl::value).first(c))?)
}
