//! The shim: a small process between a kubelet and a container's command.
//!
//! It keeps three promises. When the pipe from its parent closes, however the parent died, everything it started is
//! killed. When it reports the end, nothing it started is left, not even what left the process group. And while
//! anything runs, a shared lock on a file says so, which the next start waits for ([`wait_for_old_shims`]).
//!
//! The parent writes the [`Spec`] as one JSON line when the shim has said `ready`, which it does holding the lock, so
//! no command starts for a parent that is gone. Then lines: `term` and `kill` downwards; `started PID` and `log`
//! (something was written) upwards.

mod exec;
mod pump;
mod reap;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufRead, Write};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// The first argument by which a program knows that it is to be a shim.
pub const SHIM_COMMAND: &str = "__shim";

/// How long a start waits for the processes of an earlier run.
pub const OLD_SHIMS_PATIENCE: Duration = Duration::from_secs(30);

/// What a shim runs.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub argv: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub cwd: PathBuf,
    pub log: PathBuf,
    pub status: PathBuf,
}

/// How it ended; written once, whole.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Status {
    pub exit_code: i32,
    pub signal: Option<i32>,
    /// The command could not be started.
    pub start_error: Option<String>,
}

/// The file whose lock says that processes of a data directory still run.
pub(crate) fn lock_path(data_dir: &Path) -> PathBuf {
    data_dir.join("shims.lock")
}

fn open_lock(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// Waits until no process of an earlier run on this data directory is left, and refuses to wait for ever.
pub async fn wait_for_old_shims(data_dir: &Path, patience: Duration) -> Result<(), Error> {
    std::fs::create_dir_all(data_dir).map_err(Error::io(format!("making {}", data_dir.display())))?;
    let path = lock_path(data_dir);
    let lock = open_lock(&path).map_err(Error::io(format!("opening {}", path.display())))?;
    let began = Instant::now();
    loop {
        match lock.try_lock() {
            // released again on return: from here on only our own shims can take it
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if began.elapsed() < patience => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Err(TryLockError::WouldBlock) => {
                return Err(Error::OldShims { lock: path, waited_ms: began.elapsed().as_millis() });
            }
            Err(TryLockError::Error(source)) => {
                return Err(Error::Io { doing: format!("locking {}", path.display()), source });
            }
        }
    }
}

/// SIGKILL to a process group, if it is still there.
pub(crate) fn kill_group(pid: i32) {
    let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
}

/// What a program does whose first argument was [`SHIM_COMMAND`]; `args` are those after it. It must be called from
/// the main thread, before others are started.
pub fn shim_main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let ended = match args.split_first() {
        Some((word, rest)) if word == "run" => run(rest),
        Some((word, rest)) if word == "exec" => exec::exec(rest),
        _ => Err("usage: run LOCK | exec LOCK ERROR_FILE PARENT CWD COMMAND…".into()),
    };
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(why) => {
            let _ = writeln!(std::io::stderr(), "shim: {why}");
            ExitCode::from(125)
        }
    }
}

/// Says things to the kubelet without ever waiting for it.
pub(crate) struct Bell(File);

impl Bell {
    fn new() -> Result<Self, String> {
        let stdout =
            std::io::stdout().as_fd().try_clone_to_owned().map_err(|e| format!("taking stdout: {e}"))?;
        // a kubelet that does not read must not hold the command up: a full pipe rings already
        fcntl(&stdout, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))
            .map_err(|e| format!("setting stdout up: {e}"))?;
        Ok(Self(File::from(stdout)))
    }

    pub fn say(&self, line: &str) {
        let _ = (&self.0).write_all(format!("{line}\n").as_bytes());
    }
}

fn run(args: &[OsString]) -> Result<u8, String> {
    let [lock_path] = args else { return Err("run: want the path of the lock".into()) };
    let lock_path = PathBuf::from(lock_path);
    nix::sys::prctl::set_child_subreaper(true).map_err(|e| format!("becoming a subreaper: {e}"))?;
    let lock = open_lock(&lock_path).map_err(|e| format!("opening {}: {e}", lock_path.display()))?;
    lock.lock_shared().map_err(|e| format!("locking {}: {e}", lock_path.display()))?;
    let bell = Arc::new(Bell::new()?);
    bell.say("ready");
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(|e| format!("reading the spec: {e}"))?;
    if !line.ends_with('\n') {
        // the parent died before it said what to run
        return Ok(0);
    }
    let spec: Spec = serde_json::from_str(&line).map_err(|e| format!("reading the spec: {e}"))?;
    let ended = supervise(&spec, &lock_path, &bell);
    let (status, code) = match ended {
        Ok(status) => {
            let code = status.exit_code;
            (status, code)
        }
        Err(why) => (Status { exit_code: 128, signal: None, start_error: Some(why) }, 128),
    };
    write_status(&spec.status, &status)?;
    drop(lock);
    Ok(u8::try_from(code).unwrap_or(255))
}

fn supervise(spec: &Spec, lock: &Path, bell: &Arc<Bell>) -> Result<Status, String> {
    let log = OpenOptions::new().create(true).append(true).open(&spec.log);
    let log = log.map_err(|e| format!("opening the log {}: {e}", spec.log.display()))?;
    let error_file = spec.status.with_extension("start-error");
    let mut child = spawn(spec, lock, &error_file)?;
    let main = reap::Main::new(Pid::from_raw(child.id().cast_signed()));
    let pumps = pump::start(&mut child, &log, bell)?;
    bell.say(&format!("started {}", main.pid()));
    reap::obey(main.clone());
    let ended = reap::wait_for_all(&main);
    pumps.finish();
    let start_error = std::fs::read_to_string(&error_file).ok();
    let status = ExitStatus::from_raw(ended);
    let exit_code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    Ok(Status { exit_code, signal: status.signal(), start_error })
}

/// Starts this same program as the `exec` stage, which becomes the command.
fn spawn(spec: &Spec, lock: &Path, error_file: &Path) -> Result<Child, String> {
    Command::new("/proc/self/exe")
        .arg(SHIM_COMMAND)
        .arg("exec")
        .arg(lock)
        .arg(error_file)
        .arg(std::process::id().to_string())
        .arg(&spec.cwd)
        .args(&spec.argv)
        .env_clear()
        .envs(&spec.env)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| format!("starting {:?}: {e}", spec.argv.first()))
}

fn write_status(path: &Path, status: &Status) -> Result<(), String> {
    let write = || -> std::io::Result<()> {
        let draft = path.with_extension("draft");
        std::fs::write(&draft, serde_json::to_vec(status)?)?;
        std::fs::rename(&draft, path)
    };
    write().map_err(|e| format!("writing {}: {e}", path.display()))
}
