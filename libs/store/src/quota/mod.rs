//! The quota service's tables: the limits of accounts and of users in them.
//!
//! Times are milliseconds since 1970. A quota's `version` is its etag: 0 before it was ever written.

mod list;

use std::collections::BTreeMap;

use crater_domain::{Limit, Limits, QuotaSubject, UserId, Weight};
use diesel::prelude::*;
use serde::{Deserialize, Serialize};

use crate::conn::{Conn, query};
use crate::{Error, Result, revision};

pub use list::page;

diesel::table! {
    quotas (account, user_id) {
        account -> Text,
        user_id -> Text,
        updated_ms -> BigInt,
        version -> BigInt,
        revision -> BigInt,
        weight -> Integer,
    }
}

diesel::table! {
    quota_resources (account, user_id, resource) {
        account -> Text,
        user_id -> Text,
        resource -> Text,
        guaranteed -> Nullable<BigInt>,
        maximum -> Nullable<BigInt>,
    }
}

/// The limits of one subject as they are now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Kept", try_from = "Kept")]
pub struct Quota {
    /// Whose.
    pub subject: QuotaSubject,
    /// The limits.
    pub limits: Limits,
    /// Its part of what is borrowed; a user's is never read.
    pub weight: Weight,
    /// When they last changed; 0 for never.
    pub updated_ms: i64,
    /// The etag; 0 for never written.
    pub version: i64,
}

/// A quota as an answer is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    subject: String,
    rows: Vec<(String, Option<i64>, Option<i64>)>,
    #[serde(default = "one")]
    weight: i32,
    updated_ms: i64,
    version: i64,
}

fn one() -> i32 {
    Weight::default().get()
}

impl From<Quota> for Kept {
    fn from(q: Quota) -> Self {
        let rows = q.limits.iter().map(|(kind, l)| (kind.to_string(), l.guaranteed, l.limit)).collect();
        Self {
            subject: q.subject.to_string(),
            rows,
            weight: q.weight.get(),
            updated_ms: q.updated_ms,
            version: q.version,
        }
    }
}

impl TryFrom<Kept> for Quota {
    type Error = String;
    fn try_from(k: Kept) -> Result<Self, String> {
        let mut limits = Limits::new();
        for (kind, guaranteed, limit) in k.rows {
            limits.insert(kind.parse()?, Limit { guaranteed, limit });
        }
        let subject = k.subject.parse().map_err(|e: crater_domain::IdError| e.to_string())?;
        let weight = Weight::new(k.weight)?;
        Ok(Self { subject, limits, weight, updated_ms: k.updated_ms, version: k.version })
    }
}

/// Everything that changed after a revision, as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// Ask for what comes after this next.
    pub revision: i64,
    /// The quotas.
    pub quotas: Vec<Quota>,
}

type Key = (String, String);
type Head = (String, String, i64, i64, i32);
type ResourceRow = (String, String, String, Option<i64>, Option<i64>);

/// An account's own row has the empty user: a primary key holds no NULL.
fn key(subject: &QuotaSubject) -> Key {
    (subject.account.to_string(), subject.user.as_ref().map(UserId::to_string).unwrap_or_default())
}

fn subject((account, user): Key) -> Result<QuotaSubject> {
    let user = if user.is_empty() { None } else { Some(UserId::try_from(user).map_err(Error::internal)?) };
    Ok(QuotaSubject { account: account.try_into().map_err(Error::internal)?, user })
}

/// The limits of the subject: none, at version 0, if they were never written.
pub fn quota(conn: &mut Conn, of: &QuotaSubject) -> Result<Quota> {
    let key = key(of);
    let head: Option<(i64, i64, i32)> = query!(conn, |c| quotas::table
        .find((&key.0, &key.1))
        .select((quotas::updated_ms, quotas::version, quotas::weight))
        .first(c)
        .optional())?;
    let (updated_ms, version, weight) = head.unwrap_or((0, 0, one()));
    let rows: Vec<ResourceRow> = query!(conn, |c| quota_resources::table
        .filter(quota_resources::account.eq(&key.0))
        .filter(quota_resources::user_id.eq(&key.1))
        .load(c))?;
    let limits = rows.into_iter().map(limit).collect::<Result<_>>()?;
    Ok(Quota { subject: of.clone(), limits, weight: weight_of(weight)?, updated_ms, version })
}

fn weight_of(weight: i32) -> Result<Weight> {
    Weight::new(weight).map_err(Error::internal)
}

fn limit((_, _, resource, guaranteed, limit): ResourceRow) -> Result<(crater_domain::ResourceKind, Limit)> {
    Ok((resource.parse().map_err(Error::internal)?, Limit { guaranteed, limit }))
}

/// Replaces the limits and the weight of the subject, if they are still at `version` (when given).
///
/// # Errors
/// [`Error::Conflict`].
pub fn put_quota(
    conn: &mut Conn,
    of: &QuotaSubject,
    limits: &Limits,
    weight: Weight,
    version: Option<i64>,
    now_ms: i64,
) -> Result<Quota> {
    // the revision's row first: whoever changes quotas waits here, so that what is read below stays true
    let revision = revision::next(conn)?;
    let key = key(of);
    let (account, user_id) = (quotas::account.eq(&key.0), quotas::user_id.eq(&key.1));
    let was: Option<i64> =
        query!(conn, |c| quotas::table.find((&key.0, &key.1)).select(quotas::version).first(c).optional())?;
    if version.is_some_and(|v| v != was.unwrap_or(0)) {
        return Err(Error::Conflict(of.to_string()));
    }
    let now_at = was.unwrap_or(0) + 1;
    let head = (
        quotas::updated_ms.eq(now_ms),
        quotas::version.eq(now_at),
        quotas::revision.eq(revision),
        quotas::weight.eq(weight.get()),
    );
    if was.is_some() {
        query!(conn, |c| diesel::update(quotas::table.find((&key.0, &key.1))).set(head).execute(c))?;
    } else {
        query!(conn, |c| diesel::insert_into(quotas::table).values((account, user_id, head)).execute(c))?;
    }
    let old = quota_resources::table
        .filter(quota_resources::account.eq(&key.0))
        .filter(quota_resources::user_id.eq(&key.1));
    query!(conn, |c| diesel::delete(old).execute(c))?;
    for (resource, limit) in limits {
        let row = (
            quota_resources::account.eq(&key.0),
            quota_resources::user_id.eq(&key.1),
            quota_resources::resource.eq(resource.to_string()),
            quota_resources::guaranteed.eq(limit.guaranteed),
            quota_resources::maximum.eq(limit.limit),
        );
        query!(conn, |c| diesel::insert_into(quota_resources::table).values(row).execute(c))?;
    }
    Ok(Quota { subject: of.clone(), limits: limits.clone(), weight, updated_ms: now_ms, version: now_at })
}

/// Everything that changed after revision `after`; all there is for 0.
pub fn changes_since(conn: &mut Conn, after: i64) -> Result<Changes> {
    let revision = revision::current(conn)?;
    if revision <= after {
        return Ok(Changes { revision, quotas: Vec::new() });
    }
    let heads: Vec<Head> = query!(conn, |c| quotas::table
        .filter(quotas::revision.gt(after))
        .order((quotas::account, quotas::user_id))
        .select((quotas::account, quotas::user_id, quotas::updated_ms, quotas::version, quotas::weight))
        .load(c))?;
    let rows: Vec<ResourceRow> = query!(conn, |c| quota_resources::table
        .inner_join(quotas::table.on(
            quotas::account.eq(quota_resources::account).and(quotas::user_id.eq(quota_resources::user_id))
        ))
        .filter(quotas::revision.gt(after))
        .select(quota_resources::all_columns)
        .load(c))?;
    Ok(Changes { revision, quotas: together(heads, rows)? })
}

/// Heads with their rows, in the order of the heads.
fn together(heads: Vec<Head>, rows: Vec<ResourceRow>) -> Result<Vec<Quota>> {
    let mut limits: BTreeMap<Key, Limits> = BTreeMap::new();
    for row in rows {
        let key = (row.0.clone(), row.1.clone());
        let (resource, bounds) = limit(row)?;
        limits.entry(key).or_default().insert(resource, bounds);
    }
    let quota = |(account, user, updated_ms, version, weight)| {
        let key = (account, user);
        let limits = limits.remove(&key).unwrap_or_default();
        Ok(Quota { subject: subject(key)?, limits, weight: weight_of(weight)?, updated_ms, version })
    };
    heads.into_iter().map(quota).collect()
}

diesel::allow_tables_to_appear_in_same_query!(quotas, quota_resources);
