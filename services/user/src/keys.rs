//! The keys that sign access tokens: made here, kept in the database, changed every month.

use std::sync::{Arc, PoisonError, RwLock};

use crater_auth::{Signer, generate_seed};
use crater_domain::{Error, Result};
use crater_store::user::{self, SigningKey};
use crater_store::{Db, Tx};
use sha2::{Digest, Sha256};

/// A key signs for this long, in milliseconds: 30 days.
const SIGNS_MS: i64 = 30 * 24 * 3_600_000;
/// A new key waits this long before it signs, so that those who verify have heard of it: two minutes.
const SETTLES_MS: i64 = 120_000;
/// A key verifies for this long after it was made: a day longer than any token that it signed.
const VERIFIES_MS: i64 = SIGNS_MS + 24 * 3_600_000;

/// The keys in use. Clones share them.
#[derive(Clone)]
pub struct Keys {
    db: Db,
    all: Arc<RwLock<Arc<[SigningKey]>>>,
}

impl Keys {
    /// Reads the keys, and makes the first one.
    pub async fn load(db: Db, now_ms: i64) -> Result<Self> {
        let keys = Self { db, all: Arc::new(RwLock::new(Arc::from([]))) };
        keys.refresh(now_ms).await?;
        Ok(keys)
    }

    /// Brings the keys up to date with the database, makes a new one when it is time and drops those that nothing needs any more.
    /// Several replicas may do so at once: the second finds what the first made.
    pub async fn refresh(&self, now_ms: i64) -> Result<()> {
        let fresh = generate(now_ms)?;
        let keys = self.db.transaction::<_, Error, _>(Tx::RotateKeys, move |c| {
            user::drop_signing_keys_before(c, now_ms - VERIFIES_MS)?;
            let keys = user::signing_keys(c)?;
            if keys.iter().any(|k| k.created_ms > now_ms - SIGNS_MS) {
                return Ok(keys);
            }
            user::add_signing_key(c, &fresh)?;
            Ok(user::signing_keys(c)?)
        });
        let keys: Arc<[SigningKey]> = keys.await?.into();
        *self.all.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(())
    }

    /// All keys that verify, the newest first.
    pub fn all(&self) -> Arc<[SigningKey]> {
        self.all.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The key to sign with now.
    pub fn signer(&self, now_ms: i64) -> Result<Signer> {
        let all = self.all();
        let settled = all.iter().find(|k| k.created_ms <= now_ms - SETTLES_MS);
        let key = settled.or(all.last()).ok_or_else(|| Error::internal("there is no signing key"))?;
        Ok(Signer::from_seed(&key.id, &key.seed)?)
    }
}

fn generate(now_ms: i64) -> Result<SigningKey> {
    let seed = generate_seed();
    // the id is the public key's own: no two replicas can give one id to two keys
    let public_key = Signer::from_seed("", &seed)?.public_key();
    let id = Sha256::digest(public_key).iter().take(8).map(|b| format!("{b:02x}")).collect();
    Ok(SigningKey { id, seed: seed.to_vec(), public_key: public_key.to_vec(), created_ms: now_ms })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crater_store::{Location, Service};

    #[tokio::test]
    async fn keys_change_before_they_grow_old_and_verify_what_they_signed() {
        let dir = tempfile::TempDir::new().unwrap();
        let db = Db::open(&Location::from(dir.path().to_path_buf()), Service::User).await.unwrap();
        let start = 1_000_000_000_000;
        let keys = Keys::load(db.clone(), start).await.unwrap();
        let signing = |keys: &Keys, now_ms| keys.signer(now_ms).unwrap().key_id().to_owned();
        let first = signing(&keys, start);
        // a second replica, a restart: the same key
        assert_eq!(signing(&Keys::load(db.clone(), start + 1).await.unwrap(), start + 1), first);

        let month = start + SIGNS_MS;
        keys.refresh(month).await.unwrap();
        assert_eq!(keys.all().len(), 2);
        assert_eq!(signing(&keys, month), first, "the new key has not settled");
        let second = signing(&keys, month + SETTLES_MS);
        assert_ne!(second, first);
        assert!(keys.all().iter().any(|k| k.id == first), "tokens of the first key are still about");

        keys.refresh(month + 2 * 24 * 3_600_000).await.unwrap();
        assert_eq!(keys.all().iter().map(|k| &k.id).collect::<Vec<_>>(), [&second]);
    }
}
