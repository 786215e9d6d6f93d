//! The key that all services of one mesh share, by which they know each other.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::DecodingKey;

use crate::keys::KEY_BYTES;
use crate::{Error, Signer, generate_seed};

pub(crate) const KEY_ID: &str = "mesh";

/// The shared key. Whoever holds it is a service of the mesh.
#[derive(Clone, Debug)]
pub struct MeshKey {
    signer: Arc<Signer>,
}

impl MeshKey {
    /// A new key that only this process knows.
    pub fn generate() -> Result<Self, Error> {
        Self::from_seed(&generate_seed())
    }

    pub fn from_seed(seed: &[u8]) -> Result<Self, Error> {
        Ok(Self { signer: Arc::new(Signer::from_seed(KEY_ID, seed)?) })
    }

    /// Reads the key from a file: one line, the 32 bytes of the seed in base64.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let refused = |why: String| Error::KeyFile { path: path.to_owned(), why };
        let text = std::fs::read_to_string(path)
            .map_err(|error| refused(format!("reading the mesh key: {error}")))?;
        let seed =
            STANDARD.decode(text.trim()).map_err(|_| refused("the mesh key is not base64".to_owned()))?;
        if seed.len() != KEY_BYTES {
            return Err(refused(format!("a mesh key has {KEY_BYTES} bytes, this one {}", seed.len())));
        }
        Self::from_seed(&seed)
    }

    /// Reads the key, or makes one there at the first start. Two processes that start at once agree on one key, and a
    /// crash leaves either a whole key or none.
    pub fn load_or_create(path: &Path) -> Result<Self, Error> {
        if !path.exists() {
            let refused = |error: std::io::Error| Error::KeyFile {
                path: path.to_owned(),
                why: format!("making the mesh key: {error}"),
            };
            let mut draft = path.as_os_str().to_owned();
            draft.push(format!(".{}", uuid::Uuid::new_v4()));
            let draft = Path::new(&draft);
            let mut file = std::fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(draft)
                .map_err(refused)?;
            let made = writeln!(file, "{}", STANDARD.encode(generate_seed())).and_then(|()| file.sync_all());
            // A link, unlike a rename, does not replace the key that another process put there meanwhile.
            let linked = made.and_then(|()| match std::fs::hard_link(draft, path) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
                result => result,
            });
            let removed = std::fs::remove_file(draft);
            linked.and(removed).map_err(refused)?;
        }
        Self::load(path)
    }

    pub(crate) fn signer(&self) -> &Signer {
        &self.signer
    }

    pub(crate) fn public(&self) -> DecodingKey {
        DecodingKey::from_ed_der(&self.signer.public_key())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_made_once_and_only_its_owner_reads_it() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mesh.key");
        let first = MeshKey::load_or_create(&path).unwrap();
        let second = MeshKey::load_or_create(&path).unwrap();
        assert_eq!(first.signer.public_key(), second.signer.public_key());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o077, 0);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no draft is left behind");
    }

    #[test]
    fn a_broken_key_file_is_refused_and_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mesh.key");
        for broken in ["", "c2hvcnQ=", "not base64!"] {
            std::fs::write(&path, broken).unwrap();
            let error = MeshKey::load_or_create(&path).unwrap_err().to_string();
            assert!(error.contains("mesh.key"), "{error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), broken);
        }
    }
}
