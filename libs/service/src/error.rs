//! What can go wrong before a call is ever answered.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a service does not start, listen or dial.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("listening on {addr}: {source}")]
    Listen { addr: SocketAddr, source: std::io::Error },
    #[error("in-process endpoint {name:?} is already being served")]
    AlreadyServed { name: String },
    #[error("reading the TLS {what} from {path}: {why}")]
    TlsFile { what: &'static str, path: PathBuf, why: String },
    #[error("using the TLS certificate: {0}")]
    Tls(#[from] rustls::Error),
    #[error("target {target:?}: {why}")]
    Target { target: String, why: String },
    #[error("reading the configuration: {0}")]
    Config(Box<figment::Error>),
    #[error("{key}: {why}")]
    Setting { key: &'static str, why: String },
    #[error("reading a descriptor set: {0}")]
    Descriptors(#[from] prost::DecodeError),
    #[error("offering reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    #[error("serving: {0}")]
    Serve(#[from] tonic::transport::Error),
    #[error("a server's task ended: {0}")]
    Task(#[from] tokio::task::JoinError),
    #[error("watching for signals: {0}")]
    Signal(std::io::Error),
}

impl Error {
    /// Whether the configuration is to blame, so that the same start cannot go better.
    pub fn is_configuration(&self) -> bool {
        matches!(
            self,
            Self::Config(_)
                | Self::Setting { .. }
                | Self::Target { .. }
                | Self::TlsFile { .. }
                | Self::Tls(_)
        )
    }
}
