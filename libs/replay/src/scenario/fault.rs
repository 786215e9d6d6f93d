//! What makes no sense in a world.

/// A fault in a field, before it is known in which file and on which line that stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Such as `jobs[2].account`.
    pub field: String,
    /// What is wrong.
    pub why: String,
}

impl Fault {
    pub fn new(field: impl Into<String>, why: impl Into<String>) -> Self {
        Self { field: field.into(), why: why.into() }
    }
}
