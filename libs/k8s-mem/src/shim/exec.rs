//! The last step before the command: a fresh process that ties itself to the shim and becomes the command.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{getppid, setsid};

use super::open_lock;

/// Becomes the command; returns only when it cannot, and leaves the reason in the error file.
pub(super) fn exec(args: &[OsString]) -> Result<u8, String> {
    let [lock, error_file, parent, cwd, program, rest @ ..] = args else {
        return Err("exec: want LOCK ERROR_FILE PARENT CWD COMMAND…".into());
    };
    let why = match prepare(Path::new(lock), parent, &PathBuf::from(cwd)) {
        Ok(()) => {
            let error = Command::new(program).args(rest).exec();
            format!("exec {}: {error}", program.to_string_lossy())
        }
        Err(why) => why,
    };
    std::fs::write(Path::new(error_file), &why).map_err(|e| format!("{why}; telling so: {e}"))?;
    Ok(127)
}

fn prepare(lock: &Path, parent: &OsString, cwd: &Path) -> Result<(), String> {
    setsid().map_err(|e| format!("making a session: {e}"))?;
    set_pdeathsig(Signal::SIGKILL).map_err(|e| format!("tying to the shim: {e}"))?;
    if parent.to_string_lossy() != getppid().to_string() {
        return Err("the shim died meanwhile".into());
    }
    // the command and all its descendants hold the lock too, by inheritance: should the shim itself be killed, the
    // next start still waits for what it left
    let lock = open_lock(lock).map_err(|e| format!("opening the lock: {e}"))?;
    lock.lock_shared().map_err(|e| format!("taking the lock: {e}"))?;
    fcntl(&lock, FcntlArg::F_SETFD(FdFlag::empty())).map_err(|e| format!("keeping the lock: {e}"))?;
    std::mem::forget(lock);
    std::env::set_current_dir(cwd).map_err(|e| format!("chdir to {}: {e}", cwd.display()))
}
