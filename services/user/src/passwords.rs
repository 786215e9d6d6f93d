//! Passwords: argon2id at OWASP's first choice (19 MiB, two passes, one lane), a few at a time.

use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::{ARGON2ID_IDENT, Algorithm, Argon2, Block, Params, Version};
use crater_domain::{Code, Error, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Stands in for the hash of a user who is not there, so that a guess costs the same and tells nothing. No password has it.
const DECOY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$Y3JhdGVyLWRlY295LXNhbA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// The most that are hashed at once, each in 19 MiB.
const AT_ONCE: usize = 4;

/// The blocks of 1 KiB that a hash's memory is asked for, though it touches fewer. Above 32 MiB glibc maps memory apart and gives it
/// back to the system at once; below, it neither gives aligned memory back nor uses it again (seen: 19 MiB more with every login).
const MAPPED: usize = 33 << 10;

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
            let (salt, params) = (Salt::generate(), Params::DEFAULT);
            Ok::<_, argon2::password_hash::Error>(PasswordHash {
                algorithm: ARGON2ID_IDENT,
                version: Some(Version::V0x13.into()),
                params: ParamsString::try_from(&params)?,
                hash: Some(digest(password.as_bytes(), &salt, params)?),
                salt: Some(salt),
            })
        });
        let hash = hash.await.map_err(Error::internal)?.map_err(|e| Error::internal(e.to_string()))?;
        Ok(hash.to_string())
    }

    /// Whether the password has this hash; for no hash it takes as long and says no.
    pub async fn verify(&self, password: String, hash: Option<String>) -> Result<bool> {
        let turn = self.turn().await?;
        let good = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let known = hash.is_some();
            let matches = matches(password.as_bytes(), hash.as_deref().unwrap_or(DECOY))?;
            Ok::<_, argon2::password_hash::Error>(known && matches)
        });
        good.await.map_err(Error::internal)?.map_err(|e| Error::internal(e.to_string()))
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

/// Whether the password has this hash; compared in constant time.
fn matches(password: &[u8], hash: &str) -> argon2::password_hash::Result<bool> {
    let hash = PasswordHash::new(hash)?;
    let (Some(salt), Some(expected)) = (&hash.salt, &hash.hash) else { return Ok(false) };
    let ours = hash.algorithm == ARGON2ID_IDENT && hash.version == Some(Version::V0x13.into());
    Ok(ours && digest(password, salt, Params::try_from(&hash)?)? == *expected)
}

fn digest(password: &[u8], salt: &[u8], params: Params) -> argon2::password_hash::Result<Output> {
    let blocks = params.block_count();
    let mut memory = Vec::with_capacity(blocks.max(MAPPED));
    memory.resize(blocks, Block::new());
    let mut out = [0; Params::DEFAULT_OUTPUT_LEN];
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon2.hash_password_into_with_memory(password, salt, &mut out, &mut memory)?;
    Ok(Output::new(&out)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn logins_leave_no_memory_behind() {
        fn resident_kib() -> u64 {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find_map(|l| l.strip_prefix("RssAnon:")).unwrap();
            line.trim().trim_end_matches(" kB").parse().unwrap()
        }
        let passwords = Passwords::default();
        let before = resident_kib();
        let mut logins = tokio::task::JoinSet::new();
        for _ in 0..24 {
            let passwords = passwords.clone();
            logins.spawn(async move { passwords.verify("password".into(), None).await });
        }
        while let Some(done) = logins.join_next().await {
            assert!(!done.unwrap().unwrap());
        }
        // room for the tests beside this one
        let grown = resident_kib().saturating_sub(before);
        assert!(grown < 6 * 19 * 1024, "24 logins left {grown} KiB behind");
    }

    #[tokio::test]
    async fn only_the_right_password_matches() {
        let passwords = Passwords::default();
        let hash = passwords.hash("correct horse".into()).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert_ne!(hash, passwords.hash("correct horse".into()).await.unwrap(), "the salt is not random");
        assert!(passwords.verify("correct horse".into(), Some(hash.clone())).await.unwrap());
        assert!(!passwords.verify("battery staple".into(), Some(hash)).await.unwrap());
    }

    #[tokio::test]
    async fn the_decoy_costs_what_a_real_hash_costs() {
        let real = Passwords::default().hash("any".into()).await.unwrap();
        let (decoy, real) = (PasswordHash::new(DECOY).unwrap(), PasswordHash::new(&real).unwrap());
        assert_eq!(
            (decoy.algorithm, decoy.version, &decoy.params),
            (real.algorithm, real.version, &real.params)
        );
        assert_eq!(decoy.salt.unwrap().len(), real.salt.unwrap().len());
        assert_eq!(decoy.hash.unwrap().len(), real.hash.unwrap().len());
    }

    #[tokio::test]
    async fn nobody_has_no_password() {
        assert!(!Passwords::default().verify(String::new(), None).await.unwrap());
    }
}
