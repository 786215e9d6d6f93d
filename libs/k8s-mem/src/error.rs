//! What can go wrong outside the Kubernetes API itself (API refusals travel as `Status` objects).

use std::path::PathBuf;

/// An error of building or running the cluster.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An operation on the file system, a socket or a process.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// Why it did not work.
        source: std::io::Error,
    },
    /// A node that the cluster does not have.
    #[error("node {0:?} does not exist")]
    NoSuchNode(String),
    /// A node that cannot be made.
    #[error("node {name:?}: {why}")]
    BadNode {
        /// The node's name.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// Processes of an earlier run hold the data directory.
    #[error("waiting for processes of an earlier run: {lock} was still held after {waited_ms} ms")]
    OldShims {
        /// The lock they hold.
        lock: PathBuf,
        /// How long was waited.
        waited_ms: u128,
    },
}

impl Error {
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }
}
