//! The refresh token's form: `crr_<session>_<secret>`, so that nobody takes it for an access token, nor an access token for it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use crater_domain::{Code, Error, Result};
use sha2::{Digest, Sha256};
use uuid::Uuid;

const PREFIX: &str = "crr_";
const FIELD: &str = "refresh_token";

/// A new token for the session, and the hash to keep.
pub fn mint(session: Uuid) -> (String, [u8; 32]) {
    let secret: [u8; 32] = rand::random();
    let token = format!("{PREFIX}{}_{}", session.simple(), URL_SAFE_NO_PAD.encode(secret));
    (token, Sha256::digest(secret).into())
}

/// The hash of a presented token's secret.
///
/// # Errors
/// Names the field, and says so if it is a token of the wrong kind.
pub fn parse(token: &str) -> Result<[u8; 32]> {
    if token.is_empty() {
        return Err(Error::field(FIELD, "must not be empty"));
    }
    let Some(rest) = token.strip_prefix(PREFIX) else {
        let is_jwt = token.split('.').count() == 3;
        let text = if is_jwt { "is an access token: give the refresh token" } else { "is no refresh token" };
        return Err(Error::field(FIELD, text));
    };
    let secret = rest.split_once('_').and_then(|(session, secret)| {
        Uuid::try_parse(session).ok()?;
        let secret = URL_SAFE_NO_PAD.decode(secret).ok()?;
        <[u8; 32]>::try_from(secret).ok()
    });
    match secret {
        Some(secret) => Ok(Sha256::digest(secret).into()),
        None => Err(Error::field(FIELD, "is no refresh token")),
    }
}

/// A token of the right form that is not good.
pub fn refused(reason: &'static str, why: &'static str) -> Error {
    let mut error = Error::new(Code::Unauthenticated, reason, format!("{FIELD}: {why}; sign in again"));
    error.violations.push(crater_domain::FieldViolation { field: FIELD.into(), description: why.into() });
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_back_to_its_hash() {
        let (token, hash) = mint(Uuid::from_u128(7));
        assert_eq!(parse(&token).unwrap(), hash);
        assert_ne!(mint(Uuid::from_u128(7)).0, token);
    }

    #[test]
    fn an_access_token_is_told_apart() {
        let said = parse("eyJhbGciOi.eyJzdWIi.c2ln").unwrap_err();
        assert!(said.message.contains("access token"), "{said}");
        assert_eq!(said.violations[0].field, FIELD);
        for forged in ["", "x", "crr_", "crr_a_b", "crr_00000000000000000000000000000007_AAAA"] {
            assert_eq!(parse(forged).unwrap_err().violations[0].field, FIELD, "{forged:?}");
        }
    }
}
