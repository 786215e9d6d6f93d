//! The API server: objects and their history below, the HTTP surface of Kubernetes above.

pub(crate) mod admission;
pub(crate) mod collector;
mod columns;
mod crd;
mod discovery;
mod http;
mod jsonpath;
mod log_endpoint;
pub(crate) mod object;
mod openapi;
mod patch;
mod pods;
mod read;
mod render;
mod schema;
mod selector;
pub(crate) mod status;
pub(crate) mod store;
mod types;
mod watch;
pub(crate) mod write;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tokio::sync::watch as signal;

use self::collector::Work;
pub(crate) use self::http::Body;
use self::store::{Key, Store};
use crate::clock::SharedClock;
use crate::logs::Logs;

/// The server's state, shared by every connection, the collector and the kubelets.
pub(crate) struct Api {
    store: Mutex<Store>,
    pub clock: SharedClock,
    pub logs: Logs,
    work: Work,
    /// Whether requests are served; switched off it answers 503 and cuts watches.
    pub serving: signal::Sender<bool>,
}

impl Api {
    /// A server that knows the built-in types and has the namespaces that every cluster has.
    pub fn new(clock: SharedClock, history: usize) -> Arc<Self> {
        let mut store = Store::new(history);
        for ty in types::builtins() {
            store.define(Arc::new(ty));
        }
        let api = Arc::new(Self {
            store: Mutex::new(store),
            clock,
            logs: Logs::default(),
            work: Work::default(),
            serving: signal::Sender::new(true),
        });
        for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
            let made = api.create_internal("namespaces", "", json!({"metadata": {"name": name}}));
            debug_assert!(made.is_ok(), "namespace {name} is valid");
        }
        api
    }

    /// The objects. Held for the time of one operation, never across an await.
    pub fn store(&self) -> MutexGuard<'_, Store> {
        // a panic while the lock was held is a bug of ours, but every write is one step, so the state is whole
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Creates an object on the server's own behalf.
    pub fn create_internal(&self, ty: &str, namespace: &str, object: Value) -> status::ApiResult<Arc<Value>> {
        let found = self.store().find_type(ty).ok_or_else(status::ApiError::no_such_path)?;
        let version = found.storage_version.clone();
        self.create(&found, &version, namespace, object, write::WriteOptions::default())
    }

    /// Changes an object in place if it is still the one with this uid; `false` from `change` leaves it.
    pub fn modify(
        &self,
        ty: &str,
        namespace: &str,
        name: &str,
        uid: &str,
        change: impl FnOnce(&mut Value) -> bool,
    ) {
        let mut store = self.store();
        let Some(found) = store.find_type(ty) else { return };
        let key = Key::new(&found.qualified, namespace, name);
        let Some(old) = store.get(&key).cloned().filter(|o| uid.is_empty() || object::uid(o) == uid) else {
            return;
        };
        let mut new = (*old).clone();
        if change(&mut new) && new != *old {
            self.store_changed(&mut store, &found, &key, &old, new);
        }
    }
}
