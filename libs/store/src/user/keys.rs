//! The keys that sign access tokens.

use diesel::prelude::*;

use super::schema::signing_keys::dsl;
use crate::Result;
use crate::conn::{Conn, query};
use crate::error::OrExists;

/// An Ed25519 key pair.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey {
    /// The `kid` in a token's header.
    pub id: String,
    /// The secret seed, 32 bytes.
    pub seed: Vec<u8>,
    /// Raw, 32 bytes.
    pub public_key: Vec<u8>,
    /// When it was made.
    pub created_ms: i64,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// All keys, the newest first.
pub fn signing_keys(conn: &mut Conn) -> Result<Vec<SigningKey>> {
    let rows: Vec<(String, Vec<u8>, Vec<u8>, i64)> =
        query!(conn, |c| dsl::signing_keys.order((dsl::created_ms.desc(), dsl::id)).load(c))?;
    let key = |(id, seed, public_key, created_ms)| SigningKey { id, seed, public_key, created_ms };
    Ok(rows.into_iter().map(key).collect())
}

/// Adds a key.
pub fn add_signing_key(conn: &mut Conn, key: &SigningKey) -> Result<()> {
    let row = (
        dsl::id.eq(&key.id),
        dsl::seed.eq(&key.seed),
        dsl::public_key.eq(&key.public_key),
        dsl::created_ms.eq(key.created_ms),
    );
    query!(conn, |c| diesel::insert_into(dsl::signing_keys).values(row).execute(c))
        .or_exists(|| format!("signing key {}", key.id))?;
    Ok(())
}

/// Drops keys made before `created_ms`; says how many.
pub fn drop_signing_keys_before(conn: &mut Conn, created_ms: i64) -> Result<usize> {
    let old = dsl::signing_keys.filter(dsl::created_ms.lt(created_ms));
    Ok(query!(conn, |c| diesel::delete(old).execute(c))?)
}
