//! The same request twice acts once.
//!
//! [`Db::once`](crate::Db::once) claims the request's name or finds its answer, does the deed and keeps the answer, all in one transaction, so that
//! the answer is kept if and only if the deed was done. A `request_id` belongs to one principal and one method: two callers cannot collide or read each other's answers.

use diesel::prelude::*;
use sha2::{Digest, Sha256};

use crate::conn::{Conn, query};
use crate::error::OrExists;
use crate::{Error, Result};

/// How long an answer is kept, in milliseconds: a day.
pub const KEPT_MS: i64 = 24 * 3600 * 1000;

diesel::table! {
    idempotency (principal, method, request_id) {
        principal -> Text,
        method -> Text,
        request_id -> Text,
        body_hash -> Binary,
        response -> Binary,
        created_ms -> BigInt,
    }
}

/// A mutation that names itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    principal: String,
    method: &'static str,
    id: String,
    body_hash: Vec<u8>,
}

impl Request {
    /// `principal`: who calls, for example `users/ann`; `body`: the request's bytes, equal for equal requests. Leave secrets
    /// out of `body`: its plain hash is stored.
    pub fn new(
        principal: impl Into<String>,
        method: &'static str,
        id: crater_domain::RequestId,
        body: &[u8],
    ) -> Self {
        let body_hash = Sha256::digest(body).to_vec();
        Self { principal: principal.into(), method, id: id.to_string(), body_hash }
    }
}

/// The answer that the same request got before, if it was here before.
///
/// # Errors
/// [`Error::RequestReused`] if the request was here with another body.
pub fn replay(conn: &mut Conn, request: &Request) -> Result<Option<Vec<u8>>> {
    use idempotency::dsl;
    let key = (&request.principal, request.method, &request.id);
    let found: Option<(Vec<u8>, Vec<u8>)> = query!(conn, |c| dsl::idempotency
        .find(key)
        .select((dsl::body_hash, dsl::response))
        .first(c)
        .optional())?;
    match found {
        None => Ok(None),
        Some((hash, response)) if hash == request.body_hash => Ok(Some(response)),
        Some(_) => Err(Error::RequestReused),
    }
}

/// How many old answers go with each new one.
const FORGOTTEN_AT_ONCE: i64 = 20;

/// Keeps the answer, and forgets answers older than [`KEPT_MS`], a few at a time.
pub fn record(conn: &mut Conn, request: &Request, response: &[u8], now_ms: i64) -> Result<()> {
    match claim(conn, request, now_ms)? {
        None => answer(conn, request, response, now_ms),
        Some(_) => Err(Error::AlreadyExists { what: format!("request {}", request.id) }),
    }
}

/// Takes the request's name, so that whoever else does the same request waits here until the end of the transaction; or gives the answer that the
/// request got before.
///
/// # Errors
/// [`Error::RequestReused`] if the request was here with another body; [`Error::Unavailable`], which has the transaction tried again, when its
/// answer was forgotten between two looks.
pub(crate) fn claim(conn: &mut Conn, request: &Request, now_ms: i64) -> Result<Option<Vec<u8>>> {
    use idempotency::dsl;
    let row = (
        dsl::principal.eq(&request.principal),
        dsl::method.eq(request.method),
        dsl::request_id.eq(&request.id),
        dsl::body_hash.eq(&request.body_hash),
        dsl::response.eq(&[][..]),
        dsl::created_ms.eq(now_ms),
    );
    let claimed = query!(conn, |c| diesel::insert_into(dsl::idempotency).values(row).execute(c))
        .or_exists(|| format!("request {}", request.id));
    match claimed {
        Ok(_) => Ok(None),
        Err(there @ Error::AlreadyExists { .. }) => match replay(conn, request)? {
            Some(answer) => Ok(Some(answer)),
            None => Err(Error::unavailable(there)),
        },
        Err(other) => Err(other),
    }
}

/// Keeps the answer to a claimed request.
pub(crate) fn answer(conn: &mut Conn, request: &Request, response: &[u8], now_ms: i64) -> Result<()> {
    use idempotency::dsl;
    let row = dsl::idempotency.find((&request.principal, request.method, &request.id));
    query!(conn, |c| diesel::update(row).set(dsl::response.eq(response)).execute(c))?;
    forget(conn, now_ms.saturating_sub(KEPT_MS))
}

/// By their names, and few: a DELETE by time would lock what others forget at the same moment.
fn forget(conn: &mut Conn, before_ms: i64) -> Result<()> {
    use idempotency::dsl;
    let stale: Vec<(String, String, String)> = query!(conn, |c| dsl::idempotency
        .filter(dsl::created_ms.lt(before_ms))
        .order(dsl::created_ms)
        .select((dsl::principal, dsl::method, dsl::request_id))
        .limit(FORGOTTEN_AT_ONCE)
        .load(c))?;
    for (principal, method, id) in &stale {
        let row = dsl::idempotency.find((principal, method, id));
        query!(conn, |c| diesel::delete(row).execute(c))?;
    }
    Ok(())
}
