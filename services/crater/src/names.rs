//! How people name things, and the resource names behind them.

use std::fmt;

use crater_api::job::v1::{GetJobRequest, Job};
use crater_domain::{AccountId, JobId, UserId};

use crate::client::{Api, jobs};
use crate::error::Error;

/// A job as it was named: with its account or without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobRef {
    account: Option<AccountId>,
    job: JobId,
}

impl JobRef {
    /// Reads `ID`, `ACCOUNT/ID` or `accounts/ACCOUNT/jobs/ID`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let wrong = |why: &dyn fmt::Display| Error::flag(format!("JOB {text:?}"), why);
        let parts: Vec<&str> = text.split('/').collect();
        let (account, job) = match parts[..] {
            [job] => (None, job),
            [account, job] => (Some(account), job),
            ["accounts", "-", "jobs", job] => (None, job),
            ["accounts", account, "jobs", job] => (Some(account), job),
            _ => return Err(wrong(&"must be ID, ACCOUNT/ID or accounts/ACCOUNT/jobs/ID")),
        };
        let account = account.map(str::parse).transpose().map_err(|e| wrong(&e))?;
        Ok(Self { account, job: job.parse().map_err(|e| wrong(&e))? })
    }

    /// The resource name, with `-` for an account that was not named.
    pub fn resource_name(&self) -> String {
        format!("accounts/{}/jobs/{}", self.account.as_ref().map_or("-", AccountId::as_str), self.job)
    }

    /// The job itself.
    pub async fn get(&self, api: &Api) -> Result<Job, Error> {
        let request = GetJobRequest { name: self.resource_name() };
        let answer = api.call(request, |channel, r| async move { jobs(channel).get_job(r).await }).await?;
        answer.job.ok_or(Error::Answer("the job"))
    }

    /// The full resource name; asks the server when the account was not named.
    pub async fn resolve(&self, api: &Api) -> Result<String, Error> {
        match &self.account {
            Some(_) => Ok(self.resource_name()),
            None => Ok(self.get(api).await?.name),
        }
    }
}

/// The last part of a resource name: `accounts/lab/jobs/train` is `train`.
pub fn short(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// The account of a job's name.
pub fn account_of(job: &str) -> &str {
    job.split('/').nth(1).unwrap_or_default()
}

/// Reads `lab` or `accounts/lab`, given by `flag`, as `accounts/lab`.
pub fn account(flag: &str, text: &str) -> Result<String, Error> {
    let id = text.strip_prefix("accounts/").unwrap_or(text);
    id.parse::<AccountId>().map(|a| a.resource_name()).map_err(|e| Error::flag(flag, format!("{text:?} {e}")))
}

/// Reads `ann` or `users/ann`, given by `flag`, as `users/ann`.
pub fn user(flag: &str, text: &str) -> Result<String, Error> {
    let id = text.strip_prefix("users/").unwrap_or(text);
    id.parse::<UserId>().map(|u| u.resource_name()).map_err(|e| Error::flag(flag, format!("{text:?} {e}")))
}

/// The parent of a listing: one account, or all of the caller's.
pub fn parent(account_flag: Option<&str>) -> Result<String, Error> {
    account_flag.map_or_else(|| Ok("accounts/-".to_owned()), |a| account("--account", a))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_named_by_id_by_account_and_id_or_by_resource_name() {
        for (text, name) in [
            ("train", "accounts/-/jobs/train"),
            ("lab/train", "accounts/lab/jobs/train"),
            ("accounts/lab/jobs/train", "accounts/lab/jobs/train"),
            ("accounts/-/jobs/train", "accounts/-/jobs/train"),
        ] {
            assert_eq!(JobRef::parse(text).unwrap().resource_name(), name);
        }
    }

    #[test]
    fn a_bad_name_of_a_job_is_refused_and_quoted() {
        for text in ["", "A", "a/b/c", "accounts/lab/train", "a//b", "x y"] {
            let error = JobRef::parse(text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("JOB {text:?}: ")), "{error}");
        }
    }

    #[test]
    fn an_account_may_be_named_in_full() {
        assert_eq!(account("--account", "lab").unwrap(), "accounts/lab");
        assert_eq!(account("--account", "accounts/lab").unwrap(), "accounts/lab");
        let error = account("--account", "Lab").unwrap_err().to_string();
        assert!(error.starts_with("--account: \"Lab\" must be"), "{error}");
    }
}
