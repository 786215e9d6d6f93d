//! What has a name in the cluster and a number in the engine. A number once given stays, so that requests can be shared between snapshots.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crater_domain::Devices;
use crater_engine::{ExtendedIx, KeyIx, ModelIx, ValueIx};
use crater_k8s::node::PLACES;

/// Names in the order in which they were first heard. There are few: they are looked through.
#[derive(Clone, Debug, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

impl Heard {
    fn intern(&self, name: &str) -> usize {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.iter().position(|known| known == name).unwrap_or_else(|| {
            names.push(name.to_owned());
            names.len() - 1
        })
    }

    fn names(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn copy(&self) -> Self {
        Self(Arc::new(Mutex::new(self.names())))
    }
}

/// GPU models by number.
#[derive(Clone, Debug, Default)]
pub struct Models(Heard);

impl Models {
    /// The number of a model.
    pub fn intern(&self, model: &str) -> ModelIx {
        ModelIx::of(self.0.intern(model))
    }

    /// All names, by number.
    pub fn names(&self) -> Vec<String> {
        self.0.names()
    }
}

/// Devices that are asked for by name, by number.
#[derive(Clone, Debug, Default)]
pub struct DeviceNames(Heard);

impl DeviceNames {
    /// The number of a name.
    pub fn intern(&self, name: &str) -> ExtendedIx {
        ExtendedIx::of(self.0.intern(name))
    }

    /// All names, by number.
    pub fn names(&self) -> Vec<String> {
        self.0.names()
    }

    /// Counts by number; a count that the engine cannot hold is the most that it can.
    pub fn counts(&self, devices: &Devices) -> Vec<(ExtendedIx, u32)> {
        let count = |count: i64| u32::try_from(count.max(0)).unwrap_or(u32::MAX);
        devices.0.iter().map(|(name, n)| (self.intern(name), count(*n))).filter(|(_, n)| *n > 0).collect()
    }
}

/// Labels of nodes that jobs ask for or that say where a node is, by number; a number once given stays.
#[derive(Clone, Debug, Default)]
pub struct Labels(Arc<Mutex<Interned>>);

#[derive(Clone, Debug)]
struct Interned {
    keys: Vec<String>,
    values: BTreeMap<String, ValueIx>,
}

impl Default for Interned {
    /// Where a node is comes first: of labels that lie within nothing of each other the engine takes those with the smaller number for levels.
    fn default() -> Self {
        Self { keys: PLACES.map(str::to_owned).into(), values: BTreeMap::new() }
    }
}

impl Labels {
    /// The number of a key. There are few: they are looked through.
    pub fn key(&self, key: &str) -> KeyIx {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = all.keys.iter().position(|known| known == key).unwrap_or_else(|| {
            all.keys.push(key.to_owned());
            all.keys.len() - 1
        });
        KeyIx::of(at)
    }

    /// The number of a value.
    pub fn value(&self, value: &str) -> ValueIx {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let next = ValueIx::of(all.values.len());
        *all.values.entry(value.to_owned()).or_insert(next)
    }

    /// All keys, by number.
    pub fn keys(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).keys.clone()
    }

    /// All values, by number.
    pub fn values(&self) -> Vec<String> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut values: Vec<(&ValueIx, &String)> = all.values.iter().map(|(value, ix)| (ix, value)).collect();
        values.sort_unstable();
        values.into_iter().map(|(_, value)| value.clone()).collect()
    }

    /// Those labels of a node that have a key among these, from this number on.
    pub fn of(
        &self,
        keys: &[String],
        first: usize,
        labels: &BTreeMap<String, String>,
    ) -> Vec<(KeyIx, ValueIx)> {
        let asked = keys.iter().enumerate().skip(first).filter_map(|(at, key)| Some((at, labels.get(key)?)));
        asked.map(|(at, value)| (KeyIx::of(at), self.value(value))).collect()
    }

    fn copy(&self) -> Self {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Self(Arc::new(Mutex::new(all)))
    }
}

/// Names by number. Clones hear of each other's names; see [`Words::copy`].
#[derive(Clone, Debug, Default)]
pub struct Words {
    /// GPU models.
    pub models: Models,
    /// Devices that are asked for by name.
    pub devices: DeviceNames,
    /// Labels.
    pub labels: Labels,
}

impl Words {
    /// The same names, to which others can be added that nobody else hears of.
    pub fn copy(&self) -> Self {
        let (models, devices) = (Models(self.models.0.copy()), DeviceNames(self.devices.0.copy()));
        Self { models, devices, labels: self.labels.copy() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_knows_what_was_heard_and_what_it_hears_it_keeps_to_itself() {
        let words = Words::default();
        let name = |words: &Words, name: &str| {
            let (key, value) = (words.labels.key(name), words.labels.value(name));
            // what says where nodes are was heard before
            let key = key.at() - PLACES.len();
            (words.models.intern(name).at(), words.devices.intern(name).at(), key, value.at())
        };
        assert_eq!(name(&words, "a"), (0, 0, 0, 0));
        let copy = words.copy();
        assert_eq!((name(&copy, "a"), name(&copy, "b")), ((0, 0, 0, 0), (1, 1, 1, 1)));
        assert_eq!((name(&words, "c"), name(&words.clone(), "d")), ((1, 1, 1, 1), (2, 2, 2, 2)));
        assert_eq!(words.models.names(), ["a", "c", "d"]);
        assert_eq!(copy.labels.values(), ["a", "b"]);
    }
}
