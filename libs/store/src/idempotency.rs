//! The same request twice acts once.
//!
//! A use case calls [`replay`] first and [`record`] last, inside its own transaction, so that the answer is kept if and only if the
//! deed was done. A `request_id` belongs to one principal and one method: two callers cannot collide or read each other's answers.

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

/// Keeps the answer, and forgets answers older than [`KEPT_MS`].
pub fn record(conn: &mut Conn, request: &Request, response: &[u8], now_ms: i64) -> Result<()> {
    use idempotency::dsl;
    let stale = dsl::idempotency.filter(dsl::created_ms.lt(now_ms.saturating_sub(KEPT_MS)));
    query!(conn, |c| diesel::delete(stale).execute(c))?;
    let row = (
        dsl::principal.eq(&request.principal),
        dsl::method.eq(request.method),
        dsl::request_id.eq(&request.id),
        dsl::body_hash.eq(&request.body_hash),
        dsl::response.eq(response),
        dsl::created_ms.eq(now_ms),
    );
    query!(conn, |c| diesel::insert_into(dsl::idempotency).values(row).execute(c))
        .or_exists(|| format!("request {}", request.id))?;
    Ok(())
}
