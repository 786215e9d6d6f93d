//! The objects, their history, and the revision that orders both. No policy: what may be written is decided above.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::watch;

use super::object;
use super::types::ResourceType;

/// Where an object lives: its type (`pods`, `aijobs.crater.dev`), namespace (empty: cluster-wide) and name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    pub ty: Arc<str>,
    pub namespace: String,
    pub name: String,
}

impl Key {
    pub fn new(ty: &Arc<str>, namespace: &str, name: &str) -> Self {
        Self { ty: ty.clone(), namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Added,
    Modified,
    Deleted,
}

/// One write: the object after it (for a deletion: as it was last, at the deletion's revision) and before it.
#[derive(Debug)]
pub(crate) struct Event {
    pub revision: u64,
    pub change: Change,
    pub object: Arc<Value>,
    pub before: Option<Arc<Value>>,
}

/// The history no longer reaches back to the revision asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Compacted;

type Objects = BTreeMap<(String, String), Arc<Value>>;

struct Bucket {
    ty: Arc<ResourceType>,
    objects: Objects,
    history: VecDeque<Arc<Event>>,
    /// The highest revision that is no longer in the history.
    compacted: u64,
    changed: watch::Sender<u64>,
}

/// All objects of the cluster.
pub(crate) struct Store {
    revision: u64,
    history_limit: usize,
    buckets: HashMap<Arc<str>, Bucket>,
    by_uid: HashMap<String, Key>,
    dependents: HashMap<String, HashSet<Key>>,
    pods_by_node: HashMap<String, BTreeSet<(String, String)>>,
}

impl Store {
    pub fn new(history_limit: usize) -> Self {
        Self {
            revision: 1,
            history_limit: history_limit.max(1),
            buckets: HashMap::new(),
            by_uid: HashMap::new(),
            dependents: HashMap::new(),
            pods_by_node: HashMap::new(),
        }
    }

    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Adds a type, or replaces its definition and keeps its objects.
    pub fn define(&mut self, ty: Arc<ResourceType>) {
        match self.buckets.get_mut(&ty.qualified) {
            Some(bucket) => bucket.ty = ty,
            None => {
                let bucket = Bucket {
                    ty: ty.clone(),
                    objects: BTreeMap::new(),
                    history: VecDeque::new(),
                    compacted: self.revision,
                    changed: watch::Sender::new(self.revision),
                };
                self.buckets.insert(ty.qualified.clone(), bucket);
            }
        }
    }

    /// Removes a type that has no objects left; its watches end.
    pub fn undefine(&mut self, qualified: &str) {
        self.buckets.remove(qualified);
    }

    pub fn types(&self) -> Vec<Arc<ResourceType>> {
        let mut all: Vec<_> = self.buckets.values().map(|b| b.ty.clone()).collect();
        all.sort_by(|a, b| (&a.group, &a.plural).cmp(&(&b.group, &b.plural)));
        all
    }

    pub fn find_type(&self, qualified: &str) -> Option<Arc<ResourceType>> {
        self.buckets.get(qualified).map(|b| b.ty.clone())
    }

    pub fn get(&self, key: &Key) -> Option<&Arc<Value>> {
        self.lookup(&key.ty, &key.namespace, &key.name)
    }

    pub fn lookup(&self, ty: &str, namespace: &str, name: &str) -> Option<&Arc<Value>> {
        self.buckets.get(ty)?.objects.get(&(namespace.to_owned(), name.to_owned()))
    }

    pub fn by_uid(&self, uid: &str) -> Option<&Key> {
        self.by_uid.get(uid)
    }

    pub fn dependents(&self, uid: &str) -> Vec<Key> {
        self.dependents.get(uid).map(|keys| keys.iter().cloned().collect()).unwrap_or_default()
    }

    /// The objects of a type in the order of their keys, in one namespace or (empty) in all.
    pub fn list<'a>(&'a self, ty: &str, namespace: &'a str) -> Box<dyn Iterator<Item = &'a Arc<Value>> + 'a> {
        match self.buckets.get(ty) {
            None => Box::new(std::iter::empty()),
            Some(bucket) => in_namespace(&bucket.objects, namespace),
        }
    }

    pub fn pods_on(&self, node: &str) -> Vec<Arc<Value>> {
        let Some(keys) = self.pods_by_node.get(node) else { return Vec::new() };
        keys.iter().filter_map(|(ns, name)| self.lookup("pods", ns, name).cloned()).collect()
    }

    /// The objects of a type as they were at a past revision.
    pub fn list_at(&self, ty: &str, namespace: &str, revision: u64) -> Result<Vec<Arc<Value>>, Compacted> {
        let Some(bucket) = self.buckets.get(ty) else { return Ok(Vec::new()) };
        if revision < bucket.compacted {
            return Err(Compacted);
        }
        let undo: Vec<_> = bucket.history.iter().rev().take_while(|e| e.revision > revision).collect();
        if undo.is_empty() {
            return Ok(in_namespace(&bucket.objects, namespace).cloned().collect());
        }
        let mut objects = bucket.objects.clone();
        for event in undo {
            let key = (object::namespace(&event.object).to_owned(), object::name(&event.object).to_owned());
            match &event.before {
                Some(before) => objects.insert(key, before.clone()),
                None => objects.remove(&key),
            };
        }
        Ok(in_namespace(&objects, namespace).cloned().collect())
    }

    /// Up to `limit` events of a type after a revision, oldest first.
    pub fn events_after(&self, ty: &str, revision: u64, limit: usize) -> Result<Vec<Arc<Event>>, Compacted> {
        let Some(bucket) = self.buckets.get(ty) else { return Ok(Vec::new()) };
        if revision < bucket.compacted {
            return Err(Compacted);
        }
        let from = bucket.history.partition_point(|e| e.revision <= revision);
        Ok(bucket.history.range(from..).take(limit).cloned().collect())
    }

    /// Rings when a type has changed; `None` for an unknown type.
    pub fn subscribe(&self, ty: &str) -> Option<watch::Receiver<u64>> {
        self.buckets.get(ty).map(|b| b.changed.subscribe())
    }

    /// Forgets the history, so that watches from before now answer 410.
    pub fn compact(&mut self) {
        for bucket in self.buckets.values_mut() {
            bucket.history.clear();
            bucket.compacted = self.revision;
            // wakes the watches, so that those that lag learn of it
            bucket.changed.send_replace(self.revision);
        }
    }

    /// Writes an object, new or changed, at the next revision.
    pub fn put(&mut self, key: &Key, object: Value) -> Arc<Value> {
        self.write(key, Some(object)).unwrap_or_else(|| Arc::new(Value::Null))
    }

    /// Takes an object away at the next revision; answers what it was last.
    pub fn remove(&mut self, key: &Key) -> Option<Arc<Value>> {
        self.write(key, None)
    }

    fn write(&mut self, key: &Key, object: Option<Value>) -> Option<Arc<Value>> {
        let slot = (key.namespace.clone(), key.name.clone());
        let bucket = self.buckets.get_mut(&key.ty)?;
        let before = bucket.objects.get(&slot).cloned();
        let change = match (&before, &object) {
            (None, Some(_)) => Change::Added,
            (Some(_), Some(_)) => Change::Modified,
            (Some(_), None) => Change::Deleted,
            (None, None) => return None,
        };
        self.revision += 1;
        let revision = self.revision;
        let mut after = match object {
            Some(object) => object,
            None => before.as_deref().cloned().unwrap_or_default(),
        };
        object::metadata_mut(&mut after).insert("resourceVersion".into(), revision.to_string().into());
        let after = Arc::new(after);
        if change == Change::Deleted {
            bucket.objects.remove(&slot);
        } else {
            bucket.objects.insert(slot.clone(), after.clone());
        }
        bucket.history.push_back(Arc::new(Event {
            revision,
            change,
            object: after.clone(),
            before: before.clone(),
        }));
        while bucket.history.len() > self.history_limit {
            if let Some(event) = bucket.history.pop_front() {
                bucket.compacted = event.revision;
            }
        }
        let bell = bucket.changed.clone();
        if let Some(before) = &before {
            self.unindex(key, &slot, before);
        }
        if change != Change::Deleted {
            self.index(key, slot, &after);
        }
        bell.send_replace(revision);
        Some(after)
    }

    fn index(&mut self, key: &Key, slot: (String, String), object: &Value) {
        self.by_uid.insert(object::uid(object).to_owned(), key.clone());
        for owner in object::owners(object) {
            let owner = object::text(owner, &["uid"]).to_owned();
            self.dependents.entry(owner).or_default().insert(key.clone());
        }
        if &*key.ty == "pods" && !object::node_name(object).is_empty() {
            self.pods_by_node.entry(object::node_name(object).to_owned()).or_default().insert(slot);
        }
    }

    fn unindex(&mut self, key: &Key, slot: &(String, String), object: &Value) {
        self.by_uid.remove(object::uid(object));
        for owner in object::owners(object) {
            let owner = object::text(owner, &["uid"]);
            if let Some(keys) = self.dependents.get_mut(owner) {
                keys.remove(key);
                if keys.is_empty() {
                    self.dependents.remove(owner);
                }
            }
        }
        if &*key.ty == "pods"
            && let Some(keys) = self.pods_by_node.get_mut(object::node_name(object))
        {
            keys.remove(slot);
            if keys.is_empty() {
                self.pods_by_node.remove(object::node_name(object));
            }
        }
    }
}

fn in_namespace<'a>(objects: &'a Objects, namespace: &str) -> Box<dyn Iterator<Item = &'a Arc<Value>> + 'a> {
    if namespace.is_empty() {
        return Box::new(objects.values());
    }
    let namespace = namespace.to_owned();
    let from = (namespace.clone(), String::new());
    Box::new(objects.range(from..).take_while(move |((ns, _), _)| *ns == namespace).map(|(_, object)| object))
}
