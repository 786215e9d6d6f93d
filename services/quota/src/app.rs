//! The use cases, on domain types.

use std::sync::Arc;
use std::time::SystemTime;

use crater_api::convert::to_unix_millis;
use crater_auth::{Directory, Role};
use crater_domain::{
    Code, Error, FieldViolation, Limits, Parent, QuotaSubject, ResourceKind, Result, Weight,
};
use crater_store::quota::{self, Quota};
use crater_store::{Conn, Db, Once, Tx};
use tokio::sync::watch;

use crate::usage::{Usage, UsageOf};

pub use crater_auth::Caller;

/// Tells the time; tests bring their own.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// What of a quota changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// The rows as they shall be.
    pub rows: Limits,
    /// All rows are replaced, not only those named.
    pub all: bool,
    /// These rows are replaced; one that is not in `rows` is removed.
    pub named: Vec<ResourceKind>,
    /// The weight, where it changes.
    pub weight: Option<Weight>,
}

impl Change {
    fn apply(&self, to: Limits) -> Limits {
        if self.all {
            return self.rows.clone();
        }
        self.named.iter().fold(to, |mut limits, kind| {
            match self.rows.get(kind) {
                Some(limit) => limits.insert(kind.clone(), *limit),
                None => limits.remove(kind),
            };
            limits
        })
    }
}

/// A page of quotas, each with what is used if that is known.
pub struct Page {
    /// By account, an account's own first.
    pub quotas: Vec<(Quota, Option<Vec<Usage>>)>,
    /// Where the next page begins: behind this one. None on the last page.
    pub next: Option<QuotaSubject>,
}

/// The quota service's state. Clones share it.
#[derive(Clone)]
pub struct App {
    pub(crate) db: Db,
    usage: UsageOf,
    directory: Directory,
    clock: Clock,
    changed: Arc<watch::Sender<()>>,
}

impl App {
    pub(crate) fn new(db: Db, usage: UsageOf, directory: Directory, clock: Clock) -> Self {
        Self { db, usage, directory, clock, changed: Arc::new(watch::Sender::new(())) }
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
        let (limits, usage) = tokio::join!(limits, self.usage.get(std::slice::from_ref(&subject)));
        Ok((limits?, usage.and_then(|usage| usage.into_iter().next())))
    }

    /// The quotas of an account and the users in it, or of all accounts that the caller may see: `size` of them behind `after`.
    pub async fn list(
        &self,
        caller: &Caller,
        parent: Parent,
        after: Option<QuotaSubject>,
        size: usize,
    ) -> Result<Page> {
        let accounts = match parent {
            Parent::Account(account) => {
                caller.require(&account, Role::Member)?;
                if caller.is_platform_admin() && !caller.account_exists(&account).await {
                    return Err(Error::not_found("account", account.resource_name()));
                }
                vec![account]
            }
            Parent::All if caller.is_platform_admin() => self.directory.account_tree().into_keys().collect(),
            Parent::All => {
                let mut accounts = caller.accounts();
                accounts.sort();
                accounts
            }
        };
        let read = move |c: &mut Conn| Ok(quota::page(c, &accounts, after.as_ref(), size + 1)?);
        let mut quotas = self.db.read::<_, Error, _>(Tx::ListQuotas, read).await?;
        let more = quotas.len() > size;
        quotas.truncate(size);
        let subjects: Vec<QuotaSubject> = quotas.iter().map(|quota| quota.subject.clone()).collect();
        let usage = self.usage.get(&subjects).await;
        let usage: Vec<Option<Vec<Usage>>> = match usage {
            Some(usage) => usage.into_iter().map(Some).collect(),
            None => vec![None; quotas.len()],
        };
        let next = subjects.into_iter().last().filter(|_| more);
        Ok(Page { quotas: quotas.into_iter().zip(usage).collect(), next })
    }

    /// Changes limits, if they are still at `version` (when given). An account's own are a platform admin's to change, a user's those
    /// of the account's managers, too.
    pub async fn update(
        &self,
        caller: &Caller,
        subject: QuotaSubject,
        change: Change,
        version: Option<i64>,
        how: Once,
    ) -> Result<Quota> {
        may_change(caller, &subject)?;
        self.must_exist(caller, &subject).await?;
        let now_ms = how.now_ms;
        let updated = self
            .db
            .once::<_, Error, _>(Tx::UpdateQuota, how, move |c| {
                let was = quota::quota(c, &subject)?;
                let limits = change.apply(was.limits);
                let weight = change.weight.unwrap_or(was.weight);
                Ok(quota::put_quota(c, &subject, &limits, weight, version, now_ms)?)
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

/// A stranger's quota, and one that is not there, read alike.
fn may_change(caller: &Caller, subject: &QuotaSubject) -> Result<()> {
    let role = if subject.user.is_some() { Role::Manager } else { Role::Member };
    caller.require_object("quota", subject, &subject.account, role)?;
    if subject.user.is_some() || caller.is_platform_admin() {
        return Ok(());
    }
    let message = format!(
        "only a platform admin may change the quota of {} itself; its managers change those of the users in it",
        subject.account.resource_name()
    );
    Err(Error::new(Code::PermissionDenied, "NOT_PLATFORM_ADMIN", message))
}
