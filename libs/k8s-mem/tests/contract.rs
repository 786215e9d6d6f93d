//! What a client may rely on of the API server, asked through `kube::Client`.
#![allow(clippy::unwrap_used, clippy::panic)] // the helpers of tests are tests too

mod common;

use std::time::Duration;

use common::{cluster, code, config, configs, pod, pods};
use futures::{StreamExt, TryStreamExt, pin_mut};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod};
use kube::api::{
    Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy,
    WatchEvent, WatchParams,
};
use kube::{ResourceExt, runtime};
use serde_json::json;

#[tokio::test]
async fn a_name_is_taken_once() {
    let (cluster, _) = cluster([]).await;
    let api = configs(&cluster.client());
    let made = api.create(&PostParams::default(), &config("a", "1")).await.unwrap();
    assert!(made.uid().is_some() && made.resource_version().is_some() && made.creation_timestamp().is_some());
    let error = api.create(&PostParams::default(), &config("a", "2")).await.unwrap_err();
    assert_eq!(code(&error), 409);
    assert!(error.to_string().contains("already exists"), "{error}");
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    api.create(&dry, &config("b", "1")).await.unwrap();
    assert_eq!(code(&api.get("b").await.unwrap_err()), 404);
    for name in ["A", "a_b", "-a", "a.", "a/b"] {
        let refused = api.create(&PostParams::default(), &config(name, "1")).await.unwrap_err();
        assert!([422, 404, 400].contains(&code(&refused)), "{name}");
    }
    let nowhere: Api<ConfigMap> = Api::namespaced(cluster.client(), "nowhere");
    assert_eq!(code(&nowhere.create(&PostParams::default(), &config("a", "1")).await.unwrap_err()), 404);
}

#[tokio::test]
async fn a_stale_replace_is_refused_and_a_replace_that_changes_nothing_is_no_write() {
    let (cluster, _) = cluster([]).await;
    let api = configs(&cluster.client());
    let first = api.create(&PostParams::default(), &config("a", "1")).await.unwrap();
    let mut second = first.clone();
    second.data.as_mut().unwrap().insert("v".into(), "2".into());
    let second = api.replace("a", &PostParams::default(), &second).await.unwrap();
    assert_eq!(second.uid(), first.uid());
    assert_eq!(code(&api.replace("a", &PostParams::default(), &first).await.unwrap_err()), 409);
    let again = api.replace("a", &PostParams::default(), &second).await.unwrap();
    assert_eq!(again.resource_version(), second.resource_version());
    let mut other = second.clone();
    other.metadata.uid = Some("another".into());
    assert_eq!(code(&api.replace("a", &PostParams::default(), &other).await.unwrap_err()), 409);
}

#[tokio::test]
async fn generated_names_differ() {
    let (cluster, _) = cluster([]).await;
    let api = configs(&cluster.client());
    let mut names = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let object = serde_json::from_value(json!({"metadata": {"generateName": "a-"}})).unwrap();
        let made = api.create(&PostParams::default(), &object).await.unwrap();
        assert!(made.name_any().starts_with("a-") && made.name_any().len() == 7);
        names.insert(made.name_any());
    }
    assert_eq!(names.len(), 20);
}

#[tokio::test]
async fn a_watch_from_a_lists_version_misses_nothing() {
    let (cluster, _) = cluster([]).await;
    let api = configs(&cluster.client());
    api.create(&PostParams::default(), &config("a", "1")).await.unwrap();
    let listed = api.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    // all of this happens between the list and the watch
    api.create(&PostParams::default(), &config("b", "1")).await.unwrap();
    api.patch("a", &PatchParams::default(), &Patch::Merge(json!({"data": {"v": "2"}}))).await.unwrap();
    api.delete("b", &DeleteParams::default()).await.unwrap();
    let stream = api.watch(&WatchParams::default(), &listed).await.unwrap();
    let events: Vec<String> = stream.take(3).map_ok(|event| said(&event)).try_collect().await.unwrap();
    assert_eq!(events, ["added b", "modified a", "deleted b"]);
}

fn said<K: ResourceExt>(event: &WatchEvent<K>) -> String {
    match event {
        WatchEvent::Added(o) => format!("added {}", o.name_any()),
        WatchEvent::Modified(o) => format!("modified {}", o.name_any()),
        WatchEvent::Deleted(o) => format!("deleted {}", o.name_any()),
        WatchEvent::Bookmark(_) => "bookmark".into(),
        WatchEvent::Error(e) => format!("error {} {}", e.code, e.reason),
    }
}

#[tokio::test]
async fn a_watch_of_a_selector_sees_objects_enter_and_leave_it() {
    let (cluster, _) = cluster([]).await;
    let api = configs(&cluster.client());
    api.create(&PostParams::default(), &config("a", "1")).await.unwrap();
    let stream = api.watch(&WatchParams::default().labels("value=2"), "1").await.unwrap();
    for value in ["2", "3"] {
        let patch = json!({"metadata": {"labels": {"value": value}}});
        api.patch("a", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }
    let events: Vec<String> = stream.take(2).map_ok(|event| said(&event)).try_collect().await.unwrap();
    assert_eq!(events, ["added a", "deleted a"]);
}

#[tokio::test]
async fn a_compacted_version_is_gone_and_the_watcher_lists_again() {
    let (cluster, _) = cluster([]).await;
    let api = configs(&cluster.client());
    api.create(&PostParams::default(), &config("a", "1")).await.unwrap();
    let old = api.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    api.create(&PostParams::default(), &config("b", "1")).await.unwrap();
    cluster.compact();
    let mut events = api.watch(&WatchParams::default(), &old).await.unwrap().boxed();
    let first = events.try_next().await.unwrap().unwrap();
    assert_eq!(said(&first), "error 410 Expired");

    let (reader, writer) = runtime::reflector::store();
    let stream =
        runtime::reflector(writer, runtime::watcher(api.clone(), runtime::watcher::Config::default()));
    let stream = runtime::WatchStreamExt::default_backoff(stream);
    pin_mut!(stream);
    while reader.state().len() < 2 {
        stream.next().await.unwrap().unwrap();
    }
    // an outage cuts the watch; what happens meanwhile is compacted away
    cluster.set_serving(false);
    assert_eq!(code(&api.get("a").await.unwrap_err()), 503);
    cluster.set_serving(true);
    api.delete("a", &DeleteParams::default()).await.unwrap();
    cluster.compact();
    let caught_up = async {
        while reader.state().len() != 1 {
            let _ = stream.next().await.unwrap();
        }
    };
    tokio::time::timeout(common::DEADLINE, caught_up).await.unwrap();
}

#[tokio::test]
async fn bookmarks_come_when_asked_for_and_a_watch_ends_at_its_timeout() {
    let (cluster, clock) = cluster([]).await;
    let api = configs(&cluster.client());
    let stream = api.watch(&WatchParams::default().timeout(200), "1").await.unwrap();
    pin_mut!(stream);
    for _ in 0..3 {
        let next = stream.try_next();
        pin_mut!(next);
        assert!(futures::poll!(&mut next).is_pending());
        clock.advance(Duration::from_secs(61));
        assert_eq!(said(&next.await.unwrap().unwrap()), "bookmark");
    }
    clock.advance(Duration::from_secs(61));
    let rest: Vec<_> = stream.map_ok(|event| said(&event)).try_collect().await.unwrap();
    assert!(rest.iter().all(|event| event == "bookmark"), "{rest:?}");
}

#[tokio::test]
async fn pages_are_of_one_moment() {
    let (cluster, _) = cluster([]).await;
    let api = configs(&cluster.client());
    for name in ["a", "b", "c", "d", "e"] {
        api.create(&PostParams::default(), &config(name, "1")).await.unwrap();
    }
    let mut params = ListParams::default().limit(2);
    let first = api.list(&params).await.unwrap();
    assert_eq!(first.metadata.remaining_item_count, Some(3));
    // what changes now does not show in the pages that follow
    api.delete("c", &DeleteParams::default()).await.unwrap();
    api.create(&PostParams::default(), &config("cc", "1")).await.unwrap();
    let mut names: Vec<String> = first.iter().map(ResourceExt::name_any).collect();
    let mut next = first.metadata.continue_;
    while let Some(token) = next.filter(|t| !t.is_empty()) {
        params = params.continue_token(&token);
        let page = api.list(&params).await.unwrap();
        names.extend(page.iter().map(ResourceExt::name_any));
        next = page.metadata.continue_;
    }
    assert_eq!(names, ["a", "b", "c", "d", "e"]);
    let token = api.list(&ListParams::default().limit(1)).await.unwrap().metadata.continue_.unwrap();
    api.delete("d", &DeleteParams::default()).await.unwrap();
    cluster.compact();
    let late = api.list(&ListParams::default().limit(1).continue_token(&token)).await;
    assert_eq!(code(&late.unwrap_err()), 410);
    let nonsense = api.list(&ListParams::default().limit(1).continue_token("x")).await;
    assert_eq!(code(&nonsense.unwrap_err()), 400);
}

#[tokio::test]
async fn merge_and_json_patches_do_what_their_standards_say() {
    let (cluster, _) = cluster([]).await;
    let api = configs(&cluster.client());
    api.create(&PostParams::default(), &config("a", "1")).await.unwrap();
    let patch = Patch::Merge(json!({"data": {"v": null, "w": "2"}}));
    let patched = api.patch("a", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(patched.data.unwrap().into_iter().collect::<Vec<_>>(), [("w".to_owned(), "2".to_owned())]);
    let patch = |text: serde_json::Value| Patch::<()>::Json(serde_json::from_value(text).unwrap());
    let good = patch(json!([{"op": "test", "path": "/data/w", "value": "2"},
        {"op": "replace", "path": "/data/w", "value": "3"}]));
    assert_eq!(api.patch("a", &PatchParams::default(), &good).await.unwrap().data.unwrap()["w"], "3");
    assert_eq!(
        code(&api.patch("a", &PatchParams::default(), &good).await.unwrap_err()),
        422,
        "the test no longer holds"
    );
    let stale = Patch::Merge(json!({"metadata": {"resourceVersion": "1"}, "data": {"w": "4"}}));
    assert_eq!(code(&api.patch("a", &PatchParams::default(), &stale).await.unwrap_err()), 409);
    let applied = Patch::Apply(json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"x": "1"}}));
    let made = api.patch("new", &PatchParams::apply("me"), &applied).await.unwrap();
    assert_eq!(made.data.unwrap()["x"], "1");
}

#[tokio::test]
async fn the_status_is_written_through_its_subresource_only() {
    let (cluster, _) = cluster([]).await;
    let api = pods(&cluster.client());
    let made = api.create(&PostParams::default(), &pod("a", "", "")).await.unwrap();
    assert_eq!(made.metadata.generation, Some(1));
    let both = json!({"metadata": {"labels": {"x": "y"}}, "status": {"phase": "Running"}});
    let main = api.patch("a", &PatchParams::default(), &Patch::Merge(both.clone())).await.unwrap();
    assert_eq!(main.status.unwrap().phase.as_deref(), Some("Pending"));
    assert_eq!(main.metadata.labels.unwrap()["x"], "y");
    let both = json!({"metadata": {"labels": {"x": "z"}}, "status": {"phase": "Running"}});
    let status = api.patch_status("a", &PatchParams::default(), &Patch::Merge(both)).await.unwrap();
    assert_eq!(status.status.unwrap().phase.as_deref(), Some("Running"));
    assert_eq!(status.metadata.labels.unwrap()["x"], "y");
    assert_eq!(status.metadata.generation, Some(1));
    let move_it = Patch::Merge(json!({"spec": {"nodeName": "a"}}));
    assert_eq!(code(&api.patch("a", &PatchParams::default(), &move_it).await.unwrap_err()), 422);
}

#[tokio::test]
async fn an_object_stays_until_its_last_finalizer_is_gone() {
    let (cluster, _) = cluster([]).await;
    let api = configs(&cluster.client());
    let object = json!({"metadata": {"name": "a", "finalizers": ["x.dev/one", "x.dev/two"]}});
    let made = api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    let marked = api.delete("a", &DeleteParams::default()).await.unwrap().left().unwrap();
    assert!(marked.metadata.deletion_timestamp.is_some());
    let again = api.delete("a", &DeleteParams::default()).await.unwrap().left().unwrap();
    assert_eq!(again.resource_version(), marked.resource_version());
    let finalizers = |list: serde_json::Value| Patch::Merge(json!({"metadata": {"finalizers": list}}));
    let more = api.patch("a", &PatchParams::default(), &finalizers(json!(["x.dev/three"]))).await;
    assert_eq!(code(&more.unwrap_err()), 422);
    api.patch("a", &PatchParams::default(), &finalizers(json!(["x.dev/two"]))).await.unwrap();
    assert_eq!(api.get("a").await.unwrap().uid(), made.uid());
    api.patch("a", &PatchParams::default(), &finalizers(json!(null))).await.unwrap();
    assert_eq!(code(&api.get("a").await.unwrap_err()), 404);
}

#[tokio::test]
async fn a_delete_holds_to_its_preconditions() {
    let (cluster, _) = cluster([]).await;
    let api = configs(&cluster.client());
    let made = api.create(&PostParams::default(), &config("a", "1")).await.unwrap();
    let only = |uid: Option<String>, version: Option<String>| {
        DeleteParams::default().preconditions(Preconditions { uid, resource_version: version })
    };
    assert_eq!(code(&api.delete("a", &only(Some("other".into()), None)).await.unwrap_err()), 409);
    assert_eq!(code(&api.delete("a", &only(None, Some("1".into()))).await.unwrap_err()), 409);
    let gone = api.delete("a", &only(made.uid(), made.resource_version())).await.unwrap();
    assert!(gone.is_right(), "a deletion carried out at once answers a Status");
}

fn owned(name: &str, owner: &ConfigMap) -> ConfigMap {
    let reference =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "name": owner.name_any(), "uid": owner.uid()});
    serde_json::from_value(json!({"metadata": {"name": name, "ownerReferences": [reference]}})).unwrap()
}

async fn until_gone(api: &Api<ConfigMap>, name: &str) {
    let condition = |object: Option<&ConfigMap>| object.is_none();
    let waited =
        tokio::time::timeout(common::DEADLINE, runtime::wait::await_condition(api.clone(), name, condition));
    waited.await.unwrap_or_else(|_| panic!("{name} is still there")).unwrap();
}

#[tokio::test]
async fn dependents_go_with_their_last_owner_unless_orphaned() {
    let (cluster, _) = cluster([]).await;
    let api = configs(&cluster.client());
    let create = async |object: &ConfigMap| api.create(&PostParams::default(), object).await.unwrap();
    let owner = create(&config("owner", "1")).await;
    let child = create(&owned("child", &owner)).await;
    create(&owned("grandchild", &child)).await;
    api.delete("owner", &DeleteParams::default()).await.unwrap();
    until_gone(&api, "grandchild").await;
    until_gone(&api, "child").await;
    // one that names an owner who is gone already goes too: its uid counts, not its name
    create(&config("owner", "2")).await;
    create(&owned("late", &owner)).await;
    until_gone(&api, "late").await;

    let owner = create(&config("keeper", "1")).await;
    create(&owned("orphan", &owner)).await;
    let orphan =
        DeleteParams { propagation_policy: Some(PropagationPolicy::Orphan), ..DeleteParams::default() };
    api.delete("keeper", &orphan).await.unwrap();
    assert!(api.get("orphan").await.unwrap().owner_references().is_empty());

    let owner = create(&config("front", "1")).await;
    let mut held = owned("held", &owner);
    held.metadata.finalizers = Some(vec!["x.dev/hold".into()]);
    create(&held).await;
    api.delete("front", &DeleteParams::foreground()).await.unwrap();
    let marked = |object: Option<&ConfigMap>| object.is_some_and(|o| o.metadata.deletion_timestamp.is_some());
    runtime::wait::await_condition(api.clone(), "held", marked).await.unwrap();
    assert!(api.get("front").await.is_ok(), "the owner waits for its dependents");
    let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    api.patch("held", &PatchParams::default(), &free).await.unwrap();
    until_gone(&api, "front").await;
}

#[tokio::test]
async fn a_namespace_goes_with_what_is_in_it() {
    let (cluster, _) = cluster([]).await;
    let spaces: Api<Namespace> = Api::all(cluster.client());
    let object = serde_json::from_value(json!({"metadata": {"name": "team"}})).unwrap();
    spaces.create(&PostParams::default(), &object).await.unwrap();
    let api: Api<ConfigMap> = Api::namespaced(cluster.client(), "team");
    let mut held = config("held", "1");
    held.metadata.finalizers = Some(vec!["x.dev/hold".into()]);
    api.create(&PostParams::default(), &held).await.unwrap();
    api.create(&PostParams::default(), &config("free", "1")).await.unwrap();
    spaces.delete("team", &DeleteParams::default()).await.unwrap();
    until_gone(&api, "free").await;
    assert_eq!(code(&api.create(&PostParams::default(), &config("new", "1")).await.unwrap_err()), 403);
    let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    api.patch("held", &PatchParams::default(), &free).await.unwrap();
    let empty = |object: Option<&Namespace>| object.is_none();
    let waited =
        tokio::time::timeout(common::DEADLINE, runtime::wait::await_condition(spaces, "team", empty));
    waited.await.unwrap().unwrap();
}

#[tokio::test]
async fn selectors_choose_by_labels_and_fields() {
    let (cluster, _) = cluster([]).await;
    let api = pods(&cluster.client());
    for (name, node) in [("a", "n1"), ("b", "n2"), ("c", "")] {
        let mut object = pod(name, node, "");
        object.metadata.labels = Some([("app".to_owned(), name.to_owned())].into());
        api.create(&PostParams::default(), &object).await.unwrap();
    }
    let names = async |params: ListParams| {
        let list = api.list(&params).await.unwrap();
        list.iter().map(ResourceExt::name_any).collect::<Vec<_>>().join("")
    };
    let params = ListParams::default;
    assert_eq!(names(params().labels("app in (a,b)")).await, "ab");
    assert_eq!(names(params().labels("app notin (a),app!=b")).await, "c");
    assert_eq!(names(params().fields("spec.nodeName=n1")).await, "a");
    assert_eq!(names(params().fields("spec.nodeName!=n1,status.phase=Pending")).await, "bc");
    assert_eq!(names(params().fields("metadata.name=b")).await, "b");
    assert_eq!(names(params().fields("spec.nodeName=")).await, "c");
    assert_eq!(code(&api.list(&params().fields("spec.nonsense=1")).await.unwrap_err()), 400);
    assert_eq!(code(&api.list(&params().labels("a b c")).await.unwrap_err()), 400);
    api.delete_collection(&DeleteParams::default().grace_period(0), &params().labels("app!=c"))
        .await
        .unwrap();
    assert_eq!(names(params()).await, "c");
}

#[tokio::test]
async fn a_pod_is_bound_once() {
    let (cluster, _) = cluster([]).await;
    let client = cluster.client();
    pods(&client).create(&PostParams::default(), &pod("a", "", "")).await.unwrap();
    let bind = async |node: &str| {
        let body = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "a"},
            "target": {"kind": "Node", "name": node}});
        let request = http::Request::post("/api/v1/namespaces/default/pods/a/binding");
        let request =
            request.header("content-type", "application/json").body(serde_json::to_vec(&body).unwrap());
        client.request::<serde_json::Value>(request.unwrap()).await
    };
    bind("n1").await.unwrap();
    assert_eq!(code(&bind("n2").await.unwrap_err()), 409);
    let bound: Pod = pods(&client).get("a").await.unwrap();
    assert_eq!(bound.spec.unwrap().node_name.as_deref(), Some("n1"));
}

#[tokio::test]
async fn what_is_malformed_is_refused_by_name() {
    let (cluster, _) = cluster([]).await;
    let client = cluster.client();
    let post = async |body: Vec<u8>| {
        let request = http::Request::post("/api/v1/namespaces/default/pods?fieldValidation=Strict");
        let request = request.header("content-type", "application/json").body(body).unwrap();
        client.request::<serde_json::Value>(request).await.unwrap_err()
    };
    let said = |error: &kube::Error| (code(error), error.to_string());
    let (code_, text) = said(&post(br#"{"metadata":{"name":"a"},"spec":{"containers":[]}}"#.to_vec()).await);
    assert!(code_ == 422 && text.contains("spec.containers"), "{text}");
    let odd = br#"{"metadata":{"name":"a"},"spec":{"containers":[{"name":"a","image":"i","colour":1}]}}"#;
    let (code_, text) = said(&post(odd.to_vec()).await);
    assert!(code_ == 400 && text.contains("spec.containers[0].colour"), "{text}");
    let bad = br#"{"metadata":{"name":"a"},"spec":{"containers":[{"name":"a","image":"i","resources":{"limits":{"nvidia.com/gpu":"0.5"}}}]}}"#;
    let (code_, text) = said(&post(bad.to_vec()).await);
    assert!(code_ == 422 && text.contains("nvidia.com/gpu"), "{text}");
    let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
    assert_eq!(code(&post(deep.into_bytes()).await), 400);
    assert_eq!(code(&post(vec![b' '; 4 << 20]).await), 413);
    let nodes: Api<Node> = Api::all(client.clone());
    assert_eq!(code(&nodes.get("gone").await.unwrap_err()), 404);
}
