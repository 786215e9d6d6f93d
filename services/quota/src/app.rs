//! The use cases, on domain types.

use std::sync::Arc;
use std::time::SystemTime;

use crater_api::convert::to_unix_millis;
use crater_auth::Role;
use crater_domain::{Error, FieldViolation, Limits, QuotaSubject, ResourceKind, Result};
use crater_store::quota::{self, Quota};
use crater_store::{Db, Once, Tx};
use tokio::sync::watch;

use crate::usage::{Usage, UsageOf};

pub use crater_auth::Caller;

/// Tells the time; tests bring their own.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// What of a quota changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// All rows are replaced.
    All(Limits),
    /// These rows are replaced; one that is not in `rows` is removed.
    Some {
        /// The rows.
        rows: Limits,
        /// Which.
        named: Vec<ResourceKind>,
    },
}

impl Change {
    fn apply(&self, to: Limits) -> Limits {
        match self {
            Self::All(rows) => rows.clone(),
            Self::Some { rows, named } => named.iter().fold(to, |mut limits, kind| {
                match rows.get(kind) {
                    Some(limit) => limits.insert(kind.clone(), *limit),
                    None => limits.remove(kind),
                };
                limits
            }),
        }
    }
}

/// The quota service's state. Clones share it.
#[derive(Clone)]
pub struct App {
    pub(crate) db: Db,
    usage: UsageOf,
    clock: Clock,
    changed: Arc<watch::Sender<()>>,
}

impl App {
    pub(crate) fn new(db: Db, usage: UsageOf, clock: Clock) -> Self {
        Self { db, usage, clock, changed: Arc::new(watch::Sender::new(())) }
    }

    pub(crate) fn now_ms(&self) -> i64 {
        to_unix_millis((self.clock)())
    }

    /// Hears of every change that this process makes.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// The limits, and what is in use if that is known.
    pub async fn get(&self, caller: &Caller, subject: QuotaSubject) -> Result<(Quota, Option<Vec<Usage>>)> {
        caller.require_object("quota", &subject, &subject.account, Role::Member)?;
        if caller.is_platform_admin() && !caller.account_exists(&subject.account).await {
            return Err(Error::not_found("quota", &subject));
        }
        let wanted = subject.clone();
        let limits = self.db.read::<_, Error, _>(Tx::GetQuota, move |c| Ok(quota::quota(c, &wanted)?));
        let (limits, usage) = tokio::join!(limits, self.usage.get(&subject));
        Ok((limits?, usage))
    }

    /// Changes limits, if they are still at `version` (when given).
    pub async fn update(
        &self,
        caller: &Caller,
        subject: QuotaSubject,
        change: Change,
        version: Option<i64>,
        how: Once,
    ) -> Result<Quota> {
        self.must_exist(caller, &subject).await?;
        let now_ms = how.now_ms;
        let updated = self
            .db
            .once::<_, Error, _>(Tx::UpdateQuota, how, move |c| {
                let was = quota::quota(c, &subject)?;
                let limits = change.apply(was.limits);
                Ok(quota::put_quota(c, &subject, &limits, version, now_ms)?)
            })
            .await?;
        self.changed.send_replace(());
        Ok(updated)
    }

    /// Limits of nobody would never bind, and a misspelt name would never be found.
    async fn must_exist(&self, caller: &Caller, subject: &QuotaSubject) -> Result<()> {
        let field = |what: String| {
            let description = format!("{what} is not there");
            Error::fields(vec![FieldViolation { field: "quota.name".to_owned(), description }])
        };
        if !caller.account_exists(&subject.account).await {
            return Err(field(subject.account.resource_name()));
        }
        match &subject.user {
            Some(user) if !caller.user_exists(user).await => Err(field(user.resource_name())),
            _ => Ok(()),
        }
    }
}
