//! What can be wrong with a scenario file.

use std::path::PathBuf;

/// A file that cannot be run. Every variant names the file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Reading it.
    #[error("{}: reading: {source}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not a scenario: the cause names line and field.
    #[error("{}: {source}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_yaml_ng::Error,
    },
    /// It is a scenario that makes no sense.
    #[error("{}: {field}: {why}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The field, such as `jobs[2].account`.
        field: String,
        /// What is wrong.
        why: String,
    },
    /// There is nothing to run.
    #[error("{}: no .yaml files", path.display())]
    Empty {
        /// The folder.
        path: PathBuf,
    },
}

/// A fault in a field, before it is known which file it is in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub field: String,
    pub why: String,
}

impl Fault {
    pub fn new(field: impl Into<String>, why: impl Into<String>) -> Self {
        Self { field: field.into(), why: why.into() }
    }
}
