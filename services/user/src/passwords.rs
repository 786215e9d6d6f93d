//! Passwords: argon2id at OWASP's first choice (19 MiB, two passes, one lane), a few at a time.

use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use crater_domain::{Code, Error, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Stands in for the hash of a user who is not there, so that a guess costs the same and tells nothing. No password has it.
const DECOY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$Y3JhdGVyLWRlY295LXNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// The most that are hashed at once, each in 19 MiB.
const AT_ONCE: usize = 4;

/// How long a login waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);

/// Hashes and checks passwords on blocking threads.
#[derive(Clone)]
pub struct Passwords {
    turns: Arc<Semaphore>,
}

impl Default for Passwords {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self { turns: Arc::new(Semaphore::new(cores.min(AT_ONCE))) }
    }
}

impl Passwords {
    /// The hash in PHC form, with a random salt.
    ///
    /// # Errors
    /// Busy, with the time to try again.
    pub async fn hash(&self, password: String) -> Result<String> {
        let turn = self.turn().await?;
        let hash = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let hash: Result<PasswordHash, _> = Argon2::default().hash_password(password.as_bytes());
            hash.map(|h| h.to_string())
        });
        hash.await.map_err(Error::internal)?.map_err(|e| Error::internal(e.to_string()))
    }

    /// Whether the password has this hash; for no hash it takes as long and says no.
    pub async fn verify(&self, password: String, hash: Option<String>) -> Result<bool> {
        let turn = self.turn().await?;
        let good = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let known = hash.is_some();
            let matches =
                Argon2::default().verify_password(password.as_bytes(), hash.as_deref().unwrap_or(DECOY));
            known && matches.is_ok()
        });
        good.await.map_err(Error::internal)
    }

    async fn turn(&self) -> Result<OwnedSemaphorePermit> {
        let turn = tokio::time::timeout(PATIENCE, self.turns.clone().acquire_owned()).await;
        let busy = || {
            Error::new(Code::ResourceExhausted, "LOGINS_BUSY", "too many logins at once")
                .retry_after(Duration::from_secs(2))
        };
        turn.map_err(|_| busy())?.map_err(Error::internal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_matches() {
        let passwords = Passwords::default();
        let hash = passwords.hash("correct horse".into()).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert_ne!(hash, passwords.hash("correct horse".into()).await.unwrap(), "the salt is not random");
        assert!(passwords.verify("correct horse".into(), Some(hash.clone())).await.unwrap());
        assert!(!passwords.verify("battery staple".into(), Some(hash)).await.unwrap());
    }

    #[test]
    fn the_decoy_costs_what_a_real_hash_costs() {
        let decoy = PasswordHash::new(DECOY).unwrap();
        let real: PasswordHash = Argon2::default().hash_password(b"any").unwrap();
        assert_eq!(decoy.algorithm, real.algorithm);
        assert_eq!(decoy.params, real.params);
        assert_eq!(decoy.hash.unwrap().len(), real.hash.unwrap().len());
    }

    #[tokio::test]
    async fn nobody_has_no_password() {
        assert!(!Passwords::default().verify(String::new(), None).await.unwrap());
    }
}
