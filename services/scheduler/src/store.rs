//! Objects of one kind by name, as a watch tells of them.

use std::collections::BTreeMap;
use std::ops::Bound;

use kube::runtime::watcher::Event;
use kube::{Resource, ResourceExt};

/// Namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Empty for what has none.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl Key {
    /// Of an object.
    pub fn of(object: &impl ResourceExt) -> Self {
        Self { namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
    }
}

/// What was there before an event.
#[derive(Debug)]
pub enum Before<T> {
    /// What is there still: a list is under way.
    Same,
    /// Of this name.
    One(Key, Option<T>),
    /// All of it: a list is in.
    All(BTreeMap<Key, T>),
}

/// Objects of one kind, as the watch last said.
#[derive(Debug)]
pub struct Store<T> {
    items: BTreeMap<Key, T>,
    draft: Option<BTreeMap<Key, T>>,
    /// It was listed once.
    pub synced: bool,
}

impl<T> Default for Store<T> {
    fn default() -> Self {
        Self { items: BTreeMap::new(), draft: None, synced: false }
    }
}

impl<T> Store<T> {
    /// Takes in one event; what `read` drops counts as deleted. Answers what was there before.
    pub fn apply<K: Resource>(&mut self, event: Event<K>, read: impl Fn(K) -> Option<T>) -> Before<T> {
        match event {
            Event::Init => self.draft = Some(BTreeMap::new()),
            Event::InitApply(object) => {
                let key = Key::of(&object);
                if let (Some(draft), Some(item)) = (&mut self.draft, read(object)) {
                    draft.insert(key, item);
                }
            }
            Event::InitDone => {
                if let Some(draft) = self.draft.take() {
                    self.synced = true;
                    return Before::All(std::mem::replace(&mut self.items, draft));
                }
            }
            Event::Apply(object) => {
                let key = Key::of(&object);
                let before = match read(object) {
                    Some(item) => self.items.insert(key.clone(), item),
                    None => self.items.remove(&key),
                };
                return Before::One(key, before);
            }
            Event::Delete(object) => {
                let key = Key::of(&object);
                let before = self.items.remove(&key);
                return Before::One(key, before);
            }
        }
        Before::Same
    }

    /// By namespace and name.
    pub fn get(&self, key: &Key) -> Option<&T> {
        self.items.get(key)
    }

    /// All, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &T)> {
        self.items.iter()
    }

    /// Those from this one on, or all, in order.
    pub fn from(&self, first: Option<&Key>) -> impl Iterator<Item = (&Key, &T)> {
        self.items.range((first.map_or(Bound::Unbounded, Bound::Included), Bound::Unbounded))
    }
}
