//! The gateway's configuration file.

use std::path::PathBuf;

use crater_service::{ServerConfig, Target};
use serde::{Deserialize, Serialize};

/// What the file may say; every key has a flag or a default.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub server: ServerConfig,
    /// Origins whose pages may call from a browser: `scheme://host[:port]`. None, unless named.
    pub allowed_origins: Vec<String>,
    /// The key that the services of the mesh share.
    pub mesh_key: Option<PathBuf>,
    pub user: Option<Target>,
    pub quota: Option<Target>,
    pub job: Option<Target>,
    pub scheduling: Option<Target>,
}
