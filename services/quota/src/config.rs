//! The service's configuration.

use std::path::PathBuf;

use crater_service::{ServerConfig, Target};
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
    /// The user service: `http://host:port`.
    pub user: Option<Target>,
    /// The scheduling service, which knows what is in use: `http://host:port`; without it usage is unknown.
    pub scheduling: Option<Target>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            server: ServerConfig::default(),
            database: "data".to_owned(),
            mesh_key: PathBuf::from("data/mesh.key"),
            user: None,
            scheduling: None,
        }
    }
}
