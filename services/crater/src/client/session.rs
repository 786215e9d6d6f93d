//! What `crater login` remembers: one session for each server, in one file of the user's own.
//!
//! The file is replaced whole, never written in place. A refresh token works once, and its second use ends the whole
//! session: so whoever trades one in holds the lock file, and reads the sessions again after getting it.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// How long to wait for another `crater` that is trading its refresh token.
const LOCK_PATIENCE: Duration = Duration::from_secs(20);

/// What is remembered of one login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The user's id.
    pub user: String,
    pub access_token: String,
    /// Milliseconds since 1970.
    pub access_expires: i64,
    pub refresh_token: String,
}

/// The sessions, by the server's address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sessions {
    /// The server of the last login.
    pub current: Option<String>,
    pub sessions: BTreeMap<String, Session>,
}

/// The file.
#[derive(Debug, Clone)]
pub struct Store {
    dir: PathBuf,
}

/// Keeps others out until it is dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Store {
    /// In `CRATER_CONFIG_DIR`, else `crater` in `XDG_CONFIG_HOME`, else `~/.config/crater`.
    pub fn of_environment() -> Result<Self, Error> {
        let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let dir = set("CRATER_CONFIG_DIR")
            .or_else(|| Some(set("XDG_CONFIG_HOME")?.join("crater")))
            .or_else(|| Some(set("HOME")?.join(".config/crater")))
            .ok_or_else(|| {
                Error::local("finding the sessions", "neither HOME nor CRATER_CONFIG_DIR is set")
            })?;
        Ok(Self { dir })
    }

    /// In this folder.
    #[cfg(test)]
    pub fn at(dir: &std::path::Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    fn path(&self) -> PathBuf {
        self.dir.join("sessions.json")
    }

    /// What is remembered; nothing where there is no file.
    pub fn read(&self) -> Result<Sessions, Error> {
        let path = self.path();
        let doing = || format!("reading {}", path.display());
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| Error::local(doing(), e)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Sessions::default()),
            Err(error) => Err(Error::local(doing(), error)),
        }
    }

    /// Waits until no other `crater` changes the sessions.
    pub async fn lock(&self) -> Result<Lock, Error> {
        self.make_dir()?;
        let path = self.dir.join("sessions.lock");
        let doing = || format!("locking {}", path.display());
        let file = private().write(true).create(true).open(&path).map_err(|e| Error::local(doing(), e))?;
        let attempts = async {
            loop {
                match file.try_lock() {
                    Ok(()) => return Ok(()),
                    Err(TryLockError::WouldBlock) => tokio::time::sleep(Duration::from_millis(20)).await,
                    Err(TryLockError::Error(error)) => return Err(Error::local(doing(), error)),
                }
            }
        };
        match tokio::time::timeout(LOCK_PATIENCE, attempts).await {
            Ok(locked) => locked?,
            Err(_) => return Err(Error::local(doing(), "another crater holds it")),
        }
        Ok(Lock { _file: file })
    }

    /// Replaces what is remembered. Whoever calls it holds the lock.
    pub fn write(&self, sessions: &Sessions, _lock: &Lock) -> Result<(), Error> {
        let path = self.path();
        let new = self.dir.join(format!("sessions.{}.new", std::process::id()));
        let write = || -> std::io::Result<()> {
            let bytes = serde_json::to_vec_pretty(sessions)?;
            // left by a process of the same id that died: only the holder of the lock writes
            let _ = std::fs::remove_file(&new);
            let mut file = private().write(true).create_new(true).open(&new)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            std::fs::rename(&new, &path)
        };
        write().map_err(|e| Error::local(format!("writing {}", path.display()), e))
    }

    fn make_dir(&self) -> Result<(), Error> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.dir)
            .map_err(|e| Error::local(format!("making {}", self.dir.display()), e))
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

/// The address of a server, in one spelling.
pub fn server_address(text: &str) -> Result<String, Error> {
    let text = text.trim_end_matches('/');
    let wrong = || Error::flag("--server", format!("{text:?} must be http://HOST:PORT or https://HOST:PORT"));
    let uri: tonic::transport::Uri = text.parse().map_err(|_| wrong())?;
    let scheme = uri.scheme_str().filter(|s| ["http", "https"].contains(s)).ok_or_else(wrong)?;
    let authority = uri.authority().filter(|a| !a.host().is_empty()).ok_or_else(wrong)?;
    if uri.path() != "/" || uri.query().is_some() || authority.as_str().contains('@') {
        return Err(wrong());
    }
    Ok(format!("{scheme}://{}", authority.as_str().to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn sessions(refresh: &str) -> Sessions {
        let session = Session {
            user: "ann".into(),
            access_token: "a".into(),
            access_expires: 1,
            refresh_token: refresh.into(),
        };
        Sessions { current: Some("http://x".into()), sessions: [("http://x".into(), session)].into() }
    }

    #[tokio::test]
    async fn what_is_written_is_read_and_nobody_else_may_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::at(&dir.path().join("deep/er"));
        assert_eq!(store.read().unwrap(), Sessions::default());
        let lock = store.lock().await.unwrap();
        store.write(&sessions("r1"), &lock).unwrap();
        store.write(&sessions("r2"), &lock).unwrap();
        assert_eq!(store.read().unwrap(), sessions("r2"));
        let mode = std::fs::metadata(store.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[tokio::test]
    async fn only_one_holds_the_lock_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::at(dir.path());
        let first = store.lock().await.unwrap();
        let mut second = Box::pin(store.lock());
        assert!(futures::poll!(&mut second).is_pending());
        drop(first);
        second.await.unwrap();
    }

    #[test]
    fn a_server_has_one_spelling() {
        assert_eq!(server_address("http://Host:80/").unwrap(), "http://host:80");
        for bad in ["", "host:80", "ftp://h", "http://", "http://h/path", "http://u@h", "http://h?q"] {
            assert!(server_address(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_damaged_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::at(dir.path());
        std::fs::write(store.path(), "{").unwrap();
        assert!(store.read().unwrap_err().to_string().contains("sessions.json"));
    }
}
