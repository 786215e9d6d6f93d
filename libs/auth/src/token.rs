//! Tokens: what they say, and when they are believed.
//!
//! A token is a JWT signed with EdDSA. Its header names the key (`kid`) and the kind (`typ`), and nothing else in the
//! header is followed. Access tokens speak for a user and are signed by the user service; service tokens speak for a
//! service and are signed with the key that the mesh shares. Neither passes for the other.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crater_domain::UserId;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Error, KeySet, MeshKey, Signer};

/// How long an access token lives.
pub const ACCESS_TOKEN_LIFE: Duration = Duration::from_secs(600);
/// How far two clocks of ours may be apart.
const LEEWAY: i64 = 10;
const ISSUER: &str = "crater";
const AUDIENCE: &str = "crater";
const MESH_AUDIENCE: &str = "crater-mesh";
const ACCESS: &str = "access";
const SERVICE: &str = "service";
/// Longer than any token of ours; a longer text is not worth decoding.
const LONGEST: usize = 4096;

/// Seconds since 1970; 0 before.
pub fn unix_seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    i64::try_from(since).unwrap_or(i64::MAX)
}

/// For whom an access token is issued.
#[derive(Clone, Debug)]
pub struct AccessGrant {
    pub user: UserId,
    /// The session that the token belongs to.
    pub session: String,
    /// The user's epoch: the token dies when the user's grows.
    pub epoch: i64,
}

/// What an access token says. Times are seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessClaims {
    pub iss: String,
    pub aud: String,
    /// The user's resource name.
    pub sub: String,
    pub exp: i64,
    pub nbf: i64,
    pub iat: i64,
    pub jti: String,
    pub token_use: String,
    /// The user's id.
    pub user: UserId,
    pub session: String,
    pub epoch: i64,
}

#[derive(Debug, Serialize, Deserialize)]
struct ServiceClaims {
    iss: String,
    aud: String,
    sub: String,
    exp: i64,
    nbf: i64,
    iat: i64,
    jti: String,
    token_use: String,
}

/// A token that was believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    Access(AccessClaims),
    /// The name of the service.
    Service(String),
}

impl Signer {
    /// Issues an access token that lives for [`ACCESS_TOKEN_LIFE`] from `now`.
    pub fn access_token(
        &self,
        grant: &AccessGrant,
        now: SystemTime,
    ) -> Result<(String, AccessClaims), Error> {
        let now = unix_seconds(now);
        let claims = AccessClaims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: grant.user.resource_name(),
            exp: now.saturating_add(i64::try_from(ACCESS_TOKEN_LIFE.as_secs()).unwrap_or(0)),
            nbf: now,
            iat: now,
            jti: uuid::Uuid::new_v4().to_string(),
            token_use: ACCESS.to_owned(),
            user: grant.user.clone(),
            session: grant.session.clone(),
            epoch: grant.epoch,
        };
        Ok((self.sign(ACCESS, &claims)?, claims))
    }

    pub(crate) fn service_token(
        &self,
        service: &str,
        now: SystemTime,
        life: Duration,
    ) -> Result<String, Error> {
        let now = unix_seconds(now);
        self.sign(
            SERVICE,
            &ServiceClaims {
                iss: ISSUER.to_owned(),
                aud: MESH_AUDIENCE.to_owned(),
                sub: format!("services/{service}"),
                exp: now.saturating_add(i64::try_from(life.as_secs()).unwrap_or(0)),
                nbf: now,
                iat: now,
                jti: uuid::Uuid::new_v4().to_string(),
                token_use: SERVICE.to_owned(),
            },
        )
    }
}

/// What of a token's header we allow. Anything that would bring a key along is refused by being unknown.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    typ: String,
    kid: String,
}

/// Believes a token at the time `now`, or says why not.
pub(crate) fn verify(token: &str, keys: &KeySet, mesh: &MeshKey, now: SystemTime) -> Result<Token, Error> {
    // read before the key: a token of a key that is retired meanwhile is remembered for nothing
    let generation = keys.generation();
    if let Some(claims) = keys.believed().get(token, generation) {
        in_time(claims.nbf, claims.iat, claims.exp, now)?;
        return Ok(Token::Access(claims));
    }
    let header = header(token)?;
    if header.alg != "EdDSA" {
        return Err(Error::TokenForged);
    }
    match header.typ.as_str() {
        ACCESS => {
            let claims: AccessClaims = signed(token, &keys.get(&header.kid)?)?;
            about(&claims.iss, &claims.aud, AUDIENCE, &claims.token_use, ACCESS)?;
            in_time(claims.nbf, claims.iat, claims.exp, now)?;
            if claims.sub != claims.user.resource_name() {
                return Err(Error::TokenMalformed("its subject is not its user"));
            }
            keys.believed().put(token, generation, claims.clone());
            Ok(Token::Access(claims))
        }
        SERVICE => {
            if header.kid != crate::mesh::KEY_ID {
                return Err(Error::TokenForged);
            }
            let claims: ServiceClaims = signed(token, &mesh.public())?;
            about(&claims.iss, &claims.aud, MESH_AUDIENCE, &claims.token_use, SERVICE)?;
            in_time(claims.nbf, claims.iat, claims.exp, now)?;
            match claims.sub.strip_prefix("services/") {
                Some(service) if !service.is_empty() => Ok(Token::Service(service.to_owned())),
                _ => Err(Error::TokenMalformed("its subject is no service")),
            }
        }
        other => Err(Error::TokenWrongKind { found: other.chars().take(20).collect(), wanted: ACCESS }),
    }
}

fn header(token: &str) -> Result<Header, Error> {
    use base64::Engine as _;
    if token.len() > LONGEST {
        return Err(Error::TokenMalformed("it is too long"));
    }
    let parts: Vec<&str> = token.split('.').collect();
    let [header, _, _] = parts[..] else {
        return Err(Error::TokenMalformed("it does not have three parts"));
    };
    let header = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(header)
        .map_err(|_| Error::TokenMalformed("its header is not base64url"))?;
    serde_json::from_slice(&header).map_err(|_| Error::TokenMalformed("its header is not {alg, typ, kid}"))
}

/// The claims, if `key` signed them. Their meaning is not judged here: the library's own checks take a claim of the
/// wrong type for an absent one.
fn signed<T: DeserializeOwned>(token: &str, key: &DecodingKey) -> Result<T, Error> {
    let mut only_the_signature = Validation::new(Algorithm::EdDSA);
    only_the_signature.required_spec_claims.clear();
    only_the_signature.validate_exp = false;
    only_the_signature.validate_nbf = false;
    only_the_signature.validate_aud = false;
    match jsonwebtoken::decode::<T>(token, key, &only_the_signature) {
        Ok(data) => Ok(data.claims),
        Err(error) => Err(match error.kind() {
            jsonwebtoken::errors::ErrorKind::Json(_) => {
                Error::TokenMalformed("a claim is absent or of the wrong type")
            }
            _ => Error::TokenForged,
        }),
    }
}

fn about(iss: &str, aud: &str, our_aud: &str, kind: &str, our_kind: &'static str) -> Result<(), Error> {
    if iss != ISSUER {
        return Err(Error::TokenNotForUs("issuer"));
    }
    if kind != our_kind {
        return Err(Error::TokenWrongKind { found: kind.chars().take(20).collect(), wanted: our_kind });
    }
    if aud != our_aud {
        return Err(Error::TokenNotForUs("audience"));
    }
    Ok(())
}

fn in_time(nbf: i64, iat: i64, exp: i64, now: SystemTime) -> Result<(), Error> {
    let now = unix_seconds(now);
    if now >= exp.saturating_add(LEEWAY) {
        return Err(Error::TokenExpired);
    }
    if now < nbf.max(iat).saturating_sub(LEEWAY) {
        return Err(Error::TokenNotYetValid);
    }
    Ok(())
}

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
