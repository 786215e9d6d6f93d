//! Text into a tree.

use std::collections::BTreeMap;
use std::sync::Arc;

use granit_parser::{Event, Parser, ScalarStyle, options};

use super::wrong::Wrong;
use super::{Key, Node, Value};

/// Levels that a document may have, aliases written out: more than any format needs.
const DEEPEST: u32 = 64;
/// Values that a document may have, aliases written out.
const MOST: u64 = 50_000_000;

/// A list or map that is not over yet.
struct Open {
    line: u64,
    anchor: usize,
    within: Within,
}

enum Within {
    List(Vec<Arc<Node>>),
    Map {
        entries: Vec<(Key, Arc<Node>)>,
        /// Of the next value.
        key: Option<Key>,
        /// The line of each key.
        seen: BTreeMap<String, u64>,
    },
}

/// The one document of a text.
pub(super) fn parse(text: &str) -> Result<Arc<Node>, Wrong> {
    let mut builder = Builder::default();
    for event in Parser::new_from_str_with_options(text, options! { emit_comments: false }) {
        let (event, span) = event.map_err(|error| {
            let line = error.marker().line() as u64;
            builder.place(Wrong::new(format!("this is no YAML: {}", error.info())).at(line.max(1)))
        })?;
        builder.take(event, span.start.line().max(1) as u64)?;
    }
    Ok(builder.root.unwrap_or_else(|| nothing(1)))
}

fn nothing(line: u64) -> Arc<Node> {
    Arc::new(Node { line, size: 1, depth: 1, value: Value::Scalar { text: String::new(), plain: true } })
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: BTreeMap<usize, Arc<Node>>,
    root: Option<Arc<Node>>,
    documents: u32,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, line: u64) -> Result<(), Wrong> {
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(Wrong::new("a second document begins here; there may be one").at(line));
                }
                Ok(())
            }
            Event::Scalar(text, style, anchor, _) => {
                let value = Value::Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain };
                self.add(Node { line, size: 1, depth: 1, value }, anchor)
            }
            Event::SequenceStart(_, anchor, _) => {
                self.open.push(Open { line, anchor, within: Within::List(Vec::new()) });
                Ok(())
            }
            Event::MappingStart(_, anchor, _) => {
                let within = Within::Map { entries: Vec::new(), key: None, seen: BTreeMap::new() };
                self.open.push(Open { line, anchor, within });
                Ok(())
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(anchor) => match self.anchors.get(&anchor).cloned() {
                Some(node) => self.put(node, line),
                None => Err(self.place(Wrong::new("an alias of what it stands in").at(line))),
            },
            _ => Ok(()),
        }
    }

    fn close(&mut self) -> Result<(), Wrong> {
        let Some(Open { line, anchor, within }) = self.open.pop() else { return Ok(()) };
        let value = match within {
            Within::List(items) => Value::List(items),
            Within::Map { entries, .. } => Value::Map(entries),
        };
        let (mut size, mut depth) = (1u64, 0);
        let mut count = |node: &Node| {
            size = size.saturating_add(node.size);
            depth = depth.max(node.depth);
        };
        match &value {
            Value::List(items) => items.iter().for_each(|item| count(item)),
            Value::Map(entries) => entries.iter().for_each(|(_, node)| count(node)),
            Value::Scalar { .. } => {}
        }
        self.add(Node { line, size, depth: depth + 1, value }, anchor)
    }

    fn add(&mut self, node: Node, anchor: usize) -> Result<(), Wrong> {
        if node.depth > DEEPEST {
            return Err(self.place(Wrong::new(format!("is more than {DEEPEST} levels deep")).at(node.line)));
        }
        if node.size > MOST {
            return Err(self.place(Wrong::new(format!("has more than {MOST} values")).at(node.line)));
        }
        let (line, node) = (node.line, Arc::new(node));
        if anchor != 0 {
            self.anchors.insert(anchor, Arc::clone(&node));
        }
        self.put(node, line)
    }

    /// Puts a value where it belongs: a key or value of a map, an item of a list, or all there is.
    fn put(&mut self, node: Arc<Node>, line: u64) -> Result<(), Wrong> {
        let Some(Open { within, .. }) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        let wrong = match within {
            Within::List(items) => {
                items.push(node);
                return Ok(());
            }
            Within::Map { entries, key: key @ Some(_), .. } => {
                entries.extend(key.take().map(|key| (key, node)));
                return Ok(());
            }
            Within::Map { key, seen, .. } => match &node.value {
                Value::Scalar { text, .. } => {
                    let before = seen.insert(text.clone(), line);
                    *key = Some(Key { line, text: text.clone() });
                    let Some(before) = before else { return Ok(()) };
                    Wrong::new(format!("is there twice, first on line {before}"))
                }
                _ => Wrong::new(format!("a key must be a text, not {}", node.kind())),
            },
        };
        Err(self.place(wrong.at(line)))
    }

    /// A fault in what is being read, with the field that this is.
    fn place(&self, wrong: Wrong) -> Wrong {
        self.open.iter().rev().fold(wrong, |wrong, open| match &open.within {
            Within::List(items) => wrong.below_index(items.len()),
            Within::Map { key: Some(key), .. } => wrong.below_key(&key.text),
            Within::Map { key: None, .. } => wrong,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> String {
        parse(text).unwrap_err().in_file(std::path::Path::new("f")).to_string()
    }

    #[test]
    fn what_is_no_sound_document_is_refused_by_line_and_field() {
        assert_eq!(
            told("a: 1\nb: {c: [1, {d: 2, d: 3}]}\n"),
            "f:2: b.c[1].d: is there twice, first on line 2"
        );
        assert_eq!(told("a: 1\nb: 2\na: 3\n"), "f:3: a: is there twice, first on line 1");
        assert_eq!(told("a: 1\n---\nb: 2\n"), "f:2: a second document begins here; there may be one");
        assert_eq!(told("a:\n- [x]: 2\n"), "f:2: a[0]: a key must be a text, not a list");
        assert!(told("a: [1\nb: 2\n").starts_with("f:2: "), "{}", told("a: [1\nb: 2\n"));
        assert!(told("a: *b\n").starts_with("f:1: "), "{}", told("a: *b\n"));
        assert!(told("a: &b [*b]\n").starts_with("f:1: a[0]: "), "{}", told("a: &b [*b]\n"));
    }

    #[test]
    fn aliases_do_not_unfold_without_end() {
        let times = |of: &str| vec![format!("*{of}"); 9].join(", ");
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..20 {
            text += &format!("a{n}: &a{n} [{}]\n", times(&format!("a{}", n - 1)));
        }
        assert!(told(&text).ends_with("has more than 50000000 values"), "{}", told(&text));
        let mut text = "a0: &a0 [x]\n".to_owned();
        for n in 1..1000 {
            text += &format!("a{n}: &a{n} [*a{}]\n", n - 1);
        }
        assert!(told(&text).ends_with("is more than 64 levels deep"), "{}", told(&text));
    }
}
