//! The garbage collector: dependents whose owners are gone, foreground deletions, and namespaces being emptied.
//!
//! Level-triggered: a key on the queue only says "look at this one again"; what to do follows from what is stored.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tokio::sync::Notify;

use super::Api;
use super::object::{self, text};
use super::store::{Key, Store};
use super::write::{CRDS, DeleteOptions, drop_owner};

/// Keys to look at, each once however often it was named.
#[derive(Default)]
pub(crate) struct Work {
    keys: Mutex<BTreeSet<Key>>,
    bell: Notify,
}

impl Work {
    pub fn look_at(&self, key: Key) {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).insert(key);
        self.bell.notify_one();
    }

    async fn next(&self) -> Key {
        loop {
            let next = self.keys.lock().unwrap_or_else(PoisonError::into_inner).pop_first();
            match next {
                Some(key) => return key,
                None => self.bell.notified().await,
            }
        }
    }
}

/// Collects until dropped.
pub(crate) async fn run(api: Arc<Api>) {
    loop {
        let key = api.work.next().await;
        api.collect(&key);
    }
}

impl Api {
    fn collect(&self, key: &Key) {
        let found = self.store().get(key).cloned();
        let Some(found) = found else { return };
        if !object::is_deleting(&found) {
            self.collect_orphan(key, &found);
            return;
        }
        if object::finalizers(&found).any(|f| f == "foregroundDeletion") {
            self.collect_foreground(key, &found);
        }
        if &*key.ty == "namespaces" {
            self.collect_namespace(key, &found);
        }
    }

    /// An object that names owners, none of which is there, goes; owners that are gone are struck off others.
    fn collect_orphan(&self, key: &Key, found: &Value) {
        let owners = object::owners(found);
        if owners.is_empty() {
            return;
        }
        let store = self.store();
        let absent: Vec<&str> = owners
            .iter()
            .map(|owner| text(owner, &["uid"]))
            .filter(|uid| {
                !store.by_uid(uid).is_some_and(|o| o.namespace.is_empty() || o.namespace == key.namespace)
            })
            .collect();
        let waited_for = owners.iter().any(|owner| {
            let held = store.by_uid(text(owner, &["uid"])).and_then(|key| store.get(key));
            held.is_some_and(|o| object::finalizers(o).any(|f| f == "foregroundDeletion"))
        });
        let (gone, all) = (absent.len(), owners.len());
        drop(store);
        if gone == all || (waited_for && gone + 1 >= all) {
            self.delete_quietly(key, object::uid(found), None);
        } else if gone > 0 {
            let absent: Vec<String> = absent.into_iter().map(str::to_owned).collect();
            self.modify(&key.ty, &key.namespace, &key.name, object::uid(found), |object| {
                absent.iter().for_each(|uid| drop_owner(object, uid));
                true
            });
        }
    }

    fn collect_foreground(&self, key: &Key, found: &Value) {
        let dependents = self.store().dependents(object::uid(found));
        if dependents.is_empty() {
            self.modify(&key.ty, &key.namespace, &key.name, object::uid(found), |object| {
                object::remove_finalizer(object, "foregroundDeletion");
                true
            });
        }
        for dependent in dependents {
            let object = self.store().get(&dependent).cloned();
            if let Some(object) = object.filter(|o| !object::is_deleting(o)) {
                self.delete_quietly(&dependent, object::uid(&object), Some("Foreground"));
            }
        }
    }

    fn collect_namespace(&self, key: &Key, found: &Value) {
        let all = contents(&self.store(), &key.name);
        for (key, object) in all.into_iter().filter(|(_, object)| !object::is_deleting(object)) {
            self.delete_quietly(&key, object::uid(&object), None);
        }
        let mut store = self.store();
        let same = store.get(key).is_some_and(|o| object::uid(o) == object::uid(found));
        if same && contents(&store, &key.name).is_empty() && object::finalizers(found).next().is_none() {
            let Some(ty) = store.find_type("namespaces") else { return };
            self.remove_now(&mut store, &ty, key);
        }
    }

    fn delete_quietly(&self, key: &Key, uid: &str, propagation: Option<&str>) {
        let Some(ty) = self.store().find_type(&key.ty) else { return };
        let options = DeleteOptions {
            uid: Some(uid.to_owned()),
            propagation: propagation.map(str::to_owned),
            ..DeleteOptions::default()
        };
        // gone already, or replaced by another of that name: then there is nothing to collect
        if let Err(error) = self.delete(&ty, key, &options) {
            tracing::debug!(name = key.name, error = error.message, "left alone by the collector");
        }
    }
}

fn contents(store: &Store, namespace: &str) -> Vec<(Key, Arc<Value>)> {
    let types = store.types().into_iter().filter(|ty| ty.namespaced && &*ty.qualified != CRDS);
    types
        .flat_map(|ty| {
            let objects: Vec<_> = store.list(&ty.qualified, namespace).cloned().collect();
            objects.into_iter().map(move |o| (Key::new(&ty.qualified, namespace, object::name(&o)), o))
        })
        .collect()
}
