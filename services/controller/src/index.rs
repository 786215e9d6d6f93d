//! What the watches have told, by job. Fed by events, read by the plan; no IO.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use kube::ResourceExt;
use kube::runtime::watcher::Event;

/// A job: namespace and name of its AIJob.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The account's namespace.
    pub namespace: String,
    /// The job's id.
    pub job: String,
}

/// Uids of deleted objects that are remembered, so that a late answer to a create does not bring one back.
const GRAVES: usize = 4096;

/// The objects of one kind, by the job that they belong to.
pub struct Index<K> {
    key_of: fn(&K) -> Option<Key>,
    by_job: BTreeMap<Key, BTreeMap<String, Arc<K>>>,
    /// What a list has told so far; it replaces everything when it is complete.
    listing: Option<BTreeMap<Key, BTreeMap<String, Arc<K>>>>,
    /// Written by us since the last list was asked for and not yet seen in the watch, by uid: that list may lack them.
    assumed: BTreeSet<String>,
    graves: Graves,
}

/// The last uids that were deleted.
#[derive(Default)]
struct Graves {
    row: VecDeque<String>,
    set: BTreeSet<String>,
}

impl<K: ResourceExt> Index<K> {
    /// An empty index; `key_of` says which job an object belongs to, none: it is not of ours.
    pub fn new(key_of: fn(&K) -> Option<Key>) -> Self {
        Self {
            key_of,
            by_job: BTreeMap::new(),
            listing: None,
            assumed: BTreeSet::new(),
            graves: Graves::default(),
        }
    }

    /// Takes an event in. Returns the jobs that it touches.
    pub fn apply(&mut self, event: Event<K>) -> Vec<Key> {
        match event {
            Event::Init => {
                self.listing = Some(BTreeMap::new());
                // the list is asked for after this: it knows all that was written before
                self.assumed.clear();
                Vec::new()
            }
            Event::InitApply(object) => {
                if let (Some(key), Some(listing)) = ((self.key_of)(&object), &mut self.listing) {
                    listing.entry(key).or_default().insert(object.name_any(), Arc::new(object));
                }
                Vec::new()
            }
            Event::InitDone => self.replace(),
            Event::Apply(object) => {
                self.confirm(&object);
                self.put(object).into_iter().collect()
            }
            Event::Delete(object) => {
                self.confirm(&object);
                self.bury(&object);
                self.remove(&object).into_iter().collect()
            }
        }
    }

    /// Takes in what the API answered to a write, before the watch tells it.
    pub fn assume(&mut self, object: K) {
        let Some(uid) = object.uid() else { return };
        if self.graves.set.contains(&uid) {
            return;
        }
        self.assumed.insert(uid);
        self.put(object);
    }

    /// Whether this very object is known.
    pub fn knows(&self, object: &K) -> bool {
        self.known(object).is_some_and(|known| known.uid() == object.uid())
    }

    fn known(&self, object: &K) -> Option<&Arc<K>> {
        self.by_job.get(&(self.key_of)(object)?)?.get(&object.name_any())
    }

    /// Forgets an object that the API says is not there.
    pub fn forget(&mut self, key: &Key, name: &str, uid: &str) {
        if let Some(objects) = self.by_job.get_mut(key)
            && objects.get(name).is_some_and(|o| o.uid().as_deref() == Some(uid))
        {
            objects.remove(name);
        }
        self.assumed.remove(uid);
    }

    /// The objects of a job, by name.
    pub fn of(&self, key: &Key) -> Vec<Arc<K>> {
        self.by_job.get(key).map(|o| o.values().cloned().collect()).unwrap_or_default()
    }

    /// Every job that has an object here.
    pub fn keys(&self) -> Vec<Key> {
        self.by_job.keys().cloned().collect()
    }

    fn replace(&mut self) -> Vec<Key> {
        let mut listed = self.listing.take().unwrap_or_default();
        let newest = listed.values().flat_map(BTreeMap::values).map(|o| revision(&**o)).max().unwrap_or(0);
        let mut touched: BTreeSet<Key> = self.by_job.keys().cloned().collect();
        for (key, objects) in std::mem::take(&mut self.by_job) {
            for (name, object) in objects {
                let newer = revision(&*object) > newest;
                let ours = object.uid().is_some_and(|uid| self.assumed.contains(&uid));
                let listed = listed.entry(key.clone()).or_default();
                // what the list lacks was deleted, unless it was written after the list was made
                let keep = match listed.get(&name) {
                    Some(other) => revision(&*object) > revision(&**other),
                    None => ours && newer,
                };
                if keep {
                    listed.insert(name, object);
                }
            }
        }
        listed.retain(|_, objects| !objects.is_empty());
        touched.extend(listed.keys().cloned());
        self.by_job = listed;
        touched.into_iter().collect()
    }

    /// Takes an object in, unless a newer one is known: the watch may be behind our own writes.
    fn put(&mut self, object: K) -> Option<Key> {
        let key = (self.key_of)(&object)?;
        if self.known(&object).is_none_or(|known| revision(&**known) <= revision(&object)) {
            self.by_job.entry(key.clone()).or_default().insert(object.name_any(), Arc::new(object));
        }
        Some(key)
    }

    fn remove(&mut self, object: &K) -> Option<Key> {
        let key = (self.key_of)(object)?;
        let objects = self.by_job.get_mut(&key)?;
        let name = object.name_any();
        if objects.get(&name).is_some_and(|o| o.uid() == object.uid()) {
            objects.remove(&name);
        }
        if objects.is_empty() {
            self.by_job.remove(&key);
        }
        Some(key)
    }

    fn confirm(&mut self, object: &K) {
        if let Some(uid) = object.uid() {
            self.assumed.remove(&uid);
        }
    }

    fn bury(&mut self, object: &K) {
        let Some(uid) = object.uid() else { return };
        let graves = &mut self.graves;
        if graves.set.insert(uid.clone()) {
            graves.row.push_back(uid);
        }
        if graves.row.len() > GRAVES
            && let Some(oldest) = graves.row.pop_front()
        {
            graves.set.remove(&oldest);
        }
    }
}

fn revision<K: ResourceExt>(object: &K) -> u64 {
    object.resource_version().and_then(|r| r.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;

    use super::*;

    fn pod(name: &str, uid: &str, version: u64) -> Pod {
        let mut pod = Pod::default();
        pod.metadata.name = Some(name.into());
        pod.metadata.uid = Some(uid.into());
        pod.metadata.resource_version = Some(version.to_string());
        pod
    }

    fn key(_: &Pod) -> Option<Key> {
        Some(Key { namespace: "ns".into(), job: "job".into() })
    }

    #[test]
    fn a_list_replaces_what_was_known_but_not_what_was_just_written() {
        let mut index = Index::new(key);
        index.apply(Event::Apply(pod("old", "1", 1)));
        index.apply(Event::Init);
        index.assume(pod("new", "2", 5));
        index.apply(Event::InitDone);
        let names: Vec<_> = index.of(&key(&Pod::default()).unwrap()).iter().map(|p| p.name_any()).collect();
        assert_eq!(names, ["new"]);
    }

    #[test]
    fn what_a_later_list_lacks_is_gone_though_its_deletion_was_never_told() {
        let mut index = Index::new(key);
        index.assume(pod("ghost", "1", 5));
        index.apply(Event::Init);
        index.assume(pod("short", "2", 6));
        index.apply(Event::InitApply(pod("other", "3", 9)));
        index.apply(Event::InitDone);
        let names: Vec<_> = index.of(&key(&Pod::default()).unwrap()).iter().map(|p| p.name_any()).collect();
        assert_eq!(names, ["other"]);
    }

    #[test]
    fn a_watch_or_list_that_is_behind_takes_nothing_back() {
        let mut index = Index::new(key);
        let version = |index: &Index<Pod>| revision(&*index.of(&key(&Pod::default()).unwrap())[0]);
        index.assume(pod("a", "1", 7));
        index.apply(Event::Apply(pod("a", "1", 5)));
        assert_eq!(version(&index), 7);
        index.apply(Event::Init);
        index.apply(Event::InitApply(pod("a", "1", 6)));
        index.apply(Event::InitDone);
        assert_eq!(version(&index), 7);
        index.apply(Event::Apply(pod("a", "1", 8)));
        assert_eq!(version(&index), 8);
    }

    #[test]
    fn a_late_answer_brings_no_deleted_object_back() {
        let mut index = Index::new(key);
        index.apply(Event::Apply(pod("a", "1", 1)));
        index.apply(Event::Delete(pod("a", "1", 2)));
        index.assume(pod("a", "1", 1));
        assert!(index.of(&key(&Pod::default()).unwrap()).is_empty());
    }

    #[test]
    fn the_end_of_a_namesake_does_not_remove_its_successor() {
        let mut index = Index::new(key);
        index.assume(pod("a", "2", 7));
        index.apply(Event::Delete(pod("a", "1", 6)));
        assert_eq!(index.of(&key(&Pod::default()).unwrap()).len(), 1);
    }
}
