//! A fault in a document, before it is known which file that is.

use std::fmt;
use std::path::Path;

use crate::input::InputError;

/// What is wrong, and as much of the place as is known yet. It grows from the inside: each list and map that it passes on its way out
/// adds itself to the field, and the innermost gives the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    line: Option<u64>,
    field: String,
    what: String,
}

impl Wrong {
    pub fn new(what: impl Into<String>) -> Self {
        Self { line: None, field: String::new(), what: what.into() }
    }

    /// The same, on this line if none is known yet.
    pub fn at(mut self, line: u64) -> Self {
        self.line.get_or_insert(line);
        self
    }

    /// The same, below this key.
    pub fn below_key(mut self, key: &str) -> Self {
        self.field = match self.field.as_str() {
            "" => key.to_owned(),
            list if list.starts_with('[') => format!("{key}{list}"),
            field => format!("{key}.{field}"),
        };
        self
    }

    /// The same, in this item of a list.
    pub fn below_index(mut self, index: usize) -> Self {
        self.field = match self.field.as_str() {
            "" => format!("[{index}]"),
            list if list.starts_with('[') => format!("[{index}]{list}"),
            field => format!("[{index}].{field}"),
        };
        self
    }

    pub fn in_file(self, file: &Path) -> InputError {
        let field = Some(self.field).filter(|field| !field.is_empty());
        InputError { file: Some(file.to_owned()), line: self.line, field, what: self.what }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Wrong {}

impl serde::de::Error for Wrong {
    fn custom<T: fmt::Display>(what: T) -> Self {
        Self::new(what.to_string())
    }

    fn unknown_field(field: &str, known: &'static [&'static str]) -> Self {
        Self::new(format!("there is no such key; there are {}", known.join(", "))).below_key(field)
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new("is missing").below_key(field)
    }

    fn unknown_variant(variant: &str, known: &'static [&'static str]) -> Self {
        Self::new(format!("{variant:?} is none of {}", known.join(", ")))
    }
}
