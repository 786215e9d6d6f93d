//! Programs under measurement: started on free ports, watched from outside, ended with their owner.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// A started program; killed when it is dropped.
pub struct Process {
    child: Child,
    /// What it is, in reports.
    pub name: String,
    /// Processor time of what ran before under this name, in seconds.
    earlier: f64,
}

impl Process {
    /// Starts a program whose standard error goes to `log`.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Result<Self> {
        let log = std::fs::File::options().create(true).append(true).open(log)?;
        command.stdin(Stdio::null()).stderr(log);
        let child = command.spawn().with_context(|| format!("starting {name}: {command:?}"))?;
        Ok(Self { child, name: name.to_owned(), earlier: 0.0 })
    }

    /// Reads its standard output, which must be piped, until `done` makes something of a line.
    pub fn read_until<T>(&mut self, done: impl Fn(&str) -> Option<T>) -> Result<T> {
        let output = self.child.stdout.take().context("its output is not piped")?;
        let mut lines = BufReader::new(output).lines();
        let found = loop {
            match lines.next() {
                Some(line) => {
                    if let Some(found) = done(&line?) {
                        break found;
                    }
                }
                None => bail!("{} ended before it was ready; see its log", self.name),
            }
        };
        // what it prints later must not fill the pipe
        std::thread::spawn(move || lines.for_each(drop));
        Ok(found)
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.earlier += self.seconds().unwrap_or(0.0);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM; how it ended, within `most`.
    pub async fn terminate(&mut self, most: Duration) -> Result<std::process::ExitStatus> {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id())?);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM)?;
        until("its end after SIGTERM", most, async || self.child.try_wait().ok().flatten()).await
    }

    /// Takes the place of one that was killed.
    pub fn succeed(&mut self, mut next: Self) {
        next.earlier = self.earlier;
        *self = next;
    }

    /// Processor time that this process used so far, in seconds.
    fn seconds(&self) -> Option<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks: f64 = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
        // Linux counts in hundredths of a second whatever the kernel's own tick is
        Some(ticks / 100.0)
    }

    /// Processor time in seconds, of earlier processes of this name too.
    pub fn cpu_seconds(&self) -> f64 {
        self.earlier + self.seconds().unwrap_or(0.0)
    }

    /// The most memory that the process had at one time, in MiB.
    pub fn peak_mib(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        kib.unwrap_or(0.0) / 1024.0
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A program of ours, beside this one.
pub fn program(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let path = own.parent().context("this program is nowhere")?.join(name);
    if !path.is_file() {
        bail!("{} is not there: build it first (cargo build --release --workspace --bins)", path.display());
    }
    Ok(path)
}

/// Waits for a condition, for at most `most`.
pub async fn until<T>(
    what: &str,
    most: Duration,
    mut condition: impl AsyncFnMut() -> Option<T>,
) -> Result<T> {
    let end = Instant::now() + most;
    loop {
        if let Some(found) = condition().await {
            return Ok(found);
        }
        if Instant::now() > end {
            bail!("waited {} s in vain for {what}", most.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
