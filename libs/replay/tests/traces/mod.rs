//! Where the recorded workloads are.

use std::path::{Path, PathBuf};

/// Their folder: `CRATER_TRACES`, else beside the project. None, with a word about it, where it is absent: the test has nothing to say then.
pub fn traces() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/traces");
    let folder = std::env::var_os("CRATER_TRACES").map_or(beside, PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    println!("note: {} is absent; set CRATER_TRACES to the folder of recorded workloads", folder.display());
    None
}
