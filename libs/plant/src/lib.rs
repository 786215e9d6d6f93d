//! Bugs that are planted on purpose, so that the auditor can be shown to find them: `CRATER_PLANT=no-lock crater up`.
//!
//! Each is a line or two where the bug would be, behind [`planted`]. Only builds with debug assertions have them: elsewhere
//! [`planted`] is `false` at compile time and the lines are gone. Nothing else belongs here.

use std::sync::OnceLock;
use std::time::Duration;

/// A bug of a kind that systems like this one really had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// `no-lock`: the limit of waiting jobs is checked outside the transaction that adds one.
    NoLock,
    /// `no-epoch-check`: the controller takes every Allocation, whoever gave it.
    NoEpochCheck,
    /// `answer-before-commit`: a job is answered before it is in the tables.
    AnswerBeforeCommit,
    /// `missed-release`: what an ended job held is not given back.
    MissedRelease,
    /// `double-consumption`: a request that was here before is done once more.
    DoubleConsumption,
    /// `ignored-410`: a watch that was told 410 Gone goes on without a list.
    Ignored410,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::NoLock,
        Self::NoEpochCheck,
        Self::AnswerBeforeCommit,
        Self::MissedRelease,
        Self::DoubleConsumption,
        Self::Ignored410,
    ];

    /// Its name in the environment and in the auditor's findings.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoLock => "no-lock",
            Self::NoEpochCheck => "no-epoch-check",
            Self::AnswerBeforeCommit => "answer-before-commit",
            Self::MissedRelease => "missed-release",
            Self::DoubleConsumption => "double-consumption",
            Self::Ignored410 => "ignored-410",
        }
    }
}

/// Whether this process was started with the bug. A name in `CRATER_PLANT` that is none plants nothing.
pub fn planted(bug: Bug) -> bool {
    static PLANT: OnceLock<Option<Bug>> = OnceLock::new();
    let asked = || {
        let name = std::env::var("CRATER_PLANT").ok()?;
        Bug::ALL.into_iter().find(|bug| bug.name() == name)
    };
    cfg!(debug_assertions) && *PLANT.get_or_init(asked) == Some(bug)
}

/// A fault of the API server: watches of one type fall silent, and are then told that their place is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deafness {
    /// The type, for example `aijobs.crater.dev`.
    pub of: String,
    /// How long such a watch hears what it should.
    pub after: Duration,
    /// How long it then hears nothing, before its 410.
    pub lasting: Duration,
}

/// The fault asked for by `CRATER_DEAF_WATCH=aijobs.crater.dev:1500:1000` (type, milliseconds, milliseconds).
pub fn deafness() -> Option<&'static Deafness> {
    static DEAF: OnceLock<Option<Deafness>> = OnceLock::new();
    let asked = || deaf(&std::env::var("CRATER_DEAF_WATCH").ok()?);
    if cfg!(debug_assertions) { DEAF.get_or_init(asked).as_ref() } else { None }
}

fn deaf(text: &str) -> Option<Deafness> {
    let mut parts = text.split(':');
    let of = parts.next()?.to_owned();
    let mut millis = || Some(Duration::from_millis(parts.next()?.parse().ok()?));
    Some(Deafness { of, after: millis()?, lasting: millis()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_and_the_fault_is_read() {
        let names: std::collections::BTreeSet<_> = Bug::ALL.iter().map(|bug| bug.name()).collect();
        assert_eq!(names.len(), Bug::ALL.len());
        let fault = deaf("pods:1500:20").unwrap();
        assert_eq!(
            (fault.of.as_str(), fault.after.as_millis(), fault.lasting.as_millis()),
            ("pods", 1500, 20)
        );
        assert_eq!(deaf("pods:soon"), None);
    }
}
