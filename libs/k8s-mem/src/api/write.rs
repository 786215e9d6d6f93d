//! Create, update, patch and delete: the rules that Kubernetes keeps for every object.

use std::sync::Arc;

use serde_json::{Value, json};

use super::collector::FOREGROUND;
use super::object::{self, at, text};
use super::patch::{self, Format};
use super::status::{self, ApiError, ApiResult, Cause};
use super::store::{Key, Store};
use super::types::ResourceType;
use super::{Api, admission, crd};
use crate::clock::{later, stamp};

pub(super) const CRDS: &str = "customresourcedefinitions.apiextensions.k8s.io";

/// How an object is to be written.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct WriteOptions {
    /// Check and answer, but store nothing.
    pub dry_run: bool,
    /// Refuse unknown fields instead of dropping them.
    pub strict: bool,
}

/// How an object is to be deleted.
#[derive(Debug, Clone, Default)]
pub(crate) struct DeleteOptions {
    pub grace: Option<i64>,
    pub uid: Option<String>,
    pub version: Option<String>,
    pub propagation: Option<String>,
    pub dry_run: bool,
}

impl DeleteOptions {
    /// At once, whatever grace the object asks for.
    pub fn now(uid: &str) -> Self {
        Self { grace: Some(0), uid: Some(uid.to_owned()), ..Self::default() }
    }
}

impl Api {
    pub fn create(
        &self,
        ty: &ResourceType,
        version: &str,
        namespace: &str,
        mut object: Value,
        options: WriteOptions,
    ) -> ApiResult<Arc<Value>> {
        check_identity(ty, version, namespace, &object)?;
        let meta = object::metadata_mut(&mut object);
        if meta.get("resourceVersion").and_then(Value::as_str).is_some_and(|v| !v.is_empty()) {
            return Err(ApiError::bad_request("resourceVersion should not be set on objects to be created"));
        }
        let generated = meta.get("name").and_then(Value::as_str).unwrap_or_default().is_empty();
        if generated {
            let prefix = meta.get("generateName").and_then(Value::as_str).unwrap_or_default().to_owned();
            if prefix.is_empty() {
                let cause = Cause {
                    message: "Required value: name or generateName is required".into(),
                    ..Cause::required("metadata.name")
                };
                return Err(ApiError::invalid(ty, "", &[cause]));
            }
            meta.insert("name".into(), format!("{prefix}{}", random_suffix()).into());
        }
        for field in ["selfLink", "managedFields", "deletionTimestamp", "deletionGracePeriodSeconds"] {
            meta.remove(field);
        }
        if ty.namespaced {
            meta.insert("namespace".into(), namespace.into());
        } else {
            meta.remove("namespace");
        }
        meta.insert("uid".into(), uuid::Uuid::new_v4().to_string().into());
        meta.insert("creationTimestamp".into(), stamp(self.clock.now()).into());
        meta.remove("generation");
        if ty.generation {
            meta.insert("generation".into(), 1.into());
        }
        if ty.status && &*ty.qualified != "nodes" {
            object.as_object_mut().map(|o| o.remove("status"));
        }
        let mut object = admission::shape(ty, version, object, options.strict)?;
        let name = object::name(&object).to_owned();
        let causes = admission::check_metadata(ty, &object);
        if !causes.is_empty() {
            return Err(ApiError::invalid(ty, &name, &causes));
        }
        let mut store = self.store();
        let key = Key::new(&ty.qualified, if ty.namespaced { namespace } else { "" }, &name);
        if ty.namespaced {
            check_namespace(&store, ty, namespace, &name)?;
        }
        if store.get(&key).is_some() {
            return Err(ApiError::already_exists(ty, &name));
        }
        admission::admit(&store, ty, &mut object)?;
        let defined = self.admit_definition(ty, &name, &mut object)?;
        if options.dry_run {
            object::metadata_mut(&mut object).remove("resourceVersion");
            return Ok(Arc::new(object));
        }
        if let Some(defined) = defined {
            store.define(Arc::new(defined));
        }
        let stored = store.put(&key, object);
        if !object::owners(&stored).is_empty() {
            self.work.look_at(key);
        }
        Ok(stored)
    }

    /// Replaces an object, or with `/status` only its status.
    pub fn update(
        &self,
        ty: &ResourceType,
        version: &str,
        key: &Key,
        object: Value,
        status: bool,
        options: WriteOptions,
    ) -> ApiResult<Arc<Value>> {
        check_identity(ty, version, &key.namespace, &object)?;
        let mut store = self.store();
        self.update_in(&mut store, ty, version, key, object, status, options)
    }

    #[allow(clippy::too_many_arguments)] // one request's parts, used in two places
    fn update_in(
        &self,
        store: &mut Store,
        ty: &ResourceType,
        version: &str,
        key: &Key,
        mut object: Value,
        status: bool,
        options: WriteOptions,
    ) -> ApiResult<Arc<Value>> {
        let old = store.get(key).cloned().ok_or_else(|| ApiError::not_found(ty, &key.name))?;
        if object::name(&object) != key.name {
            let why = "the name of the object does not match the name on the URL";
            return Err(ApiError::bad_request(why));
        }
        let (given, current) = (object::version(&object), object::version(&old));
        if given.is_empty() && !ty.unconditional_update {
            let why = "Invalid value: 0x0: must be specified for an update";
            return Err(ApiError::invalid(ty, &key.name, &[Cause::invalid("metadata.resourceVersion", why)]));
        }
        if !given.is_empty() && given != current {
            return Err(ApiError::modified(ty, &key.name));
        }
        let uid = object::uid(&object);
        if !uid.is_empty() && uid != object::uid(&old) {
            let why = format!(
                "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                object::uid(&old)
            );
            return Err(ApiError::conflict(ty, &key.name, why));
        }
        if status {
            let new_status = object.get("status").cloned();
            object = (*old).clone();
            object::carry(&json!({"status": new_status}), &mut object, "status");
            if new_status.is_none() {
                object.as_object_mut().map(|o| o.remove("status"));
            }
        } else {
            keep_metadata(&old, &mut object, ty.namespaced);
            if ty.status {
                object::carry(&old, &mut object, "status");
            }
        }
        let mut object = admission::shape(ty, version, object, options.strict)?;
        let mut causes = Vec::new();
        if !status {
            causes.extend(admission::check_metadata(ty, &object));
            causes.extend(admission::check_update(ty, &old, &object));
            let new = object::finalizers(&object).any(|f| !object::finalizers(&old).any(|o| o == f));
            if object::is_deleting(&old) && new {
                let why = "Forbidden: no new finalizers can be added if the object is being deleted";
                causes.push(Cause::forbidden("metadata.finalizers", why));
            }
        }
        if !causes.is_empty() {
            return Err(ApiError::invalid(ty, &key.name, &causes));
        }
        if ty.generation && wanted(&object, ty.status) != wanted(&old, ty.status) {
            let generation = at(&old, &["metadata", "generation"]).and_then(Value::as_i64).unwrap_or(0);
            object::metadata_mut(&mut object).insert("generation".into(), (generation + 1).into());
        }
        let defined = if status { None } else { self.admit_definition(ty, &key.name, &mut object)? };
        if object == *old {
            return Ok(old);
        }
        if options.dry_run {
            return Ok(Arc::new(object));
        }
        if let Some(defined) = defined {
            store.define(Arc::new(defined));
        }
        Ok(self.store_changed(store, ty, key, &old, object))
    }

    #[allow(clippy::too_many_arguments)] // the parts of one PATCH request
    pub fn patch(
        &self,
        ty: &ResourceType,
        version: &str,
        key: &Key,
        format: Format,
        patch: &Value,
        status: bool,
        options: WriteOptions,
    ) -> ApiResult<(Arc<Value>, bool)> {
        let mut store = self.store();
        let Some(old) = store.get(key).cloned() else {
            drop(store);
            if format == Format::Apply && !status {
                let mut object = patch.clone();
                let meta = object::metadata_mut(&mut object);
                meta.insert("name".into(), key.name.clone().into());
                return Ok((self.create(ty, version, &key.namespace, object, options)?, true));
            }
            return Err(ApiError::not_found(ty, &key.name));
        };
        let new = patch::apply(ty, &key.name, format, &in_version(ty, version, &old), patch)?;
        check_identity(ty, version, &key.namespace, &new)?;
        Ok((self.update_in(&mut store, ty, version, key, new, status, options)?, false))
    }

    /// Deletes an object, or marks it so. Answers the object while it lives on, else the `Status` of success.
    pub fn delete(&self, ty: &ResourceType, key: &Key, options: &DeleteOptions) -> ApiResult<Arc<Value>> {
        let mut store = self.store();
        let old = store.get(key).cloned().ok_or_else(|| ApiError::not_found(ty, &key.name))?;
        for (asked, is, what) in [
            (&options.uid, object::uid(&old), "UID"),
            (&options.version, object::version(&old), "ResourceVersion"),
        ] {
            if let Some(asked) = asked.as_deref().filter(|asked| *asked != is) {
                let why = format!(
                    "Precondition failed: {what} in precondition: {asked}, {what} in object meta: {is}"
                );
                return Err(ApiError::conflict(ty, &key.name, why));
            }
        }
        let pods = &*ty.qualified == "pods";
        if &*ty.qualified == "namespaces" && matches!(&*key.name, "default" | "kube-system" | "kube-public") {
            return Err(ApiError::forbidden(ty, &key.name, "this namespace may not be deleted"));
        }
        let grace = if pods { pod_grace(&old, options.grace) } else { 0 };
        let mut marked = (*old).clone();
        self.mark_propagation(&mut store, ty, key, &mut marked, options);
        let holds = object::finalizers(&marked).next().is_some() || &*ty.qualified == "namespaces";
        if options.dry_run {
            return Ok(old);
        }
        if grace == 0 && !holds {
            self.remove_now(&mut store, ty, key);
            if pods {
                return Ok(old);
            }
            return Ok(Arc::new(status::deleted(ty, &key.name, object::uid(&old))));
        }
        let already = at(&old, &["metadata", "deletionGracePeriodSeconds"]).and_then(Value::as_i64);
        if !object::is_deleting(&old) || already.is_some_and(|already| grace < already) {
            let meta = object::metadata_mut(&mut marked);
            let until = later(self.clock.now(), std::time::Duration::from_secs(grace.unsigned_abs()));
            meta.insert("deletionTimestamp".into(), stamp(until).into());
            meta.insert("deletionGracePeriodSeconds".into(), grace.into());
            if &*ty.qualified == "namespaces" {
                marked["status"] = json!({"phase": "Terminating"});
            }
        }
        if marked == *old {
            return Ok(old);
        }
        let stored = store.put(key, marked);
        self.work.look_at(key.clone());
        Ok(stored)
    }

    /// Writes a changed object, and carries the removal out that it may have been waiting for.
    pub(super) fn store_changed(
        &self,
        store: &mut Store,
        ty: &ResourceType,
        key: &Key,
        old: &Value,
        new: Value,
    ) -> Arc<Value> {
        let owners_changed = object::owners(old) != object::owners(&new);
        let deleting = object::is_deleting(&new) && &*ty.qualified != "namespaces";
        let grace =
            at(&new, &["metadata", "deletionGracePeriodSeconds"]).and_then(Value::as_i64).unwrap_or(0);
        let had = object::finalizers(old).next().is_some();
        let done = deleting && had && grace == 0 && object::finalizers(&new).next().is_none();
        let stored = store.put(key, new);
        if owners_changed {
            self.look_at_owners(store, old);
        }
        if done {
            return self.remove_now(store, ty, key).unwrap_or(stored);
        }
        if owners_changed || object::is_deleting(&stored) {
            self.work.look_at(key.clone());
        }
        stored
    }

    fn look_at_owners(&self, store: &Store, object: &Value) {
        let owners = object::owners(object).iter().filter_map(|owner| store.by_uid(text(owner, &["uid"])));
        owners.for_each(|owner| self.work.look_at(owner.clone()));
    }

    pub(super) fn remove_now(&self, store: &mut Store, ty: &ResourceType, key: &Key) -> Option<Arc<Value>> {
        let gone = store.remove(key)?;
        if &*ty.qualified == CRDS {
            self.drop_definition(store, &key.name);
        }
        for dependent in store.dependents(object::uid(&gone)) {
            self.work.look_at(dependent);
        }
        // an owner that is deleted in the foreground, or a namespace being emptied, may have waited for this one
        self.look_at_owners(store, &gone);
        if !key.namespace.is_empty()
            && let Some(namespace) = store.lookup("namespaces", "", &key.namespace)
            && object::is_deleting(namespace)
        {
            self.work.look_at(Key::new(&"namespaces".into(), "", &key.namespace));
        }
        Some(gone)
    }

    fn drop_definition(&self, store: &mut Store, qualified: &str) {
        if let Some(ty) = store.find_type(qualified) {
            let all: Vec<Arc<Value>> = store.list(qualified, "").cloned().collect();
            for object in all {
                let key = Key::new(&ty.qualified, object::namespace(&object), object::name(&object));
                self.remove_now(store, &ty, &key);
            }
            store.undefine(qualified);
        }
    }

    fn admit_definition(
        &self,
        ty: &ResourceType,
        name: &str,
        object: &mut Value,
    ) -> ApiResult<Option<ResourceType>> {
        if &*ty.qualified != CRDS {
            return Ok(None);
        }
        let defined = crd::compile(object).map_err(|causes| ApiError::invalid(ty, name, &causes))?;
        let established = at(object, &["status", "conditions"]).is_some();
        if !established {
            crd::establish(object, &defined, self.clock.now());
        }
        Ok(Some(defined))
    }

    /// What is to become of the dependents: orphaned now, waited for (foreground), or left to the collector.
    fn mark_propagation(
        &self,
        store: &mut Store,
        ty: &ResourceType,
        key: &Key,
        marked: &mut Value,
        options: &DeleteOptions,
    ) {
        let dependents = store.dependents(object::uid(marked));
        if options.dry_run || dependents.is_empty() {
            return;
        }
        match options.propagation.as_deref() {
            Some("Orphan") => {
                for dependent in dependents {
                    let Some(found) = store.get(&dependent).cloned() else { continue };
                    let mut freed = (*found).clone();
                    drop_owner(&mut freed, object::uid(marked));
                    store.put(&dependent, freed);
                }
            }
            Some("Foreground") if !object::is_deleting(marked) => {
                let meta = object::metadata_mut(marked);
                let list = meta.entry("finalizers").or_insert_with(|| json!([]));
                if let Some(list) = list.as_array_mut() {
                    list.push(FOREGROUND.into());
                }
                tracing::debug!(kind = ty.kind, name = key.name, "waits for its dependents to be deleted");
            }
            _ => {}
        }
    }
}

/// Takes an owner out of an object's ownerReferences.
pub(super) fn drop_owner(object: &mut Value, uid: &str) {
    let meta = object::metadata_mut(object);
    if let Some(owners) = meta.get_mut("ownerReferences").and_then(Value::as_array_mut) {
        owners.retain(|owner| text(owner, &["uid"]) != uid);
        if owners.is_empty() {
            meta.remove("ownerReferences");
        }
    }
}

/// The object as a version of its type shows it.
pub(super) fn in_version(ty: &ResourceType, version: &str, object: &Value) -> Value {
    let mut object = object.clone();
    object["apiVersion"] = ty.api_version(version).into();
    object
}

fn pod_grace(pod: &Value, asked: Option<i64>) -> i64 {
    if object::node_name(pod).is_empty() || object::is_terminal(pod) {
        return 0;
    }
    let own = at(pod, &["spec", "terminationGracePeriodSeconds"]).and_then(Value::as_i64);
    asked.or(own).unwrap_or(30).max(0)
}

/// What a change of which counts as a new generation.
fn wanted(object: &Value, status: bool) -> Vec<(&String, &Value)> {
    let fields = object.as_object().into_iter().flatten();
    fields.filter(|(f, _)| *f != "metadata" && *f != "apiVersion" && !(status && *f == "status")).collect()
}

fn keep_metadata(old: &Value, new: &mut Value, namespaced: bool) {
    let meta = object::metadata_mut(new);
    for field in [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "generateName",
        "resourceVersion",
    ] {
        match at(old, &["metadata", field]) {
            Some(value) => meta.insert(field.into(), value.clone()),
            None => meta.remove(field),
        };
    }
    meta.remove("managedFields");
    meta.remove("selfLink");
    if namespaced && let Some(namespace) = at(old, &["metadata", "namespace"]) {
        meta.insert("namespace".into(), namespace.clone());
    }
}

fn check_identity(ty: &ResourceType, version: &str, namespace: &str, object: &Value) -> ApiResult<()> {
    if !object.is_object() {
        return Err(ApiError::bad_request("the body is not an object"));
    }
    if object.get("metadata").is_some_and(|meta| !meta.is_object()) {
        return Err(ApiError::bad_request("metadata is not an object"));
    }
    let (kind, api_version) = (text(object, &["kind"]), text(object, &["apiVersion"]));
    if !kind.is_empty() && kind != ty.kind {
        let why = format!("the object provided is of kind {kind:?}, not {:?}", ty.kind);
        return Err(ApiError::bad_request(why));
    }
    if !api_version.is_empty() && api_version != ty.api_version(version) {
        let want = ty.api_version(version);
        let why =
            format!("the API version in the data ({api_version}) does not match the expected one ({want})");
        return Err(ApiError::bad_request(why));
    }
    let own = object::namespace(object);
    if ty.namespaced && !own.is_empty() && own != namespace {
        let why = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(ApiError::bad_request(why));
    }
    Ok(())
}

fn check_namespace(store: &Store, ty: &ResourceType, namespace: &str, name: &str) -> ApiResult<()> {
    let Some(found) = store.lookup("namespaces", "", namespace) else {
        let namespaces = store.find_type("namespaces").ok_or_else(ApiError::no_such_path)?;
        return Err(ApiError::not_found(&namespaces, namespace));
    };
    if object::is_deleting(found) {
        let why =
            format!("unable to create new content in namespace {namespace} because it is being terminated");
        return Err(ApiError::forbidden(ty, name, why));
    }
    Ok(())
}

/// Five characters of the alphabet that Kubernetes uses, which spells no words.
fn random_suffix() -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let bytes = uuid::Uuid::new_v4();
    bytes.as_bytes().iter().take(5).map(|b| char::from(ALPHABET[usize::from(*b) % ALPHABET.len()])).collect()
}
