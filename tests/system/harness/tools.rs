//! Where the programs of others are. `tests/setup.sh` brings what is missing.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A program of the tests' own folder, else of `PATH`.
fn program(name: &str) -> PathBuf {
    let own = own_folder().join("bin").join(name);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file());
    [Some(own).filter(|file| file.is_file()), on_path]
        .into_iter()
        .flatten()
        .next()
        .unwrap_or_else(|| panic!("{name} is not there: run tests/setup.sh"))
}

fn own_folder() -> PathBuf {
    std::env::var_os("CRATER_TOOLS").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/crater-tools"),
        PathBuf::from,
    )
}

/// kubectl on the cluster of a kubeconfig.
pub fn kubectl(kubeconfig: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(program("kubectl"));
    command.arg("--kubeconfig").arg(kubeconfig).args(args);
    command
}

/// grpcurl without TLS, with a token if there is one.
pub fn grpcurl(token: Option<&str>, args: &[&str]) -> Command {
    let mut command = Command::new(program("grpcurl"));
    command.arg("-plaintext");
    if let Some(token) = token {
        command.arg("-H").arg(format!("authorization: Bearer {token}"));
    }
    command.args(args);
    command
}

/// The script that drives a browser.
pub fn browser(script: &str) -> Command {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser");
    assert!(folder.join("node_modules").is_dir(), "playwright-core is not there: run tests/setup.sh");
    let mut command = Command::new(program("node"));
    command.arg(folder.join(script)).env("CHROMIUM", program("chromium"));
    command
}
