//! The programs that are tested, and when they may run.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Condvar, Mutex};

/// The password of user `admin` in every mesh of the tests.
pub const PASSWORD: &str = "correct horse battery staple";

/// What a failed test should be able to tell.
pub const LOG: &str = "info,h2=warn,hyper=warn,kube=warn,crater_service::readiness=warn,crater_gateway=debug";

/// The path of one of our programs, from the folder where Cargo puts what it builds.
pub fn path_of(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let path = own.parent().and_then(Path::parent).unwrap().join(name);
    assert!(
        path.is_file(),
        "{} is not there: run `cargo build --workspace --bins --tests` first",
        path.display()
    );
    path
}

/// One of our programs, without what the caller's environment says about Crater.
pub fn program(name: &str) -> Command {
    let mut command = Command::new(path_of(name));
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|n| n.starts_with("CRATER_")) {
            command.env_remove(name);
        }
    }
    command
}

/// The command line.
pub fn command() -> Command {
    program("crater")
}

/// At most two meshes at once: more would only wait for each other's processor.
pub struct Turn;

static RUNNING: Mutex<usize> = Mutex::new(0);
static FREED: Condvar = Condvar::new();

impl Turn {
    /// Waits for one.
    pub fn take() -> Self {
        let mut running = FREED.wait_while(RUNNING.lock().unwrap(), |n| *n >= 2).unwrap();
        *running += 1;
        Self
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *RUNNING.lock().unwrap() -= 1;
        FREED.notify_one();
    }
}
