//! Jobs of deleted accounts are cancelled.
//!
//! Level-triggered: whatever was deleted since whenever, nothing of it that has not ended is left alone for long. A creation looks at the
//! same knowledge under the account's lock, so none slips past.

use std::time::Duration;

use crater_domain::{AccountId, Error, Result};
use crater_service::Condition;
use crater_store::job;
use crater_store::{Conn, Tx};

use crate::app::App;

/// Jobs that are cancelled in one transaction.
const BATCH: usize = 100;
/// Looked at without any news this often: another replica of this service may have accepted something.
const EVERY: Duration = Duration::from_secs(30);

/// Runs until the tables are away.
pub async fn run(app: App, ready: Condition) -> Result<()> {
    let mut changes = app.directory.changes();
    loop {
        changes.mark_unchanged();
        for account in app.directory.deleted_accounts() {
            while cancel_some(&app, account.clone()).await? {}
        }
        ready.ready();
        let _ = tokio::time::timeout(EVERY, changes.changed()).await;
    }
}

/// Says whether there may be more.
async fn cancel_some(app: &App, account: AccountId) -> Result<bool> {
    let looked = account.clone();
    let any = app.db.read::<_, Error, _>(Tx::ReadJob, move |c| Ok(!job::unended(c, &looked, 1)?.is_empty()));
    if !any.await? {
        return Ok(false);
    }
    let now_ms = app.now_ms();
    let cancel = move |c: &mut Conn| {
        job::lock_account(c, &account)?;
        let some = job::unended(c, &account, BATCH)?;
        let more = some.len() == BATCH;
        for mut job in some {
            job.cancelled = true;
            job.revision += 1;
            job.dirty = true;
            job::save(c, &mut job)?;
            job::add_event(c, job.uid, now_ms, "CancelRequested", "its account was deleted")?;
        }
        Ok(more)
    };
    let more = app.db.transaction::<_, Error, _>(Tx::CancelJob, cancel).await?;
    app.tell_dirty();
    Ok(more)
}
