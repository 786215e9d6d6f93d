//! The service's configuration. Secrets come by file or environment only.

use std::path::PathBuf;
use std::time::Duration;

use crater_service::ServerConfig;
use serde::{Deserialize, Serialize};

/// What can be set.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How it listens.
    pub server: ServerConfig,
    /// Where its tables are: a folder, `sqlite:///path/of/a/folder`, or `mysql://user:password@host:port/prefix` (`docs/database.md`).
    pub database: String,
    /// The file with the key that the services share.
    pub mesh_key: PathBuf,
    /// How long a session lasts, however often it is refreshed.
    pub session_hours: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            server: ServerConfig::default(),
            database: "data".to_owned(),
            mesh_key: PathBuf::from("data/mesh.key"),
            session_hours: 30 * 24,
        }
    }
}

impl Config {
    pub(crate) fn session_life(&self) -> Duration {
        Duration::from_secs(u64::from(self.session_hours.max(1)) * 3600)
    }
}
