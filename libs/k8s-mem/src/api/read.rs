//! Get and list, pages included.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::Api;
use super::object;
use super::selector::Selector;
use super::status::{ApiError, ApiResult};
use super::store::Key;
use super::types::ResourceType;

/// What a list request asks for.
#[derive(Debug, Clone, Default)]
pub(crate) struct ListOptions {
    pub selector: Selector,
    pub limit: usize,
    pub next: String,
    pub version: String,
    pub version_match: String,
}

/// A page: the objects, and the list's metadata.
pub(crate) type Page = (Vec<Arc<Value>>, Value);

impl Api {
    pub fn get(&self, ty: &ResourceType, key: &Key) -> ApiResult<Arc<Value>> {
        self.store().get(key).cloned().ok_or_else(|| ApiError::not_found(ty, &key.name))
    }

    pub fn list(&self, ty: &ResourceType, namespace: &str, options: &ListOptions) -> ApiResult<Page> {
        let store = self.store();
        let current = store.revision();
        let start = if options.next.is_empty() { None } else { Some(decode(&options.next)?) };
        let asked = match (&start, options.version.as_str()) {
            (Some((revision, ..)), _) => Some(*revision),
            (None, "" | "0") => None,
            (None, text) => Some(parse_version(text)?),
        };
        if let Some(asked) = asked.filter(|asked| *asked > current) {
            return Err(ApiError::too_new(asked, current));
        }
        let exact = start.is_some() || options.version_match == "Exact";
        let revision = asked.filter(|_| exact).unwrap_or(current);
        let candidates: Vec<Arc<Value>> = if revision < current {
            store.list_at(&ty.qualified, namespace, revision).map_err(|_| {
                ApiError::expired("The provided continue parameter or resourceVersion is too old: list again from the start")
            })?
        } else if let Some(name) = options.selector.exact("metadata.name").filter(|_| !namespace.is_empty()) {
            store.lookup(&ty.qualified, namespace, name).cloned().into_iter().collect()
        } else if let Some(node) = options.selector.exact("spec.nodeName").filter(|n| !n.is_empty()) {
            let on_node = store.pods_on(node).into_iter();
            on_node.filter(|pod| namespace.is_empty() || object::namespace(pod) == namespace).collect()
        } else {
            store.list(&ty.qualified, namespace).cloned().collect()
        };
        drop(store);
        let after = |o: &Arc<Value>| match &start {
            None => true,
            Some((_, ns, name)) => (object::namespace(o), object::name(o)) > (ns.as_str(), name.as_str()),
        };
        let mut found: Vec<_> =
            candidates.into_iter().filter(|o| after(o) && options.selector.matches(o)).collect();
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        if options.limit > 0 && found.len() > options.limit {
            let left = found.len() - options.limit;
            found.truncate(options.limit);
            if let Some(last) = found.last() {
                metadata["continue"] = encode(revision, last).into();
                metadata["remainingItemCount"] = left.into();
            }
        }
        Ok((found, metadata))
    }
}

pub(crate) fn parse_version(text: &str) -> ApiResult<u64> {
    text.parse().map_err(|_| ApiError::bad_request(format!("resourceVersion: Invalid value: {text:?}")))
}

fn encode(revision: u64, last: &Value) -> String {
    URL_SAFE_NO_PAD.encode(json!([revision, object::namespace(last), object::name(last)]).to_string())
}

fn decode(token: &str) -> ApiResult<(u64, String, String)> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok();
    let parts = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    parts.ok_or_else(|| ApiError::bad_request("continue key is not valid"))
}
