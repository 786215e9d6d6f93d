//! What is measured: the whole mesh in one process, or the services as processes of their own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::process::{Process, program};
use crate::processes::Processes;
use crate::up::Up;

/// How the mesh runs.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `crater up`: all in one process.
    Up,
    /// Six services and the in-memory Kubernetes, a process each.
    Processes,
}

enum Form {
    Up(Box<Up>),
    Processes(Box<Processes>),
}

/// A running mesh.
pub struct System {
    /// Where the gateway listens.
    pub url: String,
    form: Form,
}

impl System {
    /// Starts it with the nodes of a file.
    pub async fn start(
        kind: Kind,
        nodes: &Path,
        time_scale: f64,
        database_url: Option<&str>,
    ) -> Result<Self> {
        let form = match kind {
            Kind::Up => Form::Up(Box::new(Up::start(&flags(nodes, time_scale, database_url))?)),
            Kind::Processes => {
                Form::Processes(Box::new(Processes::start(nodes, time_scale, database_url).await?))
            }
        };
        Ok(Self::of(form))
    }

    /// Starts `crater up` on a folder that has a database in it.
    pub async fn resume(
        folder: TempDir,
        nodes: impl FnOnce(&TempDir) -> Result<PathBuf>,
        time_scale: f64,
        database_url: Option<&str>,
    ) -> Result<Self> {
        let nodes = nodes(&folder)?;
        let up = Up::start_on(folder, &flags(&nodes, time_scale, database_url))?;
        Ok(Self::of(Form::Up(Box::new(up))))
    }

    fn of(form: Form) -> Self {
        let url = match &form {
            Form::Up(up) => up.url.clone(),
            Form::Processes(processes) => processes.url(),
        };
        Self { url, form }
    }

    /// Where the job service itself listens.
    pub fn job_url(&self) -> Result<String> {
        match &self.form {
            Form::Up(_) => bail!("in one process the job service has no port"),
            Form::Processes(processes) => Ok(processes.job_url()),
        }
    }

    /// How many services can be killed.
    pub fn services(&self) -> usize {
        match &self.form {
            Form::Up(_) => 1,
            Form::Processes(processes) => processes.count(),
        }
    }

    /// SIGKILL, then a new start; its name.
    pub fn kill_and_restart(&mut self, which: usize) -> Result<String> {
        match &mut self.form {
            Form::Up(_) => bail!("in one process there is no service to kill alone: --mesh processes"),
            Form::Processes(processes) => processes.kill_and_restart(which),
        }
    }

    /// Each process: its name, its processor time in seconds, its peak memory in MiB.
    pub fn used(&self) -> Vec<(String, f64, f64)> {
        let of = |p: &Process| (p.name.clone(), p.cpu_seconds(), p.peak_mib());
        match &self.form {
            Form::Up(up) => vec![of(&up.process)],
            Form::Processes(processes) => processes.all().map(of).collect(),
        }
    }

    /// Processor time of all of it, in seconds.
    pub fn cpu_seconds(&self) -> f64 {
        self.used().iter().map(|u| u.1).sum()
    }

    /// Starts the auditor beside it. `database_url` is the tables' server, if they are on one.
    pub fn audit(&self, acks: &Path, database_url: Option<&str>) -> Result<Auditor> {
        let (kubeconfig, store) = match &self.form {
            Form::Up(up) => (up.kubeconfig(), Up::data(up.folder()).join("db")),
            Form::Processes(processes) => (processes.kubeconfig(), processes.store()),
        };
        let mut command = Command::new(program("crater-audit")?);
        command.arg("--server").arg(&self.url).arg("--kubeconfig").arg(kubeconfig).arg("--acks").arg(acks);
        command.arg("--store").arg(database_url.map_or(store, PathBuf::from));
        let report = acks.with_extension("audit");
        command.stdout(std::fs::File::create(&report)?).env("CRATER_PASSWORD", crate::session::PASSWORD);
        command.stdin(Stdio::null());
        let process = Process::start("auditor", &mut command, &acks.with_extension("audit.log"))?;
        Ok(Auditor { process, report })
    }
}

fn flags(nodes: &Path, time_scale: f64, database_url: Option<&str>) -> Vec<String> {
    let mut flags = vec!["--nodes".to_owned(), nodes.display().to_string()];
    flags.extend(["--time-scale".to_owned(), time_scale.to_string()]);
    if let Some(url) = database_url {
        flags.extend(["--database-url".to_owned(), url.to_owned()]);
    }
    flags
}

/// The auditor beside a run.
pub struct Auditor {
    process: Process,
    report: PathBuf,
}

/// It waits for quiet before it judges.
const VERDICT: Duration = Duration::from_secs(120);

impl Auditor {
    /// Asks for its verdict and prints it; whether it found nothing.
    pub async fn verdict(&mut self) -> Result<bool> {
        let peak = self.process.peak_mib();
        let cpu = self.process.cpu_seconds();
        let left = self.process.terminate(VERDICT).await?;
        println!("\nthe auditor (peak {peak:.0} MiB, {cpu:.1} s of processor) says:");
        print!("{}", std::fs::read_to_string(&self.report).context("reading its report")?);
        Ok(left.success())
    }
}
