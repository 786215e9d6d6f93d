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

/// Holds an owner until its dependents are gone.
pub(super) const FOREGROUND: &str = "foregroundDeletion";

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
            self.collect_dependent(key, &found);
            return;
        }
        if object::finalizers(&found).any(|f| f == FOREGROUND) {
            self.collect_foreground(key, &found);
        }
        if &*key.ty == "namespaces" {
            self.collect_namespace(key, &found);
        }
    }

    /// An object none of whose owners stays goes; owners that do not stay are struck off others.
    fn collect_dependent(&self, key: &Key, found: &Value) {
        let owners = object::owners(found);
        if owners.is_empty() {
            return;
        }
        let (mut leaving, mut waited_for) = (Vec::new(), false);
        {
            let store = self.store();
            for owner in owners {
                let uid = text(owner, &["uid"]);
                let here = |o: &&Key| o.namespace.is_empty() || o.namespace == key.namespace;
                let held = store.by_uid(uid).filter(here).and_then(|key| store.get(key));
                let waits = held.is_some_and(|o| object::finalizers(o).any(|f| f == FOREGROUND));
                if held.is_none() || waits {
                    leaving.push(uid.to_owned());
                }
                waited_for |= waits;
            }
        }
        if leaving.len() == owners.len() {
            self.delete_quietly(key, object::uid(found), waited_for.then_some("Foreground"));
        } else if !leaving.is_empty() {
            self.modify(&key.ty, &key.namespace, &key.name, object::uid(found), |object| {
                leaving.iter().for_each(|uid| drop_owner(object, uid));
                true
            });
        }
    }

    /// An owner that waits for its dependents goes when there are none.
    fn collect_foreground(&self, key: &Key, found: &Value) {
        let dependents = self.store().dependents(object::uid(found));
        if dependents.is_empty() {
            self.modify(&key.ty, &key.namespace, &key.name, object::uid(found), |object| {
                object::remove_finalizer(object, FOREGROUND);
                true
            });
        }
        dependents.into_iter().for_each(|dependent| self.work.look_at(dependent));
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
