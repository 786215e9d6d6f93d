//! The part of JSONPath that printer columns and field selectors use: fields, indexes, wildcards and equality filters.

use serde_json::Value;

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Field(String),
    Index(i64),
    All,
    Filter { path: Vec<String>, equals: String },
}

/// A compiled path such as `.status.conditions[?(@.type=="Ready")].status`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct JsonPath(Vec<Step>);

impl JsonPath {
    /// Compiles a path; `None` when it uses what is not supported.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let mut rest = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(text);
        rest = rest.strip_prefix('$').unwrap_or(rest);
        let mut steps = Vec::new();
        while !rest.is_empty() {
            if let Some(inner) = rest.strip_prefix('[') {
                let end = closing(inner)?;
                steps.push(bracket(inner[..end].trim())?);
                rest = &inner[end + 1..];
            } else {
                rest = rest.strip_prefix('.').unwrap_or(rest);
                let (field, after) = field(rest);
                if field == "*" {
                    steps.push(Step::All);
                } else if !field.is_empty() {
                    steps.push(Step::Field(field));
                } else if !after.starts_with('[') {
                    return None;
                }
                rest = after;
            }
        }
        Some(Self(steps))
    }

    /// Everything the path leads to.
    pub fn find<'a>(&self, root: &'a Value) -> Vec<&'a Value> {
        let mut found = vec![root];
        for step in &self.0 {
            found = found.into_iter().flat_map(|value| follow(step, value)).collect();
        }
        found
    }
}

/// The index of the bracket that closes, quotes skipped.
fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    for (i, c) in text.char_indices() {
        match (quote, c) {
            (None, ']') => return Some(i),
            (None, '\'' | '"') => quote = Some(c),
            (Some(q), c) if q == c => quote = None,
            _ => {}
        }
    }
    None
}

fn bracket(inner: &str) -> Option<Step> {
    if inner == "*" {
        return Some(Step::All);
    }
    if let Some(filter) = inner.strip_prefix("?(").and_then(|t| t.strip_suffix(')')) {
        let (path, wanted) = filter.split_once("==")?;
        let path = path.trim().strip_prefix("@.")?;
        let path = path.split('.').map(str::to_owned).collect();
        return Some(Step::Filter { path, equals: unquote(wanted.trim()).to_owned() });
    }
    if inner.starts_with(['\'', '"']) {
        return Some(Step::Field(unquote(inner).to_owned()));
    }
    inner.parse().ok().map(Step::Index)
}

fn unquote(text: &str) -> &str {
    for quote in ['\'', '"'] {
        if let Some(inner) = text.strip_prefix(quote).and_then(|t| t.strip_suffix(quote)) {
            return inner;
        }
    }
    text
}

/// A field name up to the next separator; a backslash takes the next character as it is.
fn field(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((i, c)) = chars.next() {
        match c {
            '\\' => name.extend(chars.next().map(|(_, c)| c)),
            '.' | '[' => return (name, &text[i..]),
            c => name.push(c),
        }
    }
    (name, "")
}

fn follow<'a>(step: &Step, value: &'a Value) -> Vec<&'a Value> {
    match step {
        Step::Field(name) => value.get(name).into_iter().collect(),
        Step::Index(i) => {
            let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
            let index = if *i < 0 { *i + list.len() as i64 } else { *i };
            usize::try_from(index).ok().and_then(|i| list.get(i)).into_iter().collect()
        }
        Step::All => match value {
            Value::Array(list) => list.iter().collect(),
            Value::Object(map) => map.values().collect(),
            _ => Vec::new(),
        },
        Step::Filter { path, equals } => {
            let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
            let holds = |item: &&Value| {
                let at = path.iter().try_fold(*item, |v, field| v.get(field));
                at.is_some_and(|v| plain(v) == *equals)
            };
            list.iter().filter(holds).collect()
        }
    }
}

/// A value as a selector or a cell shows it: text without quotes.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_lead_where_printer_columns_expect() {
        let object = json!({
            "metadata": {"labels": {"crater.dev/job": "a"}},
            "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Old", "status": "False"}]},
            "spec": {"roles": [{"replicas": 1}, {"replicas": 2}]},
        });
        let find = |path: &str| {
            JsonPath::parse(path)
                .map(|p| p.find(&object).into_iter().map(plain).collect::<Vec<_>>().join(","))
        };
        assert_eq!(find(r#".status.conditions[?(@.type=="Ready")].status"#).as_deref(), Some("True"));
        assert_eq!(find(r".metadata.labels.crater\.dev/job").as_deref(), Some("a"));
        assert_eq!(find(".metadata.labels['crater.dev/job']").as_deref(), Some("a"));
        assert_eq!(find(".spec.roles[*].replicas").as_deref(), Some("1,2"));
        assert_eq!(find("{.spec.roles[-1].replicas}").as_deref(), Some("2"));
        assert_eq!(find(".spec.roles[?(@.replicas>1)]"), None, "other filters are not supported");
    }
}
