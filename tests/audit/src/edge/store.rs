//! The tables, read beside the services: every change of a job's row, snapshot by snapshot; limits and accounts.

use std::collections::BTreeMap;
use std::time::Duration;

use crater_store::job::{self, Visible};
use crater_store::{Db, Error, Location, Service, Tx, quota, user};

use super::decode::phase;
use super::{Input, Sink};
use crate::observation::{Observation, Row, Source, Subject};

/// How often the jobs are looked at.
const EVERY: Duration = Duration::from_millis(100);
/// Limits and accounts are looked at once in so many rounds.
const ROUNDS: u32 = 5;
/// Before a database that is not there is looked for again.
const PAUSE: Duration = Duration::from_millis(300);
/// Rows that are read at once.
const BATCH: usize = 500;

/// Follows the tables for ever.
pub async fn follow(location: Location, sink: Sink) {
    loop {
        let Err(error) = run(&location, &sink).await;
        sink.saw(Observation::Link(Source::Store, false)).await;
        sink.send(Input::Trouble(format!("the tables: {error}"))).await;
        tokio::time::sleep(PAUSE).await;
    }
}

async fn run(location: &Location, sink: &Sink) -> Result<std::convert::Infallible, Error> {
    let jobs = Db::look(location, Service::Job)?;
    let quotas = Db::look(location, Service::Quota)?;
    let users = Db::look(location, Service::User)?;
    let mut place = 0;
    let mut up = false;
    let mut round = 0u32;
    loop {
        if round.is_multiple_of(ROUNDS) {
            accounts(&users, sink).await?;
            limits(&quotas, sink).await?;
        }
        place = changes(&jobs, sink, place).await?;
        if !std::mem::replace(&mut up, true) {
            sink.saw(Observation::Link(Source::Store, true)).await;
        }
        round = round.wrapping_add(1);
        tokio::time::sleep(EVERY).await;
    }
}

/// What changed after `place`, in one snapshot where it fits into one. Answers the next place.
async fn changes(db: &Db, sink: &Sink, mut place: i64) -> Result<i64, Error> {
    let began_ms = sink.now_ms();
    loop {
        let next = db
            .read::<_, Error, _>(Tx::ListJobs, move |c| job::changes(c, place, &Visible::All, None, BATCH))
            .await?;
        if next.forgotten > place {
            // deletions were forgotten: what is there is given on all the same
            place = if next.forgotten == i64::MAX { 0 } else { next.forgotten };
            continue;
        }
        place = next.position;
        for row in &next.jobs {
            sink.saw(Observation::Row(seen(row))).await;
        }
        if !next.more {
            sink.saw(Observation::RowsRead { began_ms }).await;
            return Ok(place);
        }
    }
}

fn seen(job: &job::Job) -> Row {
    Row {
        uid: job.uid.to_string(),
        name: job.name.to_string(),
        account: job.name.account.to_string(),
        creator: job.creator.to_string(),
        state: phase(job.state),
        cancelled: job.cancelled,
        revision: job.revision,
        dirty: job.dirty,
        kube_uid: job.kube_uid.clone(),
        change: job.change,
        ended: job.ended_ms.is_some(),
        deleted: job.deleted_ms.is_some(),
        reason: job.status.reason.clone(),
        attempts: job.status.attempts,
    }
}

async fn limits(db: &Db, sink: &Sink) -> Result<(), Error> {
    let all = db.read::<_, Error, _>(Tx::ReadQuotas, |c| quota::changes_since(c, 0)).await?;
    let mut limits: BTreeMap<Subject, BTreeMap<String, i64>> = BTreeMap::new();
    for quota in all.quotas {
        let subject = Subject {
            account: quota.subject.account.to_string(),
            user: quota.subject.user.as_ref().map(ToString::to_string),
        };
        let rows = quota.limits.iter().filter_map(|(kind, limit)| Some((kind.to_string(), limit.limit?)));
        limits.insert(subject, rows.collect());
    }
    sink.saw(Observation::Limits(limits)).await;
    Ok(())
}

async fn accounts(db: &Db, sink: &Sink) -> Result<(), Error> {
    let all = db.read::<_, Error, _>(Tx::ReadIdentities, |c| user::changes_since(c, 0, i64::MAX)).await?;
    let tree = all.accounts.into_iter().map(|a| (a.id.to_string(), a.parent.map(|p| p.to_string())));
    sink.saw(Observation::Accounts(tree.collect())).await;
    Ok(())
}
