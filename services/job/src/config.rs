//! The service's configuration.

use std::path::PathBuf;
use std::time::Duration;

use crater_domain::Error;
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
    /// How much of the jobs' output is kept.
    pub logs: LogConfig,
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
            logs: LogConfig::default(),
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

/// How much of the jobs' output is kept, once it was written.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// Bytes of text that are kept of each start of a replica: half of them from its beginning, half from its end.
    pub replica_bytes: i64,
    /// Bytes that all kept output may take in the database, compressed; 0: none is kept. What ended longest ago goes first.
    pub total_bytes: i64,
    /// Logs of running replicas that are followed at one time.
    pub streams: usize,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { replica_bytes: 16 << 20, total_bytes: 2 << 30, streams: 64 }
    }
}

impl LogConfig {
    /// The least that can be kept of a replica, in bytes: a few blocks.
    const LEAST: i64 = 1 << 20;

    /// Names the setting that makes no sense.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.replica_bytes < Self::LEAST {
            return Err(Error::field(
                "logs.replica_bytes",
                format!("must be at least {} bytes", Self::LEAST),
            ));
        }
        if self.total_bytes != 0 && self.total_bytes < self.replica_bytes {
            let text = "must be 0, or at least logs.replica_bytes";
            return Err(Error::field("logs.total_bytes", text));
        }
        if self.streams == 0 {
            return Err(Error::field("logs.streams", "must be at least 1"));
        }
        Ok(())
    }
}
