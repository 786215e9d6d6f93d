//! Why a gateway does not start.

/// Why a gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Service(#[from] crater_service::Error),
    #[error(transparent)]
    Auth(#[from] crater_auth::Error),
    #[error("the contract has {path}, but no backend owns it")]
    NoBackend { path: &'static str },
}
