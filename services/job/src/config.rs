//! The service's configuration.

use std::path::PathBuf;
use std::time::Duration;

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
    /// The quota service, whose limits are checked early: `http://host:port`; without it the scheduler alone says.
    pub quota: Option<Target>,
    /// The kubeconfig of the cluster; empty: the usual places (`KUBECONFIG`, `~/.kube/config`, the Pod's own).
    pub kubeconfig: PathBuf,
    /// Seconds that an ended job's AIJob and Pods stay in the cluster, for their logs.
    pub ended_ttl_seconds: u64,
    /// Seconds that the deletion of a job is remembered for watchers that resume.
    pub deleted_ttl_seconds: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            server: ServerConfig::default(),
            database: "data".to_owned(),
            mesh_key: PathBuf::from("data/mesh.key"),
            user: None,
            quota: None,
            kubeconfig: PathBuf::new(),
            ended_ttl_seconds: 3600,
            deleted_ttl_seconds: 3600,
        }
    }
}

impl Config {
    pub(crate) fn ended_ttl(&self) -> Duration {
        Duration::from_secs(self.ended_ttl_seconds)
    }

    pub(crate) fn deleted_ttl(&self) -> Duration {
        Duration::from_secs(self.deleted_ttl_seconds)
    }
}
