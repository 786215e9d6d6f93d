//! A tree into plain structs.
//!
//! What is told of a wrong value is told in the words of who writes such files, not in those of the struct. A scalar that is wanted as a
//! text is taken as it was written, so that a label `1.5` needs no quotes.

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::wrong::Wrong;
use super::{Key, Node, Value};

impl Node {
    fn wrong(&self, what: impl Into<String>) -> Wrong {
        Wrong::new(what).at(self.line)
    }

    fn text(&self) -> Result<&str, Wrong> {
        match &self.value {
            Value::Scalar { text, .. } if !self.is_null() => Ok(text),
            _ => Err(self.wrong(format!("must be a text, not {}", self.kind()))),
        }
    }

    /// A whole number from `least` to `most`.
    fn whole(&self, least: i128, most: i128) -> Result<i128, Wrong> {
        let Value::Scalar { text, plain } = &self.value else {
            return Err(self.wrong(format!("must be a whole number, not {}", self.kind())));
        };
        if !plain || self.is_null() {
            return Err(self.wrong(format!("{text:?} is not a whole number")));
        }
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        let number = match text.parse::<i128>() {
            Ok(number) => number,
            Err(_) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
                return Err(self.wrong(format!("{text} is out of all bounds")));
            }
            Err(_) => return Err(self.wrong(format!("{text:?} is not a whole number"))),
        };
        match number {
            n if n < 0 && least == 0 => Err(self.wrong(format!("{n} is negative"))),
            n if n < least => Err(self.wrong(format!("{n} is less than {least}"))),
            n if n > most => Err(self.wrong(format!("{n} is more than {most}"))),
            n => Ok(n),
        }
    }
}

macro_rules! whole_numbers {
    ($($method:ident $visit:ident $type:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
            let number = self.whole($type::MIN.into(), $type::MAX.into())?;
            visitor.$visit($type::try_from(number).unwrap_or($type::MAX))
        }
    )*};
}

impl<'de> Deserializer<'de> for &'de Node {
    type Error = Wrong;

    whole_numbers! {
        deserialize_i8 visit_i8 i8
        deserialize_i16 visit_i16 i16
        deserialize_i32 visit_i32 i32
        deserialize_i64 visit_i64 i64
        deserialize_u8 visit_u8 u8
        deserialize_u16 visit_u16 u16
        deserialize_u32 visit_u32 u32
        deserialize_u64 visit_u64 u64
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match &self.value {
            _ if self.is_null() => visitor.visit_unit(),
            Value::Scalar { text, .. } => visitor.visit_borrowed_str(text),
            Value::List(_) => self.deserialize_seq(visitor),
            Value::Map(_) => self.deserialize_map(visitor),
        }
        .map_err(|wrong| wrong.at(self.line))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match &self.value {
            Value::Scalar { text, plain: true } => match text.as_str() {
                "true" | "True" | "TRUE" => visitor.visit_bool(true),
                "false" | "False" | "FALSE" => visitor.visit_bool(false),
                _ => Err(self.wrong(format!("{text:?} is neither true nor false"))),
            },
            _ => Err(self.wrong(format!("must be true or false, not {}", self.kind()))),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_borrowed_str(self.text()?).map_err(|wrong: Wrong| wrong.at(self.line))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        if self.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match &self.value {
            Value::List(items) => visitor
                .visit_seq(Items { items: items.iter().map(AsRef::as_ref).enumerate() })
                .map_err(|wrong| wrong.at(self.line)),
            Value::Scalar { text, .. } if !self.is_null() => {
                Err(self.wrong(format!("must be a list, such as [{text}]")))
            }
            _ => Err(self.wrong(format!("must be a list, not {}", self.kind()))),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        let Value::Map(entries) = &self.value else {
            return Err(self.wrong(format!("must be a map of keys and values, not {}", self.kind())));
        };
        let entries = entries.iter().map(|(key, node)| (key, node.as_ref()));
        visitor.visit_map(Entries { entries, value: None }).map_err(|wrong| wrong.at(self.line))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        let text: StrDeserializer<'_, Wrong> = self.text()?.into_deserializer();
        visitor.visit_enum(text).map_err(|wrong| wrong.at(self.line))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! { f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct identifier }
}

struct Items<I> {
    items: std::iter::Enumerate<I>,
}

impl<'de, I: Iterator<Item = &'de Node>> SeqAccess<'de> for Items<I> {
    type Error = Wrong;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Wrong> {
        let Some((index, item)) = self.items.next() else { return Ok(None) };
        seed.deserialize(item).map(Some).map_err(|wrong| wrong.at(item.line).below_index(index))
    }

    fn size_hint(&self) -> Option<usize> {
        self.items.size_hint().1
    }
}

struct Entries<'de, I> {
    entries: I,
    value: Option<(&'de Key, &'de Node)>,
}

impl<'de, I: Iterator<Item = (&'de Key, &'de Node)>> MapAccess<'de> for Entries<'de, I> {
    type Error = Wrong;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Wrong> {
        self.value = self.entries.next();
        let Some((key, _)) = self.value else { return Ok(None) };
        let text: StrDeserializer<'_, Wrong> = key.text.as_str().into_deserializer();
        seed.deserialize(text).map(Some).map_err(|wrong| wrong.at(key.line))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Wrong> {
        let Some((key, node)) = self.value.take() else {
            return Err(Wrong::new("a value without a key"));
        };
        seed.deserialize(node).map_err(|wrong| wrong.at(node.line).below_key(&key.text))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use serde::Deserialize;

    use super::super::parse::parse;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Way {
        #[default]
        Left,
        Right,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Thing {
        name: String,
        #[serde(default)]
        labels: BTreeMap<String, String>,
        #[serde(default)]
        way: Way,
        count: Option<u16>,
        shift: Option<i32>,
        sure: Option<bool>,
        #[serde(default)]
        parts: Vec<Thing>,
    }

    fn decoded(text: &str) -> Result<Thing, String> {
        let root = parse(text).unwrap();
        Thing::deserialize(&*root).map_err(|wrong| wrong.in_file(Path::new("f")).to_string())
    }

    #[test]
    fn values_are_taken_as_they_are_written() {
        let text = "name: 1.50\nlabels: {a: true, b: 007, 3: x}\nway: right\ncount: ~\nshift: -5\nsure: false\nparts: [{name: 'no'}]";
        let labels = [("a", "true"), ("b", "007"), ("3", "x")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        let parts = vec![Thing { name: "no".into(), ..Thing::default() }];
        let thing = Thing {
            name: "1.50".into(),
            labels: labels.into(),
            way: Way::Right,
            count: None,
            shift: Some(-5),
            sure: Some(false),
            parts,
        };
        assert_eq!(decoded(text), Ok(thing));
    }

    #[test]
    fn a_wrong_value_is_told_by_line_and_field() {
        for (text, says) in [
            (
                "nam: x",
                "f:1: nam: there is no such key; there are name, labels, way, count, shift, sure, parts",
            ),
            (
                "name: x\nparts:\n- name: y\n  parts:\n  - way: left",
                "f:5: parts[0].parts[0].name: is missing",
            ),
            ("name: x\nway: up", "f:2: way: \"up\" is none of left, right"),
            ("name: x\nway: [left]", "f:2: way: must be a text, not a list"),
            ("name: x\ncount: -1", "f:2: count: -1 is negative"),
            ("name: x\ncount: 65536", "f:2: count: 65536 is more than 65535"),
            ("name: x\ncount: 1.5", "f:2: count: \"1.5\" is not a whole number"),
            ("name: x\ncount: '1'", "f:2: count: \"1\" is not a whole number"),
            ("name: x\nshift: -3000000000", "f:2: shift: -3000000000 is less than -2147483648"),
            ("name: x\nshift: [1]", "f:2: shift: must be a whole number, not a list"),
            ("name: x\nsure: yes", "f:2: sure: \"yes\" is neither true nor false"),
            ("name:\n- x", "f:2: name: must be a text, not a list"),
            ("name:\nway: left", "f:1: name: must be a text, not nothing"),
            ("name: x\nparts: y", "f:2: parts: must be a list, such as [y]"),
            ("name: x\nparts:\n  name: y", "f:3: parts: must be a list, not a map"),
            ("name: x\nlabels: [a]", "f:2: labels: must be a map of keys and values, not a list"),
            ("name: x\nlabels:\n  a:\n    b: c", "f:4: labels.a: must be a text, not a map"),
            ("- x", "f:1: must be a map of keys and values, not a list"),
        ] {
            assert_eq!(decoded(text), Err(says.to_owned()), "{text}");
        }
        let huge = decoded(&format!("name: x\ncount: {}", "9".repeat(60))).unwrap_err();
        assert!(huge.ends_with("is out of all bounds"), "{huge}");
    }
}
