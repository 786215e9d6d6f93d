//! Ed25519 keys: the ones that sign and the set that verifies.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use serde::Serialize;
use tokio::sync::Notify;

use crate::Error;
use crate::believed::Believed;

/// Bytes of a seed and of a public key.
pub(crate) const KEY_BYTES: usize = 32;

/// A new secret seed.
pub fn generate_seed() -> [u8; KEY_BYTES] {
    rand::random()
}

/// A key that signs tokens.
#[derive(Clone)]
pub struct Signer {
    key_id: String,
    key: EncodingKey,
    public_key: [u8; KEY_BYTES],
}

impl Signer {
    /// The key of a secret seed. `key_id` goes into each token's header and names the key in a [`KeySet`].
    pub fn from_seed(key_id: &str, seed: &[u8]) -> Result<Self, Error> {
        if seed.len() != KEY_BYTES {
            return Err(Error::Key("a seed has 32 bytes"));
        }
        let pair =
            Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| Error::Key("it is no Ed25519 seed"))?;
        let der = pair.to_pkcs8().map_err(|_| Error::Key("it cannot be encoded"))?;
        let public_key =
            pair.public_key().as_ref().try_into().map_err(|_| Error::Key("it has no public half"))?;
        Ok(Self { key_id: key_id.to_owned(), key: EncodingKey::from_ed_der(der.as_ref()), public_key })
    }

    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The raw Ed25519 public key, as `ListSigningKeys` answers it.
    pub fn public_key(&self) -> [u8; KEY_BYTES] {
        self.public_key
    }

    pub(crate) fn sign<T: Serialize>(&self, kind: &str, claims: &T) -> Result<String, Error> {
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(kind.to_owned());
        header.kid = Some(self.key_id.clone());
        jsonwebtoken::encode(&header, claims, &self.key).map_err(|_| Error::Key("it does not sign"))
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

/// The public keys that verify access tokens, by key id. Nothing else in a token's header chooses a key. Clones share
/// the set.
#[derive(Clone, Default)]
pub struct KeySet {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// `None` until the keys were heard for the first time.
    keys: RwLock<Option<HashMap<String, DecodingKey>>>,
    /// How often the keys were replaced.
    generation: AtomicU64,
    believed: Believed,
    unknown: Notify,
}

impl KeySet {
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts these keys and no others: a key that is not among them is retired.
    pub fn replace(&self, keys: impl IntoIterator<Item = (String, [u8; KEY_BYTES])>) {
        let keys = keys.into_iter().map(|(id, key)| (id, DecodingKey::from_ed_der(&key))).collect();
        let mut known = self.shared.keys.write().unwrap_or_else(PoisonError::into_inner);
        *known = Some(keys);
        self.shared.generation.fetch_add(1, Ordering::SeqCst);
    }

    /// Which keys are trusted: another number after each [`KeySet::replace`].
    pub(crate) fn generation(&self) -> u64 {
        self.shared.generation.load(Ordering::SeqCst)
    }

    /// The tokens that these keys were found to have signed.
    pub(crate) fn believed(&self) -> &Believed {
        &self.shared.believed
    }

    pub(crate) fn get(&self, key_id: &str) -> Result<DecodingKey, Error> {
        let keys = self.shared.keys.read().unwrap_or_else(PoisonError::into_inner);
        let found = keys.as_ref().ok_or(Error::KeysNotHeard)?.get(key_id).cloned();
        found.ok_or_else(|| {
            self.shared.unknown.notify_one();
            Error::TokenForged
        })
    }

    /// Waits until a token names a key that is not in the set: it may be new.
    pub(crate) async fn unknown_key_seen(&self) {
        self.shared.unknown.notified().await;
    }
}
