//! Requests → domain types. What is wrong is said by the path of its field.

use std::collections::BTreeMap;

use crater_api::convert::{parse_job_spec, unix_millis};
use crater_api::job::v1 as pb;
use crater_auth::Principal;
use crater_domain::{AccountId, Error, IdError, JobId, JobName, Parent, RequestId, Result, bounds};
use crater_store::Once;
use crater_store::idempotency::Request;
use prost::Message;

use crate::create::Draft;
use crate::logs::Wanted;

fn at(field: &str) -> impl Fn(IdError) -> Error {
    move |e| Error::field(field, e.to_string())
}

/// `accounts/{account}/jobs/{job}`.
pub fn name(name: &str, field: &str) -> Result<JobName> {
    name.parse().map_err(at(field))
}

/// The same, or `accounts/-/jobs/{job}`.
pub fn name_anywhere(name: &str) -> Result<(Parent, JobId)> {
    JobName::parse_with_wildcard(name).map_err(at("name"))
}

/// `accounts/{account}` or `accounts/-`.
pub fn parent(name: &str) -> Result<Parent> {
    Parent::parse_name(name).map_err(at("parent"))
}

/// How a mutation is to be done. `body` is equal for equal requests; neither that a request names itself nor that it is a check only makes
/// it another one.
pub fn once(
    principal: &Principal,
    method: &'static str,
    request_id: &str,
    validate_only: bool,
    now_ms: i64,
    body: &[u8],
) -> Result<Once> {
    let who = match principal {
        Principal::User { user, .. } => user.resource_name(),
        Principal::Service { name } => format!("services/{name}"),
    };
    let request = RequestId::parse_optional(request_id)?.map(|id| Request::new(who, method, id, body));
    Ok(Once { request, validate_only, now_ms })
}

/// The bytes of a creation, equal for equal ones.
pub fn create_body(request: &pb::CreateJobRequest) -> Vec<u8> {
    let mut plain = pb::CreateJobRequest { validate_only: false, ..request.clone() };
    let labels = take_labels(&mut plain.job);
    with_labels(plain.encode_to_vec(), labels)
}

/// The bytes of an update, equal for equal ones.
pub fn update_body(request: &pb::UpdateJobRequest) -> Vec<u8> {
    let mut plain = pb::UpdateJobRequest { validate_only: false, ..request.clone() };
    let labels = take_labels(&mut plain.job);
    with_labels(plain.encode_to_vec(), labels)
}

/// A map has no order of its own on the wire.
fn take_labels(job: &mut Option<pb::Job>) -> BTreeMap<String, String> {
    job.as_mut().map(|job| std::mem::take(&mut job.labels)).unwrap_or_default().into_iter().collect()
}

fn with_labels(mut body: Vec<u8>, labels: BTreeMap<String, String>) -> Vec<u8> {
    for (key, value) in labels {
        for text in [key, value] {
            body.extend_from_slice(&u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
            body.extend_from_slice(text.as_bytes());
        }
    }
    body
}

/// A moment at `field`, in milliseconds since 1970.
pub fn moment(time: Option<&prost_types::Timestamp>, field: &str) -> Result<Option<i64>> {
    let read = |time| unix_millis(time).ok_or_else(|| Error::field(field, "is no moment that can be"));
    time.map(read).transpose()
}

/// The job that is to be created.
pub fn draft(request: pb::CreateJobRequest) -> Result<Draft> {
    let mut wrong = Vec::new();
    let mut keep = |e: Error| wrong.extend(e.violations);
    let account = AccountId::parse_name(&request.parent).map_err(at("parent")).map_err(&mut keep).ok();
    let id = match request.job_id.as_str() {
        "" => None,
        text => text.parse::<JobId>().map_err(at("job_id")).map_err(&mut keep).ok(),
    };
    if request.job.is_none() {
        keep(Error::field("job", "must be set"));
    }
    let job = request.job.unwrap_or_default();
    let spec = parse_job_spec(job.spec.as_ref(), "job.spec").map_err(&mut keep).ok();
    let labels: BTreeMap<String, String> = job.labels.into_iter().collect();
    if let Err(e) = check_labels(&labels, "job.labels") {
        keep(e);
    }
    match (account, spec) {
        (Some(account), Some(spec)) if wrong.is_empty() => Ok(Draft { account, id, spec, labels }),
        _ => Err(Error::fields(wrong)),
    }
}

/// Labels at `field`.
pub fn check_labels(labels: &BTreeMap<String, String>, field: &str) -> Result<()> {
    if labels.len() > bounds::MAX_LABELS {
        return Err(Error::field(field, format!("must be at most {}", bounds::MAX_LABELS)));
    }
    for (key, value) in labels {
        let good = |text: &str| {
            text.len() <= 63 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./".contains(&b))
        };
        if key.is_empty() || !good(key) {
            let text = format!("the key {key:?} must be 1 to 63 letters, digits, '-', '_', '.' or '/'");
            return Err(Error::field(field, text));
        }
        if !good(value) {
            let text = "must be at most 63 letters, digits, '-', '_', '.' or '/'";
            return Err(Error::field(format!("{field}[{key:?}]"), text));
        }
    }
    Ok(())
}

/// Which output is wanted.
pub fn logs(request: &pb::StreamLogsRequest) -> Result<Wanted> {
    let negative = |field: &str| Error::field(field, "must not be negative");
    if request.replica.is_some_and(|r| r < 0) {
        return Err(negative("replica"));
    }
    if request.tail_lines.is_some_and(|n| n < 0) {
        return Err(negative("tail_lines"));
    }
    if request.attempt < 0 {
        return Err(negative("attempt"));
    }
    if request.replica.is_some() && request.role.is_empty() {
        return Err(Error::field("role", "must be set when a replica is named"));
    }
    let since = match &request.since_time {
        None => None,
        Some(t) => {
            let bad = || Error::field("since_time", "is no time");
            unix_millis(t).ok_or_else(bad)?;
            Some(jiff::Timestamp::new(t.seconds, t.nanos).map_err(|_| bad())?)
        }
    };
    Ok(Wanted {
        role: Some(request.role.clone()).filter(|r| !r.is_empty()),
        replica: request.replica,
        attempt: request.attempt,
        follow: request.follow,
        tail: request.tail_lines.map(i64::from),
        since,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_creation_is_the_same_in_whatever_order_its_maps_came() {
        let part = |key: &str| {
            let name = || key.to_owned();
            let node_selector = [(name(), String::new())].into();
            let spec = pb::JobSpec { node_selector, ..Default::default() };
            let labels = [(name(), String::new())].into();
            let job = pb::Job { spec: Some(spec), labels, ..Default::default() };
            pb::CreateJobRequest { job: Some(job), ..Default::default() }
        };
        let read = |keys: &[String]| {
            // what is put together on the wire is one message
            let bytes: Vec<u8> = keys.iter().flat_map(|key| part(key).encode_to_vec()).collect();
            create_body(&pb::CreateJobRequest::decode(bytes.as_slice()).unwrap())
        };
        let keys: Vec<String> = (0..20).map(|n| format!("key-{n}")).collect();
        let back: Vec<String> = keys.iter().rev().cloned().collect();
        assert_eq!(read(&keys), read(&back));
        assert_ne!(read(&keys), read(&keys[1..]));
    }
}
