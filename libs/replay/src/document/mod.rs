//! YAML that knows on which line everything stands.
//!
//! A file becomes a tree (`parse`), the tree becomes plain structs (`decode`), and the tree is kept: a fault that is found later, in a
//! field such as `jobs[3].each.gpu`, still gets its line. Keys that are there twice, anchors that unfold without end, and a second
//! document are refused.

mod decode;
mod parse;
mod wrong;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::input::{InputError, read_text};
use wrong::Wrong;

/// A value and where it begins.
#[derive(Debug)]
struct Node {
    /// From 1.
    line: u64,
    /// Values in it, itself included, with all aliases written out.
    size: u64,
    /// Levels in it, itself included.
    depth: u32,
    value: Value,
}

#[derive(Debug)]
enum Value {
    Scalar {
        text: String,
        /// Without quotes.
        plain: bool,
    },
    List(Vec<Arc<Node>>),
    /// In the order of the file.
    Map(Vec<(Key, Arc<Node>)>),
}

#[derive(Debug)]
struct Key {
    line: u64,
    text: String,
}

impl Node {
    /// Was nothing written, or as much as nothing?
    fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// What it is, for people.
    fn kind(&self) -> &'static str {
        match self.value {
            _ if self.is_null() => "nothing",
            Value::Scalar { .. } => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }

    /// The line of a field in it, or of the nearest thing above the field; `own`: the line of this node itself.
    fn line_of(&self, field: &str, own: u64) -> u64 {
        match &self.value {
            Value::List(items) => {
                let index = field.strip_prefix('[').and_then(|rest| rest.split_once(']'));
                let found = index.and_then(|(at, rest)| Some((items.get(at.parse::<usize>().ok()?)?, rest)));
                found.map_or(own, |(item, rest)| item.line_of(rest, item.line))
            }
            Value::Map(entries) => {
                let field = field.strip_prefix('.').unwrap_or(field);
                // keys may have dots in them: the longest that fits is meant
                let fits = |(key, node)| -> Option<(&Key, &Arc<Node>, &str)> {
                    let (key, node): (&Key, &Arc<Node>) = (key, node);
                    let rest = field.strip_prefix(key.text.as_str())?;
                    (rest.is_empty() || rest.starts_with(['.', '['])).then_some((key, node, rest))
                };
                let found = entries.iter().filter_map(|(key, node)| fits((key, node)));
                let longest = found.max_by_key(|(key, _, _)| key.text.len());
                longest.map_or(own, |(key, node, rest)| node.line_of(rest, key.line))
            }
            Value::Scalar { .. } => own,
        }
    }
}

/// A YAML file that was read.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    file: PathBuf,
    root: Arc<Node>,
}

impl Document {
    /// Reads a file, plain or as gzip.
    ///
    /// # Errors
    /// What cannot be read, or is no YAML, by line.
    pub fn read(file: &Path) -> Result<Self, InputError> {
        let text = read_text(file)?;
        let root = parse::parse(&text).map_err(|wrong| wrong.in_file(file))?;
        Ok(Self { file: file.to_owned(), root })
    }

    /// What it says, as a struct.
    ///
    /// # Errors
    /// The first thing that the struct has no place for, or that it lacks, by line and field.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, InputError> {
        if self.root.is_null() {
            return Err(InputError::in_file(&self.file, "there is nothing in it").at_line(self.root.line));
        }
        T::deserialize(&*self.root).map_err(|wrong: Wrong| wrong.at(self.root.line).in_file(&self.file))
    }

    /// A fault in a field such as `jobs[3].each.gpu`, with its line or that of the nearest thing above it.
    pub fn fault(&self, field: &str, what: impl Into<String>) -> InputError {
        let line = self.root.line_of(field, self.root.line);
        InputError::in_file(&self.file, what).at_line(line).in_field(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# a comment
nodes:
- {name: a, gpu: 8}
- name: b
  labels: {gpu: x, a.b/c: 1, a: {b: 2}}
  gpu: 4

accounts:
  - {name: jobs, limit: {
      gpu: 3}}
jobs:
- {name: a, submit: 0}
-
  name: b
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
        let root = parse::parse(TEXT).unwrap();
        for (field, line) in [
            ("nodes[0].name", 3),
            ("nodes[1]", 4),
            ("nodes[1].gpu", 6),
            ("nodes[1].labels.gpu", 5),
            ("nodes[1].labels.a.b/c", 5),
            ("accounts[0].limit.gpu", 10),
            ("accounts[0].limit.cpu", 9),
            ("jobs[0].submit", 12),
            ("jobs[1].each.gpu", 16),
            ("jobs[1].roles[1].replicas", 20),
            ("jobs[2].submit", 21),
            ("jobs[1].account", 14),
            ("jobs[9].name", 11),
            ("colour", 2),
        ] {
            assert_eq!(root.line_of(field, root.line), line, "{field}");
        }
    }
}
