//! The use cases, on domain types. Each takes the caller and decides by the tables, which are the truth here.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crater_api::convert::to_unix_millis;
use crater_domain::{AccountId, Error, Result, UserId};
use crater_store::user::{self, Member, NewAccount, NewUser};
use crater_store::{Db, Tx};
use tokio::sync::watch;
use uuid::Uuid;

use crate::attempts::Attempts;
use crate::keys::Keys;
use crate::passwords::Passwords;

/// The account that every installation begins with.
pub const DEFAULT_ACCOUNT: &str = "default";
/// The user that every installation begins with.
pub const ADMIN: &str = "admin";

/// Tells the time; tests bring their own.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// Who calls, as the access token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The user.
    pub user: UserId,
    /// The session that the token belongs to.
    pub session: Uuid,
}

impl Caller {
    /// The user behind a request that passed the auth layer; a service has no business here.
    pub fn of(caller: &crater_auth::Caller) -> Result<Self> {
        let user = caller.require_user()?.clone();
        let session = Uuid::try_parse(caller.session().unwrap_or_default()).map_err(Error::internal)?;
        Ok(Self { user, session })
    }
}

/// The user service's state. Clones share it.
#[derive(Clone)]
pub struct App {
    pub(crate) db: Db,
    pub(crate) keys: Keys,
    pub(crate) passwords: Passwords,
    pub(crate) attempts: Arc<Attempts>,
    /// How long a session lasts, however often it is refreshed.
    pub(crate) session_life: Duration,
    clock: Clock,
    changed: Arc<watch::Sender<()>>,
}

impl App {
    pub(crate) async fn new(db: Db, session_life: Duration, clock: Clock) -> Result<Self> {
        let keys = Keys::load(db.clone(), to_unix_millis(clock())).await?;
        Ok(Self {
            db,
            keys,
            passwords: Passwords::default(),
            attempts: Arc::default(),
            session_life,
            clock,
            changed: Arc::new(watch::Sender::new(())),
        })
    }

    pub(crate) fn now(&self) -> SystemTime {
        (self.clock)()
    }

    pub(crate) fn now_ms(&self) -> i64 {
        to_unix_millis(self.now())
    }

    /// Hears of every change that this process makes.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// After a commit: those who watch look again.
    pub(crate) fn tell(&self) {
        self.changed.send_replace(());
    }

    /// Makes the first account and the first user, if that user never was there; says whether it was made. Nothing of an
    /// installation that has or had them is changed.
    pub async fn bootstrap_admin(&self, password: String) -> Result<bool> {
        let admin: UserId = ADMIN.parse().map_err(Error::internal)?;
        let account: AccountId = DEFAULT_ACCOUNT.parse().map_err(Error::internal)?;
        let id = admin.clone();
        if self.db.read::<_, Error, _>(Tx::ReadUser, move |c| Ok(user::is_user_id_used(c, &id)?)).await? {
            return Ok(false);
        }
        if password.is_empty() {
            return Err(Error::field("password", "must not be empty"));
        }
        let password_hash = self.passwords.hash(password).await?;
        let now_ms = self.now_ms();
        let made = self.db.transaction::<_, Error, _>(Tx::Bootstrap, move |c| {
            user::lock(c)?;
            if user::is_user_id_used(c, &admin)? {
                return Ok(false);
            }
            if user::account(c, &account)?.is_none() {
                let display_name = "Default".to_owned();
                user::create_account(
                    c,
                    &NewAccount { id: account.clone(), display_name, parent: None, created_ms: now_ms },
                )?;
            }
            let new = NewUser {
                id: admin.clone(),
                display_name: "Administrator".to_owned(),
                platform_admin: true,
                password_hash: password_hash.clone(),
                created_ms: now_ms,
            };
            user::create_user(c, &new)?;
            user::add_member(c, &Member { account: account.clone(), user: admin.clone(), manager: true })?;
            Ok(true)
        });
        let made = made.await?;
        self.tell();
        Ok(made)
    }
}
