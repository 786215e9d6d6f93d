//! `crater up` under measurement.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::Result;
use tempfile::TempDir;

use crate::process::{Process, program};
use crate::session::PASSWORD;

/// The whole mesh in one process, on a folder of its own and free ports.
pub struct Up {
    /// The process.
    pub process: Process,
    /// Where the gateway listens.
    pub url: String,
    folder: TempDir,
}

impl Up {
    /// Starts it on an empty folder.
    pub fn start(flags: &[String]) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("crater-load-").tempdir()?;
        Self::start_on(folder, flags)
    }

    /// Starts it on a folder that may have data in it.
    pub fn start_on(folder: TempDir, flags: &[String]) -> Result<Self> {
        let (process, url) = start(&folder, flags)?;
        Ok(Self { process, url, folder })
    }

    /// Where it keeps its data.
    pub fn data(folder: &TempDir) -> PathBuf {
        folder.path().join("data")
    }

    /// Its own folder.
    pub fn folder(&self) -> &TempDir {
        &self.folder
    }

    /// What kubectl needs.
    pub fn kubeconfig(&self) -> PathBuf {
        Self::data(&self.folder).join("kubeconfig")
    }
}

fn start(folder: &TempDir, flags: &[String]) -> Result<(Process, String)> {
    let mut command = Command::new(program("crater")?);
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|n| n.starts_with("CRATER_")) {
            command.env_remove(name);
        }
    }
    command.args(["up", "--listen", "127.0.0.1:0", "--kube-listen", "127.0.0.1:0", "--data"]);
    command.arg(Up::data(folder)).args(flags).env("CRATER_ADMIN_PASSWORD", PASSWORD).stdout(Stdio::piped());
    let mut process = Process::start("crater up", &mut command, &folder.path().join("log"))?;
    let url = process.read_until(|line| {
        let url = line.trim_start().strip_prefix("console")?.trim();
        Some(url.trim_end_matches('/').to_owned())
    })?;
    Ok((process, url))
}
