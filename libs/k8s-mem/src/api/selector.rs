//! Label and field selectors.

use serde_json::Value;

use super::jsonpath::plain;
use super::object::at;
use super::status::{ApiError, ApiResult};
use super::types::ResourceType;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Need {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

/// What an object must satisfy to be listed or watched.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selector {
    labels: Vec<Need>,
    fields: Vec<(Vec<String>, bool, String)>,
}

impl Selector {
    pub fn parse(ty: &ResourceType, labels: &str, fields: &str) -> ApiResult<Self> {
        let labels = parse_labels(labels).ok_or_else(|| {
            ApiError::bad_request(format!("unable to parse labelSelector {labels:?}: want key, !key, key=value, key!=value, key in (a,b) or key notin (a,b)"))
        })?;
        let mut needs = Vec::new();
        for part in fields.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let bad = || ApiError::bad_request(format!("unable to parse fieldSelector {part:?}"));
            let (path, equal, value) = if let Some((path, value)) = part.split_once("!=") {
                (path, false, value)
            } else if let Some((path, value)) = part.split_once("==") {
                (path, true, value)
            } else {
                let (path, value) = part.split_once('=').ok_or_else(bad)?;
                (path, true, value)
            };
            let known = path == "metadata.name"
                || (path == "metadata.namespace" && ty.namespaced)
                || ty.selectable.iter().any(|s| s == path);
            if !known {
                let kind = &ty.kind;
                return Err(ApiError::bad_request(format!("field label not supported for {kind}: {path}")));
            }
            needs.push((path.split('.').map(str::to_owned).collect(), equal, value.to_owned()));
        }
        Ok(Self { labels, fields: needs })
    }

    /// The name that alone can match.
    pub fn exact(&self, path: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(p, equal, _)| *equal && p.join(".") == path);
        found.map(|(_, _, value)| value.as_str())
    }

    pub fn matches(&self, object: &Value) -> bool {
        self.fields.iter().all(|(path, equal, value)| {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            let is = at(object, &path).map(plain).unwrap_or_default();
            (is == *value) == *equal
        }) && self.labels.iter().all(|need| holds(need, object))
    }
}

fn holds(need: &Need, object: &Value) -> bool {
    let label = |key: &str| at(object, &["metadata", "labels", key]).and_then(Value::as_str);
    match need {
        Need::In(key, values) => label(key).is_some_and(|v| values.iter().any(|w| w == v)),
        Need::NotIn(key, values) => label(key).is_none_or(|v| values.iter().all(|w| w != v)),
        Need::Exists(key) => label(key).is_some(),
        Need::Absent(key) => label(key).is_none(),
    }
}

fn parse_labels(text: &str) -> Option<Vec<Need>> {
    let mut needs = Vec::new();
    for part in split_outside_brackets(text) {
        let part = part.trim();
        if part.is_empty() {
            continue;
        }
        needs.push(parse_need(part)?);
    }
    Some(needs)
}

fn parse_need(part: &str) -> Option<Need> {
    if let Some(set) = part.strip_suffix(')') {
        let (head, values) = set.split_once('(')?;
        let values = values.split(',').map(|v| v.trim().to_owned()).collect();
        let mut words = head.split_whitespace();
        let (key, op) = (words.next()?.to_owned(), words.next()?);
        return match (op, words.next()) {
            ("in", None) => Some(Need::In(key, values)),
            ("notin", None) => Some(Need::NotIn(key, values)),
            _ => None,
        };
    }
    let need = if let Some((key, value)) = part.split_once("!=") {
        Need::NotIn(key.trim().into(), vec![value.trim().into()])
    } else if let Some((key, value)) = part.split_once('=') {
        let value = value.strip_prefix('=').unwrap_or(value);
        Need::In(key.trim().into(), vec![value.trim().into()])
    } else if let Some(key) = part.strip_prefix('!') {
        Need::Absent(key.trim().into())
    } else {
        Need::Exists(part.into())
    };
    let (Need::In(key, _) | Need::NotIn(key, _) | Need::Exists(key) | Need::Absent(key)) = &need;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    (!key.is_empty() && key.chars().all(plain)).then_some(need)
}

fn split_outside_brackets(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0i32, 0);
    for (i, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn set_based_selectors_choose_as_kubernetes_does() {
        let object = json!({"metadata": {"labels": {"app": "a", "tier": "x"}}});
        let chosen = |text: &str| parse_labels(text).map(|needs| needs.iter().all(|n| holds(n, &object)));
        for text in ["app=a", "app==a,tier!=y", "app in (a, b),!gone", "app notin (c),tier", "gone!=1", ""] {
            assert_eq!(chosen(text), Some(true), "{text}");
        }
        for text in ["app=b", "!app", "gone", "app in (b,c)", "tier notin (x)"] {
            assert_eq!(chosen(text), Some(false), "{text}");
        }
        for text in ["app in a", "=a", "app within (a)", "a b"] {
            assert_eq!(chosen(text), None, "{text}");
        }
    }
}
