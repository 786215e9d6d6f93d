//! Why a call is refused before its handler saw it, or why a key is no key.

use std::path::PathBuf;
use std::time::Duration;

use crater_domain::Code;

/// A refusal, or a key that cannot be used.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error("sign in first: the call carries no token (authorization: Bearer ...)")]
    TokenMissing,
    #[error("the token cannot be read: {0}")]
    TokenMalformed(&'static str),
    #[error("the token's signature or key is not ours")]
    TokenForged,
    #[error("the token is of kind {found:?} where {wanted:?} is needed")]
    TokenWrongKind { found: String, wanted: &'static str },
    #[error("the token is for somebody else: its {0} is not ours")]
    TokenNotForUs(&'static str),
    #[error("the token has expired: refresh it or sign in again")]
    TokenExpired,
    #[error("the token is not valid yet: compare the clocks")]
    TokenNotYetValid,
    #[error("the token's user is not known")]
    UserUnknown,
    #[error("the user is suspended")]
    UserSuspended,
    #[error("the session has ended: sign in again")]
    SessionRevoked,
    #[error("only a platform admin may do this")]
    NotPlatformAdmin,
    #[error("only a service of the mesh may call this")]
    ServicesOnly,
    #[error("the keys that verify tokens have not been heard yet")]
    KeysNotHeard,
    #[error("the user service has not been heard for too long to know who may call")]
    IdentitiesNotHeard,
    #[error("{path}: {why}")]
    KeyFile { path: PathBuf, why: String },
    #[error("the key cannot be used: {0}")]
    Key(&'static str),
}

impl Error {
    /// The stable word for machines (`google.rpc.ErrorInfo.reason`).
    pub fn reason(&self) -> &'static str {
        match self {
            Self::TokenMissing => "TOKEN_MISSING",
            Self::TokenMalformed(_) => "TOKEN_MALFORMED",
            Self::TokenForged => "TOKEN_FORGED",
            Self::TokenWrongKind { .. } => "TOKEN_WRONG_KIND",
            Self::TokenNotForUs(_) => "TOKEN_NOT_FOR_US",
            Self::TokenExpired => "TOKEN_EXPIRED",
            Self::TokenNotYetValid => "TOKEN_NOT_YET_VALID",
            Self::UserUnknown => "USER_UNKNOWN",
            Self::UserSuspended => "USER_SUSPENDED",
            Self::SessionRevoked => "SESSION_REVOKED",
            Self::NotPlatformAdmin => "NOT_PLATFORM_ADMIN",
            Self::ServicesOnly => "SERVICES_ONLY",
            Self::KeysNotHeard => "KEYS_NOT_HEARD",
            Self::IdentitiesNotHeard => "IDENTITIES_NOT_HEARD",
            Self::KeyFile { .. } | Self::Key(_) => "INTERNAL",
        }
    }

    /// The kind of refusal.
    pub fn code(&self) -> Code {
        match self {
            Self::NotPlatformAdmin | Self::ServicesOnly => Code::PermissionDenied,
            Self::KeysNotHeard | Self::IdentitiesNotHeard => Code::Unavailable,
            Self::KeyFile { .. } | Self::Key(_) => Code::Internal,
            _ => Code::Unauthenticated,
        }
    }
}

impl From<Error> for crater_domain::Error {
    fn from(error: Error) -> Self {
        let code = error.code();
        if code == Code::Internal {
            return Self::internal(error);
        }
        let refusal = Self::new(code, error.reason(), error.to_string());
        if code == Code::Unavailable { refusal.retry_after(Duration::from_secs(1)) } else { refusal }
    }
}
