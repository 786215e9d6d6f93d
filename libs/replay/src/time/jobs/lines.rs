//! On which line of a YAML text a field stands.

/// The line, from 1, of a field such as `jobs[3].each.gpu` in a text in block style whose lists hold an item after each dash; of the
/// nearest thing above it that is found.
pub(super) fn line_of(text: &str, field: &str) -> u64 {
    let lines: Vec<&str> = text.lines().collect();
    let (mut from, mut to, mut found) = (0, lines.len(), 0);
    for part in field.split('.') {
        let (key, index) = match part.split_once('[') {
            Some((key, rest)) => (key, rest.trim_end_matches(']').parse::<usize>().ok()),
            None => (part, None),
        };
        let Some(at) = (from..to).find(|at| lines.get(*at).is_some_and(|line| has_key(line, key))) else {
            break;
        };
        found = at;
        let Some(index) = index else {
            from = at;
            continue;
        };
        let Some((first, last)) = item(&lines, at + 1, to, index) else { break };
        (from, to, found) = (first, last, first);
    }
    found as u64 + 1
}

/// Does a line give this key a value, wherever in it?
fn has_key(line: &str, key: &str) -> bool {
    let mut rest = line;
    while let Some(at) = rest.find(key) {
        let before = rest[..at].chars().next_back();
        let after = rest[at + key.len()..].trim_start_matches(['"', '\'']).trim_start();
        if before.is_none_or(|c| matches!(c, ' ' | '{' | ',' | '"' | '\'' | '-')) && after.starts_with(':') {
            return true;
        }
        rest = &rest[at + key.len()..];
    }
    false
}

/// The lines of an item of the list that begins on a line.
fn item(lines: &[&str], from: usize, to: usize, index: usize) -> Option<(usize, usize)> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let begins = |at: &usize| lines.get(*at).is_some_and(|line| line.trim_start().starts_with('-'));
    let first = (from..to).find(|at| {
        lines.get(*at).is_some_and(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
    })?;
    if !begins(&first) {
        return None;
    }
    let depth = indent(lines.get(first)?);
    let over = |at: &usize| {
        lines.get(*at).is_some_and(|line| {
            let bare = line.trim_start();
            let less = indent(line) < depth || (indent(line) == depth && !bare.starts_with('-'));
            !bare.is_empty() && !bare.starts_with('#') && less
        })
    };
    let end = (first..to).find(over).unwrap_or(to);
    let mut starts =
        (first..end).filter(|at| begins(at) && lines.get(*at).is_some_and(|line| indent(line) == depth));
    let begin = starts.nth(index)?;
    Some((begin, starts.next().unwrap_or(end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# a comment
nodes:
- {name: a, gpu: 8}
- name: b
  labels: {gpu: x}
  gpu: 4

accounts:
  - {name: jobs, limit: {gpu: 3}}
jobs:
- {name: a, submit: 0}
- name: b
  each:
    gpu: 3
  roles:
  - {name: x, replicas: 1}
  - name: y
    replicas: 2
- {name: c, resubmit: 1, submit: 2}
";

    #[test]
    fn a_field_is_found_in_its_item() {
        for (field, line) in [
            ("nodes[0].name", 3),
            ("nodes[1]", 4),
            ("nodes[1].gpu", 5),
            ("accounts[0].limit.gpu", 9),
            ("jobs[0].submit", 11),
            ("jobs[1].each.gpu", 14),
            ("jobs[1].roles[1].replicas", 18),
            ("jobs[2].submit", 19),
            ("jobs[1].account", 12),
            ("jobs[9].name", 10),
            ("colour", 1),
        ] {
            assert_eq!(line_of(TEXT, field), line, "{field}");
        }
    }
}
