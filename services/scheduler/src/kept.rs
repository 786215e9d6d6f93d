//! Text that outlives the process: one entry of a ConfigMap of ours.

use std::collections::BTreeMap;

use crater_k8s::lease::ensure_namespace;
use crater_k8s::names::SYSTEM_NAMESPACE;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;

/// What was kept; `None`: nothing yet.
pub async fn read(client: &Client, map: &str, entry: &str) -> Result<Option<String>, kube::Error> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), SYSTEM_NAMESPACE);
    Ok(api.get_opt(map).await?.and_then(|map| map.data?.remove(entry)))
}

/// Keeps it in place of what was kept.
pub async fn write(client: &Client, map: &str, entry: &str, text: &str) -> Result<(), String> {
    ensure_namespace(client, SYSTEM_NAMESPACE).await.map_err(|error| error.to_string())?;
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), SYSTEM_NAMESPACE);
    let patch = json!({"data": {entry: text}});
    match api.patch(map, &PatchParams::default(), &Patch::Merge(&patch)).await {
        Ok(_) => return Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        Err(error) => return Err(format!("keeping {map}: {error}")),
    }
    let metadata = ObjectMeta { name: Some(map.to_owned()), ..ObjectMeta::default() };
    let data = Some(BTreeMap::from([(entry.to_owned(), text.to_owned())]));
    let made =
        api.create(&PostParams::default(), &ConfigMap { metadata, data, ..ConfigMap::default() }).await;
    made.map(drop).map_err(|error| format!("keeping {map}: {error}"))
}
