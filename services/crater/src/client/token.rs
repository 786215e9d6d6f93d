//! The caller's access token: given by the environment, or the saved one, renewed when it ends.

use std::time::SystemTime;

use crater_api::user::v1::{RefreshTokenRequest, TokenPair};
use tonic::Code;
use tonic::transport::Channel;

use super::session::{Session, Store};
use crate::error::Error;

/// A token that ends sooner than this, in milliseconds, is renewed before it is used.
const MARGIN: i64 = 30_000;

/// Where tokens come from.
#[derive(Debug, Clone)]
pub enum Tokens {
    /// None: for what anybody may call.
    Nobody,
    /// `CRATER_TOKEN`, as it is.
    Given(String),
    /// The session that `crater login` saved for the server.
    Saved { store: Store, server: String, channel: Channel },
}

impl Tokens {
    /// A token that has not ended and is not `stale`, which the server refused.
    pub async fn bearer(&self, stale: Option<&str>) -> Result<String, Error> {
        let (store, server, channel) = match self {
            Self::Nobody => return Ok(String::new()),
            Self::Given(token) => return Ok(token.clone()),
            Self::Saved { store, server, channel } => (store, server, channel),
        };
        let read = || -> Result<Session, Error> {
            let mut sessions = store.read()?.sessions;
            sessions.remove(server).ok_or_else(|| signed_out(server))
        };
        let usable = |s: &Session| {
            stale != Some(s.access_token.as_str())
                && s.access_expires - MARGIN > crater_api::convert::to_unix_millis(SystemTime::now())
        };
        let session = read()?;
        if usable(&session) {
            return Ok(session.access_token);
        }
        let lock = store.lock().await?;
        // another crater may have renewed it while this one waited
        let session = read()?;
        if usable(&session) {
            return Ok(session.access_token);
        }
        let request = RefreshTokenRequest { refresh_token: session.refresh_token.clone() };
        let answer =
            super::auth(channel.clone()).refresh_token(request).await.map_err(|status| {
                match status.code() {
                    Code::Unauthenticated => Error::SignedOut(format!(
                        "the session at {server} has ended: sign in again with crater login"
                    )),
                    _ if super::patience::is_away(&status) => Error::Away(format!(
                        "{server} does not answer: {}",
                        super::patience::why_away(&status)
                    )),
                    _ => Error::refused(&status),
                }
            })?;
        let tokens = answer.into_inner().tokens.ok_or(Error::Answer("the tokens"))?;
        let renewed = session_of(session.user, tokens);
        let token = renewed.access_token.clone();
        let mut sessions = store.read()?;
        sessions.sessions.insert(server.clone(), renewed);
        store.write(&sessions, &lock)?;
        Ok(token)
    }

    /// Whether a refused token can be traded for a new one.
    pub fn renewable(&self) -> bool {
        matches!(self, Self::Saved { .. })
    }
}

/// What is remembered of a pair of tokens.
pub fn session_of(user: String, tokens: TokenPair) -> Session {
    let access_expires = tokens.access_expire_time.as_ref().and_then(crater_api::convert::unix_millis);
    Session {
        user,
        access_token: tokens.access_token,
        access_expires: access_expires.unwrap_or_default(),
        refresh_token: tokens.refresh_token,
    }
}

fn signed_out(server: &str) -> Error {
    Error::SignedOut(format!("not signed in to {server}: use crater login, or set CRATER_TOKEN"))
}
