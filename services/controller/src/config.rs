//! The service's configuration.

use std::path::PathBuf;

use crater_service::ServerConfig;
use serde::{Deserialize, Serialize};

/// What can be set.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where health is served.
    pub server: ServerConfig,
    /// The way to the cluster; none: the one that this process runs in, or the user's current one.
    pub kubeconfig: Option<PathBuf>,
    /// Jobs that are worked on at one time.
    pub workers: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { server: ServerConfig::default(), kubeconfig: None, workers: 16 }
    }
}
