//! What a cluster must have before Crater runs on it: the custom resources, the system namespace, the PriorityClass.

use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, CustomResourceExt, ResourceExt};
use serde_json::json;

use super::PRIORITY_CLASS;
use crate::names::SYSTEM_NAMESPACE;
use crate::{AIJob, Allocation};

/// How long a new custom resource may take until it is served.
const PATIENCE: Duration = Duration::from_secs(30);

/// The definitions of the custom resources, as `deploy/crds` holds them.
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![AIJob::crd(), Allocation::crd()]
}

/// Creates what is missing and brings the custom resources to this build's schema. Doing it twice changes nothing.
///
/// # Errors
/// The API server's, or a custom resource that is not served after 30 s.
pub async fn install(client: &Client) -> Result<(), kube::Error> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    for crd in crds() {
        let name = crd.name_any();
        if !create(&definitions, &crd).await? {
            let spec = json!({ "spec": crd.spec });
            definitions.patch(&name, &PatchParams::default(), &Patch::Merge(&spec)).await?;
        }
        established(&definitions, &name).await?;
    }
    prepare(client).await
}

/// Creates what Crater's own objects need, where it is missing: the system namespace and the PriorityClass.
///
/// # Errors
/// The API server's.
pub async fn prepare(client: &Client) -> Result<(), kube::Error> {
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some(SYSTEM_NAMESPACE.to_owned());
    create(&Api::all(client.clone()), &namespace).await?;
    let mut class = PriorityClass {
        value: Some(1_000_000),
        preemption_policy: Some("Never".to_owned()),
        description: Some("Pods that Crater has placed itself".to_owned()),
        ..Default::default()
    };
    class.metadata.name = Some(PRIORITY_CLASS.to_owned());
    create(&Api::all(client.clone()), &class).await?;
    Ok(())
}

/// Whether the object is new; one of that name that is there is left as it is. It is asked for first: who may not make it may
/// still see that it is there.
async fn create<K>(api: &Api<K>, object: &K) -> Result<bool, kube::Error>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned,
{
    if api.get_opt(&object.name_any()).await?.is_some() {
        return Ok(false);
    }
    match api.create(&PostParams::default(), object).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}

async fn established(api: &Api<CustomResourceDefinition>, name: &str) -> Result<(), kube::Error> {
    use kube::runtime::wait::{await_condition, conditions};
    let served = await_condition(api.clone(), name, conditions::is_crd_established());
    match tokio::time::timeout(PATIENCE, served).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(kube::Error::Service(Box::new(error))),
        Err(late) => Err(kube::Error::Service(Box::new(late))),
    }
}
