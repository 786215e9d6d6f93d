//! Signals down to the command, and the end of everything that it started.

use std::io::BufRead;
use std::sync::{Arc, Mutex, PoisonError};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::{Pid, getpid};

/// The command, and whether its id still means it.
#[derive(Clone)]
pub(super) struct Main {
    pid: Pid,
    reaped: Arc<Mutex<bool>>,
}

impl Main {
    pub fn new(pid: Pid) -> Self {
        Self { pid, reaped: Arc::default() }
    }

    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Signals the command's process group while the command is not reaped, so that no stranger is hit.
    fn signal(&self, signal: Signal) {
        let reaped = self.reaped.lock().unwrap_or_else(PoisonError::into_inner);
        if !*reaped {
            // before it has made its group, only the process itself can be signalled
            if killpg(self.pid, signal).is_err() {
                let _ = kill(self.pid, signal);
            }
        }
    }

    fn reap(&self) -> i32 {
        let mut reaped = self.reaped.lock().unwrap_or_else(PoisonError::into_inner);
        *reaped = true;
        match waitpid(self.pid, None) {
            Ok(WaitStatus::Exited(_, code)) => code << 8,
            Ok(WaitStatus::Signaled(_, signal, _)) => signal as i32,
            _ => 255 << 8,
        }
    }
}

/// Does what the parent says, on a thread of its own: `term`, `kill`, and the end of the pipe, which is `kill` too.
pub(super) fn obey(main: Main) {
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            match line.as_deref() {
                Ok("term") => main.signal(Signal::SIGTERM),
                Ok("kill") | Err(_) => break,
                Ok(_) => {}
            }
        }
        main.signal(Signal::SIGKILL);
    });
}

/// Waits for the command, then kills what it left behind and waits for that too. Answers the raw wait status.
pub(super) fn wait_for_all(main: &Main) -> i32 {
    loop {
        // looked at before it is reaped, so that its group can still be named safely
        match waitid(Id::All, WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).map(|s| s.pid()) {
            Ok(Some(pid)) if pid == main.pid => break,
            Ok(Some(orphan)) => {
                let _ = waitpid(orphan, None);
            }
            Ok(None) | Err(Errno::EINTR) => {}
            Err(_) => break,
        }
    }
    let _ = killpg(main.pid, Signal::SIGKILL);
    let status = main.reap();
    loop {
        // descendants that outlive their parents become children of the shim, which is a subreaper
        children().into_iter().for_each(|pid| {
            let _ = kill(pid, Signal::SIGKILL);
        });
        match waitpid(None::<Pid>, None) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return status,
        }
    }
}

fn children() -> Vec<Pid> {
    let me = getpid().to_string();
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            // the name in brackets may hold anything; the parent is the second field after it
            let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.to_owned();
            (parent == me).then(|| Pid::from_raw(pid))
        })
        .collect()
}
