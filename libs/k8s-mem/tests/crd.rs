//! Custom resources: what their definitions promise is kept.
#![allow(clippy::unwrap_used, clippy::panic)] // the helpers of tests are tests too

mod common;

use common::{cluster, code};
use futures::{TryStreamExt, pin_mut};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams,
    PostParams, WatchParams,
};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

fn definition() -> Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "trains.test.dev"},
        "spec": {"group": "test.dev", "scope": "Namespaced",
            "names": {"plural": "trains", "singular": "train", "kind": "Train", "shortNames": ["tr"]},
            "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "additionalPrinterColumns": [
                    {"name": "GPUs", "type": "integer", "jsonPath": ".spec.gpus"},
                    {"name": "Phase", "type": "string", "jsonPath": ".status.phase"}],
                "schema": {"openAPIV3Schema": {"type": "object", "required": ["spec"], "properties": {
                    "spec": {"type": "object", "required": ["gpus"], "properties": {
                        "gpus": {"type": "integer", "minimum": 0, "maximum": 8},
                        "class": {"type": "string", "enum": ["A", "B"], "default": "A"}}},
                    "status": {"type": "object", "properties": {"phase": {"type": "string"}}}}}}}]}})
}

async fn define(client: &Client, definition: Value) -> kube::Result<CustomResourceDefinition> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    api.create(&PostParams::default(), &serde_json::from_value(definition).unwrap()).await
}

fn trains(client: &Client) -> Api<DynamicObject> {
    let resource =
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("test.dev", "v1", "Train"), "trains");
    Api::namespaced_with(client.clone(), "default", &resource)
}

fn train(name: &str, spec: Value) -> DynamicObject {
    let object =
        json!({"apiVersion": "test.dev/v1", "kind": "Train", "metadata": {"name": name}, "spec": spec});
    serde_json::from_value(object).unwrap()
}

#[tokio::test]
async fn a_definition_is_established_and_serves_its_resources() {
    let (cluster, _) = cluster([]).await;
    let client = cluster.client();
    assert_eq!(code(&trains(&client).list(&ListParams::default()).await.unwrap_err()), 404);
    let made = define(&client, definition()).await.unwrap();
    let conditions = made.status.unwrap().conditions.unwrap();
    assert!(conditions.iter().any(|c| c.type_ == "Established" && c.status == "True"));
    assert_eq!(code(&define(&client, definition()).await.unwrap_err()), 409);
    let mut misnamed = definition();
    misnamed["metadata"]["name"] = "other.test.dev".into();
    assert_eq!(code(&define(&client, misnamed).await.unwrap_err()), 422);

    let discovered = kube::discovery::group(&client, "test.dev").await.unwrap();
    let (resource, capabilities) = discovered.recommended_kind("Train").unwrap();
    assert_eq!(resource.plural, "trains");
    assert!(capabilities.subresources.iter().any(|(r, _)| r.plural == "status"));
    let shaped =
        trains(&client).create(&PostParams::default(), &train("a", json!({"gpus": 2, "odd": 1}))).await;
    assert_eq!(shaped.unwrap().data["spec"], json!({"gpus": 2, "class": "A"}));
}

#[tokio::test]
async fn what_the_schema_forbids_is_refused_with_its_causes() {
    let (cluster, _) = cluster([]).await;
    let client = cluster.client();
    define(&client, definition()).await.unwrap();
    for (spec, field) in [
        (json!({"gpus": 9}), "spec.gpus"),
        (json!({"gpus": -1}), "spec.gpus"),
        (json!({"gpus": "2"}), "spec.gpus"),
        (json!({}), "spec.gpus"),
        (json!({"gpus": 1, "class": "C"}), "spec.class"),
    ] {
        let error = trains(&client).create(&PostParams::default(), &train("a", spec)).await.unwrap_err();
        let kube::Error::Api(status) = error else { panic!("{error:?}") };
        assert_eq!((status.code, status.reason.as_str()), (422, "Invalid"));
        assert_eq!(status.details.unwrap().causes[0].field, field);
    }
    trains(&client).create(&PostParams::default(), &train("a", json!({"gpus": 1}))).await.unwrap();
    let patch = Patch::Merge(json!({"spec": {"gpus": 100}}));
    assert_eq!(code(&trains(&client).patch("a", &PatchParams::default(), &patch).await.unwrap_err()), 422);
}

#[tokio::test]
async fn a_generation_counts_changes_of_what_is_wanted_only() {
    let (cluster, _) = cluster([]).await;
    let client = cluster.client();
    define(&client, definition()).await.unwrap();
    let api = trains(&client);
    let params = PatchParams::default();
    api.create(&PostParams::default(), &train("a", json!({"gpus": 1}))).await.unwrap();
    let status = Patch::Merge(json!({"status": {"phase": "Running"}, "spec": {"gpus": 5}}));
    let object = api.patch_status("a", &params, &status).await.unwrap();
    assert_eq!((object.metadata.generation, &object.data["spec"]["gpus"]), (Some(1), &json!(1)));
    let labels = Patch::Merge(json!({"metadata": {"labels": {"a": "b"}}, "status": {"phase": "Done"}}));
    let object = api.patch("a", &params, &labels).await.unwrap();
    assert_eq!((object.metadata.generation, &object.data["status"]["phase"]), (Some(1), &json!("Running")));
    let spec = Patch::Merge(json!({"spec": {"gpus": 3}}));
    assert_eq!(api.patch("a", &params, &spec).await.unwrap().metadata.generation, Some(2));
    let mut blind = api.get("a").await.unwrap();
    blind.metadata.resource_version = None;
    let refused = api.replace("a", &PostParams::default(), &blind).await;
    assert_eq!(code(&refused.unwrap_err()), 422, "a custom resource is replaced only with its version");
}

#[tokio::test]
async fn a_definition_takes_its_objects_with_it_and_ends_their_watches() {
    let (cluster, _) = cluster([]).await;
    let client = cluster.client();
    define(&client, definition()).await.unwrap();
    let api = trains(&client);
    let made = api.create(&PostParams::default(), &train("a", json!({"gpus": 1}))).await.unwrap();
    let watch = api.watch(&WatchParams::default(), &made.resource_version().unwrap()).await.unwrap();
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    crds.delete("trains.test.dev", &DeleteParams::default()).await.unwrap();
    assert_eq!(code(&api.get("a").await.unwrap_err()), 404);
    pin_mut!(watch);
    let drained = async { while let Ok(Some(_)) = watch.try_next().await {} };
    tokio::time::timeout(common::DEADLINE, drained).await.unwrap();
    define(&client, definition()).await.unwrap();
    assert!(api.list(&ListParams::default()).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn the_definitions_that_this_project_ships_are_taken() {
    let (cluster, _) = cluster([]).await;
    let client = cluster.client();
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/crds");
    let mut taken = 0;
    for entry in std::fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let definition: Value = serde_yaml_ng::from_str(&text).unwrap();
        let made = define(&client, definition).await.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert!(made.status.is_some());
        taken += 1;
    }
    assert!(taken > 0, "there are definitions in {}", dir.display());
}
