//! The folder of one `crater up`: whose it is, and the secrets in it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use crater_auth::MeshKey;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// The folder, held by this process until it is dropped.
pub struct DataDir {
    path: PathBuf,
    _lock: Flock<File>,
}

impl DataDir {
    /// Makes the folder (readable by its owner alone) and takes it.
    ///
    /// # Errors
    /// It cannot be made, or another process has it.
    pub fn take(path: &Path) -> Result<Self> {
        let mut builder = DirBuilder::new();
        builder
            .recursive(true)
            .mode(0o700)
            .create(path)
            .with_context(|| format!("--data {}", path.display()))?;
        // commands run elsewhere, so every path that is handed on must be absolute
        let path = path.canonicalize().with_context(|| format!("--data {}", path.display()))?;
        let name = path.join("lock");
        let file = OpenOptions::new().create(true).write(true).truncate(false).mode(0o600).open(&name)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Self { path, _lock: lock }),
            Err((_, Errno::EWOULDBLOCK)) => bail!(
                "--data {}: another crater runs on this folder: stop it, or name another folder",
                path.display()
            ),
            Err((_, errno)) => Err(errno).with_context(|| format!("locking {}", name.display())),
        }
    }

    /// A place in the folder.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The key that the services share, made at the first start.
    ///
    /// # Errors
    /// It cannot be read or written.
    pub fn mesh_key(&self) -> Result<MeshKey> {
        Ok(MeshKey::load_or_create(&self.join("mesh.key"))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_belongs_to_one_process_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        let first = DataDir::take(&path).unwrap();
        let error = DataDir::take(&path).err().unwrap().to_string();
        assert!(error.contains("--data") && error.contains("another crater"), "{error}");
        drop(first);
        DataDir::take(&path).unwrap();
    }
}
