//! What a service still lacks before it can serve, by name.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;

/// The named conditions of one service. It is ready when all of them hold; one without conditions is ready. Clones share
/// the conditions.
#[derive(Clone, Debug)]
pub struct Readiness {
    component: Arc<str>,
    conditions: Arc<watch::Sender<Conditions>>,
}

/// Condition name → why it does not hold, or `None` while it holds.
type Conditions = BTreeMap<Arc<str>, Option<String>>;

/// A condition that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    pub condition: String,
    pub why: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.condition, self.why)
    }
}

impl Readiness {
    /// `component` names the service in log lines.
    pub fn new(component: &str) -> Self {
        Self { component: component.into(), conditions: Arc::new(watch::Sender::default()) }
    }

    /// The handle of the condition called `name`, which is added as not yet met if it is new.
    pub fn condition(&self, name: &str) -> Condition {
        let name: Arc<str> = name.into();
        self.conditions.send_if_modified(|conditions| {
            let new = !conditions.contains_key(&name);
            if new {
                conditions.insert(name.clone(), Some("not yet".to_owned()));
            }
            new
        });
        Condition { readiness: self.clone(), name }
    }

    pub fn is_ready(&self) -> bool {
        self.conditions.borrow().values().all(Option::is_none)
    }

    /// The conditions that do not hold, by name.
    pub fn missing(&self) -> Vec<Missing> {
        let conditions = self.conditions.borrow();
        let missing = conditions
            .iter()
            .filter_map(|(name, why)| Some(Missing { condition: name.to_string(), why: why.clone()? }));
        missing.collect()
    }

    /// Waits until every condition holds.
    pub async fn ready(&self) {
        let mut changes = self.changes();
        while !self.is_ready() && changes.changed().await {}
    }

    pub(crate) fn changes(&self) -> Changes {
        Changes(self.conditions.subscribe())
    }

    fn set(&self, name: &Arc<str>, why: Option<String>) {
        self.conditions.send_if_modified(|conditions| {
            let before = conditions.insert(name.clone(), why.clone());
            let changed = before.as_ref() != Some(&why);
            let component = &*self.component;
            let held_before = matches!(before, Some(None));
            match why {
                None if !held_before => {
                    let ready = conditions.values().all(Option::is_none);
                    tracing::info!(component, condition = &**name, ready, "condition holds");
                }
                Some(why) if held_before => {
                    tracing::info!(component, condition = &**name, why, "condition does not hold");
                }
                Some(why) if changed => {
                    tracing::debug!(component, condition = &**name, why, "condition does still not hold");
                }
                _ => {}
            }
            changed
        });
    }
}

/// One condition of a [`Readiness`]. Dropping it changes nothing.
#[derive(Clone, Debug)]
pub struct Condition {
    readiness: Readiness,
    name: Arc<str>,
}

impl Condition {
    pub fn ready(&self) {
        self.readiness.set(&self.name, None);
    }

    /// `why` is shown to operators: say what is waited for.
    pub fn not_ready(&self, why: impl Into<String>) {
        self.readiness.set(&self.name, Some(why.into()));
    }
}

pub(crate) struct Changes(watch::Receiver<Conditions>);

impl Changes {
    /// Waits for a change that was not yet seen; false once there can be none.
    pub(crate) async fn changed(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_means_that_every_named_condition_holds() {
        let readiness = Readiness::new("test");
        assert!(readiness.is_ready());
        let database = readiness.condition("database");
        let limits = readiness.condition("limits");
        database.ready();
        limits.not_ready("no stream from quota yet");
        let missing = readiness.missing();
        assert_eq!(missing.len(), 1);
        assert_eq!(missing[0].to_string(), "limits: no stream from quota yet");
        limits.ready();
        assert!(readiness.is_ready());
    }

    #[test]
    fn naming_a_condition_again_does_not_reset_it() {
        let readiness = Readiness::new("test");
        readiness.condition("database").ready();
        readiness.condition("database");
        assert!(readiness.is_ready());
    }
}
