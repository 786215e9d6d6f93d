//! Pages of quotas, by account, an account's own before those of its users.

use std::collections::BTreeMap;

use crater_domain::{AccountId, QuotaSubject, Weight};
use diesel::prelude::*;

use super::{Head, Key, Quota, ResourceRow, key, quota_resources, quotas, subject, together};
use crate::Result;
use crate::conn::{Conn, query};

/// The first `size` quotas behind `after`: the own quota of each of these accounts, written or not, and those of users who have
/// limits in them.
///
/// `accounts` must be sorted.
pub fn page(
    conn: &mut Conn,
    accounts: &[AccountId],
    after: Option<&QuotaSubject>,
    size: usize,
) -> Result<Vec<Quota>> {
    let after = after.map(key);
    let from = after.as_ref().map_or("", |(account, _)| account);
    let behind = |key: &Key| after.as_ref().is_none_or(|after| key > after);
    // each account fills at least one line of a page, but for the one that the last page stopped in
    let near = accounts.iter().map(AccountId::to_string).filter(|account| account.as_str() >= from);
    let near: Vec<String> = near.take(size.saturating_add(1)).collect();
    let mut keys: Vec<Key> = near.iter().map(|account| (account.clone(), String::new())).collect();
    keys.extend(users(conn, &near, after.as_ref(), size)?);
    keys.retain(behind);
    keys.sort();
    keys.truncate(size);
    let (Some(first), Some(last)) = (keys.first().cloned(), keys.last().cloned()) else {
        return Ok(Vec::new());
    };
    let mut written = written(conn, &near, &first, &last)?;
    let quota = |key: Key| match written.remove(&key) {
        Some(quota) => Ok(quota),
        None => Ok(Quota {
            subject: subject(key)?,
            limits: crater_domain::Limits::new(),
            weight: Weight::default(),
            updated_ms: 0,
            version: 0,
        }),
    };
    keys.into_iter().map(quota).collect()
}

/// Users with limits in these accounts.
fn users(conn: &mut Conn, accounts: &[String], after: Option<&Key>, size: usize) -> Result<Vec<Key>> {
    let none = (String::new(), String::new());
    let after = after.unwrap_or(&none);
    let size = i64::try_from(size).unwrap_or(i64::MAX);
    Ok(query!(conn, |c| quota_resources::table
        .filter(quota_resources::account.eq_any(accounts))
        .filter(quota_resources::user_id.ne(""))
        .filter(
            quota_resources::account
                .gt(&after.0)
                .or(quota_resources::account.eq(&after.0).and(quota_resources::user_id.gt(&after.1)))
        )
        .order((quota_resources::account, quota_resources::user_id))
        .select((quota_resources::account, quota_resources::user_id))
        .distinct()
        .limit(size)
        .load(c))?)
}

/// What was ever written between two keys, both included.
fn written(conn: &mut Conn, accounts: &[String], first: &Key, last: &Key) -> Result<BTreeMap<Key, Quota>> {
    let between: Vec<&String> =
        accounts.iter().filter(|account| (&first.0..=&last.0).contains(account)).collect();
    let heads: Vec<Head> = query!(conn, |c| quotas::table
        .filter(quotas::account.eq_any(&between))
        .filter(quotas::account.gt(&first.0).or(quotas::user_id.ge(&first.1)))
        .filter(quotas::account.lt(&last.0).or(quotas::user_id.le(&last.1)))
        .select((quotas::account, quotas::user_id, quotas::updated_ms, quotas::version, quotas::weight))
        .load(c))?;
    let rows: Vec<ResourceRow> = query!(conn, |c| quota_resources::table
        .filter(quota_resources::account.eq_any(&between))
        .filter(quota_resources::account.gt(&first.0).or(quota_resources::user_id.ge(&first.1)))
        .filter(quota_resources::account.lt(&last.0).or(quota_resources::user_id.le(&last.1)))
        .load(c))?;
    let quotas = together(heads, rows)?;
    Ok(quotas.into_iter().map(|quota| (key(&quota.subject), quota)).collect())
}
