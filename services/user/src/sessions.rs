//! Signing in and out.

use std::time::Duration;

use crater_auth::AccessGrant;
use crater_domain::{Code, Error, Result, UserId};
use crater_store::user::{self, Presented, Session, User};
use crater_store::{Conn, Tx};
use uuid::Uuid;

use crate::app::{App, Caller};
use crate::refresh;

/// A pair of tokens.
#[derive(Clone, PartialEq, Eq)]
pub struct Tokens {
    /// Sent with every call.
    pub access: String,
    /// When it ends, in milliseconds since 1970.
    pub access_expires_ms: i64,
    /// Good once.
    pub refresh: String,
    /// When it ends, in milliseconds since 1970.
    pub refresh_expires_ms: i64,
}

/// What became of a presented refresh token.
enum Outcome {
    Rotated {
        session: Session,
        user: User,
        token: String,
    },
    Refused(Error),
    /// Refused, and the session was ended for it.
    Ended(Error),
}

impl App {
    /// Trades a name and a password for tokens. A wrong name and a wrong password read alike and take as long.
    ///
    /// # Errors
    /// Too many attempts, with the time to wait; wrong credentials; suspended.
    pub async fn login(&self, id: UserId, password: String) -> Result<(Tokens, User)> {
        self.take_attempt(&id)?;
        let wanted = id.clone();
        let hash =
            self.db.read::<_, Error, _>(Tx::ReadUser, move |c| Ok(user::password_hash(c, &wanted)?)).await?;
        if !self.passwords.verify(password, hash.clone()).await? {
            return Err(wrong_credentials());
        }
        self.attempts.forgive(&id);

        let now_ms = self.now_ms();
        let session = Session {
            id: Uuid::now_v7(),
            user: id.clone(),
            expires_ms: now_ms.saturating_add(millis(self.session_life)),
            revoked_ms: None,
        };
        let (token, secret_hash) = refresh::mint(session.id);
        let opened = session.clone();
        let user = self.db.transaction::<_, Error, _>(Tx::Login, move |c| {
            let checked = hash.as_deref().unwrap_or_default();
            let Some(user) = user::sign_in(c, &id, checked, now_ms)? else {
                // suspended; or the password was changed while it was checked
                return active(c, &id).and(Err(wrong_credentials()));
            };
            user::open_session(c, &opened, &secret_hash, now_ms)?;
            Ok(user)
        });
        let user = user.await?;
        Ok((self.tokens(&user, &session, token, now_ms)?, user))
    }

    /// Takes one of the user's tries to give the right password, or says how long to wait for one.
    pub(crate) fn take_attempt(&self, user: &UserId) -> Result<()> {
        self.attempts.take(user, self.now_ms()).map_err(|wait| {
            Error::new(Code::ResourceExhausted, "LOGIN_ATTEMPTS", "too many attempts to sign in as this user")
                .retry_after(wait)
        })
    }

    /// Trades a refresh token for a new pair. The second use of one ends its session, for whoever holds it: one of the two is
    /// a thief, and nobody can tell which.
    pub async fn refresh(&self, token: &str) -> Result<Tokens> {
        let old = refresh::parse(token)?;
        let now_ms = self.now_ms();
        let outcome = self.db.transaction::<_, Error, _>(Tx::Refresh, move |c| {
            Ok(match user::present(c, &old, now_ms)? {
                Presented::Unknown => {
                    Outcome::Refused(refresh::refused("REFRESH_TOKEN_UNKNOWN", "is not known"))
                }
                Presented::Ended(_) => {
                    Outcome::Refused(refresh::refused("SESSION_ENDED", "its session has ended"))
                }
                Presented::Reused(session) => {
                    // an outcome and not an error, because it must be committed
                    user::revoke_session(c, &session.user, session.id, now_ms)?;
                    Outcome::Ended(refresh::refused(
                        "REFRESH_TOKEN_REUSED",
                        "was used before: its session has ended",
                    ))
                }
                Presented::Good(session) => {
                    let user = active(c, &session.user)?;
                    let (token, secret_hash) = refresh::mint(session.id);
                    user::rotate(c, &session, &old, &secret_hash, now_ms)?;
                    Outcome::Rotated { session, user, token }
                }
            })
        });
        match outcome.await? {
            Outcome::Rotated { session, user, token } => self.tokens(&user, &session, token, now_ms),
            Outcome::Refused(error) => Err(error),
            Outcome::Ended(error) => {
                self.tell();
                Err(error)
            }
        }
    }

    fn tokens(&self, user: &User, session: &Session, refresh: String, now_ms: i64) -> Result<Tokens> {
        let grant = AccessGrant { user: user.id.clone(), session: session.id.to_string(), epoch: user.epoch };
        let (access, claims) = self.keys.signer(now_ms)?.access_token(&grant, self.now())?;
        let access_expires_ms = claims.exp.saturating_mul(1000);
        Ok(Tokens { access, access_expires_ms, refresh, refresh_expires_ms: session.expires_ms })
    }

    /// Ends the caller's session. Ending it twice is no error.
    pub async fn logout(&self, caller: &Caller) -> Result<()> {
        let (caller, now_ms) = (caller.clone(), self.now_ms());
        let ended = self.db.transaction::<_, Error, _>(Tx::Logout, move |c| {
            Ok(user::revoke_session(c, &caller.user, caller.session, now_ms)?)
        });
        if ended.await? {
            self.tell();
        }
        Ok(())
    }
}

fn wrong_credentials() -> Error {
    Error::new(Code::Unauthenticated, "WRONG_CREDENTIALS", "wrong user name or password")
}

/// The user, if it may act; a suspension waits until what it does is done.
fn active(conn: &mut Conn, id: &UserId) -> Result<User> {
    match user::lock_user(conn, id)? {
        Some(user) if !user.suspended => Ok(user),
        Some(_) => Err(Error::new(Code::PermissionDenied, "USER_SUSPENDED", "the user is suspended")),
        None => Err(wrong_credentials()),
    }
}

pub(crate) fn millis(d: Duration) -> i64 {
    i64::try_from(d.as_millis()).unwrap_or(i64::MAX)
}
