//! The service's configuration.

use std::path::PathBuf;
use std::time::Duration;

use crater_engine::{Backfill, Placing, Queueing, Settings};
use crater_service::{ServerConfig, Target};
use serde::{Deserialize, Serialize};

/// What can be set.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How it listens.
    pub server: ServerConfig,
    /// The file with the key that the services share.
    pub mesh_key: PathBuf,
    /// The user service: `http://host:port`.
    pub user: Option<Target>,
    /// The quota service, which streams the limits: `http://host:port`.
    pub quota: Option<Target>,
    /// The kubeconfig file; without it the Pod's own service account, or the user's default file.
    pub kubeconfig: Option<PathBuf>,
    /// Seconds that a leader of which nothing is heard stays in office; 2 to 300.
    pub lease_seconds: u32,
    /// Seconds for which a job that just started is spared by all but those who are owed their guarantee.
    pub protection_seconds: u32,
    /// Whether preemptible jobs may be moved, so that a waiting one finds a place.
    pub consolidate: bool,
    /// Whether best-effort jobs count against limits, too.
    pub best_effort_limited: bool,
    /// In which order the jobs of one account go: `fifo`, `priority`, `sjf` (by priority, then the shortest GPU-time that is left by what was
    /// learned from jobs like it and by what owners say, with ageing), or `las` (by priority, then least attained service).
    pub order: Queueing,
    /// Where replicas go among the nodes that have room: `crater` (where the least is lost to the jobs that there are), `fragmentation`,
    /// `best-fit`, `pack` (the tightest node) or `spread`.
    pub placement: Placing,
    /// Who may pass a job that waits for room: `easy` (those that do not delay the first in line), `conservative` (those that delay nobody: who waits
    /// has a start) or `none`.
    pub backfill: Backfill,
    /// After how many hours half of what accounts borrowed is forgotten; 0: only what they borrow now counts.
    pub half_life_hours: u32,
    /// Where every cycle's input and decision is recorded, for `crater replay --recording`. It grows without bound: it is for looking into things.
    pub record: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            server: ServerConfig::default(),
            mesh_key: PathBuf::from("data/mesh.key"),
            user: None,
            quota: None,
            kubeconfig: None,
            lease_seconds: 10,
            protection_seconds: 60,
            consolidate: true,
            best_effort_limited: false,
            order: Queueing::default(),
            placement: Placing::default(),
            backfill: Backfill::default(),
            half_life_hours: 0,
            record: None,
        }
    }
}

impl Config {
    /// How long a leader of which nothing is heard stays in office.
    ///
    /// # Errors
    /// A time that is too short to be renewed in, or too long to wait for.
    pub fn lease(&self) -> Result<Duration, &'static str> {
        match self.lease_seconds {
            2..=300 => Ok(Duration::from_secs(self.lease_seconds.into())),
            _ => Err("must be from 2 to 300"),
        }
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings {
            protection_ms: i64::from(self.protection_seconds) * 1000,
            consolidate: self.consolidate,
            best_effort_limited: self.best_effort_limited,
            order: self.order,
            placement: self.placement,
            backfill: self.backfill,
            half_life_ms: i64::from(self.half_life_hours) * 3_600_000,
        }
    }
}
