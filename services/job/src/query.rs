//! What is asked of a list or a watch → a filter and an order. What is wrong is said by the path of its field.

use std::collections::BTreeMap;

use crater_api::convert::{parse_states, unix_millis};
use crater_api::job::v1 as pb;
use crater_domain::{Error, JobId, Result, ServiceClass, UserId, bounds};
use crater_store::job::{By, Filter, Key, Order, Span};
use prost_types::Timestamp;

use crate::parse::check_labels;

/// Creators that may be named in one filter.
const MOST_CREATORS: usize = 100;

/// The filter at `filter`.
pub fn filter(filter: Option<&pb::JobFilter>) -> Result<Filter> {
    let Some(filter) = filter else { return Ok(Filter::default()) };
    let mut states = parse_states(&filter.states, "filter.states")?;
    states.sort_unstable_by_key(|s| s.as_str());
    states.dedup();
    if filter.creators.len() > MOST_CREATORS {
        return Err(Error::field("filter.creators", format!("must be at most {MOST_CREATORS}")));
    }
    let mut creators: Vec<UserId> = Vec::with_capacity(filter.creators.len());
    for (i, name) in filter.creators.iter().enumerate() {
        let id = UserId::parse_name(name);
        creators.push(id.map_err(|e| Error::field(format!("filter.creators[{i}]"), e.to_string()))?);
    }
    creators.sort_unstable();
    creators.dedup();
    let mut classes = Vec::new();
    for (i, class) in filter.service_classes.iter().enumerate() {
        let class = match pb::ServiceClass::try_from(*class) {
            Ok(pb::ServiceClass::Guaranteed) => ServiceClass::Guaranteed,
            Ok(pb::ServiceClass::BestEffort) => ServiceClass::BestEffort,
            Ok(pb::ServiceClass::Unspecified) | Err(_) => {
                let field = format!("filter.service_classes[{i}]");
                return Err(Error::field(field, format!("{class} is no service class")));
            }
        };
        if !classes.contains(&class) {
            classes.push(class);
        }
    }
    let labels: BTreeMap<String, String> = filter.labels.clone().into_iter().collect();
    check_labels(&labels, "filter.labels")?;
    let of_ids = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if filter.id_contains.len() > JobId::MAX_LEN || !filter.id_contains.bytes().all(of_ids) {
        let text = format!("must be at most {} lower-case letters, digits and hyphens", JobId::MAX_LEN);
        return Err(Error::field("filter.id_contains", text));
    }
    Ok(Filter {
        states,
        creators,
        classes,
        labels,
        created: Span {
            from: moment(filter.created_after.as_ref(), "filter.created_after")?,
            before: moment(filter.created_before.as_ref(), "filter.created_before")?,
        },
        ended: Span {
            from: moment(filter.ended_after.as_ref(), "filter.ended_after")?,
            before: moment(filter.ended_before.as_ref(), "filter.ended_before")?,
        },
        suspended: filter.suspended,
        id_contains: filter.id_contains.clone(),
    })
}

/// The filter of a list, which may name its states beside it.
pub fn list_filter(request: &pb::ListJobsRequest) -> Result<Filter> {
    let mut whole = filter(request.filter.as_ref())?;
    if request.states.is_empty() {
        return Ok(whole);
    }
    if !whole.states.is_empty() {
        return Err(Error::field("states", "must be empty when filter.states is set: they are the same"));
    }
    whole.states = parse_states(&request.states, "states")?;
    Ok(whole)
}

/// Rows have whole milliseconds: a moment within one is the next one, for both ends of a span.
fn moment(t: Option<&Timestamp>, field: &str) -> Result<Option<i64>> {
    let Some(t) = t else { return Ok(None) };
    let bad = || Error::field(field, "is no time");
    if !(0..1_000_000_000).contains(&t.nanos) {
        return Err(bad());
    }
    let ms = unix_millis(t).ok_or_else(bad)?;
    Ok(Some(ms.saturating_add(i64::from(t.nanos % 1_000_000 != 0))))
}

/// The order, and the words that stand for it in tokens.
pub fn order(order_by: &str) -> Result<(Order, String)> {
    let words: Vec<&str> = order_by.split_whitespace().collect();
    let (by, descending) = match words[..] {
        [] => ("create_time", true),
        [by] => (by, false),
        [by, "desc"] => (by, true),
        [by, "asc"] => (by, false),
        _ => (order_by, false),
    };
    let order = match by {
        "create_time" => By::Created,
        "end_time" => By::Ended,
        "priority" => By::Priority,
        _ => {
            let text =
                format!("{order_by:?} must be create_time, end_time or priority, with \" desc\" or without");
            return Err(Error::field("order_by", text));
        }
    };
    Ok((Order { by: order, descending }, format!("{by} {descending}")))
}

/// The key of a job in a page token.
pub fn key(key: &Key) -> String {
    match key.value {
        Some(value) => format!("{value}/{}", key.uid),
        None => format!("-/{}", key.uid),
    }
}

/// The same, read.
pub fn parse_key(key: Option<String>, order: Order) -> Result<Option<Key>> {
    let Some(key) = key else { return Ok(None) };
    let broken = || Error::field("page_token", "is no token of ours: begin without one");
    let (value, uid) = key.split_once('/').ok_or_else(broken)?;
    let value = match value {
        "-" if order.by == By::Ended => None,
        value => Some(value.parse().map_err(|_| broken())?),
    };
    Ok(Some(Key { value, uid: uid.parse().map_err(|_| broken())? }))
}

/// The change of an update, by its mask.
pub fn change(request: &pb::UpdateJobRequest) -> Result<crate::change::Change> {
    let job = request.job.as_ref().ok_or_else(|| Error::field("job", "must be set"))?;
    let paths = request.update_mask.as_ref().map(|m| m.paths.as_slice()).unwrap_or_default();
    if paths.is_empty() {
        let text =
            "must name what changes: spec.priority, spec.service_class, spec.expected_duration, labels";
        return Err(Error::field("update_mask", text));
    }
    let spec = || job.spec.as_ref().ok_or_else(|| Error::field("job.spec", "must be set"));
    let mut change = crate::change::Change::default();
    for path in paths {
        match path.as_str() {
            "spec.priority" => {
                let max = bounds::MAX_PRIORITY;
                let priority = spec()?.priority;
                if !(-max..=max).contains(&priority) {
                    return Err(Error::field("job.spec.priority", format!("must be from -{max} to {max}")));
                }
                change.priority = Some(priority);
            }
            "spec.service_class" => {
                change.class = Some(match pb::ServiceClass::try_from(spec()?.service_class) {
                    Ok(pb::ServiceClass::BestEffort) => ServiceClass::BestEffort,
                    Ok(pb::ServiceClass::Guaranteed | pb::ServiceClass::Unspecified) => {
                        ServiceClass::Guaranteed
                    }
                    Err(_) => return Err(Error::field("job.spec.service_class", "is no service class")),
                });
            }
            "spec.expected_duration" => {
                let wrong = |text: &str| Error::field("job.spec.expected_duration", text);
                change.expected_seconds = Some(match &spec()?.expected_duration {
                    Some(d) if d.seconds < 0 || d.nanos < 0 => return Err(wrong("must not be negative")),
                    // a started second counts whole
                    Some(d) => Some(d.seconds.saturating_add(i64::from(d.nanos > 0))),
                    None => None,
                });
            }
            "labels" => {
                let labels: BTreeMap<String, String> = job.labels.clone().into_iter().collect();
                check_labels(&labels, "job.labels")?;
                change.labels = Some(labels);
            }
            other => {
                let text = format!(
                    "{other:?} cannot be changed; these can: spec.priority, spec.service_class, \
                     spec.expected_duration, labels"
                );
                return Err(Error::field("update_mask", text));
            }
        }
    }
    Ok(change)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_read_or_refused_by_its_field() {
        let newest = Order { by: By::Created, descending: true };
        for (text, expected) in [
            ("", newest),
            ("create_time desc", newest),
            ("priority", Order { by: By::Priority, descending: false }),
            ("end_time  desc", Order { by: By::Ended, descending: true }),
        ] {
            assert_eq!(order(text).unwrap().0, expected, "{text}");
        }
        for text in ["name", "priority down", "priority desc, end_time", "desc"] {
            assert_eq!(order(text).unwrap_err().violations[0].field, "order_by", "{text}");
        }
    }

    #[test]
    fn what_is_wrong_in_a_filter_is_named() {
        let field = |f: pb::JobFilter| filter(Some(&f)).map(drop).map_err(|e| e.violations[0].field.clone());
        let time = |seconds, nanos| Some(Timestamp { seconds, nanos });
        let cases = [
            (pb::JobFilter { states: vec![99], ..Default::default() }, "filter.states"),
            (pb::JobFilter { creators: vec!["ann".into()], ..Default::default() }, "filter.creators[0]"),
            (pb::JobFilter { service_classes: vec![0], ..Default::default() }, "filter.service_classes[0]"),
            (
                pb::JobFilter { labels: [("a b".into(), "".into())].into(), ..Default::default() },
                "filter.labels",
            ),
            (pb::JobFilter { ended_after: time(i64::MAX, 0), ..Default::default() }, "filter.ended_after"),
            (pb::JobFilter { created_before: time(0, -1), ..Default::default() }, "filter.created_before"),
            (pb::JobFilter { id_contains: "50%".into(), ..Default::default() }, "filter.id_contains"),
        ];
        for (f, expected) in cases {
            assert_eq!(field(f), Err(expected.to_owned()));
        }
        let at = pb::JobFilter { created_after: time(1, 1), ..Default::default() };
        assert_eq!(filter(Some(&at)).unwrap().created.from, Some(1001), "not before that moment");
    }
}
