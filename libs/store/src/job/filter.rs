//! Which jobs somebody wants to see.

use std::collections::BTreeMap;

use crater_domain::{JobState, ServiceClass, UserId};

use super::row::Job;

/// From a moment on and before another, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    /// At this time or later.
    pub from: Option<i64>,
    /// Before this time.
    pub before: Option<i64>,
}

impl Span {
    fn holds(self, ms: i64) -> bool {
        self.from.is_none_or(|from| ms >= from) && self.before.is_none_or(|before| ms < before)
    }

    fn is_any(self) -> bool {
        self == Self::default()
    }
}

/// Which jobs: all that is set must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// In one of these states; none means any.
    pub states: Vec<JobState>,
    /// By one of these; none means anybody.
    pub creators: Vec<UserId>,
    /// Of one of these classes; none means any.
    pub classes: Vec<ServiceClass>,
    /// With all of these labels; an empty value means any.
    pub labels: BTreeMap<String, String>,
    /// When created.
    pub created: Span,
    /// When ended; a job that has not ended is outside of every span but the empty one.
    pub ended: Span,
    /// Only jobs that stand aside, or only others.
    pub suspended: Option<bool>,
    /// The id contains this. Lower-case letters, digits and hyphens: what ids are made of.
    pub id_contains: String,
}

impl Filter {
    /// Whether a job is among them; says the same as [`super::keys`] does by the tables.
    pub fn matches(&self, job: &Job) -> bool {
        self.stays(job) && self.holds_now(job)
    }

    /// The part that holds for all of a job's life, or never.
    pub fn stays(&self, job: &Job) -> bool {
        (self.creators.is_empty() || self.creators.contains(&job.creator))
            && self.created.holds(job.created_ms)
            && job.name.job.as_str().contains(&self.id_contains)
    }

    fn holds_now(&self, job: &Job) -> bool {
        let labelled = |(key, value): (&String, &String)| {
            job.labels.get(key).is_some_and(|has| value.is_empty() || has == value)
        };
        (self.states.is_empty() || self.states.contains(&job.state))
            && (self.classes.is_empty() || self.classes.contains(&job.spec.class))
            && self.labels.iter().all(labelled)
            && (self.ended.is_any() || job.ended_ms.is_some_and(|ms| self.ended.holds(ms)))
            && self.suspended.is_none_or(|wanted| wanted == job.is_suspended())
    }

    /// The same filter gives the same words, another one others: for tokens.
    pub fn words(&self) -> String {
        let mut states: Vec<&str> = self.states.iter().map(|s| s.as_str()).collect();
        let mut creators: Vec<&str> = self.creators.iter().map(UserId::as_str).collect();
        let mut classes: Vec<&str> = self.classes.iter().map(|c| class_word(*c)).collect();
        for words in [&mut states, &mut creators, &mut classes] {
            words.sort_unstable();
            words.dedup();
        }
        let rest = (&self.labels, self.created, self.ended, self.suspended, &self.id_contains);
        format!("{states:?}{creators:?}{classes:?}{rest:?}")
    }
}

/// A class as it stands in the tables.
pub(super) fn class_word(class: ServiceClass) -> &'static str {
    match class {
        ServiceClass::Guaranteed => "Guaranteed",
        ServiceClass::BestEffort => "BestEffort",
    }
}
