//! The cluster: each kind is listed once and then watched from that list on, so that every version is seen.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::TryStreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Node};
use kube::api::{ListParams, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{Request, WatchEvent};
use kube::{Api, Client};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Input, Sink, decode};
use crate::observation::{Change, Kind, Object, Observation, Source, Version};

/// Before it is tried again.
const PAUSE: Duration = Duration::from_millis(200);
/// A watch ends after so many seconds of the cluster's time and is begun anew at its place.
const LIFE: u32 = 290;
/// A list comes in pages of so many.
const PAGE: u32 = 500;

/// The kinds, in the order in which they are listed.
pub const KINDS: [Kind; 5] = [Kind::Lease, Kind::Node, Kind::Job, Kind::Allocation, Kind::Pod];

/// What a list and a watch of a kind need.
trait Followed: DeserializeOwned + Clone + Send + 'static {
    const KIND: Kind;
    const PATH: &'static str;
    fn revision(&self) -> u64;
    fn object(&self) -> Object;
}

macro_rules! followed {
    ($type:ty, $kind:expr, $path:literal, $version:expr, $object:path) => {
        impl Followed for $type {
            const KIND: Kind = $kind;
            const PATH: &'static str = $path;
            fn revision(&self) -> u64 {
                let version: fn(&Self) -> Option<String> = $version;
                version(self).and_then(|v| v.parse().ok()).unwrap_or(0)
            }
            fn object(&self) -> Object {
                $object(self)
            }
        }
    };
}

followed!(Node, Kind::Node, "/api/v1/nodes", |n| n.metadata.resource_version.clone(), decode::node);
followed!(
    Lease,
    Kind::Lease,
    "/apis/coordination.k8s.io/v1/namespaces/crater-system/leases",
    |l| l.metadata.resource_version.clone(),
    decode::lease
);
followed!(
    crater_k8s::AIJob,
    Kind::Job,
    "/apis/crater.dev/v1/aijobs",
    |j| j.metadata.resource_version.clone(),
    decode::job
);
followed!(
    crater_k8s::Allocation,
    Kind::Allocation,
    "/apis/crater.dev/v1/allocations",
    |a| a.metadata.resource_version.clone(),
    decode::allocation
);
followed!(decode::Pod, Kind::Pod, "/api/v1/pods", |p| Some(p.metadata.resource_version.clone()), decode::pod);

/// A list of anything.
#[derive(Deserialize)]
#[serde(bound(deserialize = "T: DeserializeOwned"))]
struct List<T> {
    metadata: ListMeta,
    items: Vec<T>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListMeta {
    resource_version: String,
    #[serde(default, rename = "continue")]
    next: String,
}

/// Up to where each kind was told.
type Places = Arc<Mutex<BTreeMap<Kind, u64>>>;

/// Follows the cluster of a kubeconfig, and the next one that takes its place, for ever.
pub async fn follow(kubeconfig: PathBuf, sink: Sink) {
    let mut known: Option<String> = None;
    let places = Places::default();
    loop {
        let trouble = Box::pin(run(&kubeconfig, &sink, &mut known, &places)).await;
        sink.saw(Observation::Link(Source::Cluster, false)).await;
        if let Err(error) = trouble {
            sink.send(Input::Trouble(format!("the cluster: {error:#}"))).await;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn run(kubeconfig: &Path, sink: &Sink, known: &mut Option<String>, places: &Places) -> Result<()> {
    let client = client(kubeconfig).await?;
    let system = Api::<Namespace>::all(client.clone())
        .get("kube-system")
        .await
        .context("asking which cluster it is")?;
    let uid = system.metadata.uid.unwrap_or_default();
    if known.as_ref() != Some(&uid) {
        places.lock().unwrap_or_else(PoisonError::into_inner).clear();
        sink.saw(Observation::NewCluster).await;
        *known = Some(uid);
    }
    let (client, sink) = (&client, &sink);
    list::<Lease>(client, sink, places).await?;
    list::<Node>(client, sink, places).await?;
    list::<crater_k8s::AIJob>(client, sink, places).await?;
    list::<crater_k8s::Allocation>(client, sink, places).await?;
    list::<decode::Pod>(client, sink, places).await?;
    sink.saw(Observation::Link(Source::Cluster, true)).await;
    tokio::try_join!(
        watch::<Lease>(client, sink, places),
        watch::<Node>(client, sink, places),
        watch::<crater_k8s::AIJob>(client, sink, places),
        watch::<crater_k8s::Allocation>(client, sink, places),
        watch::<decode::Pod>(client, sink, places),
    )?;
    Ok(())
}

/// A client that says who it is.
pub async fn client(kubeconfig: &Path) -> Result<Client> {
    let file =
        Kubeconfig::read_from(kubeconfig).with_context(|| format!("reading {}", kubeconfig.display()))?;
    let mut config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
    let own = http::HeaderValue::from_static(concat!("crater-audit/", env!("CARGO_PKG_VERSION")));
    config.headers.push((http::header::USER_AGENT, own));
    Ok(Client::try_from(config)?)
}

fn place(places: &Places, kind: Kind) -> Option<u64> {
    places.lock().unwrap_or_else(PoisonError::into_inner).get(&kind).copied()
}

fn set_place(places: &Places, kind: Kind, revision: u64) {
    places.lock().unwrap_or_else(PoisonError::into_inner).insert(kind, revision);
}

/// Lists a kind, unless its place is known.
async fn list<T: Followed>(client: &Client, sink: &Sink, places: &Places) -> Result<()> {
    if place(places, T::KIND).is_some() {
        return Ok(());
    }
    let (mut objects, mut next) = (Vec::new(), String::new());
    let revision = loop {
        let mut params = ListParams::default().limit(PAGE);
        if !next.is_empty() {
            params = params.continue_token(&next);
        }
        let request = Request::new(T::PATH).list(&params)?;
        let page: List<T> = client.request(request).await.with_context(|| format!("listing {}", T::PATH))?;
        objects.extend(page.items.iter().map(T::object));
        next = page.metadata.next;
        if next.is_empty() {
            break page.metadata.resource_version.parse().context("a list's resourceVersion")?;
        }
    };
    sink.saw(Observation::Listed { kind: T::KIND, revision, objects }).await;
    sink.send(Input::Reached(T::KIND, revision)).await;
    set_place(places, T::KIND, revision);
    Ok(())
}

/// Watches a kind on from its place; where that is gone, lists anew.
async fn watch<T: Followed>(client: &Client, sink: &Sink, places: &Places) -> Result<()> {
    loop {
        let Some(from) = place(places, T::KIND) else {
            list::<T>(client, sink, places).await?;
            continue;
        };
        let request =
            Request::new(T::PATH).watch(&WatchParams::default().timeout(LIFE), &from.to_string())?;
        let events = client.request_events::<T>(request).await;
        let events = match events {
            Err(kube::Error::Api(status)) if status.code == 410 => {
                forget(places, T::KIND);
                continue;
            }
            events => events.with_context(|| format!("watching {}", T::PATH))?,
        };
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.try_next().await.with_context(|| format!("watching {}", T::PATH))? {
            let (change, seen) = match event {
                WatchEvent::Added(seen) => (Change::Added, seen),
                WatchEvent::Modified(seen) => (Change::Modified, seen),
                WatchEvent::Deleted(seen) => (Change::Deleted, seen),
                WatchEvent::Bookmark(mark) => {
                    if let Ok(revision) = mark.metadata.resource_version.parse() {
                        set_place(places, T::KIND, revision);
                        sink.send(Input::Reached(T::KIND, revision)).await;
                    }
                    continue;
                }
                WatchEvent::Error(status) if status.code == 410 => {
                    forget(places, T::KIND);
                    break;
                }
                WatchEvent::Error(status) => bail!("watching {}: {}", T::PATH, status.message),
            };
            let revision = seen.revision();
            let version = Version { revision, change, object: seen.object() };
            sink.send(Input::Version(T::KIND, Box::new(version))).await;
            set_place(places, T::KIND, revision);
        }
    }
}

fn forget(places: &Places, kind: Kind) {
    places.lock().unwrap_or_else(PoisonError::into_inner).remove(&kind);
}
