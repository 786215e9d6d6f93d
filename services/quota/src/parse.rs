//! Requests → domain types. What is wrong is said by the path of its field.

use crater_api::convert::{parse_limits, parse_page_size};
use crater_api::page::{page_token, parse_page_token};
use crater_api::quota::v1 as pb;
use crater_auth::Principal;
use crater_domain::{Error, Parent, QuotaSubject, RequestId, ResourceKind, Result, Weight};
use crater_store::Once;
use crater_store::idempotency::Request;
use prost::Message;

use crate::app::Change;

/// The most rows of one quota.
const ROWS: usize = 100;

pub fn name(name: &str, field: &str) -> Result<QuotaSubject> {
    name.parse().map_err(|e: crater_domain::IdError| Error::field(field, e.to_string()))
}

/// How the update is to be done; that it names itself or is a check only does not make it another body.
pub fn once(principal: &Principal, request: &pb::UpdateQuotaRequest, now_ms: i64) -> Result<Once> {
    let who = match principal {
        Principal::User { user, .. } => user.resource_name(),
        Principal::Service { name } => format!("services/{name}"),
    };
    let body = pb::UpdateQuotaRequest { validate_only: false, ..request.clone() };
    let id = RequestId::parse_optional(&request.request_id)?;
    let named = id.map(|id| Request::new(who, "UpdateQuota", id, &body.encode_to_vec()));
    Ok(Once { request: named, validate_only: request.validate_only, now_ms })
}

/// Whose limits, what changes, and the version that they must still have.
pub fn update(request: pb::UpdateQuotaRequest) -> Result<(QuotaSubject, Change, Option<i64>)> {
    let quota = request.quota.unwrap_or_default();
    let mut wrong = Vec::new();
    let mut keep = |e: Error| wrong.extend(e.violations);
    let subject = name(&quota.name, "quota.name").map_err(&mut keep).ok();
    let rows = parse_limits(&quota.resources, "quota.resources").map_err(&mut keep).ok();
    if quota.resources.len() > ROWS {
        keep(Error::field("quota.resources", format!("must have at most {ROWS} rows")));
    }
    let mut named = Vec::new();
    let paths = request.update_mask.unwrap_or_default().paths;
    let mut all = paths.is_empty();
    let mut weighs = all && quota.weight != 0;
    for path in paths {
        match path.strip_prefix("resources") {
            Some("") => all = true,
            _ if path == "*" => (all, weighs) = (true, true),
            _ if path == "weight" => weighs = true,
            Some(row) if row.starts_with('.') => match row.trim_start_matches('.').parse::<ResourceKind>() {
                Ok(kind) => named.push(kind),
                Err(text) => keep(Error::field("update_mask", text)),
            },
            _ => {
                let text = format!("must be resources, resources.{{resource}} or weight, not {path:?}");
                keep(Error::field("update_mask", text));
            }
        }
    }
    let weight = match quota.weight {
        _ if !weighs => None,
        0 => Some(Weight::default()),
        _ if subject.as_ref().is_some_and(|subject| subject.user.is_some()) => {
            keep(Error::field("quota.weight", "users have none: it is an account's"));
            None
        }
        weight => Weight::new(weight).map_err(|text| keep(Error::field("quota.weight", text))).ok(),
    };
    match (subject, rows) {
        (Some(subject), Some(rows)) if wrong.is_empty() => {
            let change = Change { rows, all, named, weight };
            Ok((subject, change, version(&quota.etag)))
        }
        _ => Err(Error::fields(wrong)),
    }
}

/// Which quotas: of what parent, behind which one, and how many.
pub fn list(request: &pb::ListQuotasRequest) -> Result<(Parent, Option<QuotaSubject>, usize)> {
    let parent = Parent::parse_name(&request.parent).map_err(|e| Error::field("parent", e.to_string()))?;
    let size = parse_page_size(request.page_size)?;
    let after = parse_page_token(&request.page_token, &["ListQuotas", &request.parent])?;
    let after = after.map(|last| name(&last, "page_token")).transpose()?;
    Ok((parent, after, size))
}

/// The token of the page behind `last`; empty without one.
pub fn token(parent: &str, last: Option<&QuotaSubject>) -> String {
    last.map(|last| page_token(&["ListQuotas", parent], &last.to_string())).unwrap_or_default()
}

/// A version as an etag.
pub fn etag(version: i64) -> String {
    format!("v{version}")
}

/// An etag as a version; one that was never given out is none that a quota has.
fn version(etag: &str) -> Option<i64> {
    match etag {
        "" => None,
        _ => Some(etag.strip_prefix('v').and_then(|v| v.parse().ok()).unwrap_or(-1)),
    }
}
