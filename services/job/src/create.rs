//! Accepting a job.

use std::collections::BTreeMap;
use std::time::Duration;

use crater_auth::Role;
use crater_domain::{AccountId, Code, Error, JobId, JobName, JobSpec, JobUid, ResourceKind, Result, UserId};
use crater_plant::{Bug, planted};
use crater_store::job::{self, Job, NewJob};
use crater_store::{Conn, Once, Tx};
use rand::RngExt;
use uuid::Uuid;

use crate::app::{App, Caller, who};
use crate::limits::gang_within;

/// A job that somebody wants to submit.
#[derive(Debug, Clone)]
pub struct Draft {
    /// Whose queue.
    pub account: AccountId,
    /// Its id; none: one is made.
    pub id: Option<JobId>,
    /// What is wanted.
    pub spec: JobSpec,
    /// The user's own labels.
    pub labels: BTreeMap<String, String>,
}

/// Letters and digits that are not mistaken for one another: 32 of them.
const ALPHABET: &[u8] = b"abcdefghijkmnpqrstuvwxyz23456789";
const SUFFIX: usize = 5;
/// How many made ids are tried before we give up.
const TRIES: usize = 8;
/// When a queue that is full is worth another try.
const FULL_QUEUE: Duration = Duration::from_secs(10);

impl App {
    /// Accepts a job: once this returns, it is never lost.
    ///
    /// # Errors
    /// The fields that are wrong; what the cluster does not have; the limits in the way.
    pub async fn create(&self, caller: &Caller, draft: Draft, how: Once) -> Result<Job> {
        caller.require(&draft.account, Role::Member)?;
        if !caller.account_exists(&draft.account).await {
            return Err(Error::not_found("account", draft.account.resource_name()));
        }
        let creator = caller.require_user()?.clone();
        let (app, now_ms, who) = (self.clone(), how.now_ms, who(caller));
        if planted(Bug::NoLock) {
            let (app, account, creator) = (self.clone(), draft.account.clone(), creator.clone());
            let room = move |c: &mut Conn| app.room_in_queue(c, &account, &creator);
            self.db.rehearse(Tx::CreateJob, room).await?;
        }
        let uid = JobUid(Uuid::now_v7());
        let trace = crater_telemetry::traceparent();
        let accept = move |c: &mut Conn| {
            // inside, because a request that was here before gets its answer again whatever holds now
            app.nodes.check(&draft.spec)?;
            gang_within(&app.limits, &app.directory.lineage(&draft.account), &creator, &draft.spec)?;
            if !planted(Bug::NoLock) {
                app.room_in_queue(c, &draft.account, &creator)?;
            }
            // under the account's lock: whoever clears up after a deletion comes later and finds this job
            if app.directory.deleted_accounts().contains(&draft.account) {
                return Err(Error::not_found("account", draft.account.resource_name()));
            }
            let new = NewJob {
                uid,
                name: JobName { account: draft.account.clone(), job: free_id(c, &draft)? },
                creator: creator.clone(),
                spec: draft.spec.clone(),
                labels: draft.labels.clone(),
                created_ms: now_ms,
                trace: trace.clone(),
            };
            let job = job::create(c, &new)?;
            job::first_event(c, job.uid, now_ms, "Submitted", &format!("submitted by {who}"))?;
            Ok(job)
        };
        let created = if planted(Bug::AnswerBeforeCommit) {
            self.answer_before_commit(how, accept).await?
        } else {
            self.db.once::<_, Error, _>(Tx::CreateJob, how, accept).await?
        };
        self.tell_dirty();
        Ok(created)
    }

    /// The bug of that name: what was only rehearsed is answered, and written when there is time.
    async fn answer_before_commit<F>(&self, how: Once, accept: F) -> Result<Job>
    where
        F: FnMut(&mut Conn) -> Result<Job> + Clone + Send + 'static,
    {
        let rehearsed = Once { validate_only: true, ..how.clone() };
        let answer = self.db.once::<_, Error, _>(Tx::CreateJob, rehearsed, accept.clone()).await?;
        let app = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(700)).await;
            let written = app.db.once::<_, Error, _>(Tx::CreateJob, how, accept).await;
            tracing::warn!(ok = written.is_ok(), "a job was written after it was answered");
            app.tell_dirty();
        });
        Ok(answer)
    }

    /// Whether one more job may wait: by the limits of the account, of those above it, and of the user.
    fn room_in_queue(&self, c: &mut Conn, account: &AccountId, creator: &UserId) -> Result<()> {
        let holds =
            |of: &AccountId, user: Option<&UserId>| self.limits.limit(of, user, &ResourceKind::JobsWaiting);
        // from the top down, so that two accounts with one above them do not wait for each other
        for above in self.directory.lineage(account).into_iter().rev() {
            let limit = holds(&above, None);
            if limit.is_some() || above == *account {
                job::lock_account(c, &above)?;
            }
            if let Some(limit) = limit {
                let waiting = job::waiting(c, &self.directory.within(&above), None)?;
                room(waiting, limit, above.resource_name())?;
            }
        }
        if let Some(limit) = holds(account, Some(creator)) {
            let waiting = job::waiting(c, std::slice::from_ref(account), Some(creator))?;
            room(waiting, limit, format!("{} in {}", creator.resource_name(), account.resource_name()))?;
        }
        Ok(())
    }
}

fn room(waiting: i64, limit: i64, subject: String) -> Result<()> {
    if waiting < limit {
        return Ok(());
    }
    let message = format!("{subject} has {waiting} waiting jobs; the limit jobs.waiting is {limit}");
    Err(Error::new(Code::ResourceExhausted, "TOO_MANY_WAITING", message.clone())
        .with_quota(subject, message)
        .retry_after(FULL_QUEUE))
}

fn free_id(c: &mut Conn, draft: &Draft) -> Result<JobId> {
    if let Some(id) = &draft.id {
        return Ok(id.clone());
    }
    for _ in 0..TRIES {
        let id: JobId = format!("{}-{}", stem(&draft.spec), suffix()).parse().map_err(Error::internal)?;
        let name = JobName { account: draft.account.clone(), job: id };
        if job::by_id(c, &name)?.is_none() {
            return Ok(name.job);
        }
    }
    Err(Error::unavailable("no free id was found for the job"))
}

fn suffix() -> String {
    let mut random = rand::rng();
    (0..SUFFIX).map(|_| char::from(ALPHABET[random.random_range(0..ALPHABET.len())])).collect()
}

/// What a made id begins with: the command's name, else the image's.
fn stem(spec: &JobSpec) -> String {
    let role = spec.roles.first();
    let command = role.and_then(|r| r.command.first()).map(|c| slug(c.rsplit('/').next().unwrap_or(c)));
    let image = || {
        let image = role?.image.as_str();
        let last = image.split('@').next()?.rsplit('/').next()?;
        Some(slug(last.split(':').next()?))
    };
    command
        .filter(|s| !s.is_empty())
        .or_else(image)
        .filter(|s| !s.is_empty())
        .unwrap_or_else(|| "job".to_owned())
}

/// As much of a text as an id may begin with.
fn slug(text: &str) -> String {
    let text = text.split('.').next().unwrap_or(text).to_ascii_lowercase();
    let fits: String =
        text.chars().map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' }).collect();
    let begun = fits.trim_start_matches(|c: char| !c.is_ascii_lowercase());
    let cut: String = begun.chars().take(JobId::MAX_LEN - SUFFIX - 1).collect();
    cut.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_id_begins_with_the_commands_or_the_images_name() {
        for (text, expected) in [
            ("train.py", "train"),
            ("Train_It", "train-it"),
            ("7z", "z"),
            ("---", ""),
            ("日本", ""),
            (&"a".repeat(60), &"a".repeat(34)),
        ] {
            assert_eq!(slug(text), expected, "{text}");
        }
        assert!(format!("{}-{}", slug(&"a".repeat(60)), suffix()).parse::<JobId>().is_ok());
    }
}
