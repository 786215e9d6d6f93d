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
    /// Seconds that a Pod which was told to end waits, once it has, for the job service to keep its output; 0: not at all.
    pub log_patience_seconds: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { server: ServerConfig::default(), kubeconfig: None, workers: 16, log_patience_seconds: 60 }
    }
}
