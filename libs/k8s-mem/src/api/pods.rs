//! The subresources that only Pods have, other than their logs.

use std::sync::Arc;

use serde_json::{Value, json};

use super::Api;
use super::object::{self, text};
use super::status::{ApiError, ApiResult};
use super::store::Key;
use super::types::ResourceType;
use super::write::DeleteOptions;
use crate::clock::stamp;

impl Api {
    /// Assigns a Pod to a node, once.
    pub fn bind(&self, ty: &ResourceType, key: &Key, binding: &Value) -> ApiResult<Arc<Value>> {
        let node = text(binding, &["target", "name"]).to_owned();
        if node.is_empty() {
            return Err(ApiError::bad_request("target.name: Required value: the node to bind to"));
        }
        let mut store = self.store();
        let old = store.get(key).cloned().ok_or_else(|| ApiError::not_found(ty, &key.name))?;
        if object::is_deleting(&old) {
            let why = format!("pod {} is being deleted, cannot be assigned to a host", key.name);
            return Err(ApiError::conflict(ty, &key.name, why));
        }
        let bound = object::node_name(&old);
        if !bound.is_empty() {
            let why = format!("pod {} is already assigned to node {bound:?}", key.name);
            return Err(ApiError::conflict(ty, &key.name, why));
        }
        let uid = text(binding, &["metadata", "uid"]);
        if !uid.is_empty() && uid != object::uid(&old) {
            return Err(ApiError::conflict(ty, &key.name, "Precondition failed: the pod has another UID"));
        }
        let mut pod = (*old).clone();
        pod["spec"]["nodeName"] = node.into();
        pod["status"]["conditions"] = json!([{"type": "PodScheduled", "status": "True", "lastTransitionTime": stamp(self.clock.now())}]);
        self.store_changed(&mut store, ty, key, &old, pod);
        Ok(Arc::new(
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}),
        ))
    }

    /// Deletes a Pod on behalf of an Eviction. There are no disruption budgets here.
    pub fn evict(&self, ty: &ResourceType, key: &Key, options: &DeleteOptions) -> ApiResult<Arc<Value>> {
        self.delete(ty, key, options)?;
        Ok(Arc::new(
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}),
        ))
    }
}
