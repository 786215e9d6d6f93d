//! Typed identifiers: a job's id cannot land where an account's belongs. Each is checked once, when it is parsed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Error;

/// Why a text is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Empty.
    #[error("must not be empty")]
    Empty,
    /// Too long.
    #[error("must have at most {0} characters")]
    TooLong(usize),
    /// A character that may not be there.
    #[error("must be lower-case letters, digits and hyphens, start with a letter and not end with a hyphen")]
    BadCharacter,
    /// A hyphen that may not be there.
    #[error("must be lower-case letters and digits, without hyphens")]
    Hyphen,
    /// Not of the form of a resource name.
    #[error("must have the form \"{0}\"")]
    BadForm(&'static str),
    /// Not a UUID.
    #[error("must be a UUID")]
    NotUuid,
}

fn check_slug(text: &str, longest: usize) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    if text.len() > longest {
        return Err(IdError::TooLong(longest));
    }
    let good = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !good || !text.as_bytes()[0].is_ascii_lowercase() || text.ends_with('-') {
        return Err(IdError::BadCharacter);
    }
    Ok(())
}

fn no_hyphens(text: &str) -> Result<(), IdError> {
    if text.contains('-') { Err(IdError::Hyphen) } else { Ok(()) }
}

macro_rules! slug {
    ($(#[$doc:meta])* $name:ident, $longest:expr $(, $more:ident)?) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The longest that it may be, in characters.
            pub const MAX_LEN: usize = $longest;

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                check_slug(text, $longest)?;
                $($more(text)?;)?
                Ok(Self(text.to_owned()))
            }
        }
        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

slug!(
    /// A user: a person or a robot with a login.
    UserId,
    40
);
slug!(
    /// An account: a team that owns quota, and its queue.
    AccountId,
    40
);
slug!(
    /// A job, unique in its account while it is there.
    JobId,
    40
);
slug!(
    /// A role of a job: a group of equal replicas. Without hyphens: a replica's Pod is `{job}-{role}-{number}`, and no two
    /// replicas may come to one name.
    RoleName,
    16,
    no_hyphens
);

impl UserId {
    /// `users/{user}`.
    pub fn resource_name(&self) -> String {
        format!("users/{self}")
    }
    /// Reads `users/{user}`.
    pub fn parse_name(name: &str) -> Result<Self, IdError> {
        name.strip_prefix("users/").ok_or(IdError::BadForm("users/{user}"))?.parse()
    }
}

impl AccountId {
    /// `accounts/{account}`.
    pub fn resource_name(&self) -> String {
        format!("accounts/{self}")
    }
    /// Reads `accounts/{account}`.
    pub fn parse_name(name: &str) -> Result<Self, IdError> {
        name.strip_prefix("accounts/").ok_or(IdError::BadForm("accounts/{account}"))?.parse()
    }
    /// The Kubernetes namespace of the account's jobs.
    pub fn namespace(&self) -> String {
        format!("crater-{self}")
    }
}

/// One account, or all that the caller is in (`accounts/-`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parent {
    /// `accounts/-`.
    All,
    /// `accounts/{account}`.
    Account(AccountId),
}

impl Parent {
    /// Reads `accounts/{account}` or `accounts/-`.
    pub fn parse_name(name: &str) -> Result<Self, IdError> {
        if name == "accounts/-" { Ok(Self::All) } else { AccountId::parse_name(name).map(Self::Account) }
    }
}

/// `accounts/{account}/jobs/{job}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct JobName {
    /// The account.
    pub account: AccountId,
    /// The job in it.
    pub job: JobId,
}

impl JobName {
    const FORM: &'static str = "accounts/{account}/jobs/{job}";

    /// Reads the parent (which may be `accounts/-`) and the job's id.
    pub fn parse_with_wildcard(name: &str) -> Result<(Parent, JobId), IdError> {
        let (parent, job) = name.split_once("/jobs/").ok_or(IdError::BadForm(Self::FORM))?;
        let parent = Parent::parse_name(parent).map_err(|e| match e {
            IdError::BadForm(_) => IdError::BadForm(Self::FORM),
            other => other,
        })?;
        Ok((parent, job.parse()?))
    }
}

impl FromStr for JobName {
    type Err = IdError;
    fn from_str(name: &str) -> Result<Self, IdError> {
        match Self::parse_with_wildcard(name)? {
            (Parent::Account(account), job) => Ok(Self { account, job }),
            (Parent::All, _) => Err(IdError::BadForm(Self::FORM)),
        }
    }
}

impl fmt::Display for JobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "accounts/{}/jobs/{}", self.account, self.job)
    }
}

/// A job, unique for all time (UUIDv7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct JobUid(pub Uuid);

impl FromStr for JobUid {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        Uuid::parse_str(text).map(Self).map_err(|_| IdError::NotUuid)
    }
}

impl fmt::Display for JobUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A UUID of the caller's choice that makes a mutation act once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RequestId(pub Uuid);

impl RequestId {
    /// Reads the optional field `request_id` of a request: empty is none.
    pub fn parse_optional(text: &str) -> Result<Option<Self>, Error> {
        if text.is_empty() {
            return Ok(None);
        }
        match Uuid::parse_str(text) {
            Ok(id) => Ok(Some(Self(id))),
            Err(_) => Err(Error::field("request_id", IdError::NotUuid.to_string())),
        }
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Whose limits: an account's, or a user's in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QuotaSubject {
    /// The account.
    pub account: AccountId,
    /// The user in it; none for the account as a whole.
    pub user: Option<UserId>,
}

impl FromStr for QuotaSubject {
    type Err = IdError;
    fn from_str(name: &str) -> Result<Self, IdError> {
        let form = IdError::BadForm("accounts/{account}/quota or accounts/{account}/users/{user}/quota");
        let rest = name.strip_prefix("accounts/").and_then(|n| n.strip_suffix("/quota")).ok_or(form)?;
        match rest.split_once("/users/") {
            None => Ok(Self { account: rest.parse()?, user: None }),
            Some((account, user)) => Ok(Self { account: account.parse()?, user: Some(user.parse()?) }),
        }
    }
}

impl fmt::Display for QuotaSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.user {
            None => write!(f, "accounts/{}/quota", self.account),
            Some(user) => write!(f, "accounts/{}/users/{user}/quota", self.account),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_as_written() {
        for text in ["accounts/lab/jobs/train-1", "accounts/a/jobs/b"] {
            assert_eq!(text.parse::<JobName>().unwrap().to_string(), text);
        }
        for text in ["accounts/lab/quota", "accounts/lab/users/ann/quota"] {
            assert_eq!(text.parse::<QuotaSubject>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn no_two_replicas_come_to_one_pod_name() {
        assert_eq!("b-c".parse::<RoleName>(), Err(IdError::Hyphen));
        assert!(RoleName::try_from("b-c".to_owned()).is_err());
        assert!("b2".parse::<RoleName>().is_ok());
    }

    #[test]
    fn a_bad_id_is_refused() {
        for text in ["", "-a", "a-", "A", "ä", "1a", "a/b", "a.b", "a b", &"a".repeat(41)] {
            assert!(text.parse::<JobId>().is_err(), "{text:?}");
        }
        for text in [
            "accounts/-/jobs/a",
            "accounts//jobs/a",
            "jobs/a",
            "accounts/a/jobs/",
            "accounts/a/jobs/b/jobs/c",
        ] {
            assert!(text.parse::<JobName>().is_err(), "{text:?}");
        }
    }
}
